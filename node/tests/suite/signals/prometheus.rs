//! Debian's Prometheus, scraping real nodes with devices: every query of the dashboards, and every recorded series, has data.
//! A Prometheus that is missing fails the test; `.ci/install-deps test` installs it.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chaos::client::{Client, EnrolledDevice};
use chaos::harness::{Cluster, TempDir, free_port};
use serde_json::{Value, json};

use super::{at, queries, rule_files, text};
use crate::common::{api_token, cluster_options, heartbeat, within};

/// How long it may take until every series has the samples that its query needs.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a small fleet without these does not have: the metric, and why it has no series or no rate here.
const ABSENT: [(&str, &str); 21] = [
    ("ALERTS", "no alert of Prometheus need fire"),
    ("nexmdm_agent_update_checks_total", "no agent asks for an update"),
    ("nexmdm_agent_update_reports_total", "no agent was updated"),
    ("nexmdm_alert_changes_settled_total", "no alert is raised"),
    ("nexmdm_alert_remediations_total", "no alert is mended"),
    ("nexmdm_alerts_open", "no alert is open"),
    ("nexmdm_backup_last_success_timestamp_seconds", "no backup was made"),
    ("nexmdm_backups_total", "there is no schedule of backups"),
    ("nexmdm_command_seconds", "no command is sent in time"),
    ("nexmdm_commands_finished_total", "no command ends in time"),
    ("nexmdm_deployment_attempts_finished_total", "there is no deployment"),
    ("nexmdm_deployment_tasks", "there is no deployment"),
    ("nexmdm_deployment_tasks_finished_total", "there is no deployment"),
    ("nexmdm_deployments_paused_seconds", "there is no deployment"),
    ("nexmdm_fcm_messages_total", "there is no service account"),
    ("nexmdm_notifications_decided_total", "no alert is raised"),
    ("nexmdm_notifications_total", "there is no channel"),
    ("nexmdm_pool_refused_total", "nobody is refused"),
    ("nexmdm_reconciliation_checked_total", "the first run comes later"),
    ("nexmdm_reconciliation_drift_total", "no row differs"),
    ("nexmdm_unified_push_messages_total", "there is no push server"),
];

/// A Prometheus of the test's own.
struct Prometheus {
    child: Child,
    url: String,
    http: reqwest::Client,
    _folder: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// Starts scraping these `host:port`.
    fn start(targets: &[String]) -> Self {
        let folder = TempDir::new("prometheus").unwrap();
        let rules: Vec<_> = rule_files().iter().map(|file| at(file).canonicalize().unwrap()).collect();
        // JSON is YAML.
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": rules,
            "scrape_configs": [{"job_name": "nexmdm", "static_configs": [{"targets": targets}]}],
        });
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config.to_string()).unwrap();
        let port = free_port().unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .spawn()
            .expect("Debian's package prometheus");
        Self { child, url: format!("http://127.0.0.1:{port}"), http: reqwest::Client::new(), _folder: folder }
    }

    /// Number of the samples that a query has; `None`: there is no answer yet.
    async fn samples(&self, query: &str) -> Option<usize> {
        let url = format!("{}/api/v1/query", self.url);
        let answer = self.http.get(url).query(&[("query", query)]).send().await.ok()?;
        let answer: Value = answer.json().await.ok()?;
        assert_ne!(answer["errorType"], "bad_data", "{query}: {}", answer["error"]);
        Some(answer["data"]["result"].as_array()?.len())
    }
}

/// The query as Grafana sends it, with a window that a minute of samples is enough for.
fn asked(query: &str) -> String {
    query.replace("$__rate_interval", "1m").replace("$instance", ".*")
}

async fn report(cluster: &Cluster, devices: &[EnrolledDevice], round: i64) {
    for member in cluster.members() {
        let client = Client::new(&member.url()).unwrap();
        for device in devices {
            // One that is late while the cluster settles is sent again by the next round.
            let _ = client.heartbeat(&device.session_token, &heartbeat(round * 10, 50)).await;
        }
    }
}

#[tokio::test]
async fn every_query_has_data() {
    let cluster = Cluster::start(cluster_options(2)).await.unwrap();
    let client = Client::new(&cluster.members()[0].url()).unwrap();
    let targets: Vec<_> = cluster.members().iter().map(|member| member.url().trim_start_matches("http://").to_owned()).collect();
    let prometheus = Prometheus::start(&targets);
    let admin = client.access_token("admin", cluster.admin_password()).await.unwrap();
    let mut devices = Vec::new();
    for number in 0..6 {
        devices.push(client.enroll(&admin, &format!("kiosk-{number}")).await.unwrap());
    }
    let token = api_token(&client, &admin, &["devices:read"]).await["token"].as_str().unwrap().to_owned();
    let recorded = rule_files().into_iter().flat_map(|file| {
        let rules = text(&file);
        rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ").map(str::to_owned)).collect::<Vec<_>>()
    });
    let mut wanted: Vec<String> = queries().into_iter().map(|(_, _, query)| asked(&query)).chain(recorded).collect();
    wanted.sort();
    wanted.dedup();
    for (metric, _) in ABSENT {
        assert!(wanted.iter().any(|query| query.contains(metric)), "no query is about {metric}");
    }
    let is_absent = |query: &String| {
        ABSENT.iter().any(|(metric, _)| query.contains(&format!("{metric}{{")) || query.contains(&format!("{metric}_bucket")))
    };
    let (mut round, mut missing) = (0, wanted);
    let until = Instant::now() + PATIENCE;
    let _ = within(PATIENCE * 2, "the answers of Prometheus", async || {
        report(&cluster, &devices, round).await;
        // Counters have to grow under Prometheus' eyes: a sign-in, a token, a refusal, a command and a value that cannot be used, each round.
        let _ = client.access_token("admin", cluster.admin_password()).await;
        let _ = client.get("/v1/devices", Some(&token)).await;
        let _ = client.get("/v1/devices", Some("nobody's")).await;
        let _ = client.post(&format!("/v1/devices/{}/commands", devices[0].device_id), Some(&admin), &json!({"action": "ping"})).await;
        let _ = client.post("/v1/heartbeat", Some(&devices[1].session_token), &json!({"battery": {"pct": -1}})).await;
        if round < 3 {
            let _ = client.enroll(&admin, &format!("late-{round}")).await;
        }
        round += 1;
        let mut still = Vec::new();
        for query in &missing {
            if prometheus.samples(query).await? == 0 {
                still.push(query.clone());
            }
        }
        missing = still;
        let needed = missing.iter().filter(|query| !is_absent(query)).count();
        (needed == 0 || Instant::now() >= until).then_some(())
    })
    .await;
    missing.retain(|query| !is_absent(query));
    assert!(missing.is_empty(), "without data: {missing:#?}");
}
