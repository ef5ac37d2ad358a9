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

/// Waits until somebody else can take the lock: the server notices the end of a connection by itself.
async fn until_free(db: &TestDatabase, name: &str) {
    let free = async {
        while db.store().try_cluster_lock(name, MINUTE).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(MINUTE, free).await.expect("the lock becomes free");
}
