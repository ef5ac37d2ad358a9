//! Drills of deployments on real nodes: a failing canary, and downloads that lose the network.

use chaos::deploy;
use serde_json::Value;

use crate::support::{folder, never, parse_args, scheduling};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drills_go_as_they_should_and_every_promise_is_kept() {
    scheduling::exclusive();
    let folder = folder();
    let report = folder.path().join("report.json");
    let words = format!("deploy --drill canary_failure,network_drops --devices 12 --nodes 2 --json {}", report.display());
    let (_never, stop) = never();
    let kept = deploy::run(parse_args(words.split_whitespace()), stop).await.unwrap();
    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    assert!(kept, "{report:#}");
    let drills = report.as_array().unwrap();
    assert!(drills.len() == 2 && drills.iter().all(|drill| drill["ok"] == true), "{report:#}");
    assert!(drills[0]["shown"].as_str().unwrap().contains("rollback offered"), "{report:#}");
    assert_eq!(drills[1]["fleet"]["installs_succeeded"], 12, "{report:#}");
}
