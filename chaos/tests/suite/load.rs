//! The closed loop against a small node in memory.

use chaos::harness::TempDir;
use chaos::load::{self, LoadSummary};

use crate::support::{FakeNode, PASSWORD, folder, never, parse_args, scheduling};

/// A stand-in for a node, and a folder, of a test that has the machine for itself.
async fn start() -> (FakeNode, TempDir) {
    scheduling::exclusive();
    (FakeNode::start().await, folder())
}

async fn run(node: &FakeNode, folder: &TempDir, more: &[&str]) -> LoadSummary {
    let state_dir = folder.path().display().to_string();
    let common =
        ["load", "--server", &node.url, "--state-dir", &state_dir, "--enroll-with", PASSWORD, "--devices", "50", "--connections", "8"];
    let args = parse_args(common.into_iter().chain(more.iter().copied()));
    load::run(args, never().1).await.unwrap()
}

#[tokio::test]
async fn every_heartbeat_is_a_new_row_also_in_a_second_run() {
    let (node, folder) = start().await;
    let first = run(&node, &folder, &["--duration", "500ms"]).await;
    let second = run(&node, &folder, &["--duration", "500ms", "--warm-up", "100ms"]).await;
    assert!(first.acknowledged > 100 && second.acknowledged > 50, "{first}\n{second}");
    assert_eq!((first.errors.total(), second.errors.total()), (0, 0));
    assert!(first.next_bucket_at < second.next_bucket_at);
    let state = node.state();
    assert!(state.stored.len() as u64 >= first.acknowledged + second.acknowledged);
    assert!(state.stored.values().all(|times| *times == 1), "a bucket was used twice");
    assert!(state.stored.keys().all(|(_, timestamp)| timestamp.ends_with("0Z")), "every timestamp begins a bucket");
}

#[tokio::test]
async fn refusals_are_counted_by_kind_and_the_loop_goes_on() {
    let (node, folder) = start().await;
    for _ in 0..5 {
        node.state().refuse_next.push_back(("/v1/heartbeat", 503, Some(0)));
    }
    let summary = run(&node, &folder, &["--duration", "500ms"]).await;
    assert_eq!(summary.errors.of("http_503"), 5, "{summary}");
    assert!(summary.acknowledged > 50, "{summary}");
}

#[tokio::test]
async fn at_the_present_the_past_is_used_up() {
    let (node, folder) = start().await;
    let start = (chaos::clock::now() - chrono::TimeDelta::seconds(60)).to_rfc3339();
    let summary = run(&node, &folder, &["--duration", "20s", "--start", &start]).await;
    assert_eq!(summary.errors.of("history_used_up"), 8, "{summary}");
    assert!(node.state().stored.len() >= 50 * 6);
}
