//! The release APK that `make agent-release` built, published for a share of the devices: exactly the host agents of that cohort
//! update themselves to it, and those of a wider one when it is widened.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chaos::client::Client;
use chaos::fleet::apk_signers;
use chaos::harness::{Cluster, ClusterOptions, nexmdm_path};
use chaos::host_agent::{AppVersion, HostAgents, HostAgentsPlan, Jvm};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::support::scheduling;

const AGENTS: usize = 20;
const TAG: &str = "cohort";
/// Version of the agents before; that of the file is higher.
const VERSION_BEFORE: i64 = 120;
/// How long enrolling, or asking all agents to look for an update, may take.
const WITHIN: Duration = Duration::from_secs(120);

/// Percentile of a device in a rollout, as docs/agent-updates.md defines it, computed apart from the product: `u32_be(sha256(device_id)[0..4]) % 100`.
fn percentile_of(device_id: &str) -> u32 {
    let digest = Sha256::digest(device_id);
    u32::from_be_bytes(digest[..4].try_into().unwrap()) % 100
}

struct Environment {
    cluster: Cluster,
    client: Client,
    token: String,
}

impl Environment {
    /// Output of `nexmdm ctl` with these arguments, as JSON.
    async fn ctl(&self, words: &[&str]) -> Value {
        let mut command = Command::new(nexmdm_path().unwrap());
        command.args(["ctl", "--output", "json"]).args(words).env("NEXMDM_TOKEN", &self.token);
        command.env("NEXMDM_SERVER", self.cluster.members()[0].url()).env("NEXMDM__DATA_DIR", self.cluster.folder().join("ctl"));
        let out = tokio::time::timeout(WITHIN, command.output()).await.unwrap().unwrap();
        assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice(&out.stdout).unwrap()
    }

    async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let text = self.cluster.psql().run(sql, &[]).await.unwrap();
        text.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
    }

    /// Version that each agent has reported last.
    async fn versions(&self) -> BTreeMap<String, i64> {
        let sql = "SELECT device_id, agent_version_code FROM device_last_status WHERE agent_version_code IS NOT NULL";
        self.rows(sql).await.into_iter().map(|row| (row[0].clone(), row[1].parse().unwrap())).collect()
    }

    /// Has every agent look for an update, and waits until each has answered; then who runs `version_code`.
    async fn updated_after_asking_all(&self, version_code: i64) -> BTreeSet<String> {
        let body = json!({"action": "update", "target": {"filter": {"tag": TAG}}, "expires_in_s": 600});
        let made = self.client.post("/v1/command-batches", Some(&self.token), &body).await.unwrap();
        assert_eq!(made.status, 201, "{}", made.detail());
        let batch = made.json()["id"].as_str().unwrap().to_owned();
        let sql = format!("SELECT state, count(*) FROM command WHERE batch_id = '{batch}' GROUP BY state ORDER BY state");
        let deadline = Instant::now() + WITHIN;
        loop {
            let states = self.rows(&sql).await;
            if states.iter().all(|row| ["succeeded", "failed"].contains(&row[0].as_str())) && !states.is_empty() {
                println!("told to look for an update: {states:?}");
                break;
            }
            assert!(Instant::now() < deadline, "not every agent has answered: {states:?}");
            sleep(Duration::from_millis(200)).await;
        }
        // A new version says so with the heartbeat after its result.
        let since = self.rows("SELECT clock_timestamp()").await.remove(0).remove(0);
        let heard = format!("SELECT count(*) FROM device_last_status WHERE last_seen_at > '{since}'");
        while self.rows(&heard).await[0][0] != AGENTS.to_string() {
            assert!(Instant::now() < deadline, "not every agent was heard from again");
            sleep(Duration::from_millis(200)).await;
        }
        self.versions().await.into_iter().filter(|(_, code)| *code == version_code).map(|(device, _)| device).collect()
    }
}

/// Needs Java and what `make agent-release` leaves in android-agent/out; the error says so otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_agents_of_the_cohort_update_themselves() {
    scheduling::exclusive();
    let apk: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../android-agent/out/nexmdm-agent-release.apk");
    assert!(apk.is_file(), "{} is not there: run `make agent-release`", apk.display());
    let mut jvm = Jvm::find(None).unwrap();
    let options = ClusterOptions::new(nexmdm_path().unwrap(), 1).env("NEXMDM__AUTH__DEVICE_TOKEN_BCRYPT_COST", "4");
    let cluster = Cluster::start(options).await.unwrap();
    jvm.archive_classes(cluster.folder()).await;
    let url = cluster.members()[0].url();
    let client = Client::new(&url).unwrap();
    let token = client.access_token("admin", cluster.admin_password()).await.unwrap();
    let folder = cluster.folder().join("agents");
    let plan = HostAgentsPlan {
        jvm: &jvm,
        count: AGENTS,
        first_number: 1,
        servers: vec![url.clone()],
        enroll_at: url.parse().unwrap(),
        credentials: Some(format!("admin:{}", cluster.admin_password()).parse().unwrap()),
        tags: vec![TAG.into()],
        groups: Vec::new(),
        folder,
        record: None,
        interval: Some(Duration::from_secs(2)),
        seed: 7,
    };
    // As a phone does, each takes an update only from the signer of what it has.
    let signers = apk_signers(&apk).unwrap();
    let agents = HostAgents::prepare(plan, |_, profile| {
        profile.agent = AppVersion { version_code: VERSION_BEFORE, version_name: "before".into(), signers: Some(signers.clone()) };
        (profile.sdk_int, profile.storage_free_mb) = (profile.sdk_int.max(33), 4_000);
    });
    let agents = agents.await.unwrap();
    agents.start().await.unwrap();
    let environment = Environment { cluster, client, token };
    let deadline = Instant::now() + WITHIN;
    while environment.versions().await.len() < AGENTS {
        assert!(Instant::now() < deadline, "not every agent was heard from");
        sleep(Duration::from_millis(200)).await;
    }
    let devices: BTreeSet<String> = environment.versions().await.into_keys().collect();
    let cohort = |percent: u32| -> BTreeSet<String> { devices.iter().filter(|id| percentile_of(id) < percent).cloned().collect() };

    let file = apk.to_str().unwrap();
    environment.ctl(&["agent-builds", "publish", file, "--percent", "10", "--must-install", "--allow-package", "--yes"]).await;
    let builds = environment.ctl(&["agent-builds", "list"]).await;
    let build = &builds.as_array().or(builds["items"].as_array()).unwrap()[0];
    let version_code = build["version_code"].as_i64().unwrap();
    assert!(version_code > VERSION_BEFORE && build["rollout_percent"] == 10, "{build}");
    let updated = environment.updated_after_asking_all(version_code).await;
    println!("10 %: {} of {AGENTS} agents", updated.len());
    assert_eq!(updated, cohort(10));

    environment.ctl(&["agent-builds", "rollout", build["id"].as_str().unwrap(), "60", "--yes"]).await;
    let updated = environment.updated_after_asking_all(version_code).await;
    println!("60 %: {} of {AGENTS} agents", updated.len());
    assert_eq!(updated, cohort(60));
    assert!(!updated.is_empty() && updated.len() < AGENTS, "this run shows nothing: {} of {AGENTS}", updated.len());
    let summary = agents.stop().await;
    assert!(summary.unexpected_ends.is_empty() && summary.restarts == updated.len(), "{summary:?}");
}
