//! What does not belong on the port between nodes, and nodes that do not
//! belong into the cluster: none of it disturbs those that do.

use std::time::Duration;

use chaos::client::Client;
use chaos::harness::{Cluster, ClusterOptions, Node, NodeOptions, nexmdm_path};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use wire::agent::Heartbeat;

use crate::support::scheduling;

const CHEAP: [&str; 2] = ["NEXMDM__AUTH__PASSWORD_BCRYPT_COST", "NEXMDM__AUTH__DEVICE_TOKEN_BCRYPT_COST"];

/// Waits until the cluster, as `node` sees it, has these active nodes and an owner for each shard.
async fn until_whole(cluster: &Cluster, node: &str, names: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let view = cluster.view_of(node).await.unwrap();
        let active: Vec<&str> =
            view["nodes"].as_array().unwrap().iter().filter(|n| n["state"] == "active").filter_map(|n| n["name"].as_str()).collect();
        let shards = view["shards"].as_array().unwrap();
        let owned = |shard: &Value| shard["owner"].as_str().is_some_and(|owner| names.contains(&owner));
        if names.iter().all(|name| active.contains(name)) && active.len() == names.len() && shards.len() == 256 && shards.iter().all(owned)
        {
            return;
        }
        assert!(Instant::now() < deadline, "{names:?} are not the whole cluster: {active:?}");
        sleep(Duration::from_millis(200)).await;
    }
}

/// A node that must not come to be: it ends by itself, and its log says why.
async fn refused(mut options: NodeOptions, reason: &str) {
    options.ready_within = Duration::from_secs(20);
    let error = Node::start(options).await.err().expect("a node that does not belong here became ready").to_string();
    assert!(error.contains("the node exited"), "{error}");
    assert!(error.contains(reason), "no word of `{reason}`: {error}");
}

/// Several threads: the proxies run beside the test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_do_not_disturb_a_cluster() {
    scheduling::exclusive();
    let options = CHEAP.iter().fold(ClusterOptions::new(nexmdm_path().unwrap(), 2), |options, name| options.env(name, "4"));
    let mut cluster = Cluster::start(options).await.unwrap();
    until_whole(&cluster, "node-1", &["node-1", "node-2"]).await;

    // Silent ones, talkers of something else, and those who begin and do not go on.
    let mut strangers = Vec::new();
    for name in ["node-1", "node-2"] {
        let address = cluster.cluster_address(name).unwrap();
        for n in 0..40 {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            let bytes: &[u8] = match n % 4 {
                0 => b"",
                1 => b"GET / HTTP/1.1\r\nhost: node\r\n\r\n",
                2 => &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01],
                _ => &[0xFF; 4_096],
            };
            // It may have been shown the door already.
            let _ = stream.write_all(bytes).await;
            strangers.push(stream);
        }
    }
    assert_eq!(cluster.add_node().await.unwrap(), "node-3");
    until_whole(&cluster, "node-2", &["node-1", "node-2", "node-3"]).await;

    refused(cluster.foreign_node_options("node-1").unwrap(), "node-1").await;
    let other_key: String = (0..32).map(|n: u8| format!("{:02x}", n.wrapping_mul(n).wrapping_mul(7).wrapping_add(n))).collect();
    refused(cluster.foreign_node_options("node-8").unwrap().env("NEXMDM__SECRETS__MASTER_KEY", &other_key), "key").await;
    refused(cluster.foreign_node_options("node-7").unwrap().env("NEXMDM__SECRETS__CLUSTER_KEY", &other_key), "key").await;
    refused(cluster.foreign_node_options("node-9").unwrap().env("NEXMDM__CLUSTER__NAME", "another"), "another").await;

    // A build so old, or so new, that nobody could talk to it: it is not waited for, and who starts beside it says why not.
    let ancient = "INSERT INTO cluster_node (node_id, name, cluster_addr, http_url, version, protocol_min, protocol_max, lock_identity,
                       state, expires_at)
                   VALUES (gen_random_uuid(), 'node-0', '127.0.0.1:1', 'http://127.0.0.1:1', '0.0.1', 0, 0, 'elsewhere', 'active',
                       clock_timestamp() + interval '1 hour')";
    cluster.psql().run(ancient, &[]).await.unwrap();
    refused(cluster.foreign_node_options("node-6").unwrap(), "speaks the protocols 0 to 0").await;
    for name in ["node-1", "node-2", "node-3"] {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !cluster.member(name).unwrap().node().log().contains("link.no_common_protocol") {
            assert!(Instant::now() < deadline, "{name} says nothing of a peer that it cannot talk to");
            sleep(Duration::from_millis(100)).await;
        }
    }
    // What it owns, the others persist by themselves.
    let client = Client::new(&cluster.member("node-1").unwrap().url()).unwrap();
    let admin = client.access_token("admin", cluster.admin_password()).await.unwrap();
    let mut devices = Vec::new();
    for n in 0..12 {
        devices.push(client.enroll(&admin, &format!("scanner-{n}")).await.unwrap());
    }
    for device in &devices {
        let answer = client.heartbeat(&device.session_token, &Heartbeat::default()).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.detail());
    }
    cluster.psql().run("UPDATE cluster_node SET state = 'left', ended_at = clock_timestamp() WHERE name = 'node-0'", &[]).await.unwrap();

    until_whole(&cluster, "node-3", &["node-1", "node-2", "node-3"]).await;
    let client = Client::new(&cluster.member("node-1").unwrap().url()).unwrap();
    let admin = client.access_token("admin", cluster.admin_password()).await.unwrap();
    let device = client.enroll(&admin, "kiosk-1").await.unwrap();
    for member in cluster.members() {
        let client = Client::new(&member.url()).unwrap();
        let answer = client.heartbeat(&device.session_token, &Heartbeat::default()).await.unwrap();
        assert_eq!(answer.status, 200, "{}: {}", member.name(), answer.detail());
        let owner = answer.header("x-nexmdm-owner").unwrap_or_default().to_owned();
        assert!(owner.starts_with("node-") && owner.contains(";epoch="), "{}: {owner}", member.name());
    }
    drop(strangers);
}
