//! A node whose machine's clock is wrong, and jumps: it decides by the database's time.
//!
//! The node runs within the test, over a clock that shows what the test wants; beside it there is a real one.

use std::sync::Arc;
use std::time::Duration;

use chaos::client::Client;
use chaos::harness::Node;
use chrono::TimeDelta;
use clock::SimulatedClock;
use domain::access::{Origin, Principal};
use services::metrics::Metrics;
use services::{ClientInfo, System};
use store::{PoolOptions, Store};

use crate::common::{DEADLINE, Database, eventually, options};

/// A system in the test's own process whose machine shows a time that is off by this much.
async fn start_off_by(database: &Database, off: TimeDelta) -> (Arc<System>, Arc<SimulatedClock>) {
    let pool =
        PoolOptions { max_connections: 4, acquire_timeout: DEADLINE, statement_timeout: DEADLINE, answer_grace: Duration::from_secs(2) };
    let store = || Store::new(&database.url, pool).unwrap();
    let key = || secrecy::SecretBox::new(Box::new(vec![7; 32]));
    let secrets = actors::Secrets { master_key: key(), jwt_key: key() };
    let fingerprint = hex::decode(database.sql("SELECT encode(key_fingerprint, 'hex') FROM cluster")).unwrap();
    let cluster = crate::common::cluster_start(store(), fingerprint).await;
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let mut settings = crate::common::settings();
    (settings.runtime.history.interval, settings.runtime.partition_interval) = (Duration::from_secs(1), Duration::from_secs(1));
    let machine = SimulatedClock::new(crate::common::clock(0) + off);
    let system = Box::pin(System::start(store(), settings, secrets, cluster, metrics, machine.clock(1))).await.unwrap();
    (system, machine)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_machine_shows_another_year_goes_by_the_database() {
    let database = Database::start();
    let mut node = Node::start(options().database_url(&database.url)).await.unwrap();
    let client = Client::new(&node.url()).unwrap();
    let admin = client.access_token("admin", node.admin_password()).await.unwrap();
    client.enroll(&admin, "kiosk").await.unwrap();
    let count = |table: &str| database.sql(&format!("SELECT count(*) FROM {table}"));
    let (password, events) = (node.admin_password().to_owned(), count("device_event"));
    assert!(node.terminate().await.unwrap().success());
    let partitions = "pg_inherits WHERE inhparent = 'heartbeats'::regclass";
    let (days, sign_ins) = (count(partitions), count("user_session").parse::<u32>().unwrap());
    for (off, round) in [(TimeDelta::days(400), 1), (TimeDelta::days(-400), 2)] {
        let (system, machine) = Box::pin(start_off_by(&database, off)).await;
        let is_right = || (system.clock.now() - crate::common::clock(0)).abs() < TimeDelta::seconds(2);
        assert!(is_right(), "{off}");
        let signed_in = system.auth.login("admin", &password, ClientInfo { origin: Origin::default(), user_agent: None }).await.unwrap();
        machine.jump(-off * 2);
        assert!(is_right(), "{off}, after a jump");
        system.auth.authenticate(&signed_in.access_token, Origin::default()).await.unwrap();
        // Whatever removes by age has run.
        let retention = ["history_retention", "sign_in_retention", "partitions"];
        eventually("the reconcilers have run", async || {
            let overview = system.cluster.overview(&Principal::system()).await.ok()?;
            let ran = |name: &&str| overview.reconcilers.iter().any(|it| it.status.name == *name && it.status.runs > 0);
            retention.iter().all(ran).then_some(())
        })
        .await;
        assert_eq!(count(partitions), days, "{off}: no days of another year");
        assert_eq!(count("device_event"), events, "{off}: nothing is removed before its time");
        assert_eq!(count("user_session").parse::<u32>().unwrap(), sign_ins + round, "{off}: nor a sign-in");
        assert!(system.stop(DEADLINE).await);
    }
}
