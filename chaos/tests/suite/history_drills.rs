//! Drills of archives and backups on real nodes, and a short run over simulated midnights.

use chaos::{bench, history, soak};
use serde_json::Value;

use crate::support::{folder, never, parse_args, scheduling};

/// Runs a drill; its result.
async fn drilled(drill: &str, more: &str) -> (bool, Value) {
    let folder = folder();
    let report = folder.path().join("report.json");
    let words = format!("history --drill {drill} --devices 10 --per-day 12 {more} --json {}", report.display());
    let (_never, stop) = never();
    let kept = history::run(parse_args(words.split_whitespace()), stop).await.unwrap();
    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    (kept, report[0].clone())
}

/// Notes of the checks of a result.
fn notes(result: &Value) -> String {
    let checks = result["verdict"]["checks"].as_array().unwrap();
    checks.iter().map(|check| check["notes"].to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_are_archived_and_dropped_without_a_loss_whenever_a_run_is_killed() {
    scheduling::exclusive();
    let (kept, result) = drilled("archive_killed", "--kills 8 --nodes 2").await;
    assert!(kept, "{result:#}");
    assert!(notes(&result).contains("a loss is 1"), "{result:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_dropped_that_a_failing_store_does_not_have() {
    scheduling::exclusive();
    let (kept, result) = drilled("store_faults", "--nodes 1").await;
    assert!(kept, "{result:#}");
    let shown = result["shown"].as_str().unwrap();
    for mode in ["full: ", "read-only: ", "slow: ", "gone: ", "truncating: ", "older version: ", "altered byte: "] {
        assert!(shown.contains(mode), "{mode} in {shown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_restored_from_a_backup_that_was_made_while_serving() {
    scheduling::exclusive();
    let (kept, result) = drilled("backup_restore", "--nodes 2").await;
    assert!(kept, "{result:#}");
    assert!(notes(&result).contains("a refused token 1 violations"), "{result:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_resumes_after_a_disk_was_full() {
    scheduling::exclusive();
    let (kept, result) = drilled("disk_full", "--nodes 1").await;
    // Where this process may not mount a small disk, the drill says so.
    let refused = result["error"].as_str().is_some_and(|error| error.contains("needs root"));
    assert!(kept || refused, "{result:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_midnights_pass_while_a_node_and_runs_are_killed() {
    scheduling::exclusive();
    let words = "soak --seed 5 --nodes 2 --devices 40 --interval 5s --rest 7s --calm-within 60s --scenario kill=8s --midnights 5 \
                 --no-commands --no-deployments --no-alerts";
    let (_never, stop) = never();
    assert!(soak::run(parse_args(words.split_whitespace()), stop).await.unwrap(), "a promise was broken: the verdict is printed above");
}

#[tokio::test]
async fn the_size_of_a_heartbeat_is_measured_in_the_database_and_in_the_archive() {
    scheduling::exclusive();
    let folder = folder();
    let report = folder.path().join("report.json");
    let words = format!("bench --quick --only bytes --rows 20000 --json {} --work-dir {}", report.display(), folder.path().display());
    let (_never, stop) = never();
    bench::run(parse_args(words.split_whitespace()), stop).await.unwrap();
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    let values = report["figures"][0]["values"].as_array().unwrap();
    let value = |label: &str| values.iter().find(|value| value["label"] == label).unwrap()["value"].as_f64().unwrap();
    let (hot, archived) = (value("in the database, indexes included"), value("in the archive"));
    assert!((20.0..1_000.0).contains(&hot) && archived > 1.0 && archived < hot, "{report:#}");
}
