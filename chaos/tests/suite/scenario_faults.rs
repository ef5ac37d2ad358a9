//! Faults of scenarios on real nodes: that each is felt where it should be, and that nothing of it is left when it is healed.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use chaos::client::{AgentSocket, Client};
use chaos::clock::now;
use chaos::harness::{Cluster, ClusterOptions, nexmdm_path};
use chaos::scenario::faults::{
    CertificateExpiry, ClockJump, ConnectionsUsedUp, DnsGone, Fault, InForce, LossyNetwork, OneAddress, PoisonHeartbeats, RollingUpgrade,
    ScaleOut, Scene, SlowPostgresDisk, ThunderingHerd,
};
use chrono::SecondsFormat;
use tokio::time::{Instant, sleep};
use uuid::Uuid;
use wire::agent::Heartbeat;

use crate::support::scheduling;

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Hashes are made cheap, as their cost is not under test.
const CHEAP: [&str; 2] = ["NEXMDM__AUTH__PASSWORD_BCRYPT_COST", "NEXMDM__AUTH__DEVICE_TOKEN_BCRYPT_COST"];

/// Starts a cluster with all that these faults need.
async fn cluster(nodes: usize, faults: &[&dyn Fault], env: &[(&str, &str)]) -> Cluster {
    scheduling::exclusive();
    let mut options = ClusterOptions::new(nexmdm_path().unwrap(), nodes);
    for (name, value) in CHEAP.map(|name| (name, "4")).iter().chain(env) {
        options = options.env(name, *value);
    }
    for fault in faults {
        fault.check().unwrap();
        fault.prepare(&mut options);
    }
    Cluster::start(options).await.unwrap()
}

/// Begins a fault; what is noted about it.
async fn begin(cluster: &mut Cluster, fault: &dyn Fault) -> (InForce, Vec<String>) {
    fault.undo(cluster).unwrap();
    let mut scene = Scene::of(cluster);
    let in_force = fault.begin(&mut scene).await.unwrap();
    assert_eq!(scene.broken, [""; 0]);
    (in_force, scene.notes)
}

/// Heals a fault; what it has noted, and what it has shown to be broken.
async fn heal(cluster: &mut Cluster, in_force: InForce) -> (Vec<String>, Vec<String>) {
    let InForce::Until(healing) = in_force else { panic!("it is over already") };
    let mut scene = Scene::of(cluster);
    healing.heal(&mut scene).await.unwrap();
    (scene.notes, scene.broken)
}

/// Polls until a condition holds.
async fn eventually(what: &str, within_s: u64, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(within_s);
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {within_s} s: {what}");
        sleep(LOOK_EVERY).await;
    }
}

/// Clients of all nodes, and the token of an enrolled device.
async fn enrolled(cluster: &Cluster, alias: &str) -> (Vec<Client>, String) {
    let clients: Vec<Client> = cluster.members().iter().map(|member| Client::new(&member.url()).unwrap()).collect();
    let access = clients[0].access_token("admin", cluster.admin_password()).await.unwrap();
    let device = clients[0].enroll(&access, alias).await.unwrap();
    (clients, device.session_token)
}

/// Status of the answer to a heartbeat; 0 without one.
async fn heartbeat(client: &Client, token: &str) -> u16 {
    let heartbeat = Heartbeat { timestamp_utc: Some(now().to_rfc3339_opts(SecondsFormat::Secs, true)), ..Heartbeat::default() };
    client.heartbeat(token, &heartbeat).await.map_or(0, |answer| answer.status)
}

/// Remote addresses of the connections to a port of this machine that are open, as the kernel lists them.
fn clients_of(port: u16) -> Vec<Ipv4Addr> {
    let listed = fs::read_to_string("/proc/net/tcp").unwrap();
    let connections = listed.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (local, remote, state) = (*words.get(1)?, *words.get(2)?, *words.get(3)?);
        let local_port = u16::from_str_radix(local.split_once(':')?.1, 16).ok()?;
        let address = u32::from_str_radix(remote.split_once(':')?.0, 16).ok()?;
        // 01: established. The address is in the order of this machine's bytes.
        (state == "01" && local_port == port).then(|| Ipv4Addr::from(address.to_ne_bytes()))
    });
    connections.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_connections_end_at_once_and_half_of_them_come_back_by_one_address() {
    let (herd, one_address) = (ThunderingHerd::default(), OneAddress::default());
    let mut cluster = cluster(2, &[&herd, &one_address], &[]).await;
    let (clients, token) = enrolled(&cluster, "herd").await;
    let mut sockets: Vec<AgentSocket> = Vec::new();
    for client in &clients {
        sockets.push(client.socket(&token).await.unwrap().unwrap());
    }

    let (over, _) = begin(&mut cluster, &herd).await;
    assert!(matches!(over, InForce::Over));
    for mut socket in sockets {
        // The older of two sockets of a device may be told that it is not the last one; an error is a socket that is silent.
        while socket.next().await.unwrap().is_some() {}
    }
    for client in &clients {
        eventually("new connections are accepted at once", 2, async || heartbeat(client, &token).await == 200).await;
    }

    let (in_force, _) = begin(&mut cluster, &one_address).await;
    let port = cluster.members()[0].node().port();
    let many: Vec<Client> = (0..40).map(|_| Client::new(&cluster.members()[0].url()).unwrap()).collect();
    for client in &many {
        assert_eq!(heartbeat(client, &token).await, 200);
    }
    let sources = clients_of(port);
    let shared = sources.iter().filter(|source| **source == Ipv4Addr::new(127, 1, 0, 1)).count();
    let own = sources.iter().filter(|source| source.octets()[..2] == [127, 2]).count();
    assert!(shared >= 18 && own >= 18 && shared.abs_diff(own) <= 3, "{sources:?}");
    heal(&mut cluster, in_force).await;
    eventually("new connections are accepted at once", 2, async || heartbeat(&many[0], &token).await == 200).await;
    eventually("all come from where they are", 10, async || clients_of(port).iter().all(|source| *source == Ipv4Addr::LOCALHOST)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_bodies_used_up_connections_and_a_slow_disk_cost_the_others_nothing_that_is_acknowledged() {
    let poison = PoisonHeartbeats { per_second: 400, devices: 2 };
    let (used_up, slow) = (ConnectionsUsedUp::default(), SlowPostgresDisk { flush_ms: 60, ..SlowPostgresDisk::default() });
    // A node that has all of its connections, and never makes another.
    let mut cluster = cluster(1, &[&poison, &used_up, &slow], &[("NEXMDM__DATABASE__POOL_MAX_CONNECTIONS", "4")]).await;
    let (clients, token) = enrolled(&cluster, "good").await;

    let (in_force, _) = begin(&mut cluster, &poison).await;
    assert_eq!(heartbeat(&clients[0], &token).await, 200);
    let (notes, broken) = heal(&mut cluster, in_force).await;
    assert_eq!(broken, [""; 0], "{notes:?}");
    assert!(notes[0].contains("400: ") && notes[0].contains("413: ") && notes[0].contains(" good heartbeats"), "{notes:?}");

    let (in_force, notes) = begin(&mut cluster, &used_up).await;
    assert!(notes[0].contains("sessions of others"), "{notes:?}");
    let refused = cluster.psql().run("SELECT 1", &[]).await.unwrap_err();
    assert!(refused.to_string().contains("too many clients") || refused.to_string().contains("connection slots"), "{refused:#}");
    let status = heartbeat(&clients[0], &token).await;
    assert!([200, 503].contains(&status), "{status}: taken by a connection that the node has, or refused as long as there is none");
    heal(&mut cluster, in_force).await;
    let psql = cluster.psql();
    eventually("PostgreSQL has connections again", 20, async || psql.run("SELECT 1", &[]).await.is_ok()).await;
    eventually("heartbeats are taken again", 20, async || heartbeat(&clients[0], &token).await == 200).await;

    let commit = async || {
        let began = Instant::now();
        // A transaction that writes nothing into the log waits for no flush.
        psql.run("SELECT pg_logical_emit_message(true, 'commit', '')", &[]).await.unwrap();
        began.elapsed()
    };
    let (in_force, _) = begin(&mut cluster, &slow).await;
    eventually("a commit waits for a flush", 10, async || commit().await >= Duration::from_millis(60)).await;
    heal(&mut cluster, in_force).await;
    let settings = "SELECT current_setting('commit_delay'), current_setting('commit_siblings')";
    eventually("the settings are those of before", 10, async || psql.run(settings, &[]).await.unwrap().trim() == "0|5").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_added_upgraded_and_removed_while_devices_are_served() {
    let (scale_out, upgrade) = (ScaleOut { nodes: 3, balanced_within_s: 60 }, RollingUpgrade { binary: None, balanced_within_s: 60 });
    let mut cluster = cluster(2, &[&scale_out, &upgrade], &[]).await;
    let (clients, token) = enrolled(&cluster, "served").await;
    let pids = |cluster: &Cluster| cluster.members().iter().map(|member| member.node().pid()).collect::<Vec<_>>();

    let (in_force, notes) = begin(&mut cluster, &scale_out).await;
    assert_eq!((notes.len(), cluster.members().len()), (1, 3));
    heal(&mut cluster, in_force).await;
    assert_eq!(cluster.members().len(), 2);

    let before = pids(&cluster);
    let upgraded = begin(&mut cluster, &upgrade);
    let served = async {
        // Devices go on at whichever node is there; each waits a moment for one.
        loop {
            eventually("a node takes the heartbeat", 5, async || {
                heartbeat(&clients[0], &token).await == 200 || heartbeat(&clients[1], &token).await == 200
            })
            .await;
            sleep(LOOK_EVERY).await;
        }
    };
    let (over, notes) = tokio::select! {
        upgraded = upgraded => upgraded,
        _ = served => unreachable!("it goes on"),
    };
    assert!(matches!(over, InForce::Over));
    assert_eq!(notes.len(), 10, "{notes:?}");
    let after = pids(&cluster);
    assert!(before.iter().zip(&after).all(|(before, after)| after.is_some() && before != after), "{before:?} {after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_jumps_and_packets_are_late() {
    let jump = ClockJump { node: "node-2".into(), ahead_s: 3_600 };
    let lossy = LossyNetwork { node: Some("node-1".into()), loss_pct: 5, latency_ms: 400 };
    let mut cluster = cluster(2, &[&jump, &lossy], &[]).await;
    let (clients, token) = enrolled(&cluster, "clock").await;

    // Ids of requests begin with the time of the node's own clock.
    let ahead_s = async |client: &Client| {
        let answer = client.get("/healthz", None).await.unwrap();
        let id: Uuid = answer.header("x-request-id").unwrap().parse().unwrap();
        let (seconds, _) = id.get_timestamp().unwrap().to_unix();
        i64::try_from(seconds).unwrap() - now().timestamp()
    };
    let (in_force, _) = begin(&mut cluster, &jump).await;
    eventually("the clock of node-2 has jumped", 10, async || (3_590..=3_610).contains(&ahead_s(&clients[1]).await)).await;
    assert!(ahead_s(&clients[0]).await.abs() < 10, "only that of node-2");
    assert_eq!(heartbeat(&clients[1], &token).await, 200);
    // Ids never go back; that the clock does, a test of it alone shows.
    heal(&mut cluster, in_force).await;
    assert_eq!(heartbeat(&clients[1], &token).await, 200);

    let took = async || {
        let began = Instant::now();
        assert_eq!(clients[0].get("/healthz", None).await.unwrap().status, 200);
        began.elapsed()
    };
    let (in_force, notes) = begin(&mut cluster, &lossy).await;
    assert!(notes[0].starts_with("node-1: proxies delay"), "{notes:?}");
    assert!(took().await >= Duration::from_millis(400), "there and back");
    heal(&mut cluster, in_force).await;
    assert!(took().await < Duration::from_millis(400));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_dns_or_with_an_expired_certificate_comes_back() {
    if !rustix::process::geteuid().is_root() {
        println!("not done: names of one node alone need root");
        return;
    }
    let (dns, expiry) = (DnsGone { node: "node-2".into() }, CertificateExpiry { node: "node-2".into(), valid_s: 5 });
    let mut cluster = cluster(2, &[&dns, &expiry], &[]).await;
    let (clients, token) = enrolled(&cluster, "dns").await;
    let ready = async || clients[1].get("/readyz", None).await.is_ok_and(|answer| answer.status == 200);

    let (in_force, _) = begin(&mut cluster, &dns).await;
    eventually("node-2 is not ready without its database", 20, async || !ready().await).await;
    heal(&mut cluster, in_force).await;
    eventually("node-2 is ready with its database", 60, async || ready().await).await;

    let access = clients[0].access_token("admin", cluster.admin_password()).await.unwrap();
    let linked = async || {
        let view = clients[0].get_json("/v1/cluster", &access).await.unwrap();
        let nodes = view["nodes"].as_array().unwrap().clone();
        nodes.iter().any(|node| node["name"] == "node-2" && node["reachable"] == true)
    };
    eventually("the nodes are linked", 20, async || linked().await).await;
    let (in_force, _) = begin(&mut cluster, &expiry).await;
    eventually("no link is made with a certificate that has expired", 20, async || !linked().await).await;
    assert_eq!(heartbeat(&clients[1], &token).await, 200, "a heartbeat is stored without its owner");
    heal(&mut cluster, in_force).await;
    eventually("the nodes are linked again", 30, async || linked().await).await;
}
