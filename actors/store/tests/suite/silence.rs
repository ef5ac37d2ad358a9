//! A database that falls silent: every wait ends, and what did not answer is used no more.

use std::time::{Duration, Instant};

use store::{Listener, Notification, PoolOptions, Store, StoreError};
use test_database::{SilentProxy, TestDatabase};

/// Longest wait for an answer, of both settings.
const ANSWERED_WITHIN: Duration = Duration::from_millis(500);
const ACQUIRED_WITHIN: Duration = Duration::from_secs(5);
/// Longer than any of the waits.
const DEADLINE: Duration = Duration::from_secs(30);

fn store(proxy: &SilentProxy, max_connections: u32) -> Store {
    let options = PoolOptions {
        max_connections,
        acquire_timeout: ACQUIRED_WITHIN,
        statement_timeout: ANSWERED_WITHIN * 3 / 5,
        answer_grace: ANSWERED_WITHIN * 2 / 5,
    };
    Store::new(proxy.url(), options).unwrap()
}

async fn refused<T: std::fmt::Debug>(work: impl Future<Output = Result<T, StoreError>>) {
    let answer = tokio::time::timeout(DEADLINE, work).await.expect("the wait ends");
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Opens this many connections, which lie idle then.
async fn open(store: &Store, connections: usize) {
    let mut held = Vec::new();
    for _ in 0..connections {
        held.push(store.device_work().await.unwrap());
    }
    drop(held);
    until("rolled back", || store.pool_use().idle as usize == connections).await;
}

#[tokio::test]
async fn a_statement_without_an_answer_ends_and_its_connection_and_the_idle_ones_are_closed() {
    let db = TestDatabase::new().await;
    let proxy = SilentProxy::start(db.url()).await;
    let store = store(&proxy, 4);
    open(&store, 4).await;
    proxy.strand();
    let began = Instant::now();
    refused(store.ping()).await;
    assert!(began.elapsed() >= ANSWERED_WITHIN, "the server's own limit comes first");
    // The first connection that is made anew answers.
    store.ping().await.unwrap();
    until("the silent connections are closed", || proxy.silent_connections() == 0).await;
    let used = store.pool_use();
    assert_eq!((used.open, used.given_up), (1, 1), "the idle ones are closed without a wait of their own");
}

#[tokio::test]
async fn transactions_that_fall_silent_give_their_places_back() {
    let db = TestDatabase::new().await;
    let proxy = SilentProxy::start(db.url()).await;
    let store = store(&proxy, 3);
    let (committed, dropped) = (store.device_work().await.unwrap(), store.device_work().await.unwrap());
    let mut left = store.device_work().await.unwrap();
    proxy.strand();
    refused(committed.commit()).await;
    // Its rollback is not answered either.
    drop(dropped);
    // A caller that is gone before the answer.
    assert!(tokio::time::timeout(Duration::from_millis(20), left.hold(&[crate::common::device(1)])).await.is_err());
    drop(left);
    until("the silent connections are closed", || proxy.silent_connections() == 0).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(store.device_work().await.unwrap());
    }
    assert_eq!(store.pool_use().open, 3);
}

#[tokio::test]
async fn a_connection_that_lay_idle_is_tried_before_it_is_used() {
    let db = TestDatabase::new().await;
    let proxy = SilentProxy::start(db.url()).await;
    let store = store(&proxy, 2);
    open(&store, 2).await;
    proxy.strand();
    // As long as the pool takes an idle connection's word.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    store.ping().await.unwrap();
    until("the silent connections are closed", || proxy.silent_connections() == 0).await;
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_is_an_outage_and_the_next_is_made() {
    let db = TestDatabase::new().await;
    let proxy = SilentProxy::start(db.url()).await;
    let store = store(&proxy, 1);
    proxy.fall_silent();
    refused(store.ping()).await;
    refused(store.try_cluster_lock("tests", DEADLINE)).await;
    let Err(error) = tokio::time::timeout(DEADLINE, store.listen()).await.expect("the wait ends") else { panic!("it listens") };
    assert!(error.is_outage(), "{error:?}");
    proxy.strand();
    store.ping().await.unwrap();
    until("the silent connections are closed", || proxy.silent_connections() == 0).await;
    tokio::time::timeout(DEADLINE, store.close()).await.expect("nothing is left of them");
}

#[tokio::test]
async fn a_listener_that_falls_silent_tells_so_and_its_connection_is_closed() {
    let db = TestDatabase::new().await;
    let proxy = SilentProxy::start(db.url()).await;
    let store = store(&proxy, 1);
    let mut listener: Listener = store.listen().await.unwrap();
    db.execute("SELECT pg_notify('nexmdm_device', 'a')").await;
    assert_eq!(listener.next().await.unwrap(), Notification::Device("a".into()));
    store.ping().await.unwrap();
    proxy.strand();
    refused(store.ping()).await;
    let told = tokio::time::timeout(DEADLINE, listener.next()).await.expect("told when another connection was given up");
    assert_eq!(told.unwrap(), Notification::Missed);
    drop(listener);
    until("the silent connections are closed", || proxy.silent_connections() == 0).await;
    let mut listener = store.listen().await.unwrap();
    db.execute("SELECT pg_notify('nexmdm_device', 'b')").await;
    assert_eq!(listener.next().await.unwrap(), Notification::Device("b".into()));
}

#[tokio::test]
async fn a_lock_whose_connection_is_silent_can_be_let_go() {
    let db = TestDatabase::new().await;
    let proxy = SilentProxy::start(db.url()).await;
    let store = store(&proxy, 1);
    let held = store.try_cluster_lock("tests", DEADLINE).await.unwrap().expect("nobody holds it");
    proxy.strand();
    drop(held);
    until("the silent connection is closed", || proxy.silent_connections() == 0).await;
}
