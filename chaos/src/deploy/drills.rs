//! Drills: the fault of a deployment and the expected result.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::drill_run::{DrillResult, DrillRun, Environment};
use super::{DeployDrillArgs, Drill};
use crate::faults::Fault;
use crate::oracle::append_action;

/// Time limit of a deployment without rate limit.
const SOON: Duration = Duration::from_secs(120);
/// Time limit of a deployment that loses its owner or the database.
const AFTER_FAULTS: Duration = Duration::from_secs(300);
/// Duration of the PostgreSQL outage.
const NO_DATABASE: Duration = Duration::from_secs(6);
/// Time that a stop is observed; longer than it takes to be in force.
const WATCHED: Duration = Duration::from_secs(16);

/// Runs a drill; a description of its outcome, and its result.
pub(super) async fn run_drill(environment: &mut Environment, args: &DeployDrillArgs, drill: Drill) -> Result<(String, DrillResult)> {
    match drill {
        Drill::CanaryFailure => canary_failure(environment, args).await,
        Drill::ChecksumMismatch => all_end(environment, args, drill, "failed", "checksum_mismatch").await,
        Drill::SignerMismatch => all_end(environment, args, drill, "failed", "signer_mismatch").await,
        Drill::NoSpace => all_end(environment, args, drill, "skipped", "low_storage").await,
        Drill::PermissionDenied => all_end(environment, args, drill, "skipped", "not_permitted").await,
        Drill::NetworkDrops => network_drops(environment, args).await,
        Drill::NodeKilled => disturbed(environment, args, drill).await,
        Drill::DatabaseRestart => disturbed(environment, args, drill).await,
        Drill::PauseCancelKill => pause_cancel_kill(environment, args).await,
    }
}

fn count(deployment: &Value, state: &str) -> u64 {
    deployment["counts"][state].as_u64().unwrap_or(0)
}

async fn canary_failure(environment: &mut Environment, args: &DeployDrillArgs) -> Result<(String, DrillResult)> {
    let mut drill_run = DrillRun::begin(environment, args, "canary_failure", &["--deploy-fail", "install_failed=1"]).await?;
    let first = 3;
    let canary = json!({"size": first, "success_threshold_pct": 90, "min_count": first, "timeout_minutes": 5});
    let id = drill_run.deploy(&json!({"canary": canary, "concurrency": 5})).await?;
    let paused = drill_run.until(&id, "it pauses by itself", SOON, |deployment| deployment["state"] == "paused").await?;
    ensure!(paused["pause_reason"] == "canary_failed", "it paused because of {}", paused["pause_reason"]);
    ensure!(paused["phase"] == "canary", "it is in the phase {}", paused["phase"]);
    ensure!(paused["rollback"]["offered"] == true, "no rollback is offered: {}", paused["rollback"]);
    let began = drill_run.environment.api.tasks(&id).await?.iter().filter(|task| task["attempts"].as_u64() > Some(0)).count();
    ensure!(began <= first, "{began} devices began, the first are {first}");
    let cancel = drill_run.environment.api.transition(0, &id, "cancel").await?;
    drill_run.in_force(&id, &cancel, |deployment| deployment["state"] == "canceled").await?;
    drill_run.until_finished(&id, SOON).await?;
    let shown = format!("paused automatically after {began} of {} devices, rollback offered ({})", args.devices, paused["rollback"]);
    Ok((shown, drill_run.end().await?))
}

/// Drill in which all devices end with the same state and code.
async fn all_end(
    environment: &mut Environment,
    args: &DeployDrillArgs,
    drill: Drill,
    state: &str,
    code: &str,
) -> Result<(String, DrillResult)> {
    let share = format!("{code}=1");
    let full: &[&str] = if drill == Drill::NoSpace { &["--storage-free-mb", "0"] } else { &["--deploy-fail", &share] };
    let mut drill_run = DrillRun::begin(environment, args, drill.name(), full).await?;
    let id = drill_run.deploy(&json!({})).await?;
    drill_run.until_finished(&id, SOON).await?;
    let ended = drill_run.expect_all(&id, state, Some(code)).await?;
    let result = drill_run.end().await?;
    ensure!(result.steps("installed") == 0, "{} devices installed it nevertheless", result.steps("installed"));
    Ok((format!("{ended} devices {state} with {code}, none installed it"), result))
}

async fn network_drops(environment: &mut Environment, args: &DeployDrillArgs) -> Result<(String, DrillResult)> {
    let mut drill_run = DrillRun::begin(environment, args, "network_drops", &["--deploy-drop", "1", "--download-piece", "2000"]).await?;
    let id = drill_run.deploy(&json!({})).await?;
    drill_run.until_finished(&id, SOON).await?;
    let ended = drill_run.expect_all(&id, "succeeded", None).await?;
    let result = drill_run.end().await?;
    let downloads = result.steps("downloaded");
    ensure!(downloads == ended, "{downloads} downloads for {ended} devices");
    let kib = result.summary.downloaded_bytes >> 10;
    Ok((format!("{ended} devices lost the network during the download and resumed it, {kib} KiB in all"), result))
}

/// Drill in which the owner or the database fails during the deployment.
async fn disturbed(environment: &mut Environment, args: &DeployDrillArgs, drill: Drill) -> Result<(String, DrillResult)> {
    let mut drill_run = DrillRun::begin(environment, args, drill.name(), &["--install-time", "500ms..2s"]).await?;
    // About a minute in total.
    let rate = args.devices.max(12);
    let first = json!({"size": 3, "success_threshold_pct": 90, "min_count": 3, "timeout_minutes": 30});
    let options = json!({"canary": first, "rate_per_minute": rate, "concurrency": 5, "retries": {"max": 3, "backoff_seconds": 2}});
    let id = drill_run.deploy(&options).await?;
    drill_run.until(&id, "some have succeeded", SOON, |deployment| count(deployment, "succeeded") >= 5).await?;
    let owner = drill_run.owner(&id).await?;
    let fault = if drill == Drill::NodeKilled { Fault::Kill { node: owner.clone() } } else { Fault::StopDatabase };
    let number = drill_run.environment.faults.inject(&mut drill_run.environment.cluster, fault).await?;
    let shown = if drill == Drill::NodeKilled {
        let before = drill_run.environment.api.deployment(&id).await?;
        let more = count(&before, "succeeded") + 3;
        let all = args.devices as u64;
        let went_on = |deployment: &Value| count(deployment, "succeeded") >= more.min(all);
        drill_run.until(&id, "it goes on elsewhere", AFTER_FAULTS, went_on).await?;
        let new_owner = drill_run.owner(&id).await?;
        ensure!(new_owner != owner, "{owner} still owns it, although it is dead");
        drill_run.until_finished(&id, AFTER_FAULTS).await?;
        drill_run.environment.faults.heal(&mut drill_run.environment.cluster, number).await?;
        format!("{owner} was killed after {} of {all}, {new_owner} went on", count(&before, "succeeded"))
    } else {
        sleep(NO_DATABASE).await;
        drill_run.environment.faults.heal(&mut drill_run.environment.cluster, number).await?;
        drill_run.until_finished(&id, AFTER_FAULTS).await?;
        format!("PostgreSQL was unavailable for {NO_DATABASE:?} midway")
    };
    let ended = drill_run.expect_all(&id, "succeeded", None).await?;
    Ok((format!("{shown}; {ended} devices succeeded"), drill_run.end().await?))
}

/// Drill of pause, kill switch and cancel, each requested from another node and checked on every node.
async fn pause_cancel_kill(environment: &mut Environment, args: &DeployDrillArgs) -> Result<(String, DrillResult)> {
    let mut drill_run = DrillRun::begin(environment, args, "pause_cancel_kill", &["--roam-share", "0.2"]).await?;
    // Slow enough for some devices to be left at the end.
    let options = json!({"rate_per_minute": (args.devices / 2).max(6), "concurrency": 3});
    let id = drill_run.deploy(&options).await?;
    drill_run.until(&id, "it has begun", SOON, |deployment| count(deployment, "succeeded") >= 1).await?;

    let pause = drill_run.environment.api.transition(0, &id, "pause").await?;
    let paused_in = drill_run.in_force(&id, &pause, |deployment| deployment["state"] == "paused").await?;
    sleep(WATCHED).await;
    let resume = drill_run.environment.api.transition(1, &id, "resume").await?;
    drill_run.in_force(&id, &resume, |deployment| deployment["state"] == "running").await?;
    sleep(Duration::from_secs(5)).await;

    let kill = drill_run.environment.api.switch(1, "deployments.kill_switch", true).await?;
    let killed_in = drill_run.in_force(&id, &kill, |deployment| deployment["blocked_by"] == "kill_switch").await?;
    sleep(WATCHED).await;
    let release = drill_run.environment.api.switch(2, "deployments.kill_switch", false).await?;
    drill_run.in_force(&id, &release, |deployment| deployment["blocked_by"].is_null()).await?;
    sleep(Duration::from_secs(5)).await;

    let cancel = drill_run.environment.api.transition(2, &id, "cancel").await?;
    let canceled_in = drill_run.in_force(&id, &cancel, |deployment| deployment["state"] == "canceled").await?;
    sleep(WATCHED).await;
    let ended = drill_run.until_finished(&id, SOON).await?;
    let shown = format!(
        "shown by every node after: pause {paused_in:.1?}, kill switch {killed_in:.1?}, cancel {canceled_in:.1?}; {} succeeded, {} canceled",
        count(&ended, "succeeded"),
        count(&ended, "canceled")
    );
    ensure!(count(&ended, "canceled") > 0, "nothing was left to cancel: {}", ended["counts"]);
    Ok((shown, drill_run.end().await?))
}

/// Restores the environment after a drill: all nodes run and no stop is in force.
pub(super) async fn restore(environment: &mut Environment, drill: Drill) -> Result<()> {
    environment.faults.heal_all(&mut environment.cluster).await?;
    let release = environment.api.switch(0, "deployments.kill_switch", false).await?;
    let actions = environment.cluster.folder().join(drill.name()).join("acts.jsonl");
    append_action(&actions, environment.api.server(0), crate::clock::now(), &release)
}
