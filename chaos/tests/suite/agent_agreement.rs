//! The simulator and the agent agree: the same commands and deployments end alike on a simulated device and on a host agent, by
//! what the server has on record. Where they differ, one of them is wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chaos::client::Client;
use chaos::fleet::{self, apk_signers};
use chaos::harness::{Cluster, ClusterOptions, nexmdm_path};
use chaos::http::{Call, HttpLimits};
use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::support::{parse_args, scheduling};

const PACKAGE: &str = "com.example.till";
const TAG: &str = "agreement";
/// How long one step may take on both devices.
const WITHIN: Duration = Duration::from_secs(60);

/// A cluster with one simulated device and one host agent.
struct Pair {
    cluster: Cluster,
    client: Client,
    token: String,
    /// Device ids: the simulated one, the host agent.
    devices: [String; 2],
    record: PathBuf,
}

impl Pair {
    async fn call(&self, method: Method, path: &str, body: Vec<u8>, content_type: &str) -> Value {
        let key = format!("{method}{path}{}", self.record.metadata().map_or(0, |record| record.len()));
        let mut call = Call::post(path, body).method(method.clone()).bearer(&self.token).content_type(content_type);
        if method == Method::POST && content_type == "application/json" {
            call = call.header("idempotency-key", &key);
        }
        let answer = self.client.send(call).await.unwrap();
        assert!((200..300).contains(&answer.status), "{method} {path} answered {}: {}", answer.status, answer.detail());
        answer.json()
    }

    async fn json(&self, method: Method, path: &str, body: &Value) -> Value {
        self.call(method, path, body.to_string().into_bytes(), "application/json").await
    }

    async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let text = self.cluster.psql().run(sql, &[]).await.unwrap();
        text.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
    }

    /// The one row of each device, once both are over.
    async fn final_rows(&self, what: &str, sql: &str) -> [Vec<String>; 2] {
        let deadline = Instant::now() + WITHIN;
        loop {
            let rows = self.rows(sql).await;
            let of = |device: &String| rows.iter().find(|row| row[0] == *device).map(|row| row[1..].to_vec());
            if let (Some(simulated), Some(host)) = (of(&self.devices[0]), of(&self.devices[1])) {
                return [simulated, host];
            }
            assert!(Instant::now() < deadline, "{what} is not over on both: {rows:?}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// How a command ended on both: state, outcome, code.
    async fn command(&self, action: &str, params: Value) -> [Vec<String>; 2] {
        let mut ids = Vec::new();
        for device in &self.devices {
            let body = json!({"action": action, "params": params, "expires_in_s": 120});
            let made = self.json(Method::POST, &format!("/v1/devices/{device}/commands"), &body).await;
            ids.push(format!("'{}'", made["request_id"].as_str().or(made["id"].as_str()).unwrap()));
        }
        let sql = format!(
            "SELECT device_id, state, outcome, coalesce(code, '-') FROM command WHERE outcome IS NOT NULL AND request_id IN ({})",
            ids.join(",")
        );
        self.final_rows(&format!("{action} {params}"), &sql).await
    }

    /// Uploads an APK and allows its signers beside those that are; its id.
    async fn upload(&self, file: &str, signers: &mut Vec<String>) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../actors/testdata/apks").join(file);
        signers.extend(apk_signers(&path).unwrap());
        signers.sort();
        signers.dedup();
        self.json(Method::PUT, &format!("/v1/packages/{PACKAGE}"), &json!({"signers_sha256": signers, "note": "for a test"})).await;
        let bytes = std::fs::read(path).unwrap();
        let apk = self.call(Method::POST, "/v1/apks", bytes, "application/vnd.android.package-archive").await;
        apk["id"].as_str().unwrap().to_owned()
    }

    /// How a deployment ended on both: state, reason, error; then the statuses that were acknowledged, repeats left out.
    async fn deployment(&self, apk: &str) -> [(Vec<String>, Vec<String>); 2] {
        let options = json!({"canary": {"size": 0}, "rate_per_minute": 0, "concurrency": 10, "wifi_only": false, "min_battery_pct": 0,
            "retries": {"max": 0, "backoff_seconds": 1}, "failure_pause": {"threshold_pct": 100, "min_count": 5}});
        let body = json!({"apk_id": apk, "name": "agreement", "target": {"tags": [TAG]}, "options": options, "conflict": "wait"});
        let made = self.json(Method::POST, "/v1/deployments", &body).await;
        let id = made["id"].as_str().unwrap();
        let sql = format!(
            "SELECT device_id, state, coalesce(reason, '-'), coalesce(error, '-') FROM deployment_task
              WHERE deployment_id = '{id}' AND state IN ('succeeded', 'failed', 'skipped', 'canceled')"
        );
        let [simulated, host] = self.final_rows(&format!("deployment of {apk}"), &sql).await;
        // Their commands have to be over, too: they carry the outcome.
        let commands = format!(
            "SELECT device_id, state, outcome, coalesce(code, '-') FROM command WHERE deployment_id = '{id}' AND outcome IS NOT NULL"
        );
        let sent = self.rows(&format!("SELECT count(*) FROM command WHERE deployment_id = '{id}'")).await[0][0] != "0";
        let [of_simulated, of_host] = if sent { self.final_rows("their commands", &commands).await } else { [Vec::new(), Vec::new()] };
        self.wait_for_heartbeats().await;
        let mut statuses = self.statuses(id).await;
        let mut told = |n: usize| statuses.remove(&self.devices[n]).unwrap_or_default();
        let (told_simulated, told_host) = (told(0), told(1));
        [([simulated, of_simulated].concat(), told_simulated), ([host, of_host].concat(), told_host)]
    }

    /// Waits until both have told what they have installed by now: the server decides by that.
    async fn wait_for_heartbeats(&self) {
        let since = self.rows("SELECT clock_timestamp()").await.remove(0).remove(0);
        self.final_rows("a heartbeat", &format!("SELECT device_id, 1 FROM device_last_status WHERE last_seen_at > '{since}'")).await;
    }

    /// Statuses that were acknowledged, by device, from the record; it is a second behind.
    async fn statuses(&self, deployment: &str) -> BTreeMap<String, Vec<String>> {
        sleep(Duration::from_millis(1_500)).await;
        let mut statuses: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in std::fs::read_to_string(&self.record).unwrap().lines() {
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            if line["what"] == "deployment" && line["deployment_id"] == deployment && line["status"] == 200 {
                statuses.entry(line["device_id"].as_str().unwrap().to_owned()).or_default().push(line["step"].as_str().unwrap().to_owned());
            }
        }
        statuses.values_mut().for_each(Vec::dedup);
        statuses
    }
}

async fn start() -> (Pair, watch::Sender<bool>, tokio::task::JoinHandle<fleet::Summary>) {
    let options = ClusterOptions::new(nexmdm_path().unwrap(), 1).env("NEXMDM__AUTH__DEVICE_TOKEN_BCRYPT_COST", "4");
    let cluster = Cluster::start(options).await.unwrap();
    let (folder, url) = (cluster.folder().to_owned(), cluster.members()[0].url());
    let record = folder.join("record.jsonl");
    let words = format!(
        "fleet --server {url} --devices 2 --agent jvm=1 --interval 2s --transport socket --clock-off-share 0 --outages-per-hour 0 \
         --app-crashes-per-hour 0 --ping-heartbeat-share 1 --storage-free-mb 4000 --tags {TAG} --state-dir {0}/fleet --record {1} \
         --enroll-with admin:{2} --retry-min 200ms --retry-max 1s",
        folder.display(),
        record.display(),
        cluster.admin_password()
    );
    let args = parse_args(words.split_whitespace());
    let (end, stop) = watch::channel(false);
    let fleet = tokio::spawn(async move { fleet::run(args, stop).await.unwrap_or_else(|error| panic!("{error:#}")) });
    let client = Client::with_limits(&url, HttpLimits::default()).unwrap();
    let token = client.access_token("admin", cluster.admin_password()).await.unwrap();
    let mut pair = Pair { cluster, client, token, devices: Default::default(), record };
    let deadline = Instant::now() + WITHIN;
    let heard = "SELECT alias, device_id FROM device JOIN device_last_status USING (device_id) ORDER BY alias DESC";
    loop {
        let rows = pair.rows(heard).await;
        if let [simulated, host] = &rows[..] {
            assert_eq!((simulated[0].as_str(), host[0].as_str()), ("sim-1", "jvm-1"));
            pair.devices = [simulated[1].clone(), host[1].clone()];
            return (pair, end, fleet);
        }
        assert!(!fleet.is_finished(), "the fleet has ended: {:?}", fleet.await);
        assert!(Instant::now() < deadline, "heard are only {rows:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simulator_and_agent_end_alike() {
    scheduling::exclusive();
    let (pair, end, fleet) = start().await;
    let mut differences = Vec::new();
    let mut compare = |what: String, simulated: String, host: String| {
        println!("{what}: {simulated}");
        if simulated != host {
            differences.push(format!("{what}:\n    simulator {simulated}\n    agent     {host}"));
        }
    };
    pair.json(Method::PUT, "/v1/exec-commands/uptime", &json!({"argv": ["/system/bin/uptime"], "description": ""})).await;
    pair.json(Method::PUT, "/v1/flags/deployments.enabled", &json!({"enabled": true})).await;

    // A new version, a newer one, one from before, the same again, another scheme, and a signer that follows the old one.
    let mut signers = Vec::new();
    for file in ["till-2.apk", "till-3.apk", "till-1.apk", "till-3.apk", "till-8-rotated.apk", "till-9-v2.apk"] {
        let apk = pair.upload(file, &mut signers).await;
        let [simulated, host] = pair.deployment(&apk).await;
        compare(format!("deployment of {file}"), format!("{simulated:?}"), format!("{host:?}"));
    }

    let app = json!({"package": PACKAGE});
    let absent = json!({"package": "com.example.absent"});
    for (action, params) in [
        ("ping", json!({})),
        ("ring", json!({"duration_s": 1})),
        ("wake", json!({})),
        ("lock", json!({})),
        ("set_brightness", json!({"level_pct": 40})),
        ("sync", json!({})),
        ("launch_app", app.clone()),
        ("launch_app", absent.clone()),
        ("restart_app", app.clone()),
        ("restart_app", absent.clone()),
        ("clear_app_data", app.clone()),
        ("clear_app_data", absent),
        ("set_monitored_app", app),
        ("wifi_connect", json!({"ssid": "shop", "security": "wpa2", "password": "a passphrase"})),
        ("exec", json!({"name": "uptime"})),
        ("update", json!({})),
        ("rotate_key", json!({})),
        // By the new key.
        ("ping", json!({})),
        ("reboot", json!({})),
        ("ping", json!({})),
    ] {
        let [simulated, host] = pair.command(action, params.clone()).await;
        compare(format!("{action} {params}"), format!("{simulated:?}"), format!("{host:?}"));
    }
    end.send_replace(true);
    let summary = fleet.await.unwrap();
    assert!(summary.host_agents.agents == 1 && summary.host_agents.unexpected_ends.is_empty(), "{summary}");
    assert!(differences.is_empty(), "they differ in\n{}", differences.join("\n"));
}
