//! Run of a drill: a fleet of its own on the common cluster, a record, and the checks of the oracle.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use domain::DeploymentId;
use domain::shard::shard_of_deployment;
use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::DeployDrillArgs;
use crate::clock::now;
use crate::deployment_api::{Api, Apk};
use crate::faults::Faults;
use crate::fleet::{self, FleetArgs, Summary};
use crate::harness::Cluster;
use crate::operator::deployments::counts_of;
use crate::oracle::{self, Check, History, OperatorAction, append_action, judge};

const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Time limit of enrollment and first heartbeats.
const FIRST_HEARTBEATS_WITHIN: Duration = Duration::from_secs(180);
/// Time after the acknowledgement within which a stop has to be in force.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(10);
/// Promises that drills are checked for; the others concern faults, which the soak covers.
const PROMISES: [&str; 4] = ["P2", "P3", "P5", "P6"];

#[derive(Parser)]
struct FleetCommandLine {
    #[command(flatten)]
    args: FleetArgs,
}

/// Environment that the drills share.
pub(super) struct Environment {
    pub(super) cluster: Cluster,
    pub(super) api: Api,
    pub(super) apk: Apk,
    pub(super) faults: Faults,
}

/// Stops a fleet when its drill ends.
struct StopOnDrop(watch::Sender<bool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

/// A running drill.
pub(super) struct DrillRun<'a> {
    pub(super) environment: &'a mut Environment,
    tag: String,
    record: PathBuf,
    state_dir: PathBuf,
    end_fleet: StopOnDrop,
    fleet: JoinHandle<Result<Summary>>,
    /// Deployments of this drill.
    made: Vec<String>,
}

/// Result of a drill.
pub(super) struct DrillResult {
    pub(super) summary: Summary,
    pub(super) checks: Vec<Check>,
    pub(super) history: History,
}

impl DrillResult {
    /// Number of recorded steps of this name.
    pub(super) fn steps(&self, name: &str) -> usize {
        self.history.deployments.steps.iter().filter(|step| step.step == name).count()
    }
}

impl<'a> DrillRun<'a> {
    /// Starts a fleet and waits for a heartbeat of every device.
    pub(super) async fn begin(environment: &'a mut Environment, args: &DeployDrillArgs, name: &str, more: &[&str]) -> Result<Self> {
        let folder = environment.cluster.folder().join(name);
        std::fs::create_dir_all(&folder)?;
        let (tag, record, state_dir) = (name.replace('_', "-"), folder.join("record.jsonl"), folder.join("fleet"));
        let servers: Vec<String> = environment.cluster.members().iter().map(|member| member.url()).collect();
        let words = [
            ("--server", servers.join(",")),
            ("--devices", args.devices.to_string()),
            ("--interval", "2s".into()),
            ("--transport", "mix".into()),
            ("--state-dir", state_dir.display().to_string()),
            ("--record", record.display().to_string()),
            ("--enroll-with", format!("admin:{}", environment.cluster.admin_password())),
            ("--alias-prefix", format!("drill-{tag}")),
            ("--tags", tag.clone()),
            ("--seed", args.seed.to_string()),
            ("--timeout", "5s".into()),
            ("--retry-min", "300ms".into()),
            ("--retry-max", "2s".into()),
            ("--outages-per-hour", "0".into()),
            ("--clock-off-share", "0".into()),
            ("--ramp-seconds", "1".into()),
        ];
        let words = words.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        let all =
            ["fleet".to_owned(), "--sessions-first".into()].into_iter().chain(words).chain(more.iter().map(|word| (*word).to_owned()));
        let (end_fleet, stop) = watch::channel(false);
        let fleet = tokio::spawn(Box::pin(fleet::run(FleetCommandLine::try_parse_from(all)?.args, stop)));
        let mut drill_run = Self { environment, tag, record, state_dir, end_fleet: StopOnDrop(end_fleet), fleet, made: Vec::new() };
        drill_run.wait_for_heartbeats(args.devices).await?;
        Ok(drill_run)
    }

    async fn wait_for_heartbeats(&mut self, devices: usize) -> Result<()> {
        let deadline = Instant::now() + FIRST_HEARTBEATS_WITHIN;
        let sql = format!(
            "SELECT count(*) FROM device d JOIN device_last_status s USING (device_id) WHERE d.alias LIKE 'drill-{}-%' AND d.deleted_at IS NULL",
            self.tag
        );
        loop {
            let heard: usize = self.environment.cluster.psql().run(&sql, &[]).await?.trim().parse()?;
            if heard >= devices {
                return Ok(());
            }
            ensure!(!self.fleet.is_finished(), "the fleet has ended early");
            ensure!(Instant::now() < deadline, "only {heard} of {devices} devices are heard");
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Deploys to the devices of the drill: without rate limit, canary and retries, unless `options` say otherwise.
    pub(super) async fn deploy(&mut self, options: &Value) -> Result<String> {
        let mut all = json!({"canary": {"size": 0}, "rate_per_minute": 0, "concurrency": 10_000, "wifi_only": false, "min_battery_pct": 0,
            "retries": {"max": 0, "backoff_seconds": 1}, "failure_pause": {"threshold_pct": 100, "min_count": 5}});
        for (name, value) in options.as_object().into_iter().flatten() {
            all[name] = value.clone();
        }
        let target = json!({"tags": [self.tag]});
        let made = self.environment.api.deploy(&self.environment.apk, &self.tag, &target, &all).await?;
        let id = made["id"].as_str().context("a deployment without id")?.to_owned();
        self.made.push(id.clone());
        Ok(id)
    }

    /// Polls a deployment until a condition holds.
    pub(super) async fn until(&self, id: &str, what: &str, within: Duration, is_true: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + within;
        loop {
            let deployment = self.environment.api.deployment(id).await?;
            if is_true(&deployment) {
                return Ok(deployment);
            }
            if Instant::now() > deadline {
                bail!("not within {within:?}: {what}; {}, {}", deployment["state"], deployment["counts"]);
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until a deployment has finished.
    pub(super) async fn until_finished(&self, id: &str, within: Duration) -> Result<Value> {
        self.until(id, "it is finished", within, |deployment| !deployment["finished_at"].is_null()).await
    }

    /// Waits until every node shows an action; an error names a node that is late.
    pub(super) async fn in_force(&self, id: &str, action: &OperatorAction, is_true: impl Fn(&Value) -> bool) -> Result<Duration> {
        append_action(&self.record.with_file_name("acts.jsonl"), self.environment.api.server(0), now(), action)?;
        let started = Instant::now();
        for node in 0..self.environment.api.nodes() {
            loop {
                let path = format!("/v1/deployments/{id}");
                let shown = self.environment.api.ask(node, &Method::GET, &path, &[], &[]).await?.json();
                if is_true(&shown) {
                    break;
                }
                let late = started.elapsed() > IN_FORCE_WITHIN;
                ensure!(!late, "{} does not show {:?} after {IN_FORCE_WITHIN:?}", self.environment.api.server(node), action.stop);
                sleep(POLL_INTERVAL).await;
            }
        }
        Ok(started.elapsed())
    }

    /// Name of the owner of a deployment.
    pub(super) async fn owner(&self, id: &str) -> Result<String> {
        let shard = shard_of_deployment(DeploymentId(id.parse()?)).0;
        let view = self.environment.api.json(Method::GET, "/v1/cluster", None, &[200]).await?;
        let shards = view["shards"].as_array().context("a cluster without shards")?;
        let owner = shards.iter().find(|found| found["shard"] == shard).and_then(|found| found["owner"].as_str());
        owner.map(str::to_owned).with_context(|| format!("shard {shard} has no owner"))
    }

    /// Checks that every task of a deployment has this state and error code; the number of tasks.
    pub(super) async fn expect_all(&self, id: &str, state: &str, code: Option<&str>) -> Result<usize> {
        let tasks = self.environment.api.tasks(id).await?;
        let differs = |task: &&Value| task["state"] != state || code.is_some_and(|code| task["error"] != code && task["reason"] != code);
        if let Some(task) = tasks.iter().find(differs) {
            let count = tasks.iter().filter(differs).count();
            bail!("{count} of {} tasks are not {state} ({}): {task}", tasks.len(), code.unwrap_or("no error"));
        }
        Ok(tasks.len())
    }

    /// Ends the fleet and checks its record.
    pub(super) async fn end(self) -> Result<DrillResult> {
        drop(self.end_fleet);
        let summary = self.fleet.await.context("the fleet has failed")??;
        let mut counts = Vec::new();
        for id in &self.made {
            let deployment = self.environment.api.deployment(id).await?;
            // Only of finished deployments, whose counters no longer change.
            if !deployment["finished_at"].is_null() {
                counts.push((id.clone(), counts_of(&deployment)));
            }
        }
        let mut history = History::default();
        history.read_record(&self.record)?;
        let actions = self.record.with_file_name("acts.jsonl");
        if actions.exists() {
            history.read_record(&actions)?;
        }
        history.read_state_dir(&self.state_dir)?;
        history.add_faults(self.environment.faults.spans());
        oracle::read_rows(&mut history, &self.environment.cluster.psql()).await?;
        // Deployments of other drills are not checked here.
        history.keep_deployments(&self.made);
        history.deployments.counts.extend(counts);
        let checks = judge(&history).checks.into_iter().filter(|check| PROMISES.contains(&check.promise)).collect();
        Ok(DrillResult { summary, checks, history })
    }
}
