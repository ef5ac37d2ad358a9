//! Outages under load: nothing is acknowledged that is not stored, and nothing acknowledged is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chaos::client::{Client, EnrolledDevice};
use chaos::harness::Node;
use test_database::SilentProxy;
use tokio::task::JoinSet;

use crate::common::{Bench, Database, eventually, heartbeat_at, options};

/// Devices that send one new bucket after the other, each again until it is acknowledged.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    senders: JoinSet<Vec<(String, i64)>>,
}

impl Load {
    fn start(url: &str, devices: Vec<EnrolledDevice>) -> Self {
        let (stop, acknowledged, refused) = Default::default();
        let mut load = Self { stop, acknowledged, refused, senders: JoinSet::new() };
        let base = crate::common::clock(-5 * 86_400);
        for device in devices {
            let (stop, acknowledged, refused) = (Arc::clone(&load.stop), Arc::clone(&load.acknowledged), Arc::clone(&load.refused));
            let client = Client::new(url).unwrap();
            load.senders.spawn(async move {
                let mut stored = Vec::new();
                for n in 0.. {
                    let at = base + chrono::TimeDelta::seconds(n * 10);
                    loop {
                        if stop.load(Ordering::Relaxed) {
                            return stored;
                        }
                        match client.heartbeat(&device.session_token, &heartbeat_at(at, n % 101)).await {
                            Ok(answer) if answer.status == 200 => break,
                            Ok(answer) => {
                                assert_eq!(answer.status, 503, "{}", answer.detail());
                                assert!(answer.headers.contains_key("retry-after"));
                            }
                            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                        }
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                    stored.push((device.device_id.clone(), at.timestamp().div_euclid(10) * 10));
                }
                stored
            });
        }
        load
    }

    /// Waits until `count` more are acknowledged.
    async fn go_on(&self, count: u64) {
        let from = self.acknowledged.load(Ordering::Relaxed);
        eventually("heartbeats are acknowledged", async || (self.acknowledged.load(Ordering::Relaxed) >= from + count).then_some(())).await;
    }

    async fn see_refusals(&self) {
        let from = self.refused.load(Ordering::Relaxed);
        eventually("heartbeats are refused", async || (self.refused.load(Ordering::Relaxed) > from + 5).then_some(())).await;
    }

    async fn finish(mut self) -> Vec<(String, i64)> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        while let Some(stored) = self.senders.join_next().await {
            all.extend(stored.unwrap());
        }
        all
    }
}

/// P1: each acknowledged heartbeat is there exactly once, and no status is older than the newest row.
fn check(acknowledged: &[(String, i64)], sql: impl Fn(&str) -> String) {
    let rows = sql("SELECT device_id || ' ' || extract(epoch FROM bucket_at)::bigint FROM heartbeats");
    let mut stored: Vec<_> = rows.lines().collect();
    let count = stored.len();
    stored.sort_unstable();
    stored.dedup();
    assert_eq!(stored.len(), count, "a bucket is stored twice");
    assert!(!acknowledged.is_empty());
    for (device, bucket) in acknowledged {
        assert!(stored.binary_search(&format!("{device} {bucket}").as_str()).is_ok(), "acknowledged and lost: {device} {bucket}");
    }
    let stale = sql("SELECT count(*) FROM (SELECT device_id, max(bucket_at) AS newest FROM heartbeats GROUP BY 1) h \
         LEFT JOIN device_last_status s USING (device_id) WHERE s.bucket_at IS DISTINCT FROM h.newest");
    assert_eq!(stale, "0");
}

async fn devices(client: &Client, admin: &str, count: usize) -> Vec<EnrolledDevice> {
    let mut devices = Vec::new();
    for n in 0..count {
        devices.push(client.enroll(admin, &format!("device-{n}")).await.unwrap());
    }
    devices
}

/// P11.
#[tokio::test]
async fn without_the_database_nothing_is_acknowledged_and_service_resumes_by_itself() {
    let mut database = Database::start();
    let mut node = Node::start(options().database_url(&database.url)).await.unwrap();
    let client = Client::new(&node.url()).unwrap();
    let admin = client.access_token("admin", node.admin_password()).await.unwrap();
    let devices = devices(&client, &admin, 20).await;
    let load = Load::start(&node.url(), devices.clone());
    for _ in 0..2 {
        load.go_on(200).await;
        database.stop();
        load.see_refusals().await;
        let before = load.acknowledged.load(Ordering::Relaxed);
        load.see_refusals().await;
        assert_eq!(load.acknowledged.load(Ordering::Relaxed), before, "acknowledged without a database");
        assert_eq!(client.get("/readyz", None).await.unwrap().status, 503);
        assert_eq!(client.get("/healthz", None).await.unwrap().status, 200);
        // Trouble of ours is never the device's fault.
        assert_eq!(client.session("01a1ffd3-5023-72ef-b4eb-394b3b563dfa.secret").await.unwrap().status, 503);
        database.resume();
        load.go_on(200).await;
        eventually("ready again", async || (client.get("/readyz", None).await.unwrap().status == 200).then_some(())).await;
    }
    check(&load.finish().await, |statement| database.sql(statement));
    assert!(node.terminate().await.unwrap().success());
}

/// P11, for connections that stay open and carry nothing, as behind a firewall that drops, or to a host that stands still.
#[tokio::test]
async fn a_node_whose_connections_fall_silent_serves_again_as_soon_as_new_ones_answer() {
    let database = Database::start();
    let proxy = SilentProxy::start(&database.url).await;
    let silent = options().database_url(proxy.url()).env("NEXMDM__DATABASE__STATEMENT_TIMEOUT_MS", "4000");
    let mut node = Node::start(silent).await.unwrap();
    let client = Client::new(&node.url()).unwrap();
    let admin = client.access_token("admin", node.admin_password()).await.unwrap();
    let load = Load::start(&node.url(), devices(&client, &admin, 20).await);
    let ready =
        async |status| eventually("readiness", async || (client.get("/readyz", None).await.ok()?.status == status).then_some(())).await;
    for _ in 0..2 {
        load.go_on(200).await;
        proxy.fall_silent();
        ready(503).await;
        let before = load.acknowledged.load(Ordering::Relaxed);
        load.see_refusals().await;
        assert_eq!(load.acknowledged.load(Ordering::Relaxed), before, "acknowledged without a database");
        assert_eq!(client.get("/healthz", None).await.unwrap().status, 200);
        proxy.strand();
        load.go_on(200).await;
        ready(200).await;
    }
    // New connections answer all the while: the node is hardly disturbed.
    proxy.strand();
    load.go_on(200).await;
    ready(200).await;
    eventually("the silent connections are closed", async || (proxy.silent_connections() == 0).then_some(())).await;
    let metrics = client.get("/metrics", None).await.unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    let given_up = metrics.lines().find_map(|line| line.strip_prefix("nexmdm_database_connections_given_up_total "));
    assert!(given_up.unwrap().parse::<f64>().unwrap() >= 1.0, "{given_up:?}");
    check(&load.finish().await, |statement| database.sql(statement));
    assert!(node.terminate().await.unwrap().success());
}

/// P1.
#[tokio::test]
async fn a_killed_node_has_lost_nothing_that_it_acknowledged() {
    let mut bench = Bench::start().await;
    let devices = devices(&bench.client, &bench.admin, 20).await;
    let load = Load::start(&bench.node.url(), devices);
    for _ in 0..3 {
        load.go_on(300).await;
        bench.node.kill9().unwrap();
        load.see_refusals().await;
        bench.node.restart().await.unwrap();
    }
    load.go_on(300).await;
    let acknowledged = load.finish().await;
    check(&acknowledged, |statement| bench.sql(statement));
}

#[tokio::test]
async fn a_stopping_node_finishes_what_it_accepted_and_sends_sockets_elsewhere() {
    let mut bench = Bench::start().await;
    let devices = devices(&bench.client, &bench.admin, 10).await;
    let mut socket = bench.client.socket(&devices[0].session_token).await.unwrap().unwrap();
    socket.send_heartbeat(&crate::common::heartbeat(0, 5)).await.unwrap();
    assert!(socket.next().await.unwrap().is_some());
    let load = Load::start(&bench.node.url(), devices);
    load.go_on(200).await;
    let started = std::time::Instant::now();
    let status = bench.node.terminate().await.unwrap();
    assert!(status.success(), "{status}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(matches!(socket.next().await.unwrap(), Some(wire::socket::DownFrame::Reconnect { after_ms: 0..=5000 })));
    assert!(socket.next().await.unwrap().is_none());
    assert!(!bench.node.log().contains("drain_incomplete"), "{}", bench.node.log());
    let acknowledged = load.finish().await;
    bench.node.restart().await.unwrap();
    check(&acknowledged, |statement| bench.sql(statement));
}

#[tokio::test]
async fn a_slow_database_is_answered_with_503_and_not_with_silence() {
    let database = Database::start();
    let quick = options()
        .database_url(&database.url)
        .env("NEXMDM__DATABASE__STATEMENT_TIMEOUT_MS", "300")
        .env("NEXMDM__HEARTBEAT__COMMIT_TIMEOUT_MS", "1000");
    let mut node = Node::start(quick).await.unwrap();
    let client = Client::new(&node.url()).unwrap();
    let admin = client.access_token("admin", node.admin_password()).await.unwrap();
    let device = client.enroll(&admin, "slow").await.unwrap();
    assert_eq!(client.heartbeat(&device.session_token, &crate::common::heartbeat(0, 5)).await.unwrap().status, 200);
    // Somebody holds the table: statements wait until their time is over.
    let url = database.url.clone();
    let held =
        tokio::task::spawn_blocking(move || crate::common::psql(&[&url], "BEGIN; LOCK TABLE heartbeats; SELECT pg_sleep(3); COMMIT"));
    // A new bucket each time: a repeat would be acknowledged without a look at the table.
    let mut seconds = 0;
    let answer = eventually("a refusal", async || {
        seconds -= 10;
        let answer = client.heartbeat(&device.session_token, &crate::common::heartbeat(seconds, 5)).await.unwrap();
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert!(answer.headers.contains_key("retry-after"));
    held.await.unwrap();
    eventually("service", async || {
        (client.heartbeat(&device.session_token, &crate::common::heartbeat(40, 5)).await.unwrap().status == 200).then_some(())
    })
    .await;
    assert!(node.terminate().await.unwrap().success());
}

#[tokio::test]
async fn a_killed_private_database_is_started_again() {
    let bench = Bench::start().await;
    let load = Load::start(&bench.node.url(), devices(&bench.client, &bench.admin, 10).await);
    load.go_on(200).await;
    let postmaster = chaos::harness::find_postmaster(bench.node.data_dir()).unwrap();
    assert!(std::process::Command::new("kill").args(["-9", &postmaster.pid.to_string()]).status().unwrap().success());
    load.see_refusals().await;
    load.go_on(200).await;
    let acknowledged = load.finish().await;
    check(&acknowledged, |statement| bench.sql(statement));
}

/// During a fail-over the name of the database, or a proxy, leads to a server that does not write, which may know less than the one before.
#[tokio::test]
async fn a_database_that_does_not_write_refuses_no_credential_and_is_left_once_another_does() {
    let bench = Bench::start().await;
    let client = &bench.client;
    let device = bench.enroll("kiosk").await;
    let unknown = (format!("{}.wrong", uuid::Uuid::now_v7()), format!("nxm_{}", "x".repeat(43)));
    let refused = async || {
        let session = client.post("/v1/agent/session", Some(&unknown.0), &serde_json::json!({})).await.unwrap().status;
        (session, client.get("/v1/devices", Some(&unknown.1)).await.unwrap().status)
    };
    assert_eq!(refused().await, (401, 401));
    bench.sql("ALTER DATABASE nexmdm SET default_transaction_read_only = on");
    bench.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'nexmdm' AND pid <> pg_backend_pid()");
    let ready = async || client.get("/readyz", None).await.unwrap().status == 200;
    eventually("the node is not ready", async || (!ready().await).then_some(())).await;
    assert_eq!(refused().await, (503, 503), "they may be good");
    assert_eq!(client.heartbeat(&device.session_token, &crate::common::heartbeat(0, 5)).await.unwrap().status, 503);

    bench.sql("BEGIN READ WRITE; ALTER DATABASE nexmdm RESET default_transaction_read_only; COMMIT");
    eventually("the node is ready", async || ready().await.then_some(())).await;
    eventually("what is unknown is refused", async || (refused().await == (401, 401)).then_some(())).await;
    assert_eq!(client.heartbeat(&device.session_token, &crate::common::heartbeat(0, 5)).await.unwrap().status, 200);
}
