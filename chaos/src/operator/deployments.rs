//! Simulated operator of deployments: creates, pauses, resumes and cancels deployments at random through the API of any node
//! while faults are in force, engages the kill switch at times, and records when each stop was acknowledged.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use hyper::Method;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::clock::now;
use crate::deployment_api::{Api, Apk};
use crate::oracle::{OperatorAction, append_action};
use crate::signals::{Stop, stopped};

/// Most devices of a deployment.
const DEVICES: usize = 200;
/// Attempts to turn the kill switch off, each with its own retries.
const RELEASE_ATTEMPTS: u32 = 5;
/// Time that the kill switch stays on; longer than it takes to be in force.
const KILL_SWITCH_TIME: Duration = Duration::from_secs(14);

/// Plan of a deployer.
#[derive(Debug, Clone)]
pub struct DeployerPlan {
    /// Nodes.
    pub servers: Vec<String>,
    /// Password of `admin`.
    pub admin_password: String,
    /// APKs: versions of one package, the oldest first.
    pub apks: Vec<PathBuf>,
    /// Package of the APKs.
    pub package: String,
    /// Pause between two actions.
    pub pause: Duration,
    /// Seed of all choices.
    pub seed: u64,
    /// Record that gets a line for every stop.
    pub record: PathBuf,
    /// Restriction to devices with this tag.
    pub tag: Option<String>,
    /// Whether the kill switch is engaged at times.
    pub kill_switch: bool,
    /// Timeout of one attempt of a call.
    pub timeout: Duration,
}

/// Summary of a deployer.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DeployerSummary {
    /// Ids of the created deployments, in order.
    pub made: Vec<String>,
    /// Acknowledged pauses, resumptions, cancellations and flag changes.
    #[serde(rename = "acts")]
    pub actions: u64,
    /// Refused actions, for instance on a finished deployment.
    pub refused: u64,
}

impl fmt::Display for DeployerSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "deployments: {} created, {} times paused, resumed or canceled, {} requests refused",
            self.made.len(),
            self.actions,
            self.refused
        )
    }
}

/// Running deployer.
pub struct RunningDeployer {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<Deployer>>,
}

impl RunningDeployer {
    /// Ends the deployer, cancels unfinished deployments and releases the kill switch.
    ///
    /// # Errors
    /// The cluster does not respond, or the record cannot be written.
    pub async fn finish(self) -> Result<Deployer> {
        self.stop.send_replace(true);
        let mut deployer = self.task.await.context("the deployer has failed")??;
        deployer.release_kill_switch(0).await?;
        for id in deployer.summary.made.clone() {
            deployer.transition(0, &id, "cancel").await?;
        }
        Ok(deployer)
    }
}

/// Uploads the APKs and starts a deployer.
///
/// # Errors
/// The cluster does not accept them.
pub async fn start(plan: DeployerPlan) -> Result<RunningDeployer> {
    let api = Api::with_timeout(plan.servers.clone(), &plan.admin_password, plan.timeout)?;
    let mut apks = Vec::new();
    for file in &plan.apks {
        apks.push(api.prepare(file, &plan.package).await?);
    }
    ensure!(!apks.is_empty(), "there is nothing to deploy");
    let (stop, stopped) = watch::channel(false);
    let deployer = Deployer { rng: SmallRng::seed_from_u64(plan.seed), api, apks, plan, summary: DeployerSummary::default() };
    Ok(RunningDeployer { stop, task: tokio::spawn(deployer.work(stopped)) })
}

/// Simulated operator of deployments.
pub struct Deployer {
    plan: DeployerPlan,
    api: Api,
    apks: Vec<Apk>,
    rng: SmallRng,
    /// Summary of the actions so far.
    pub summary: DeployerSummary,
}

impl Deployer {
    async fn work(mut self, mut stop: Stop) -> Result<Self> {
        let mut devices: Vec<String> = Vec::new();
        while !*stop.borrow() {
            if devices.is_empty() {
                // The node may be down: the next attempt uses another one.
                devices = self.devices().await.unwrap_or_default();
            }
            let node = self.rng.random_range(0..self.api.nodes());
            match (self.rng.random_range(0..20), self.random_deployment()) {
                (0, _) if self.plan.kill_switch => self.engage_kill_switch(node).await?,
                (1..=4, Some(id)) => self.transition(node, &id, "pause").await?,
                (5..=8, Some(id)) => self.transition(node, &id, "resume").await?,
                (9..=10, Some(id)) => self.transition(node, &id, "cancel").await?,
                _ => self.deploy(&devices).await?,
            }
            tokio::select! {
                () = stopped(&mut stop) => {}
                () = sleep(self.plan.pause) => {}
            }
        }
        Ok(self)
    }

    fn random_deployment(&mut self) -> Option<String> {
        // The latest deployments are the most likely to be unfinished.
        let recent = &self.summary.made[self.summary.made.len().saturating_sub(4)..];
        (!recent.is_empty()).then(|| recent[self.rng.random_range(0..recent.len())].clone())
    }

    async fn devices(&self) -> Result<Vec<String>> {
        let tag = self.plan.tag.as_ref().map(|tag| format!("&tag={tag}")).unwrap_or_default();
        let path = format!("/v1/devices?limit=500{tag}");
        let page = self.api.json(Method::GET, &path, None, &[200]).await?;
        Ok(page["items"].as_array().into_iter().flatten().filter_map(|item| item["id"].as_str().map(str::to_owned)).collect())
    }

    async fn deploy(&mut self, devices: &[String]) -> Result<()> {
        if devices.is_empty() {
            return Ok(());
        }
        let (target, options) = choose(devices, now(), &mut self.rng);
        let apk = &self.apks[self.rng.random_range(0..self.apks.len())];
        match self.api.deploy(apk, "soak", &target, &options).await {
            Ok(made) => self.summary.made.extend(made["id"].as_str().map(str::to_owned)),
            Err(error) => self.count_refusal(&error),
        }
        Ok(())
    }

    async fn transition(&mut self, node: usize, id: &str, what: &str) -> Result<()> {
        match self.api.transition(node, id, what).await {
            Ok(action) => self.record_action(node, &action)?,
            // The deployment has finished, most likely.
            Err(error) => self.count_refusal(&error),
        }
        Ok(())
    }

    async fn engage_kill_switch(&mut self, node: usize) -> Result<()> {
        match self.api.switch(node, "deployments.kill_switch", true).await {
            Ok(action) => self.record_action(node, &action)?,
            // The switch may be on nevertheless.
            Err(error) => self.count_refusal(&error),
        }
        sleep(KILL_SWITCH_TIME).await;
        self.release_kill_switch(node).await
    }

    /// Turns the kill switch off.
    async fn release_kill_switch(&mut self, node: usize) -> Result<()> {
        for _ in 0..RELEASE_ATTEMPTS {
            match self.api.switch(node, "deployments.kill_switch", false).await {
                Ok(action) => return self.record_action(node, &action),
                Err(error) => self.count_refusal(&error),
            }
        }
        anyhow::bail!("the kill switch cannot be turned off")
    }

    fn record_action(&mut self, node: usize, action: &OperatorAction) -> Result<()> {
        self.summary.actions += 1;
        append_action(&self.plan.record, self.api.server(node), now(), action)
    }

    fn count_refusal(&mut self, error: &anyhow::Error) {
        self.summary.refused += 1;
        tracing::debug!(%error, "refused");
    }

    /// Counters of the finished deployments from the API, to be read at quiescence.
    ///
    /// # Errors
    /// The cluster does not respond.
    pub async fn counts(&self) -> Result<Vec<(String, BTreeMap<String, u64>)>> {
        let mut counts = Vec::new();
        for id in &self.summary.made {
            let deployment = self.api.deployment(id).await?;
            if !deployment["finished_at"].is_null() {
                counts.push((id.clone(), counts_of(&deployment)));
            }
        }
        Ok(counts)
    }
}

/// Counters in the JSON of a deployment.
pub(crate) fn counts_of(deployment: &Value) -> BTreeMap<String, u64> {
    let counts = deployment["counts"].as_object().into_iter().flatten();
    counts.filter_map(|(state, count)| Some((state.clone(), count.as_u64()?))).collect()
}

/// A random valid target and options.
fn choose(devices: &[String], now: DateTime<Utc>, rng: &mut SmallRng) -> (Value, Value) {
    let wanted = rng.random_range(5..=DEVICES).min(devices.len());
    let first = rng.random_range(0..devices.len());
    let chosen: Vec<&String> = devices.iter().cycle().skip(first).take(wanted).collect();
    let size = rng.random_range(0..=5_usize).min(chosen.len());
    let rate = [0, 30, 120, 600][rng.random_range(0..4)];
    let mut options = json!({
        "canary": {"size": size, "success_threshold_pct": rng.random_range(30..=90), "min_count": size.max(1), "timeout_minutes": 5},
        "rate_per_minute": rate,
        "concurrency": rng.random_range(1..=50),
        "wifi_only": false,
        "min_battery_pct": 0,
        "retries": {"max": rng.random_range(0..=2), "backoff_seconds": rng.random_range(1..=5)},
        "failure_pause": {"threshold_pct": rng.random_range(20..=100), "min_count": 5},
    });
    if size == 0 {
        options["canary"] = json!({"size": 0});
    }
    if rng.random_bool(0.2) {
        // A window that may close while the deployment runs.
        let clock = |at: DateTime<Utc>| at.format("%H:%M").to_string();
        let end = now + TimeDelta::minutes(rng.random_range(1..10));
        options["window"] = json!({"start": clock(now - TimeDelta::hours(1)), "end": clock(end), "tz": "UTC"});
    }
    (json!({"ids": chosen}), options)
}

/// APKs of a folder for a soak: versions of one package, the oldest first.
pub fn versions_in(folder: &Path) -> Vec<PathBuf> {
    ["till-1.apk", "till-2.apk", "till-3.apk", "till-9-v2.apk"]
        .map(|name| folder.join(name))
        .into_iter()
        .filter(|file| file.is_file())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_chosen_is_valid() {
        let devices: Vec<String> = (0..50).map(|n| format!("d{n}")).collect();
        let mut rng = SmallRng::seed_from_u64(1);
        let now = DateTime::from_timestamp(1_795_275_377, 0).unwrap();
        for _ in 0..500 {
            let (target, options) = choose(&devices, now, &mut rng);
            let mut ids: Vec<&str> = target["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
            let chosen = ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert!(ids.len() == chosen && chosen >= 5, "each device once");
            let (size, least) = (options["canary"]["size"].as_u64().unwrap(), options["canary"]["min_count"].as_u64());
            assert!(least.is_none_or(|least| least <= size) && size <= chosen as u64, "{options}");
            assert_ne!(options["window"]["start"].as_str().unwrap_or("-"), options["window"]["end"].as_str().unwrap_or("+"));
        }
        assert_eq!(counts_of(&json!({"counts": {"queued": 2, "failed": 0}})), BTreeMap::from([("queued".into(), 2), ("failed".into(), 0)]));
    }
}
