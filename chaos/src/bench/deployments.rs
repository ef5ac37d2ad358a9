//! Deployments to many devices: how long one takes that nothing holds back, and whether the pace is kept that was asked for.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep};

use super::commands::{Fleet, heartbeats};
use super::figure::{Figure, Limit, Value};
use super::{BenchArgs, ClusterEnvironment};
use crate::clock::now;
use crate::deployment_api::{Api, Apk};
use crate::fleet::Summary;
use crate::limits::connections_possible;
use crate::oracle::{AttemptRow, History, most_at_a_time, most_in_a_minute, read_rows};

/// Connections besides the devices' sockets.
const OTHER_CONNECTIONS: u64 = 744;
/// Heartbeats of this long before are what the others are compared with.
const BEFORE: Duration = Duration::from_secs(20);
/// How long a deployment may take that nothing holds back.
const ENDS_WITHIN: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(250);
const TAG: &str = "bench";
/// APK that is deployed, and its package.
const APK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../actors/testdata/apks/till-3.apk");
const PACKAGE: &str = "com.example.till";
/// Rate limit of the second figure.
const RATE_PER_MINUTE: u32 = 600;
const CONCURRENCY: u32 = 50;

/// Devices on sockets, an allowed APK, and an API client.
struct DeploymentSetup {
    environment: ClusterEnvironment,
    fleet: Fleet,
    api: Api,
    apk: Apk,
    devices: usize,
}

impl DeploymentSetup {
    async fn build(args: &BenchArgs, wanted: usize, profile: &[&str]) -> Result<Self> {
        let possible = usize::try_from(connections_possible().saturating_sub(OTHER_CONNECTIONS)).unwrap_or(usize::MAX);
        let devices = wanted.min(possible);
        let environment = ClusterEnvironment::build(args, 1).await?;
        let api = Api::new(vec![environment.cluster.members()[0].url()], environment.cluster.admin_password())?;
        let apk = api.prepare(Path::new(APK), PACKAGE).await?;
        let enroll = ["--enroll-only", "--sessions-first", "--enroll-concurrency", "64", "--tags", TAG];
        let _: Summary = environment.generator()?.run("fleet", devices, &enroll).await?;
        let fleet = Fleet::start(&environment, devices, &[&["--ramp-seconds", "10"], profile].concat()).await?;
        Ok(Self { environment, fleet, api, apk, devices })
    }

    /// Deploys to all devices; the response and the duration of the call.
    async fn deploy(&self, more: &Json) -> Result<(Json, Duration)> {
        let mut options = json!({"canary": {"size": 0}, "wifi_only": false, "min_battery_pct": 0, "retries": {"max": 0, "backoff_seconds": 1},
            "failure_pause": {"threshold_pct": 100, "min_count": 5}});
        for (name, value) in more.as_object().into_iter().flatten() {
            options[name] = value.clone();
        }
        let started = Instant::now();
        let made = self.api.deploy(&self.apk, "bench", &json!({"tags": [TAG]}), &options).await?;
        Ok((made, started.elapsed()))
    }
}

/// Figure: a deployment without rate limit, and its effect on heartbeats.
pub(super) async fn deploy(args: &BenchArgs) -> Result<Figure> {
    let wanted = if args.quick { 1_000 } else { 10_000 };
    let mut setup = DeploymentSetup::build(args, wanted, &["--deploy-profile", "instant"]).await?;
    sleep(BEFORE).await;
    ensure!(!setup.fleet.running.has_ended(), "the fleet has ended early");
    let began_us = now().timestamp_micros();
    let (made, planned) = setup.deploy(&json!({"rate_per_minute": 0, "concurrency": 100_000})).await?;
    let id = made["id"].as_str().context("a deployment without id")?.to_owned();
    let over = until_over(&setup, &id).await?;
    let ended_us = now().timestamp_micros();
    let mut rows = History::default();
    read_rows(&mut rows, &setup.environment.cluster.psql()).await?;
    let other = rows.deployments.tasks.iter().filter(|task| task.state != "succeeded");
    let other: Vec<_> = other.map(|task| format!("{} {}: {}", task.device_id, task.state, task.reason)).collect();
    let (summary, history) = setup.fleet.end().await?;
    let before = heartbeats(&history, began_us - BEFORE.as_micros() as i64, began_us).percentiles();
    let meanwhile = heartbeats(&history, began_us, ended_us).percentiles();
    let succeeded = over["counts"]["succeeded"].as_u64().unwrap_or(0);
    Ok(Figure {
        name: "deploy",
        how: format!(
            "one node, {} devices on sockets with heartbeats every 10 s, one deployment at unlimited rate whose installations succeed as \
             soon as they are accepted; until every task is over",
            setup.devices
        ),
        values: vec![
            Value::new("planned: the call alone", planned.as_secs_f64(), "s").limit(Limit::Below(2.0)),
            Value::new("all tasks over", (ended_us - began_us) as f64 / 1e6, "s").limit(Limit::Below(60.0)),
            Value::new("heartbeats meanwhile, p50", meanwhile.p50_ms, "ms"),
            Value::new("heartbeats meanwhile, p99", meanwhile.p99_ms, "ms").limit(Limit::Below(150.0)),
            Value::new("heartbeats before, p50", before.p50_ms, "ms"),
            Value::new("heartbeats before, p99", before.p99_ms, "ms"),
            Value::new("not succeeded", (setup.devices as u64).saturating_sub(succeeded) as f64, "").limit(Limit::Zero),
            Value::new("errors", summary.errors.total() as f64, "").limit(Limit::Zero),
        ],
        notes: [
            format!("counts in the end: {}", over["counts"]),
            format!("heartbeats: {} meanwhile, {} in the {} s before", meanwhile.count, before.count, BEFORE.as_secs()),
            format!("errors: {}", summary.errors),
        ]
        .into_iter()
        .chain((!other.is_empty()).then(|| format!("not succeeded: {}", other.join(", "))))
        .chain((setup.devices < wanted).then(|| format!("fewer than the {wanted} sockets intended: the limit of open files leaves less")))
        .collect(),
    })
}

/// Figure: a deployment with a rate limit, the fastest minute and the highest concurrency.
pub(super) async fn deploy_rate(args: &BenchArgs) -> Result<Figure> {
    let (wanted, within) = if args.quick { (300, Duration::from_secs(90)) } else { (2_000, Duration::from_secs(240)) };
    let setup = DeploymentSetup::build(args, wanted, &["--install-time", "500ms..4s"]).await?;
    let options = json!({"rate_per_minute": RATE_PER_MINUTE, "concurrency": CONCURRENCY});
    let (made, _) = setup.deploy(&options).await?;
    let id = made["id"].as_str().context("a deployment without id")?.to_owned();
    let (started, mut over) = (Instant::now(), false);
    while !over && started.elapsed() < within {
        sleep(LOOK_EVERY).await;
        over = !setup.api.deployment(&id).await?["finished_at"].is_null();
    }
    let took = started.elapsed();
    let mut history = History::default();
    read_rows(&mut history, &setup.environment.cluster.psql()).await?;
    let attempts: Vec<&AttemptRow> = history.deployments.attempts.iter().filter(|attempt| attempt.deployment == id).collect();
    let (minute, at_a_time) = (most_in_a_minute(&attempts).0, most_at_a_time(&attempts).0);
    let ended = attempts.iter().filter(|attempt| attempt.finished_us.is_some()).count();
    let (summary, _) = setup.fleet.end().await?;
    Ok(Figure {
        name: "deploy_rate",
        how: format!(
            "one node, {} devices on sockets that download and install for 0.5 to 4 s, one deployment with {RATE_PER_MINUTE} starts a minute \
             and {CONCURRENCY} at a time, {:.0} s of it",
            setup.devices,
            took.as_secs_f64()
        ),
        values: vec![
            Value::new("most starts in any 60 s", minute as f64, "").limit(Limit::Below(f64::from(RATE_PER_MINUTE) + 1.0)),
            Value::new("most at a time", at_a_time as f64, "").limit(Limit::Below(f64::from(CONCURRENCY) + 1.0)),
            Value::new("starts", attempts.len() as f64, ""),
            Value::new("starts a minute on average", attempts.len() as f64 * 60.0 / took.as_secs_f64().max(1.0), "/min"),
            Value::new("ended", ended as f64, ""),
            Value::new("errors", summary.errors.total() as f64, "").limit(Limit::Zero),
        ],
        notes: vec![
            if over { "all tasks were over".into() } else { "stopped before all tasks were over".into() },
            format!("errors: {}", summary.errors),
        ],
    })
}

/// Waits until every task has finished.
async fn until_over(setup: &DeploymentSetup, id: &str) -> Result<Json> {
    let deadline = Instant::now() + ENDS_WITHIN;
    loop {
        let deployment = setup.api.deployment(id).await?;
        if !deployment["finished_at"].is_null() {
            return Ok(deployment);
        }
        ensure!(Instant::now() < deadline, "not over within {ENDS_WITHIN:?}: {}", deployment["counts"]);
        sleep(LOOK_EVERY).await;
    }
}
