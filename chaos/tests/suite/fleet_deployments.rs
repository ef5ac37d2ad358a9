//! Fleets that install deployments of a fake node: downloads, reports and installed versions.

use std::collections::BTreeSet;
use std::path::Path;

use chaos::fleet::{self, Summary};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::deployments::{apk, params};
use crate::support::{FakeNode, fleet_args, folder, never};

const PACKAGE: &str = "com.example.kiosk";
const SIGNER: &[u8] = b"a certificate";
const QUICK: [&str; 6] = ["--interval", "50ms", "--install-time", "10ms..30ms", "--download-piece", "8000"];

struct RunningFleet {
    stop: watch::Sender<bool>,
    task: JoinHandle<Summary>,
}

impl RunningFleet {
    fn start(node: &FakeNode, folder: &Path, more: &[&str]) -> Self {
        let record = folder.join("record.jsonl").display().to_string();
        let args = fleet_args(node, folder, &[&QUICK[..], &["--record", &record], more].concat());
        let (stop, stopped) = never();
        Self { stop, task: tokio::spawn(async move { fleet::run(args, stopped).await.unwrap() }) }
    }

    async fn end(self) -> Summary {
        self.stop.send_replace(true);
        self.task.await.unwrap()
    }
}

/// Serves a file and commands the devices to install it; their ids and those of the commands.
async fn deploy_to_all(node: &FakeNode, devices: usize, constraints: &Value) -> (Vec<String>, Vec<String>) {
    node.until("all are heard", |w| w.devices.len() == devices && w.last.len() == devices).await;
    let mut state = node.state();
    state.deployments.apk = apk(SIGNER, 30_000);
    let params = params(&node.url, "dep-1", &state.deployments.apk, SIGNER, constraints).to_string();
    let ids: Vec<String> = state.devices.values().cloned().collect();
    let commands = ids.iter().map(|id| state.command(id, "deploy_apk", &params)).collect();
    (ids, commands)
}

fn version(state: &crate::support::NodeState, device: &str) -> Value {
    state.last[device]["app_versions"][PACKAGE]["version_code"].clone()
}

/// The lines of the record about deployments.
fn steps(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("record.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).filter(|line| line["what"] == "deployment").collect()
}

#[tokio::test]
async fn a_device_downloads_in_pieces_verifies_installs_and_remembers() {
    for transport in ["http", "socket"] {
        let (node, folder) = (FakeNode::start().await, folder());
        let fleet = RunningFleet::start(&node, folder.path(), &["--devices", "4", "--transport", transport]);
        let (ids, commands) = deploy_to_all(&node, 4, &json!({})).await;
        node.until("all have ended", |w| commands.iter().all(|id| w.outcomes.get(id).is_some_and(|outcome| outcome == "success"))).await;
        node.until("all report the version", |w| ids.iter().all(|id| version(w, id) == 7)).await;
        let summary = fleet.end().await;
        assert_eq!((summary.installs_accepted, summary.installs_succeeded, summary.install_statuses_refused), (4, 4, 0), "{summary}");
        for id in &ids {
            let want = ["accepted", "downloading", "downloading", "verifying", "installing", "succeeded"];
            assert_eq!(node.state().deployments.statuses(id), want, "{transport}");
        }
        assert!(node.state().deployments.reported.iter().all(|told| told.attempt == Some(1)), "the try is told back");
        let ranges: BTreeSet<String> = node.state().deployments.ranges.iter().cloned().collect();
        assert!(ranges.contains("bytes=0-7999") && ranges.contains("bytes=8000-15999") && ranges.len() == 4, "{ranges:?}");
        let told: BTreeSet<String> = steps(folder.path()).iter().map(|step| step["step"].as_str().unwrap().to_owned()).collect();
        assert!(told.contains("downloaded") && told.contains("installed") && told.contains("succeeded"), "{told:?}");
        assert_eq!(std::fs::read_dir(folder.path().join("downloads")).unwrap().count(), 0, "nothing is left lying about");

        // Another process with the same devices knows what is installed.
        node.state().last.clear();
        let fleet = RunningFleet::start(&node, folder.path(), &["--devices", "4", "--transport", transport]);
        node.until("all are heard again", |w| w.last.len() == 4).await;
        assert!(ids.iter().all(|id| version(&node.state(), id) == 7));
        fleet.end().await;
    }
}

#[tokio::test]
async fn a_lost_network_and_a_busy_server_cost_a_while_and_no_byte() {
    let (node, folder) = (FakeNode::start().await, folder());
    node.state().deployments.busy = 3;
    let fleet = RunningFleet::start(&node, folder.path(), &["--devices", "2", "--transport", "mix", "--deploy-drop", "1"]);
    let (_, commands) = deploy_to_all(&node, 2, &json!({})).await;
    node.until("all have ended", |w| commands.iter().all(|id| w.outcomes.get(id).is_some_and(|outcome| outcome == "success"))).await;
    let size = node.state().deployments.apk.len() as u64;
    let summary = fleet.end().await;
    assert_eq!(summary.downloaded_bytes, 2 * size, "what was there was not fetched again: {summary}");
    let downloads = steps(folder.path()).into_iter().filter(|step| step["step"] == "downloaded");
    let resumed: Vec<u64> = downloads.map(|step| step["resumed"].as_u64().unwrap()).collect();
    assert!(resumed.len() == 2 && resumed.iter().all(|times| *times >= 1), "{resumed:?}");
}

#[tokio::test]
async fn what_is_refused_is_not_installed() {
    for (transport, refused, told) in [
        ("http", "accepted", vec!["accepted"]),
        ("socket", "accepted", vec!["accepted"]),
        ("socket", "verifying", vec!["accepted", "downloading", "downloading", "verifying"]),
    ] {
        let (node, folder) = (FakeNode::start().await, folder());
        node.state().deployments.refuse.insert(refused, 409);
        let fleet = RunningFleet::start(&node, folder.path(), &["--devices", "2", "--transport", transport]);
        let (ids, commands) = deploy_to_all(&node, 2, &json!({})).await;
        node.until("all have ended", |w| commands.iter().all(|id| w.outcomes.get(id).is_some_and(|outcome| outcome == "skipped"))).await;
        let summary = fleet.end().await;
        assert_eq!((summary.installs_succeeded, summary.install_statuses_refused), (0, 2), "{summary}");
        assert!(ids.iter().all(|id| node.state().deployments.statuses(id) == told), "{:?}", node.state().deployments.reported);
        assert!(ids.iter().all(|id| version(&node.state(), id).is_null()));
    }
}

#[tokio::test]
async fn each_error_code_can_be_had() {
    for (code, status) in [
        ("checksum_mismatch", "failed"),
        ("signer_mismatch", "failed"),
        ("not_permitted", "failed"),
        ("download_failed", "failed"),
        ("install_failed", "failed"),
        ("downgrade_refused", "failed"),
        ("timeout", "failed"),
        ("low_storage", "skipped"),
        ("in_call", "skipped"),
    ] {
        let (node, folder) = (FakeNode::start().await, folder());
        let share = format!("{code}=1");
        let fleet = RunningFleet::start(&node, folder.path(), &["--devices", "1", "--deploy-fail", &share, "--deploy-report-twice", "1"]);
        let (ids, commands) = deploy_to_all(&node, 1, &json!({})).await;
        node.until(code, |w| w.outcomes.get(&commands[0]).is_some_and(|outcome| outcome == status)).await;
        fleet.end().await;
        let state = node.state();
        assert_eq!(state.deployments.error(&ids[0]), Some(code));
        let told = state.deployments.statuses(&ids[0]);
        assert!(told.ends_with(&[status, status]), "all is told twice: {told:?}");
        assert!(version(&state, &ids[0]).is_null(), "{code}: nothing is installed");
    }
}

#[tokio::test]
async fn a_file_that_is_not_what_was_announced_is_not_installed() {
    for (alter, code) in [("the file", "checksum_mismatch"), ("the signer", "signer_mismatch"), ("the size", "download_failed")] {
        let (node, folder) = (FakeNode::start().await, folder());
        let fleet = RunningFleet::start(&node, folder.path(), &["--devices", "1"]);
        node.until("it is heard", |w| w.last.len() == 1).await;
        let command = {
            let mut state = node.state();
            let good = apk(SIGNER, 30_000);
            let mut params = params(&node.url, "dep-1", &good, SIGNER, &json!({}));
            match alter {
                "the signer" => params["apk"]["signer_sha256"] = json!(["00".repeat(32)]),
                "the size" => params["apk"]["size"] = json!(good.len() - 1),
                _ => {}
            }
            state.deployments.apk = good;
            if alter == "the file" {
                state.deployments.apk[17] ^= 1;
            }
            state.command("id-of-sim-1", "deploy_apk", &params.to_string())
        };
        node.until(alter, |w| w.outcomes.contains_key(&command)).await;
        fleet.end().await;
        assert_eq!(node.state().deployments.error("id-of-sim-1"), Some(code), "{alter}");
    }
}

#[tokio::test]
async fn constraints_are_the_devices_own_to_check() {
    let (node, folder) = (FakeNode::start().await, folder());
    let fleet = RunningFleet::start(&node, folder.path(), &["--devices", "3", "--storage-free-mb", "99"]);
    let (ids, commands) = deploy_to_all(&node, 3, &json!({"min_storage_free_mb": 100})).await;
    node.until("all have ended", |w| commands.iter().all(|id| w.outcomes.get(id).is_some_and(|outcome| outcome == "skipped"))).await;
    assert!(ids.iter().all(|id| node.state().deployments.statuses(id) == ["skipped"]));
    assert!(ids.iter().all(|id| node.state().deployments.error(id) == Some("low_storage")));
    let shut = json!({"window": {"start": "00:00", "end": "00:00", "tz": "Mars/Olympus"}});
    let outside = {
        let mut state = node.state();
        let params = params(&node.url, "dep-2", &state.deployments.apk, SIGNER, &shut).to_string();
        state.command(&ids[0], "deploy_apk", &params)
    };
    node.until("it is outside", |w| w.outcomes.contains_key(&outside)).await;
    assert_eq!(node.state().deployments.error(&ids[0]), Some("outside_window"));
    assert!(node.state().deployments.ranges.is_empty(), "nothing was downloaded");
    assert_eq!(fleet.end().await.installs_skipped, 4);
}

#[tokio::test]
async fn devices_hang_or_restart_in_the_middle() {
    let (node, folder) = (FakeNode::start().await, folder());
    let fleet = RunningFleet::start(&node, folder.path(), &["--devices", "2", "--transport", "mix", "--deploy-hang", "1"]);
    let (ids, commands) = deploy_to_all(&node, 2, &json!({})).await;
    node.until("both have begun", |w| ids.iter().all(|id| w.deployments.statuses(id).contains(&"accepted"))).await;
    let heartbeats = node.state().heartbeats();
    node.until("they had their chance", |w| w.heartbeats() > heartbeats + 20).await;
    let summary = fleet.end().await;
    assert_eq!((summary.installs_succeeded, summary.installs_failed), (0, 0), "{summary}");
    assert!(commands.iter().all(|id| !node.state().outcomes.contains_key(id)));
    assert!(steps(folder.path()).iter().filter(|step| step["step"] == "hung").count() == 2);

    let (node, folder) = (FakeNode::start().await, crate::support::folder());
    let fleet = RunningFleet::start(&node, folder.path(), &["--devices", "8", "--transport", "mix", "--deploy-reboot", "1"]);
    node.until("all are heard", |w| w.last.len() == 8).await;
    let boots = |w: &crate::support::NodeState| w.last.values().map(|last| last["boot_id"].to_string()).collect::<BTreeSet<_>>();
    let before = boots(&node.state());
    let (_, commands) = deploy_to_all(&node, 8, &json!({})).await;
    node.until("all have ended", |w| commands.iter().all(|id| w.outcomes.contains_key(id))).await;
    node.until("all tell another boot", |w| boots(w).is_disjoint(&before)).await;
    let summary = fleet.end().await;
    assert_eq!(summary.installs_succeeded + summary.installs_failed, 8, "{summary}");
    assert!(summary.installs_succeeded > 0 && summary.installs_failed > 0, "some go on, some fail: {summary}");
}

#[tokio::test]
async fn an_instant_installation_downloads_nothing() {
    let (node, folder) = (FakeNode::start().await, folder());
    let fleet = RunningFleet::start(&node, folder.path(), &["--devices", "4", "--transport", "socket", "--deploy-profile", "instant"]);
    let (ids, _) = deploy_to_all(&node, 4, &json!({})).await;
    node.until("all report the version", |w| ids.iter().all(|id| version(w, id) == 7)).await;
    fleet.end().await;
    assert!(node.state().deployments.ranges.is_empty());
    assert!(ids.iter().all(|id| node.state().deployments.statuses(id) == ["accepted", "succeeded"]));
}

#[tokio::test]
async fn agents_update_themselves_now_and_then_and_when_they_are_told_to() {
    for (by_command, fail, event, code) in [
        (false, "", "installed", 200),
        (true, "", "installed", 200),
        (true, "signer_mismatch=1", "verify_failed", 0),
        (true, "install_failed=1", "failed", 0),
    ] {
        let (node, folder) = (FakeNode::start().await, folder());
        let file = apk(SIGNER, 30_000);
        let about = params(&node.url, "", &file, SIGNER, &json!({}))["apk"].take();
        node.state().deployments.apk = file;
        node.state().deployments.offer = Some(json!({"build_id": "b1", "version_code": 200, "version_name": "2.0.0",
            "package_name": "com.nexmdm", "download_url": about["url"], "sha256": about["sha256"],
            "signer_fingerprint": about["signer_sha256"][0], "file_size": about["size"], "wifi_only": false, "must_install": false,
            "min_battery": 0, "staged_rollout_percent": 100, "release_notes": ""}));
        let interval: &[&str] = if by_command { &[] } else { &["--update-interval", "200ms"] };
        let more = [&["--devices", "1", "--deploy-fail", fail][..], interval].concat();
        let fleet = RunningFleet::start(&node, folder.path(), &more);
        node.until("it is heard", |w| w.last.len() == 1).await;
        if by_command {
            assert!(node.state().deployments.asked.is_empty());
            let command = node.state().command("id-of-sim-1", "update", "{}");
            node.until("the command has ended", |w| w.outcomes.contains_key(&command)).await;
        }
        let told = |w: &crate::support::NodeState| w.deployments.update_reports.iter().map(|r| r["event"].to_string()).collect::<Vec<_>>();
        node.until(event, |w| told(w).iter().any(|told| told.contains(event))).await;
        assert!(node.state().deployments.asked[0].contains("package_name=com.nexmdm&current_version_code=1"));
        assert!(told(&node.state())[0].contains("downloaded"), "{:?}", told(&node.state()));
        if code > 0 {
            node.until("the new version is told", |w| w.last["id-of-sim-1"]["agent_version_code"] == code).await;
            assert_eq!(node.state().last["id-of-sim-1"]["app_version"], "2.0.0");
        }
        fleet.end().await;
    }
}
