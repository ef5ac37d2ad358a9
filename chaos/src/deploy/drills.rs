//! The drills: what is done to a deployment, and what has to come of it.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::stage::{Played, Site, Stage};
use super::{DeployDrillArgs, Drill};
use crate::faults::Fault;
use crate::oracle::append_action;

/// How long a deployment that is not slowed down may take.
const SOON: Duration = Duration::from_secs(120);
/// How long one may take that loses its node or its database.
const AFTER_FAULTS: Duration = Duration::from_secs(300);
/// How long PostgreSQL is away.
const NO_DATABASE: Duration = Duration::from_secs(6);
/// How long a stop is watched: longer than it may take to be in force.
const WATCHED: Duration = Duration::from_secs(16);

/// Plays one; what it showed, and the oracle's findings.
pub(super) async fn play(site: &mut Site, args: &DeployDrillArgs, drill: Drill) -> Result<(String, Played)> {
    match drill {
        Drill::CanaryFailure => canary_failure(site, args).await,
        Drill::ChecksumMismatch => all_end(site, args, drill, "failed", "checksum_mismatch").await,
        Drill::SignerMismatch => all_end(site, args, drill, "failed", "signer_mismatch").await,
        Drill::NoSpace => all_end(site, args, drill, "skipped", "low_storage").await,
        Drill::PermissionDenied => all_end(site, args, drill, "failed", "not_permitted").await,
        Drill::NetworkDrops => network_drops(site, args).await,
        Drill::NodeKilled => disturbed(site, args, drill).await,
        Drill::DatabaseRestart => disturbed(site, args, drill).await,
        Drill::PauseCancelKill => pause_cancel_kill(site, args).await,
    }
}

fn count(deployment: &Value, state: &str) -> u64 {
    deployment["counts"][state].as_u64().unwrap_or(0)
}

async fn canary_failure(site: &mut Site, args: &DeployDrillArgs) -> Result<(String, Played)> {
    let mut stage = Stage::begin(site, args, "canary_failure", &["--deploy-fail", "install_failed=1"]).await?;
    let first = 3;
    let canary = json!({"size": first, "success_threshold_pct": 90, "min_count": first, "timeout_minutes": 5});
    let id = stage.deploy(&json!({"canary": canary, "concurrency": 5})).await?;
    let paused = stage.until(&id, "it pauses by itself", SOON, |deployment| deployment["state"] == "paused").await?;
    ensure!(paused["pause_reason"] == "canary_failed", "it paused because of {}", paused["pause_reason"]);
    ensure!(paused["phase"] == "canary", "it is in the phase {}", paused["phase"]);
    ensure!(paused["rollback"]["offered"] == true, "no rollback is offered: {}", paused["rollback"]);
    let began = stage.site.api.tasks(&id).await?.iter().filter(|task| task["attempts"].as_u64() > Some(0)).count();
    ensure!(began <= first, "{began} devices began, the first are {first}");
    let cancel = stage.site.api.steer(0, &id, "cancel").await?;
    stage.in_force(&id, &cancel, |deployment| deployment["state"] == "canceled").await?;
    stage.until_finished(&id, SOON).await?;
    let shown = format!("paused by itself after {began} of {} devices, rollback offered ({})", args.devices, paused["rollback"]);
    Ok((shown, stage.end().await?))
}

/// All devices end alike, and the server knows why.
async fn all_end(site: &mut Site, args: &DeployDrillArgs, drill: Drill, state: &str, code: &str) -> Result<(String, Played)> {
    let share = format!("{code}=1");
    let full: &[&str] = if drill == Drill::NoSpace { &["--storage-free-mb", "0"] } else { &["--deploy-fail", &share] };
    let mut stage = Stage::begin(site, args, drill.name(), full).await?;
    let id = stage.deploy(&json!({})).await?;
    stage.until_finished(&id, SOON).await?;
    let ended = stage.all_are(&id, state, Some(code)).await?;
    let played = stage.end().await?;
    ensure!(played.steps("installed") == 0, "{} devices installed it nevertheless", played.steps("installed"));
    Ok((format!("{ended} devices {state} with {code}, none installed it"), played))
}

async fn network_drops(site: &mut Site, args: &DeployDrillArgs) -> Result<(String, Played)> {
    let mut stage = Stage::begin(site, args, "network_drops", &["--deploy-drop", "1", "--download-piece", "2000"]).await?;
    let id = stage.deploy(&json!({})).await?;
    stage.until_finished(&id, SOON).await?;
    let ended = stage.all_are(&id, "succeeded", None).await?;
    let played = stage.end().await?;
    let downloads = played.steps("downloaded");
    ensure!(downloads == ended, "{downloads} downloads for {ended} devices");
    let kib = played.summary.downloaded_bytes >> 10;
    Ok((format!("{ended} devices lost the network in the middle and went on from there, {kib} KiB in all"), played))
}

/// The node that drives it, or the database, goes away in the middle.
async fn disturbed(site: &mut Site, args: &DeployDrillArgs, drill: Drill) -> Result<(String, Played)> {
    let mut stage = Stage::begin(site, args, drill.name(), &["--install-time", "500ms..2s"]).await?;
    // About a minute for all.
    let rate = args.devices.max(12);
    let first = json!({"size": 3, "success_threshold_pct": 90, "min_count": 3, "timeout_minutes": 30});
    let options = json!({"canary": first, "rate_per_minute": rate, "concurrency": 5, "retries": {"max": 3, "backoff_seconds": 2}});
    let id = stage.deploy(&options).await?;
    stage.until(&id, "some have succeeded", SOON, |deployment| count(deployment, "succeeded") >= 5).await?;
    let owner = stage.owner(&id).await?;
    let fault = if drill == Drill::NodeKilled { Fault::Kill { node: owner.clone() } } else { Fault::StopDatabase };
    let number = stage.site.faults.inject(&mut stage.site.cluster, fault).await?;
    let shown = if drill == Drill::NodeKilled {
        let before = stage.site.api.deployment(&id).await?;
        let more = count(&before, "succeeded") + 3;
        let all = args.devices as u64;
        let went_on = |deployment: &Value| count(deployment, "succeeded") >= more.min(all);
        stage.until(&id, "it goes on elsewhere", AFTER_FAULTS, went_on).await?;
        let heir = stage.owner(&id).await?;
        ensure!(heir != owner, "{owner} still owns it, although it is dead");
        stage.until_finished(&id, AFTER_FAULTS).await?;
        stage.site.faults.heal(&mut stage.site.cluster, number).await?;
        format!("{owner} was killed after {} of {all}, {heir} went on", count(&before, "succeeded"))
    } else {
        sleep(NO_DATABASE).await;
        stage.site.faults.heal(&mut stage.site.cluster, number).await?;
        stage.until_finished(&id, AFTER_FAULTS).await?;
        format!("PostgreSQL was away for {NO_DATABASE:?} in the middle")
    };
    let ended = stage.all_are(&id, "succeeded", None).await?;
    Ok((format!("{shown}; {ended} devices succeeded"), stage.end().await?))
}

/// Pause, kill switch and cancel, each asked of another node and looked for at every node.
async fn pause_cancel_kill(site: &mut Site, args: &DeployDrillArgs) -> Result<(String, Played)> {
    let mut stage = Stage::begin(site, args, "pause_cancel_kill", &["--roam-share", "0.2"]).await?;
    // As slow as it takes for some to be left at the end.
    let options = json!({"rate_per_minute": (args.devices / 2).max(6), "concurrency": 3});
    let id = stage.deploy(&options).await?;
    stage.until(&id, "it has begun", SOON, |deployment| count(deployment, "succeeded") >= 1).await?;

    let pause = stage.site.api.steer(0, &id, "pause").await?;
    let paused_in = stage.in_force(&id, &pause, |deployment| deployment["state"] == "paused").await?;
    sleep(WATCHED).await;
    let resume = stage.site.api.steer(1, &id, "resume").await?;
    stage.in_force(&id, &resume, |deployment| deployment["state"] == "running").await?;
    sleep(Duration::from_secs(5)).await;

    let kill = stage.site.api.switch(1, "deployments.kill_switch", true).await?;
    let killed_in = stage.in_force(&id, &kill, |deployment| deployment["blocked_by"] == "kill_switch").await?;
    sleep(WATCHED).await;
    let release = stage.site.api.switch(2, "deployments.kill_switch", false).await?;
    stage.in_force(&id, &release, |deployment| deployment["blocked_by"].is_null()).await?;
    sleep(Duration::from_secs(5)).await;

    let cancel = stage.site.api.steer(2, &id, "cancel").await?;
    let canceled_in = stage.in_force(&id, &cancel, |deployment| deployment["state"] == "canceled").await?;
    sleep(WATCHED).await;
    let ended = stage.until_finished(&id, SOON).await?;
    let shown = format!(
        "shown by every node after: pause {paused_in:.1?}, kill switch {killed_in:.1?}, cancel {canceled_in:.1?}; {} succeeded, {} canceled",
        count(&ended, "succeeded"),
        count(&ended, "canceled")
    );
    ensure!(count(&ended, "canceled") > 0, "nothing was left to cancel: {}", ended["counts"]);
    Ok((shown, stage.end().await?))
}

/// Whatever a drill left behind is put right, so that the next one finds all nodes and no stop on.
pub(super) async fn tidy_up(site: &mut Site, drill: Drill) -> Result<()> {
    site.faults.heal_all(&mut site.cluster).await?;
    let release = site.api.switch(0, "deployments.kill_switch", false).await?;
    let actions = site.cluster.folder().join(drill.name()).join("acts.jsonl");
    append_action(&actions, site.api.server(0), crate::clock::now(), &release)
}
