//! Fleets that get commands from a fake node and by push, and the checks of the oracle on their record.

use std::path::Path;
use std::sync::Arc;

use chaos::fleet::{self, Summary};
use chaos::operator::{self, ActionMix, OperatorPlan};
use chaos::oracle::{Check, History, judge};
use chaos::push::{PushHub, data_of};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Duration;
use wire::agent::Command;

use crate::support::{FakeNode, fleet_args, folder, never};

/// Running fleet with a record.
struct RunningFleet {
    stop: watch::Sender<bool>,
    task: JoinHandle<Summary>,
}

impl RunningFleet {
    fn start(node: &FakeNode, folder: &Path, push: Option<Arc<PushHub>>, more: &[&str]) -> Self {
        let record = folder.join("record.jsonl").display().to_string();
        let mut words = vec!["--interval", "50ms", "--record", &record];
        words.extend(more);
        let mut args = fleet_args(node, folder, &words);
        args.push = push.is_some();
        let (stop, stopped) = never();
        let task = tokio::spawn(async move {
            match push {
                Some(push) => fleet::run_with_push(args, stopped, push).await.unwrap(),
                None => fleet::run(args, stopped).await.unwrap(),
            }
        });
        Self { stop, task }
    }

    async fn end(self) -> Summary {
        self.stop.send_replace(true);
        self.task.await.unwrap()
    }
}

/// Checks of P2 and P3 on a record.
fn verdict(folder: &Path) -> (Check, Check) {
    let mut history = History::default();
    history.read_record(&folder.join("record.jsonl")).unwrap();
    history.read_state_dir(folder).unwrap();
    let mut checks = judge(&history).checks.into_iter().filter(|check| ["P2", "P3"].contains(&check.promise));
    let (p2, p3) = (checks.next().unwrap(), checks.next().unwrap());
    assert!(p2.violations.is_empty() && p3.violations.is_empty(), "{p2:?} {p3:?}");
    (p2, p3)
}

/// Waits for heartbeats of four devices and queues one command of this action for each.
async fn command_all(node: &FakeNode, action: &str) -> Vec<String> {
    node.until("all are heard", |w| w.devices.len() == 4 && w.stored.len() >= 4).await;
    let mut state = node.state();
    let devices: Vec<String> = state.devices.values().cloned().collect();
    devices.iter().map(|device| state.command(device, action, "{\"duration_s\": 1}")).collect()
}

#[tokio::test]
async fn each_command_runs_once_on_repeats_and_on_every_path() {
    for transport in ["http", "socket"] {
        let (node, folder, hub) = (FakeNode::start().await, folder(), Arc::new(PushHub::default()));
        let more = ["--devices", "4", "--transport", transport, "--commands", "late=1", "--answer-late", "400ms"];
        let fleet = RunningFleet::start(&node, folder.path(), Some(Arc::clone(&hub)), &more);
        let ids = command_all(&node, "ring").await;
        node.until("push tokens are told", |w| w.push_tokens.len() == 4).await;
        let pushes: Vec<(String, Command)> = {
            let state = node.state();
            state.commands.iter().map(|(device, commands)| (state.push_tokens[device].clone(), commands[0].clone())).collect()
        };
        for (token, command) in &pushes {
            assert!(token.starts_with("sim-sim-"), "{token}");
            assert!(hub.push(token, data_of(command)) && hub.push(token, data_of(command)));
        }
        node.until("all have ended", |w| ids.iter().all(|id| w.outcomes.get(id).is_some_and(|outcome| outcome == "success"))).await;
        let summary = fleet.end().await;
        assert_eq!((summary.commands_executed, summary.results_acknowledged), (4, 4), "{transport}: {summary}");
        assert!(summary.commands_seen_before >= 8 && summary.commands_refused_as_bad == 0, "{transport}: {summary}");
        let told = node.state().results.clone();
        assert!(ids.iter().all(|id| told[&(id.clone(), "received".into())] == 1), "{told:?}");
        let (p2, p3) = verdict(folder.path());
        assert!(
            p2.looked_at.contains("4 run, 4 results acknowledged") && p3.looked_at == "4 commands run; 0 bad ones arrived",
            "{p2:?} {p3:?}"
        );
    }
}

#[tokio::test]
async fn a_lost_acknowledgement_costs_a_repeat_and_nothing_else() {
    for transport in ["http", "socket"] {
        let (node, folder) = (FakeNode::start().await, folder());
        let more = ["--devices", "4", "--transport", transport, "--commands", "lose-answer=1"];
        let fleet = RunningFleet::start(&node, folder.path(), None, &more);
        let ids = command_all(&node, "reboot").await;
        node.until("all have told twice", |w| ids.iter().all(|id| w.results.get(&(id.clone(), "success".into())).is_some_and(|n| *n >= 2)))
            .await;
        let summary = fleet.end().await;
        assert_eq!((summary.commands_executed, summary.answers_lost, summary.results_acknowledged), (4, 4, 4), "{transport}: {summary}");
        assert!(transport == "http" || summary.reconnects >= 4, "{summary}");
        assert_eq!(summary.errors.total(), 0, "{transport}: {summary}");
        verdict(folder.path());
    }
}

#[tokio::test]
async fn results_outlive_the_process_and_what_ran_does_not_run_again() {
    let (node, folder) = (FakeNode::start().await, folder());
    node.state().refuse_results = Some(503);
    let fleet = RunningFleet::start(&node, folder.path(), None, &["--devices", "4", "--transport", "mix"]);
    let ids = command_all(&node, "ring").await;
    node.until("results were tried", |w| w.calls.get("/v1/action-result").is_some_and(|n| *n >= 2)).await;
    let first = fleet.end().await;
    assert!(first.commands_executed >= 2 && first.results_acknowledged == 0, "{first}");
    assert_eq!(first.results_waiting_at_end, first.commands_executed, "{first}");

    // The commands go out again meanwhile, for nobody has told how they ended.
    node.state().refuse_results = None;
    let fleet = RunningFleet::start(&node, folder.path(), None, &["--devices", "4", "--transport", "mix"]);
    node.until("all have ended", |w| ids.iter().all(|id| w.outcomes.contains_key(id))).await;
    let second = fleet.end().await;
    assert_eq!(first.commands_executed + second.commands_executed, 4, "{second}");
    assert_eq!(second.results_acknowledged, 4, "{second}");
    verdict(folder.path());
}

#[tokio::test]
async fn devices_refuse_fail_stay_silent_or_ignore_the_socket() {
    for (behaviour, executed, outcome) in [("refuse", 0, Some("skipped")), ("fail", 4, Some("failed")), ("never-answer", 4, None)] {
        let (node, folder) = (FakeNode::start().await, folder());
        let weights = format!("{behaviour}=1");
        let fleet = RunningFleet::start(&node, folder.path(), None, &["--devices", "4", "--transport", "mix", "--commands", &weights]);
        let ids = command_all(&node, "ring").await;
        node.until("all were told of", |w| {
            let said = |id: &String| w.results.contains_key(&(id.clone(), outcome.unwrap_or("received").into()));
            ids.iter().all(said)
        })
        .await;
        let summary = fleet.end().await;
        assert_eq!(summary.commands_executed, executed, "{behaviour}: {summary}");
        assert!(node.state().outcomes.values().all(|known| Some(known.as_str()) == outcome), "{behaviour}");
        assert_eq!(node.state().outcomes.len(), if outcome.is_some() { 4 } else { 0 }, "{behaviour}");
    }
    let (node, folder) = (FakeNode::start().await, folder());
    let fleet = RunningFleet::start(&node, folder.path(), None, &["--devices", "4", "--transport", "mix", "--commands", "deaf-socket=1"]);
    let ids = command_all(&node, "ring").await;
    node.until("those without a socket have told", |w| ids.iter().filter(|id| w.outcomes.contains_key(*id)).count() == 2).await;
    assert_eq!(fleet.end().await.commands_executed, 2);
}

#[tokio::test]
async fn no_forged_command_runs() {
    for transport in ["http", "socket"] {
        let (node, folder) = (FakeNode::start().await, folder());
        let fleet = RunningFleet::start(&node, folder.path(), None, &["--devices", "4", "--transport", transport, "--hostile-share", "1"]);
        let ids = command_all(&node, "ring").await;
        node.until("all have ended", |w| ids.iter().all(|id| w.outcomes.contains_key(id))).await;
        let summary = fleet.end().await;
        assert_eq!((summary.commands_executed, summary.results_acknowledged), (4, 4), "{summary}");
        assert!(summary.commands_refused_as_bad >= 4 * 7 && summary.commands_seen_before >= 4, "{summary}");
        let (_, p3) = verdict(folder.path());
        for part in ["not signed with a key of its device", "of an unknown version", "another device's"] {
            assert!(p3.notes[0].contains(part), "{part}: {p3:?}");
        }
    }
}

#[tokio::test]
async fn a_forged_push_message_is_refused() {
    let (node, folder, hub) = (FakeNode::start().await, folder(), Arc::new(PushHub::default()));
    let fleet = RunningFleet::start(&node, folder.path(), Some(Arc::clone(&hub)), &["--devices", "2"]);
    node.until("push tokens are told", |w| w.push_tokens.len() == 2).await;
    let (good, altered, foreign, expired) = {
        let state = node.state();
        let good = state.signed("id-of-sim-1", "ring", "{}");
        let altered = Command { action: "reboot".into(), ..good.clone() };
        let expired = Command { expires_at: "2020-01-01T00:00:00Z".into(), ..good.clone() };
        (good, altered, state.signed("id-of-sim-2", "ring", "{}"), expired)
    };
    for command in [&altered, &foreign, &expired, &good, &good] {
        assert!(hub.push("sim-sim-1", data_of(command)));
    }
    node.until("the good one was told of", |w| w.results.contains_key(&(good.request_id.clone(), "success".into()))).await;
    let summary = fleet.end().await;
    assert_eq!((summary.commands_received, summary.commands_executed, summary.commands_refused_as_bad), (5, 1, 3), "{summary}");
    assert_eq!((summary.results_refused, summary.results_waiting_at_end), (1, 0), "the node knows nothing of it: 404 ends it. {summary}");
    verdict(folder.path());
}

#[tokio::test]
async fn a_new_key_is_valid_beside_the_old_one_and_then_alone() {
    let (node, folder) = (FakeNode::start().await, folder());
    let fleet = RunningFleet::start(&node, folder.path(), None, &["--devices", "1", "--transport", "socket"]);
    node.until("it is heard", |w| !w.stored.is_empty()).await;
    let device = "id-of-sim-1";
    let (old, new) = (node.state().keys[device].clone(), "5a".repeat(32));
    let params = format!("{{\"key_version\":2,\"device_key\":\"{new}\"}}");
    let rotation = node.state().command(device, "rotate_key", &params);
    node.until("it has rotated", |w| w.outcomes.contains_key(&rotation)).await;
    node.state().keys.insert(device.into(), new.clone());
    let with_new = node.state().command(device, "ring", "{}");
    node.until("the new key is taken", |w| w.outcomes.contains_key(&with_new)).await;
    node.state().keys.insert(device.into(), old);
    let with_old = node.state().command(device, "ring", "{}");
    let heartbeats = node.state().heartbeats();
    node.until("it had its chance", |w| w.heartbeats() > heartbeats + 5).await;
    assert!(!node.state().outcomes.contains_key(&with_old), "the old key is good no more");
    let summary = fleet.end().await;
    assert!(summary.commands_executed == 2 && summary.commands_refused_as_bad > 0, "{summary}");
    let identities = std::fs::read_to_string(folder.path().join("identities.jsonl")).unwrap();
    let last = identities.lines().last().unwrap();
    assert!(last.contains(&new) && !last.contains("next_device_key"), "{last}");
    verdict(folder.path());
}

#[tokio::test]
async fn a_request_with_a_lost_response_creates_one_command() {
    let (node, folder) = (FakeNode::start().await, folder());
    let fleet = RunningFleet::start(&node, folder.path(), None, &["--devices", "4", "--transport", "mix"]);
    node.until("all are heard", |w| w.devices.len() == 4 && w.stored.len() >= 4).await;
    node.state().lose_requests = 5;
    let plan = OperatorPlan {
        servers: vec![node.url.clone()],
        admin_password: crate::support::PASSWORD.split_once(':').unwrap().1.to_owned(),
        pause: Duration::from_millis(20),
        expires_in_s: 60,
        timeout: Duration::from_secs(2),
        seed: 7,
        tag: None,
        actions: ActionMix::Few,
    };
    let requests = folder.path().join("requests.jsonl");
    let running = operator::start(plan, &requests).unwrap();
    node.until("some have ended", |w| w.lose_requests == 0 && w.outcomes.len() >= 10).await;
    let summary = running.finish().await.unwrap();
    assert!(summary.retries >= 5 && summary.unknown == 0 && summary.accepted >= 10, "{summary}");
    let taken = node.state().requests.len() as u64;
    assert_eq!(summary.accepted, taken, "one command for each key: {summary}");
    fleet.end().await;
    let mut history = History::default();
    history.read_record(&requests).unwrap();
    assert_eq!(history.requested.iter().filter(|request| request.accepted && request.request_id.is_some()).count() as u64, taken);
}
