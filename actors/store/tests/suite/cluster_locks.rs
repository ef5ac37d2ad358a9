//! Locks that one node at a time holds.

use std::time::Duration;

use test_database::TestDatabase;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn one_node_holds_a_lock_at_a_time_and_it_ends_with_its_holder() {
    let db = TestDatabase::new().await;
    let store = db.store();
    let held = store.try_cluster_lock("tests", MINUTE).await.unwrap().expect("nobody holds it");
    assert!(store.try_cluster_lock("tests", MINUTE).await.unwrap().is_none());
    assert!(store.try_cluster_lock("others", MINUTE).await.unwrap().is_some(), "another lock is free");
    drop(held);
    until_free(&db, "tests").await;
}

/// The lock of a node that stands still must not keep the others from their work for ever.
#[tokio::test]
async fn a_lock_is_held_no_longer_than_was_asked_for() {
    let db = TestDatabase::new().await;
    let held = db.store().try_cluster_lock("tests", Duration::from_millis(50)).await.unwrap();
    assert!(held.is_some());
    until_free(&db, "tests").await;
    drop(held);
}

/// Work may take longer than the lock of a node that stands still.
#[tokio::test]
async fn a_lock_that_is_renewed_is_held_for_longer_than_was_asked_for() {
    let db = TestDatabase::new().await;
    let longest = Duration::from_millis(400);
    let mut held = db.store().try_cluster_lock("tests", longest).await.unwrap().expect("nobody holds it");
    let began = std::time::Instant::now();
    while began.elapsed() < 4 * longest {
        assert!(db.store().try_cluster_lock("tests", MINUTE).await.unwrap().is_none(), "after {:?}", began.elapsed());
        held.renew().await.unwrap();
    }
    until_free(&db, "tests").await;
    assert!(held.renew().await.is_err(), "whoever stood still is told");
}

/// Waits until somebody else can take the lock: the server notices the end of a connection by itself.
async fn until_free(db: &TestDatabase, name: &str) {
    let free = async {
        while db.store().try_cluster_lock(name, MINUTE).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(MINUTE, free).await.expect("the lock becomes free");
}
