//! A database URL of several hosts: whichever is the primary is used. That one that was deposed is not, `chaos failover` tries with real servers.

use std::net::TcpListener;
use std::time::Duration;

use store::{PoolOptions, Store, StoreError, UnfitServer};
use test_database::{SilentProxy, TestDatabase};

const QUICK: Duration = Duration::from_millis(300);

fn store(url: &str) -> Store {
    let acquire_timeout = Duration::from_secs(4);
    Store::new(url, PoolOptions { max_connections: 4, acquire_timeout, statement_timeout: QUICK, answer_grace: QUICK }).unwrap()
}

/// A port at which nobody listens.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Host and port of a proxy's URL.
fn place(proxy: &SilentProxy) -> &str {
    let (_, rest) = proxy.url().split_once('@').unwrap();
    rest.split_once('/').unwrap().0
}

/// The URL of a proxy with other hosts.
fn url(proxy: &SilentProxy, hosts: &str) -> String {
    proxy.url().replace(place(proxy), hosts)
}

#[tokio::test]
async fn the_host_that_answers_is_used_wherever_it_stands() {
    let db = TestDatabase::new().await;
    let proxy = SilentProxy::start(db.url()).await;
    let closed = format!("127.0.0.1:{}", closed_port());
    let answering = place(&proxy).to_owned();
    for hosts in [format!("{closed},{answering}"), format!("{answering},{closed}"), format!("{closed},{closed},{answering}")] {
        let store = store(&url(&proxy, &hosts));
        store.check_server().await.unwrap();
        store.ping().await.unwrap();
        let mut listener = store.listen().await.unwrap();
        db.execute("NOTIFY nexmdm_placement").await;
        listener.next().await.unwrap();
    }
    let gone = store(&url(&proxy, &format!("{closed},{closed}"))).ping().await.unwrap_err();
    assert!(gone.is_outage() && gone.to_string().contains("none of the hosts"), "{gone}");
}

#[tokio::test]
async fn a_host_that_falls_silent_is_left_for_another() {
    let db = TestDatabase::new().await;
    let (first, second) = (SilentProxy::start(db.url()).await, SilentProxy::start(db.url()).await);
    let store = store(&url(&first, &format!("{},{}", place(&first), place(&second))));
    store.ping().await.unwrap();
    // Whichever it is that is used, and then the other.
    for silent in [&first, &second] {
        silent.fall_silent();
        let end = std::time::Instant::now() + Duration::from_secs(30);
        while let Err(refused) = store.ping().await {
            assert!(refused.is_outage() && std::time::Instant::now() < end, "{refused}");
        }
        if store.pool_use().given_up > 0 {
            return;
        }
        // It was the other; new connections pass here again.
        silent.strand();
    }
    panic!("neither was used");
}

#[tokio::test]
async fn of_several_servers_that_only_read_each_is_named() {
    let db = TestDatabase::new().await;
    let database: String = db.value("SELECT current_database()::text").await;
    db.execute(&format!("ALTER DATABASE {database} SET default_transaction_read_only = on")).await;
    let proxy = SilentProxy::start(db.url()).await;
    let closed = format!("127.0.0.1:{}", closed_port());
    let store = store(&url(&proxy, &format!("{},{closed}", place(&proxy))));
    match store.check_server().await {
        Err(StoreError::Unfit(unfit @ UnfitServer::NoPrimary { .. })) => {
            let told = unfit.to_string();
            assert!(told.contains("default_transaction_read_only") && told.contains("refused") && told.contains("patronictl"), "{told}");
        }
        other => panic!("{other:?}"),
    }
    assert!(store.ping().await.unwrap_err().is_outage() && store.reads_are_doubtful());
}

/// A server that is no standby is none for reads: they come from the primary.
#[tokio::test]
async fn without_a_standby_reads_come_from_the_primary() {
    let db = TestDatabase::new().await;
    let options = PoolOptions { max_connections: 2, acquire_timeout: QUICK, statement_timeout: QUICK, answer_grace: QUICK };
    let store = db.another_store(2).with_replica(db.url(), options, Duration::from_secs(5)).unwrap();
    assert!(store.check_replica().await.unwrap().is_some_and(|cause| cause.contains("no standby")));
    let today = domain::Timestamp::from_timestamp(1_780_000_000, 0).unwrap().date_naive();
    store.for_reading().aggregated_days(today, today).await.unwrap();
    let used = store.replica_use().unwrap();
    assert_eq!((used.by_replica, used.too_old, used.unavailable), (0, 0, 1));
    // Whatever else is asked does not look for it.
    store.aggregated_days(today, today).await.unwrap();
    assert_eq!(store.replica_use(), Some(used));
}
