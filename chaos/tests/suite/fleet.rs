//! Whole fleets against a small node in memory.

use std::collections::BTreeSet;

use chaos::fleet;
use serde_json::Value;
use tokio::time::{Duration, sleep};

use crate::support::{FakeNode, fleet_args, folder, never};

#[tokio::test]
async fn a_fleet_enrolls_once_and_goes_on_with_the_same_devices() {
    let (node, folder) = (FakeNode::start().await, folder());
    let run = |more: &'static [&'static str]| {
        let args = fleet_args(&node, folder.path(), more);
        async { fleet::run(args, never().1).await.unwrap() }
    };
    let first = run(&["--devices", "600", "--duration", "1s", "--interval", "300ms"]).await;
    assert_eq!((first.devices, first.enrolled_now, first.errors.total()), (600, 600, 0));
    assert!(first.acknowledged >= 1_200, "{first}");
    assert_eq!(node.state().calls["/v1/enroll-tokens"], 2);

    let sessions = node.state().calls["/v1/agent/session"];
    let second = run(&["--devices", "605", "--duration", "500ms", "--interval", "300ms"]).await;
    assert_eq!((second.devices, second.enrolled_now), (605, 5));
    assert_eq!(node.state().devices.len(), 605);
    assert_eq!(node.state().calls["/v1/agent/session"], sessions + 5, "sessions are kept too");
}

#[tokio::test]
async fn what_is_recorded_is_what_was_stored() {
    let (node, folder) = (FakeNode::start().await, folder());
    let (record, json) = (folder.path().join("record.jsonl"), folder.path().join("summary.json"));
    let (record_text, json_text) = (record.display().to_string(), json.display().to_string());
    let more = [
        "--devices",
        "20",
        "--duration",
        "2s",
        "--interval",
        "200ms",
        "--transport",
        "mix",
        "--record",
        &record_text,
        "--json",
        &json_text,
        "--duplicate-share",
        "0.2",
        "--late-share",
        "0.2",
        "--clock-off-share",
        "0.3",
    ];
    let summary = fleet::run(fleet_args(&node, folder.path(), &more), never().1).await.unwrap();
    assert!(summary.acknowledged > 100 && summary.repeats_acknowledged > 10, "{summary}");
    let recorded: BTreeSet<(String, String)> = std::fs::read_to_string(&record)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| (line["device_id"].as_str().unwrap().to_owned(), line["timestamp_utc"].as_str().unwrap().to_owned()))
        .collect();
    let state = node.state();
    assert_eq!(recorded, state.stored.keys().cloned().collect());
    let summary_file: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert_eq!(summary_file["acknowledged"], summary.acknowledged);
    assert_eq!(u64::from(state.heartbeats()), summary.acknowledged + summary.repeats_acknowledged);
}

#[tokio::test]
async fn what_is_refused_for_now_waits_and_goes_out_as_lists() {
    for transport in ["http", "socket"] {
        let (node, folder) = (FakeNode::start().await, folder());
        node.state().refuse_heartbeats = Some(503);
        let args = fleet_args(&node, folder.path(), &["--devices", "3", "--interval", "20ms", "--transport", transport]);
        let (stop, stopped) = never();
        let run = tokio::spawn(fleet::run(args, stopped));
        node.until("all have tried", |w| {
            w.devices.len() == 3 && (w.sockets_opened >= 3 || w.calls.get("/v1/heartbeat").is_some_and(|n| *n >= 3))
        })
        .await;
        sleep(Duration::from_millis(500)).await; // the outage itself: a backlog grows
        node.state().refuse_heartbeats = None;
        node.until("heartbeats arrive", |w| w.heartbeats() > 60).await;
        stop.send_replace(true);
        let summary = run.await.unwrap().unwrap();
        let kind = if transport == "http" { "http_503" } else { "refused_503" };
        assert!(summary.errors.of(kind) > 0, "{transport}: {summary}");
        assert_eq!(summary.dropped_on_device, 0, "{transport}: {summary}");
        if transport == "http" {
            assert!(node.state().lists.iter().any(|items| *items > 5), "{:?}", node.state().lists);
        }
    }
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let (node, folder) = (FakeNode::start().await, folder());
    node.state().refuse_next.push_back(("/v1/heartbeat", 503, Some(1)));
    let args = fleet_args(&node, folder.path(), &["--devices", "1", "--interval", "50ms", "--duration", "900ms"]);
    let summary = fleet::run(args, never().1).await.unwrap();
    assert_eq!(summary.errors.of("http_503"), 1);
    assert_eq!(node.state().calls["/v1/heartbeat"], 1, "nothing was sent within the second asked for");
    assert!(summary.unacknowledged_at_end > 5, "{summary}");
}

#[tokio::test]
async fn the_server_decides_when_the_next_heartbeat_comes() {
    let (node, folder) = (FakeNode::start().await, folder());
    let args = fleet_args(&node, folder.path(), &["--devices", "10", "--duration", "2500ms"]);
    let summary = fleet::run(args, never().1).await.unwrap();
    // At once, and then every second as told.
    assert_eq!(summary.acknowledged, 30, "{summary}");
}

#[tokio::test]
async fn a_reconnect_frame_is_followed_and_nothing_is_lost() {
    let (node, folder) = (FakeNode::start().await, folder());
    node.state().reconnect_after_first = true;
    let args = fleet_args(&node, folder.path(), &["--devices", "5", "--interval", "100ms", "--transport", "socket"]);
    let (stop, stopped) = never();
    let run = tokio::spawn(fleet::run(args, stopped));
    node.until("every device has come back", |w| w.sockets_opened >= 15).await;
    stop.send_replace(true);
    let summary = run.await.unwrap().unwrap();
    assert!(summary.reconnect_frames >= 10 && summary.reconnects >= 10, "{summary}");
    assert_eq!(summary.errors.total(), 0, "{summary}");
    assert_eq!(u64::from(node.state().heartbeats()), summary.acknowledged, "{summary}");
}

#[tokio::test]
async fn a_socket_that_answers_nothing_is_given_up_and_retried() {
    let (node, folder) = (FakeNode::start().await, folder());
    node.state().mute = true;
    let args = fleet_args(&node, folder.path(), &["--devices", "2", "--transport", "socket", "--timeout", "200ms"]);
    let (stop, stopped) = never();
    let run = tokio::spawn(fleet::run(args, stopped));
    node.until("they have tried again", |w| w.sockets_opened >= 4).await;
    node.state().mute = false;
    node.until("both are heard", |w| w.stored.len() >= 2).await;
    stop.send_replace(true);
    let summary = run.await.unwrap().unwrap();
    assert!(summary.errors.of("ack_timeout") >= 2 && summary.reconnects >= 2, "{summary}");
}

#[tokio::test]
async fn five_refusals_make_a_device_forget_who_it_is() {
    for transport in ["http", "socket"] {
        let (node, folder) = (FakeNode::start().await, folder());
        let enroll = fleet_args(&node, folder.path(), &["--devices", "4", "--enroll-only"]);
        fleet::run(enroll, never().1).await.unwrap();
        node.state().refuse_devices = true;
        let args =
            fleet_args(&node, folder.path(), &["--devices", "4", "--interval", "20ms", "--duration", "8s", "--transport", transport]);
        let summary = fleet::run(args, never().1).await.unwrap();
        assert_eq!((summary.forgotten, summary.acknowledged), (4, 0), "{transport}: {summary}");
        assert_eq!(summary.errors.of("http_401"), 20, "{transport}: {summary}");
        // The next run enrolls others in their place.
        node.state().refuse_devices = false;
        let args =
            fleet_args(&node, folder.path(), &["--devices", "4", "--interval", "100ms", "--duration", "500ms", "--transport", transport]);
        let summary = fleet::run(args, never().1).await.unwrap();
        assert_eq!((summary.enrolled_now, summary.errors.total()), (4, 0), "{transport}: {summary}");
    }
}

#[tokio::test]
async fn a_deleted_device_stops() {
    for transport in ["http", "socket"] {
        let (node, folder) = (FakeNode::start().await, folder());
        node.state().refuse_heartbeats = Some(410);
        let args =
            fleet_args(&node, folder.path(), &["--devices", "3", "--interval", "20ms", "--duration", "8s", "--transport", transport]);
        let summary = fleet::run(args, never().1).await.unwrap();
        assert_eq!(summary.deleted, 3, "{transport}: {summary}");
        assert!(summary.elapsed_s < 5.0, "the run ends with its last device");
    }
}

#[tokio::test]
async fn an_old_session_costs_one_refusal() {
    let (node, folder) = (FakeNode::start().await, folder());
    node.state().refuse_next.push_back(("/v1/heartbeat", 401, None));
    let args = fleet_args(&node, folder.path(), &["--devices", "1", "--interval", "100ms", "--duration", "600ms"]);
    let summary = fleet::run(args, never().1).await.unwrap();
    assert_eq!((summary.errors.total(), summary.errors.of("http_401"), summary.forgotten), (1, 1, 0), "{summary}");
    assert_eq!(node.state().calls["/v1/agent/session"], 2);
    assert!(summary.acknowledged >= 4, "{summary}");
}

#[tokio::test]
async fn enrolling_waits_when_it_is_told_to_and_takes_other_names_when_these_are_in_use() {
    let (node, folder) = (FakeNode::start().await, folder());
    node.state().refuse_next.extend([("/v1/register", 429, Some(0)), ("/v1/register", 503, None), ("/v1/enroll-tokens", 503, Some(0))]);
    node.state().aliases.extend((1..=30).map(|n| format!("sim-{n}")));
    let args = fleet_args(&node, folder.path(), &["--devices", "30", "--duration", "100ms", "--interval", "1s"]);
    let summary = fleet::run(args, never().1).await.unwrap();
    assert_eq!(summary.enrolled_now, 30);
    assert!(node.state().devices.contains_key("device-sim-31"));
}

#[tokio::test]
async fn without_credentials_the_missing_ones_are_named() {
    let (node, folder) = (FakeNode::start().await, folder());
    let mut args = fleet_args(&node, folder.path(), &["--devices", "3"]);
    args.target.enroll_with = None;
    let error = fleet::run(args, never().1).await.unwrap_err();
    assert!(error.to_string().contains("3 devices are not enrolled yet"), "{error}");
}
