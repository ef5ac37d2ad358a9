//! A cluster as devices, people and operators meet it: any node serves any device, nodes come and go.

use std::process::Command;
use std::time::{Duration, Instant};

use chaos::client::{Client, EnrolledDevice};
use chaos::harness::{Cluster, ClusterOptions};
use chaos::network::{Mode, Modes};
use link::protocol::{PROTOCOL_MAX, PROTOCOL_MIN};
use serde_json::{Value, json};
use wire::socket::DownFrame;

use crate::common::{cluster_options, eventually, heartbeat, heartbeat_at, hold, within};

/// A cluster, and some devices of which each node owns some.
struct Site {
    cluster: Cluster,
    admin: String,
    devices: Vec<EnrolledDevice>,
}

impl Site {
    async fn start(options: ClusterOptions, devices: usize) -> Self {
        let nodes = options.nodes;
        let cluster = Cluster::start(options).await.unwrap();
        let client = Client::new(&cluster.members()[0].url()).unwrap();
        let admin = client.access_token("admin", cluster.admin_password()).await.unwrap();
        let mut site = Self { cluster, admin, devices: Vec::new() };
        site.until_spread(nodes).await;
        for n in 0..devices {
            site.devices.push(client.enroll(&site.admin, &format!("kiosk-{n}")).await.unwrap());
        }
        site
    }

    fn client(&self, node: &str) -> Client {
        Client::new(&self.cluster.member(node).unwrap().url()).unwrap()
    }

    /// Waits until every shard is owned, by this many nodes, on every node's own view.
    async fn until_spread(&self, nodes: usize) {
        eventually("the shards are spread", async || {
            for member in self.cluster.members().iter().filter(|member| member.node().pid().is_some()) {
                let owners = owners(&self.cluster.view_of(member.name()).await.ok()?)?;
                if owners.len() != nodes {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    /// A device that a node owns.
    async fn owned_by(&self, node: &str) -> &EnrolledDevice {
        for device in &self.devices {
            if self.owner_of(device).await.0 == node {
                return device;
            }
        }
        panic!("{node} owns none of the devices");
    }

    /// Owner and epoch, as the node that is asked first sees it.
    async fn owner_of(&self, device: &EnrolledDevice) -> (String, i64) {
        let member = self.cluster.members().iter().find(|member| member.node().pid().is_some()).unwrap();
        let shard = domain::shard::shard_of(device.device_id.parse().unwrap());
        let view = self.cluster.view_of(member.name()).await.unwrap();
        let place = &view["shards"][usize::from(shard.0)];
        (place["owner"].as_str().unwrap_or_default().to_owned(), place["epoch"].as_i64().unwrap())
    }
}

/// Owners of shards, if all of them are owned.
fn owners(view: &Value) -> Option<std::collections::BTreeSet<String>> {
    view["shards"].as_array()?.iter().map(|shard| shard["owner"].as_str().map(str::to_owned)).collect()
}

/// The node and epoch that an answer names.
fn decided_by(answer: &chaos::client::Answer) -> Option<(String, i64)> {
    let (name, epoch) = answer.header("x-nexmdm-owner")?.split_once(";epoch=")?;
    Some((name.to_owned(), epoch.parse().unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_serves_any_device_and_all_tell_the_same() {
    let site = Site::start(cluster_options(3), 30).await;
    let names = ["node-1", "node-2", "node-3"];
    for owner in names {
        let device = site.owned_by(owner).await;
        for (n, reached) in names.iter().enumerate() {
            let told = heartbeat(n as i64 * 20 - 200, 40 + n as i64);
            let answer = site.client(reached).heartbeat(&device.session_token, &told).await.unwrap();
            assert_eq!((answer.status, decided_by(&answer).unwrap().0.as_str()), (200, owner), "through {reached}");
            // Whoever asks after the acknowledgement sees it, wherever.
            for asked in names {
                let shown = site.client(asked).get_json(&format!("/v1/devices/{}", device.device_id), &site.admin).await.unwrap();
                assert_eq!(shown["last"]["battery_pct"], 40 + n as i64, "{asked} of {owner}'s");
            }
        }
    }
    for asked in names {
        let client = site.client(asked);
        eventually("the counts add up", async || {
            let stats = client.get_json("/v1/fleet/stats", &site.admin).await.unwrap();
            (stats["devices"] == 30 && stats["online"] == 3 && stats["never_seen"] == 27).then_some(())
        })
        .await;
    }
    // Edits through a node that does not own the device are in force on all.
    let (revoked, deleted) = (site.owned_by("node-1").await, site.owned_by("node-2").await);
    let path = format!("/v1/devices/{}/revoke", revoked.device_id);
    assert_eq!(site.client("node-3").post(&path, Some(&site.admin), &json!({})).await.unwrap().status, 204);
    assert_eq!(site.client("node-3").delete(&format!("/v1/devices/{}", deleted.device_id), &site.admin).await.unwrap().status, 204);
    for reached in names {
        let client = site.client(reached);
        assert_eq!(client.heartbeat(&revoked.session_token, &heartbeat(0, 5)).await.unwrap().status, 401, "{reached}");
        assert_eq!(client.heartbeat(&deleted.session_token, &heartbeat(0, 5)).await.unwrap().status, 410, "{reached}");
        eventually("it is gone from the counts", async || {
            (client.get_json("/v1/fleet/stats", &site.admin).await.unwrap()["devices"] == 29).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_hangs_on_any_node_and_its_owner_reaches_it_even_after_a_move() {
    let mut site = Site::start(cluster_options(2), 20).await;
    let device = site.owned_by("node-2").await.clone();
    let mut older = site.client("node-1").socket(&device.session_token).await.unwrap().unwrap();
    older.send_heartbeat(&heartbeat(-100, 7)).await.unwrap();
    match older.next().await.unwrap().unwrap() {
        DownFrame::Ack { owner, .. } => assert!(owner.unwrap().starts_with("node-2;epoch="), "decided by the owner"),
        other => panic!("{other:?}"),
    }
    // Another socket of the device, on another node, takes over.
    let mut newer = site.client("node-2").socket(&device.session_token).await.unwrap().unwrap();
    assert!(older.next().await.unwrap().is_none(), "the older one is closed");
    newer.close().await.unwrap();

    newer = site.client("node-1").socket(&device.session_token).await.unwrap().unwrap();
    site.cluster.node_mut("node-2").unwrap().terminate().await.unwrap();
    site.until_spread(1).await;
    // The socket stayed where it was; its new owner has heard of it without a heartbeat.
    let path = format!("/v1/devices/{}/revoke", device.device_id);
    assert_eq!(site.client("node-1").post(&path, Some(&site.admin), &json!({})).await.unwrap().status, 204);
    match newer.next().await.unwrap().unwrap() {
        DownFrame::Refused { status, .. } => assert_eq!(status, 401),
        other => panic!("{other:?}"),
    }
    assert!(newer.next().await.unwrap().is_none());
}

/// P4. A node that was suspended beyond its lease wakes up with all it had in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_node_never_acts_for_what_others_took_over() {
    let site = Site::start(cluster_options(2), 30).await;
    let device = site.owned_by("node-1").await;
    let epoch = site.owner_of(device).await.1;
    site.cluster.member("node-1").unwrap().node().suspend().unwrap();
    // It is asked while it stands still, and will find these requests when it wakes.
    let asleep: Vec<_> = (0..8)
        .map(|n| {
            let (client, token) = (site.client("node-1"), device.session_token.clone());
            tokio::spawn(async move { client.heartbeat(&token, &heartbeat(-1000 - n * 10, 1)).await })
        })
        .collect();
    let node_2 = site.client("node-2");
    within(Duration::from_secs(30), "the other takes over", async || {
        let view = site.cluster.view_of("node-2").await.ok()?;
        (owners(&view)?.into_iter().collect::<Vec<_>>() == ["node-2"]).then_some(())
    })
    .await;
    let answer = node_2.heartbeat(&device.session_token, &heartbeat(0, 50)).await.unwrap();
    let (owner, newer) = decided_by(&answer).unwrap();
    assert_eq!((answer.status, owner.as_str()), (200, "node-2"));
    assert!(newer > epoch);
    // The database is slow to tell it that it was deposed, so its own clock has to.
    let slow = Modes { backward: Mode::Delay(Duration::from_millis(400)), ..Modes::default() };
    site.cluster.set_database_link("node-1", slow).unwrap();
    site.cluster.member("node-1").unwrap().node().resume().unwrap();
    for answer in asleep {
        if let Ok(answer) = answer.await.unwrap()
            && answer.status == 200
        {
            let decided = decided_by(&answer);
            assert!(decided.as_ref().is_none_or(|(_, decided)| *decided >= newer), "acted with a stale lease: {decided:?}");
        }
    }
    let (woken, mut seconds) = (site.client("node-1"), -2000);
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        seconds -= 10;
        let Ok(answer) = woken.heartbeat(&device.session_token, &heartbeat(seconds, 1)).await else { continue };
        if answer.status == 200 {
            let decided = decided_by(&answer);
            assert!(decided.as_ref().is_none_or(|(_, decided)| *decided >= newer), "acted with a stale lease: {decided:?}");
        }
    }
    site.cluster.heal_links().unwrap();
    site.until_spread(2).await;
}

/// A node that stands still in the middle of a transaction keeps its locks: the database has to end them, or the others wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_suspended_within_a_transaction_holds_up_nobody() {
    let site = Site::start(cluster_options(3), 30).await;
    let device = site.owned_by("node-1").await;
    let (node_2, node_3) = (site.client("node-2"), site.client("node-3"));
    let commands = format!("/v1/devices/{}/commands", device.device_id);
    let command = node_2.post(&commands, Some(&site.admin), &json!({"action": "ping"})).await.unwrap().json();
    let id = command["request_id"].as_str().unwrap();
    // The owner notes in one transaction, which holds its shard, that the command was sent with the answer to this heartbeat.
    let held = hold(&["-d", site.cluster.database_url()], &format!("SELECT FROM command WHERE request_id = '{id}' FOR UPDATE"));
    assert_eq!(node_2.heartbeat(&device.session_token, &heartbeat(-60, 50)).await.unwrap().status, 200);
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%command%'";
    eventually("the owner waits", async || (site.cluster.psql().run(waiting, &[]).await.ok()?.trim() != "0").then_some(())).await;
    site.cluster.member("node-1").unwrap().node().suspend().unwrap();
    drop(held);
    let mut not_ready = 0;
    within(Duration::from_secs(30), "the others have all shards", async || {
        for client in [&node_2, &node_3] {
            not_ready += u32::from(client.get("/readyz", None).await.ok()?.status != 200);
        }
        (owners(&site.cluster.view_of("node-2").await.ok()?)?.into_iter().collect::<Vec<_>>() == ["node-2", "node-3"]).then_some(())
    })
    .await;
    assert_eq!(not_ready, 0, "both could renew their leases all the time");
    let answer = node_3.heartbeat(&device.session_token, &heartbeat(0, 51)).await.unwrap();
    assert!(answer.status == 200 && decided_by(&answer).is_some_and(|(owner, _)| owner != "node-1"), "{:?}", decided_by(&answer));
    site.cluster.member("node-1").unwrap().node().resume().unwrap();
    site.until_spread(3).await;
}

/// A node whose lease lapsed often listens again before it is renewed: it must not pass over what was ordered meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_ordered_while_their_owner_was_without_its_database_are_sent_once_it_is_back() {
    let renewed_seldom = cluster_options(2)
        .env("NEXMDM__CLUSTER__LEASE_MS", "60000")
        .env("NEXMDM__CLUSTER__RENEW_INTERVAL_MS", "5000")
        .env("NEXMDM__CLUSTER__FENCE_AFTER_MS", "6000");
    let site = Site::start(renewed_seldom, 12).await;
    let device = site.owned_by("node-2").await;
    let (owner, other) = (site.client("node-2"), site.client("node-1"));
    site.cluster.set_database_link("node-2", Modes::both(Mode::Cut)).unwrap();
    eventually("its lease lapses", async || {
        let answer = owner.get("/metrics", None).await.ok()?;
        String::from_utf8_lossy(&answer.body).contains("nexmdm_cluster_lease_holds 0\n").then_some(())
    })
    .await;
    // Of this one the owner hears by the database alone.
    let body = json!({"action": "rotate_key"});
    let ordered = other.post(&format!("/v1/devices/{}/commands", device.device_id), Some(&site.admin), &body).await;
    let ordered = ordered.unwrap();
    assert_eq!(ordered.status, 201, "{}", ordered.detail());
    let id = ordered.json()["request_id"].clone();
    site.cluster.heal_links().unwrap();
    let mut seconds = -3_000;
    eventually("the command is sent", async || {
        seconds += 10;
        let answer = other.heartbeat(&device.session_token, &heartbeat(seconds, 50)).await.ok()?;
        let sent = answer.json()["commands"].as_array()?.iter().any(|command| command["request_id"] == id);
        sent.then_some(())
    })
    .await;
    assert_eq!(site.owner_of(device).await.0, "node-2", "nobody else has taken it over and read it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_drains_by_command_and_comes_back() {
    let site = Site::start(cluster_options(2), 20).await;
    let drain = |arguments: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_nexmdm"))
            .arg("drain")
            .args(arguments)
            .env("DATABASE_URL", site.cluster.database_url())
            .env("NEXMDM__DATA_DIR", site.cluster.folder().join("command"))
            .output()
            .unwrap();
        (out.status.success(), String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap())
    };
    let (good, said) = drain(&["node-2"]);
    assert!(good && said.contains("can be stopped"), "{said}");
    site.until_spread(1).await;
    // It still passes on what reaches it.
    let answer = site.client("node-2").heartbeat(&site.devices[0].session_token, &heartbeat(0, 5)).await.unwrap();
    assert_eq!((answer.status, decided_by(&answer).unwrap().0.as_str()), (200, "node-1"));
    let (good, said) = drain(&["node-2", "--cancel"]);
    assert!(good, "{said}");
    site.until_spread(2).await;
    let (good, said) = drain(&["node-9"]);
    assert!(!good && said.contains("no such live node"), "{said}");

    // The same over the API, for admins only.
    let path = "/v1/cluster/nodes/node-1/drain";
    assert_eq!(site.client("node-2").post(path, Some(&site.admin), &json!({})).await.unwrap().status, 204);
    site.until_spread(1).await;
    assert_eq!(site.client("node-2").post("/v1/cluster/nodes/x/drain", Some(&site.admin), &json!({})).await.unwrap().status, 404);
    assert_eq!(site.client("node-2").post(path, None, &json!({})).await.unwrap().status, 401);
    assert_eq!(site.client("node-2").get("/v1/cluster", None).await.unwrap().status, 401);
}

/// A graceful stop: the others own the devices before the node is gone, so nobody waits for a lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_node_leaves_its_devices_to_the_others_within_a_second() {
    let mut site = Site::start(cluster_options(2), 20).await;
    let device = site.owned_by("node-2").await.clone();
    let node_1 = site.client("node-1");
    let stopping = site.cluster.node_mut("node-2").unwrap().terminate();
    let started = Instant::now();
    let (mut slowest, mut owned_after, mut seconds) = (Duration::ZERO, None, -100);
    let watching = async {
        while owned_after.is_none() {
            seconds -= 10;
            let sent = Instant::now();
            let answer = node_1.heartbeat(&device.session_token, &heartbeat(seconds, 5)).await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.detail());
            slowest = slowest.max(sent.elapsed());
            if decided_by(&answer).is_some_and(|(owner, _)| owner == "node-1") {
                owned_after = Some(started.elapsed());
            }
        }
    };
    let (stopped, ()) = tokio::join!(stopping, tokio::time::timeout(crate::common::DEADLINE, watching).map_ok());
    assert!(stopped.unwrap().success());
    println!("owned by the other after {owned_after:?}; slowest acknowledgement {slowest:?}");
    // The promise; by its lease it would have been five.
    assert!(owned_after.unwrap() < Duration::from_secs(1), "{owned_after:?}");
}

trait MapOk {
    async fn map_ok(self);
}

impl<F: Future<Output = Result<(), tokio::time::error::Elapsed>>> MapOk for F {
    async fn map_ok(self) {
        self.await.expect("the other node takes over");
    }
}

/// One by one, nodes that are kept at the protocol before are let speak the newest; devices notice nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_upgrade_from_the_protocol_before() {
    const VARIABLE: &str = "NEXMDM__CLUSTER__PROTOCOL_MAX";
    let before = PROTOCOL_MIN.to_string();
    let mut site = Site::start(cluster_options(2).env(VARIABLE, &before), 20).await;
    for upgraded in ["node-2", "node-1"] {
        // Whoever is connected to the other node goes on all the while.
        let (other, devices) = (site.client(if upgraded == "node-2" { "node-1" } else { "node-2" }), site.devices.clone());
        let (done, replaced) = tokio::sync::watch::channel(false);
        let fleet = tokio::spawn(async move {
            let mut sent = 0;
            while !*replaced.borrow() {
                let device = &devices[sent % devices.len()];
                let at =
                    crate::common::clock(-200_000 + 10 * (sent / devices.len()) as i64 + if upgraded == "node-1" { 90_000 } else { 0 });
                let answer = other.heartbeat(&device.session_token, &heartbeat_at(at, 5)).await.unwrap();
                assert_eq!(answer.status, 200, "while {upgraded} is replaced: {}", answer.detail());
                sent += 1;
            }
            sent
        });
        let node = site.cluster.node_mut(upgraded).unwrap();
        node.options_mut().env.push((VARIABLE.to_owned(), "0".to_owned()));
        node.restart().await.unwrap();
        site.until_spread(2).await;
        done.send(true).unwrap();
        let sent = fleet.await.unwrap();
        assert!(sent > site.devices.len(), "only {sent} heartbeats while {upgraded} was replaced");
        let spoken = if upgraded == "node-2" { PROTOCOL_MIN } else { PROTOCOL_MAX };
        for (asked, other) in [("node-1", "node-2"), ("node-2", "node-1")] {
            eventually("they speak the newest that both know", async || {
                let view = site.cluster.view_of(asked).await.ok()?;
                let nodes = view["nodes"].as_array()?.clone();
                let row = nodes.into_iter().find(|node| node["name"] == other && node["state"] == "active")?;
                (row["protocol"] == spoken && row["reachable"] == true && row["devices"].is_u64()).then_some(())
            })
            .await;
        }
        for (n, device) in site.devices.iter().enumerate() {
            let owner = site.owner_of(device).await.0;
            for reached in ["node-1", "node-2"] {
                let at = crate::common::clock(-5000 + n as i64 * 20 + if upgraded == "node-1" { 2000 } else { 0 });
                let answer = site.client(reached).heartbeat(&device.session_token, &heartbeat_at(at, 5)).await.unwrap();
                assert_eq!(
                    (answer.status, decided_by(&answer).unwrap().0),
                    (200, owner.clone()),
                    "{upgraded} is upgraded, through {reached}"
                );
            }
        }
    }
}

/// Every node runs its own part of the periodic work, one node that of the cluster; each node shows all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn periodic_work_is_shared_out_and_shown_by_every_node() {
    let options = cluster_options(2).env("NEXMDM__PARTITION__INTERVAL_SECONDS", "1").env("NEXMDM__HISTORY__INTERVAL_SECONDS", "1");
    let mut site = Site::start(options, 1).await;
    site.until_spread(2).await;
    let of = |view: &Value, name: &str| -> Vec<(String, Value)> {
        let all = view["reconcilers"].as_array().into_iter().flatten();
        all.filter(|row| row["name"] == name).map(|row| (row["node"].as_str().unwrap().to_owned(), row.clone())).collect()
    };
    for asked in ["node-1", "node-2"] {
        eventually("every node's runs are shown", async || {
            let view = site.cluster.view_of(asked).await.ok()?;
            let partitions = of(&view, "partitions_ahead");
            let nodes: Vec<&str> = partitions.iter().map(|(node, _)| node.as_str()).collect();
            let run = |row: &Value| row["runs"].as_u64() > Some(0) && row["failures_in_a_row"] == 0 && row["last_run_at"].is_string();
            let [(_, retention)] = &of(&view, "history_retention")[..] else { return None };
            (nodes == ["node-1", "node-2"]
                && partitions.iter().all(|(_, row)| run(row))
                && run(retention)
                && matches!(&of(&view, "partitions")[..], [(_, life)] if run(life) && life["per_cluster"] == true)
                && retention["per_cluster"] == true)
                .then_some(())
        })
        .await;
    }
    // Who runs it for the cluster dies: the other one does.
    let ran_by = of(&site.cluster.view_of("node-1").await.unwrap(), "history_retention").remove(0).0;
    let other = if ran_by == "node-1" { "node-2" } else { "node-1" };
    site.cluster.node_mut(&ran_by).unwrap().kill9().unwrap();
    eventually("the other node runs it", async || {
        let view = site.cluster.view_of(other).await.ok()?;
        let [(node, row)] = &of(&view, "history_retention")[..] else { return None };
        (node == other && row["runs"].as_u64() > Some(0)).then_some(())
    })
    .await;
    let metrics = site.client(other).get("/metrics", None).await.unwrap();
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(text.contains(r#"nexmdm_reconciler_runs_total{outcome="ok",reconciler="history_retention"}"#), "{text}");
}

/// Sign-ins are stateless: losing the node behind a page loses no session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_holds_on_every_node() {
    let mut site = Site::start(cluster_options(2), 20).await;
    let device = site.owned_by("node-1").await.clone();
    site.cluster.node_mut("node-1").unwrap().kill9().unwrap();
    let node_2 = site.client("node-2");
    assert_eq!(node_2.get("/v1/devices", Some(&site.admin)).await.unwrap().status, 200);
    // The token of a device that the dead node owned as well, and it is acknowledged before the lease has run out.
    let started = Instant::now();
    let answer = node_2.heartbeat(&device.session_token, &heartbeat(0, 5)).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.detail());
    assert!(started.elapsed() < Duration::from_secs(5), "acknowledged after {:?}, by {:?}", started.elapsed(), decided_by(&answer));
}

/// Connections to the port between nodes, with a certificate of the cluster and with a foreign one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_and_foreign_certificates_get_nothing_and_disturb_nobody() {
    use link::tls::NodeCertificate;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let (ours, theirs) = (crate::common::hex_key(1), crate::common::hex_key(2));
    let site = Site::start(cluster_options(2).env("NEXMDM__SECRETS__CLUSTER_KEY", &ours), 10).await;
    let address = site.cluster.cluster_address("node-2").unwrap();
    let secret = |key: &str| secrecy::SecretBox::new(Box::new(hex::decode(key).unwrap()));
    let connect = async |certificate: &NodeCertificate, name: &str| {
        let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let connector = crate::common::tls_client(certificate, &ours);
        connector.connect(rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap(), stream).await
    };
    let member = NodeCertificate::issue(&secret(&ours), "nexmdm", "node-8").unwrap();
    let other_authority = NodeCertificate::issue(&secret(&theirs), "nexmdm", "node-8").unwrap();
    let other_cluster = NodeCertificate::issue(&secret(&ours), "depot", "node-8").unwrap();

    for stranger in [&other_authority, &other_cluster] {
        // With TLS 1.3 a client learns only after its handshake that it was refused.
        if let Ok(mut stream) = connect(stranger, "nexmdm.nexmdm.internal").await {
            let _ = stream.write_all(&[0; 64]).await;
            let mut answer = Vec::new();
            let read = tokio::time::timeout(crate::common::DEADLINE, stream.read_to_end(&mut answer)).await.expect("it is closed");
            assert!(read.is_err() || answer.is_empty(), "a stranger was answered");
        }
    }
    // A member's certificate opens the port, but frames that are none close the link.
    let oversized = (64u64 << 20).to_be_bytes();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xFF; 4096], &oversized, &[0, 0, 0, 0, 0, 0, 0, 9, 1, 2], &[]] {
        let mut stream = connect(&member, "nexmdm.nexmdm.internal").await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let _ = stream.flush().await;
        let mut answer = vec![0; 1024];
        let closed = async { while !matches!(stream.read(&mut answer).await, Ok(0) | Err(_)) {} };
        tokio::time::timeout(crate::common::DEADLINE, closed).await.expect("a link that says nothing sensible is closed");
    }
    let log = site.cluster.member("node-2").unwrap().node().log();
    assert!(log.contains(r#""reason":"certificate""#) && log.contains(r#""reason":"other_cluster""#), "{log}");
    for reached in ["node-1", "node-2"] {
        for device in &site.devices {
            let answer = site.client(reached).heartbeat(&device.session_token, &heartbeat(0, 5)).await.unwrap();
            assert!(answer.status == 200 && decided_by(&answer).is_some(), "{reached}: {}", answer.detail());
        }
    }
}

/// Strangers from many addresses who connect to the port between nodes and say nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_strangers_leave_the_nodes_their_handshakes() {
    use link::tls::NodeCertificate;

    let key = crate::common::hex_key(1);
    let options = cluster_options(2)
        .env("NEXMDM__SECRETS__CLUSTER_KEY", &key)
        .env("NEXMDM__CLUSTER__HANDSHAKE_TIMEOUT_MS", "60000")
        .env("NEXMDM__CLUSTER__HANDSHAKES_MAX", "8");
    let site = Site::start(options, 2).await;
    let address: std::net::SocketAddr = site.cluster.cluster_address("node-2").unwrap().parse().unwrap();
    let mut silent = Vec::new();
    for stranger in 2..12 {
        for _ in 0..4 {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(([127, 0, 0, stranger], 0).into()).unwrap();
            silent.push(socket.connect(address).await.unwrap());
        }
    }
    // All of them were looked at.
    eventually("those beyond the share of strangers are closed", async || {
        let answer = site.client("node-2").get("/metrics", None).await.ok()?;
        let text = String::from_utf8(answer.body.to_vec()).ok()?;
        let refused = text.lines().find(|line| line.starts_with("nexmdm_link_refused_total{reason=\"too_many_handshakes\"}"))?;
        (refused.rsplit(' ').next()? == "36").then_some(())
    })
    .await;
    let secret = secrecy::SecretBox::new(Box::new(hex::decode(&key).unwrap()));
    let member = NodeCertificate::issue(&secret, "nexmdm", "node-8").unwrap();
    // From the address of the nodes.
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("nexmdm.nexmdm.internal").unwrap();
    let connecting = crate::common::tls_client(&member, &key).connect(name, stream);
    tokio::time::timeout(crate::common::DEADLINE, connecting).await.expect("a member has its turn").unwrap();
    drop(silent);
}
