//! Drills of alerts on real nodes: devices fall silent and return, while the node that coordinates is killed.

use std::time::Duration;

use chaos::alerts;
use chaos::client::Client;
use chaos::harness::{Node, NodeOptions, nexmdm_path};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::support::{folder, never, parse_args, scheduling};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_that_fall_silent_are_notified_once_whichever_node_is_killed() {
    scheduling::exclusive();
    let folder = folder();
    let report = folder.path().join("report.json");
    let words = format!("alerts --drill coordinator_killed --devices 24 --silent 8 --nodes 2 --json {}", report.display());
    let (_never, stop) = never();
    let kept = alerts::run(parse_args(words.split_whitespace()), stop).await.unwrap();
    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    assert!(kept, "{report:#}");
    assert!(report[0]["shown"].as_str().unwrap().contains("devices offline, all in group silent"), "{report:#}");
    let notes = report[0]["verdict"]["checks"][0]["notes"].to_string();
    assert!(notes.contains("planted in this record"), "{report:#}");
}

/// Rules for Prometheus, as they are shipped.
const RULES: &str = include_str!("../../../config/prometheus/alerts.yml");

/// A rule about a metric that was renamed never fires.
#[tokio::test]
async fn the_rules_for_prometheus_are_about_metrics_of_a_node() {
    scheduling::exclusive();
    let node = Node::start(NodeOptions::new(nexmdm_path().unwrap())).await.unwrap();
    let client = Client::new(&node.url()).unwrap();
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let wanted: Vec<&str> = RULES.split(|c| !is_name(c)).filter(|word| word.starts_with("nexmdm_")).collect();
    assert!(wanted.len() >= 5, "{wanted:?}");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = client.get("/metrics", None).await.unwrap();
        let metrics = String::from_utf8_lossy(&answer.body).into_owned();
        let has = |name: &str| metrics.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        let missing: Vec<&str> = wanted.iter().copied().filter(|name| !has(name)).collect();
        if missing.is_empty() {
            return;
        }
        // Some are there once a reconciler has run.
        assert!(Instant::now() < deadline, "a node has no {missing:?}");
        sleep(Duration::from_millis(200)).await;
    }
}
