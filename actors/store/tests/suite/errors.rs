//! Errors of the database as callers see them, and the pool.

use std::time::Duration;

use store::{PoolOptions, Store, StoreError};
use test_database::TestDatabase;

use crate::common::{at, battery, device, enroll, heartbeat};

fn options() -> PoolOptions {
    PoolOptions {
        max_connections: 1,
        acquire_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(2),
        answer_grace: Duration::from_secs(2),
    }
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_an_outage() {
    let db = TestDatabase::new().await;
    let store = Store::new(db.url(), options()).unwrap();
    store.ping().await.unwrap();
    let mut holder = db.pool().begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE app_user").execute(&mut *holder).await.unwrap();
    let refused = store.any_user().await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    holder.rollback().await.unwrap();
    assert!(!store.any_user().await.unwrap(), "the connection goes on");
}

/// Whoever waited for it may be gone at any moment; the next user of the connection must not write into what was begun.
#[tokio::test]
async fn a_transaction_that_is_dropped_while_it_begins_is_rolled_back() {
    let db = TestDatabase::new().await;
    let store = Store::new(db.url(), options()).unwrap();
    let mut dropped = 0;
    for attempt in 0..300 {
        let begun = tokio::time::timeout(Duration::from_micros(attempt % 60 * 10), store.device_work()).await;
        dropped += u32::from(begun.is_err());
        drop(begun);
        // The only connection: it has ended what came before.
        store.ping().await.unwrap();
        let open: i64 = db
            .value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'")
            .await;
        assert_eq!(open, 0, "attempt {attempt}");
    }
    assert!(dropped > 0, "none was dropped");
}

#[tokio::test]
async fn a_pool_without_a_free_connection_is_an_outage() {
    let db = TestDatabase::new().await;
    let store = Store::new(db.url(), PoolOptions { acquire_timeout: Duration::from_secs(2), ..options() }).unwrap();
    let work = store.device_work().await.unwrap();
    assert_eq!((store.pool_use().open, store.pool_use().idle), (1, 0));
    let before = store.connection_figures();
    assert_eq!((before.capacity, before.in_use, before.waiting, before.timed_out), (1, 1, 0, 0));
    let waiting = async {
        while store.connection_figures().waiting == 0 {
            tokio::task::yield_now().await;
        }
        store.connection_figures()
    };
    let (refused, meanwhile) = tokio::join!(store.ping(), waiting);
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert!(meanwhile.is_full() && meanwhile.waiting == 1, "{meanwhile:?}");
    let after = store.connection_figures();
    assert_eq!((after.waiting, after.timed_out), (0, 1));
    assert!(after.wait_max_ms >= 2000.0 && after.wait_avg_ms <= after.wait_max_ms, "{after:?}");
    drop(work);
    store.close().await;
    let refused = store.ping().await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
}

#[tokio::test]
async fn a_connection_that_is_cut_is_an_outage_and_made_again() {
    let db = TestDatabase::new().await;
    db.store().ping().await.unwrap();
    let cut =
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'nexmdm'";
    assert!(db.value::<bool>(cut).await);
    let refused = db.store().ping().await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    db.store().ping().await.unwrap();
}

#[tokio::test]
async fn a_defect_is_not_taken_for_an_outage() {
    let db = TestDatabase::new().await;
    let id = enroll(&db, 1, "a").await;
    let refused = db.store().write_heartbeats(&mut [heartbeat(id, 1, battery(101))]).await;
    assert!(matches!(refused, Err(StoreError::Failed(_))), "{refused:?}");
    let unknown = db.store().write_heartbeats(&mut [heartbeat(device(9), 1, battery(1))]).await;
    assert!(matches!(unknown, Err(StoreError::Failed(_))), "{unknown:?}");
    db.execute("ALTER TABLE device_event RENAME TO gone").await;
    let refused = db.store().purge_device_events(at(0), 1).await;
    assert!(matches!(refused, Err(StoreError::Failed(_))), "{refused:?}");
}

#[tokio::test]
async fn a_value_that_no_build_writes_is_named() {
    let db = TestDatabase::new().await;
    crate::common::add_user(&db, 1, "a", domain::access::Role::Viewer).await;
    db.execute("ALTER TABLE app_user DROP CONSTRAINT app_user_role_known; UPDATE app_user SET role = 'king'").await;
    let refused = db.store().user_by_name("a").await;
    assert!(matches!(refused, Err(StoreError::Corrupt("app_user.role"))), "{refused:?}");
}

#[test]
fn what_is_no_url_is_refused() {
    assert!(Store::new("no URL", options()).is_err());
}
