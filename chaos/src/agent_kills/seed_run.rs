//! One seed from its agents' enrollment to its verdict.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::AgentKillsArgs;
use super::drain::until_drained;
use super::schedule::{AgentSchedule, DeviceChange, Schedule};
use super::site::{ANSWER_WITHIN, EXEC, PACKAGE, Site};
use crate::clock::now;
use crate::host_agent::{AppVersion, DeviceProfile, ExitReason, HostAgent, HostAgents, HostAgentsPlan, HostAgentsSummary};
use crate::identity::key_history;
use crate::network::Modes;
use crate::operator::deployments::{self, Deployer, DeployerPlan, versions_in};
use crate::operator::{self, ActionMix, OperatorPlan, Running};
use crate::oracle::{self, Check, History, HostAgentFiles, Verdict, Violation};

/// How long all agents may take to start and enroll.
const ENROLLED_WITHIN: Duration = Duration::from_secs(120);
/// Promises that are judged here; the others are about what this run does not do, or about agents that try again at once.
const PROMISES: [&str; 6] = ["P1", "P2", "P3", "P5", "P6", "P14"];
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long an agent is without network after all is healed, so that its return makes it deliver at once.
const NETWORK_GAP: Duration = Duration::from_millis(400);

/// An agent, what happens to it, and what it believes to run on.
struct Actor {
    agent: Arc<HostAgent>,
    schedule: AgentSchedule,
    profile: DeviceProfile,
    /// When its database was damaged, microseconds.
    damaged_us: Option<i64>,
}

pub(super) async fn run(site: &mut Site, args: &AgentKillsArgs, schedule: &Schedule, first_number: u64) -> Result<Verdict> {
    let tag = format!("seed-{}-{first_number}", schedule.seed);
    let folder = site.cluster.folder().join(&tag);
    std::fs::create_dir_all(&folder)?;
    let actors = actors(site, args, schedule, first_number, &tag, &folder).await?;
    let (begin, begins) = watch::channel(None);
    let enrolling: Vec<Arc<HostAgent>> = actors.iter().map(|actor| Arc::clone(&actor.agent)).collect();
    let mut living: JoinSet<Result<Actor>> = JoinSet::new();
    for actor in actors {
        living.spawn(Box::pin(live(actor, begins.clone())));
    }
    let started = Instant::now();
    until_enrolled(&enrolling).await?;
    println!("{} agents are enrolled after {:.1} s", enrolling.len(), started.elapsed().as_secs_f64());
    drop(enrolling);
    begin.send_replace(Some(Instant::now()));

    let orders = folder.join("orders.jsonl");
    let operator = operator::start(operator_plan(site, args, schedule.seed, &tag), &orders)?;
    let first = deploy_to_all(site, schedule.seed, &tag).await?;
    let acts = folder.join("acts.jsonl");
    let deploying = start_deployments(site, args, schedule.seed, &tag, &acts).await?;
    let disturbed = disturb(site, args, schedule, &operator).await;
    let died = site.heal().await?;
    disturbed?;
    println!("{}", operator.finish().await?);
    let mut deployer = deploying.finish().await?;
    println!("{}", deployer.summary);
    let mut actors = Vec::new();
    while let Some(lived) = living.join_next().await {
        actors.push(lived.context("an agent's task has failed")??);
    }
    println!("all is healed and every agent lives after {:.1} s", started.elapsed().as_secs_f64());
    come_back(&actors).await?;
    let lost = actors.iter().find_map(|actor| actor.damaged_us.zip(device_id(&actor.agent)));
    let lost = lost.as_ref().map(|(at_us, device)| (device.as_str(), *at_us));
    let unfinished = until_drained(&site.cluster.psql(), &tag, lost, args.drained_within).await?;
    println!("drained after {:.1} s", started.elapsed().as_secs_f64());
    // Only a device that lost its database can have left it unfinished; one that is over cannot be canceled any more.
    let _ = site.api.steer(0, &first, "cancel").await;
    deployer.summary.made.push(first);
    if let Some(build) = &site.build {
        build.roll_back(&site.api).await?;
    }
    let summary = stop(&actors).await;
    let aftermath = aftermath(&actors, &summary, unfinished, died);
    judge(site, &actors, &folder, &deployer, aftermath).await
}

async fn actors(
    site: &Site,
    args: &AgentKillsArgs,
    schedule: &Schedule,
    first_number: u64,
    tag: &str,
    folder: &Path,
) -> Result<Vec<Actor>> {
    let plan = HostAgentsPlan {
        jvm: &site.jvm,
        count: args.agents,
        first_number,
        servers: site.servers(),
        enroll_at: site.cluster.members()[0].url().parse().map_err(anyhow::Error::msg)?,
        credentials: Some(format!("admin:{}", site.cluster.admin_password()).parse().map_err(anyhow::Error::msg)?),
        tags: vec![tag.to_owned()],
        groups: Vec::new(),
        folder: folder.to_owned(),
        record: None,
        interval: Some(args.interval),
        seed: schedule.seed,
    };
    let mut profiles = Vec::new();
    let agents = HostAgents::prepare(plan, |number, profile| {
        profile.clock_offset_ms = schedule.agents[(number - first_number) as usize].clock_offset_ms;
        profile.sdk_int = profile.sdk_int.max(33);
        if let Some(build) = &site.build {
            profile.agent = build.before.clone();
        }
        let app = AppVersion { version_code: 1, version_name: "1.0".into(), signers: None };
        profile.apps.insert("com.example.kiosk".into(), app);
        profiles.push(profile.clone());
    })
    .await?;
    let schedules = schedule.agents.iter().cloned();
    let actors = agents.into_shared().into_iter().zip(schedules).zip(profiles);
    Ok(actors.map(|((agent, schedule), profile)| Actor { agent, schedule, profile, damaged_us: None }).collect())
}

/// The lives of an agent up to the beginning of its last one.
async fn live(mut actor: Actor, mut begins: watch::Receiver<Option<Instant>>) -> Result<Actor> {
    let changing = change_device(actor.agent.options().profile(), actor.profile.clone(), actor.schedule.change, begins.clone());
    let lives = async {
        for life in &actor.schedule.lives {
            actor.agent.start(life.halt_at.clone()).await?;
            let in_time = async {
                // Its time runs from the beginning on, but a halt before that is one, too.
                tokio::select! {
                    () = actor.agent.until_ended() => return,
                    begun = begins.wait_for(Option::is_some) => drop(begun),
                }
                // An agent that does not get to where it halts is killed wherever it is.
                let _ = timeout(life.killed_after, actor.agent.until_ended()).await;
            };
            in_time.await;
            actor.agent.kill().await?;
            if life.database_damaged {
                damage_database(&actor.agent.options().state_dir())?;
                actor.damaged_us = Some(now().timestamp_micros());
            }
            sleep(life.down).await;
            if !is_enrolled(&actor.agent) {
                // It was halted while it enrolled: the beginning waits for it.
                actor.agent.start(None).await?;
                until_enrolled(std::slice::from_ref(&actor.agent)).await?;
                actor.agent.kill().await?;
            }
        }
        actor.agent.start(None).await
    };
    let (changed, lived) = tokio::join!(changing, lives);
    changed.and(lived)?;
    Ok(actor)
}

/// Makes the device another one for a while.
async fn change_device(
    path: std::path::PathBuf,
    profile: DeviceProfile,
    change: Option<(Duration, Duration, DeviceChange)>,
    mut begins: watch::Receiver<Option<Instant>>,
) -> Result<()> {
    let Some((at, until, change)) = change else { return Ok(()) };
    let Some(begun) = *begins.wait_for(Option::is_some).await? else { return Ok(()) };
    let mut changed = profile.clone();
    match change {
        DeviceChange::StorageFull => changed.storage_free_mb = 0,
        DeviceChange::NotValidated => changed.validated = false,
        DeviceChange::NoNetwork => (changed.transport, changed.validated) = ("none".into(), false),
        DeviceChange::Metered => (changed.transport, changed.metered) = ("cellular".into(), true),
        DeviceChange::InCall => changed.in_call = true,
        DeviceChange::BatteryLow => (changed.battery_pct, changed.charging) = (5, false),
        DeviceChange::NotPermitted => changed.install.verdict = "not_permitted".into(),
    }
    sleep_until(begun + at).await;
    changed.write(&path)?;
    sleep_until(begun + until).await;
    profile.write(&path)
}

/// Overwrites the beginning of the database and of its log, as a failing flash would.
fn damage_database(state_dir: &Path) -> Result<()> {
    use std::os::unix::fs::FileExt;
    for name in ["agent.db", "agent.db-wal"] {
        let path = state_dir.join(name);
        if path.exists() {
            let file = std::fs::OpenOptions::new().write(true).open(&path).with_context(|| path.display().to_string())?;
            file.write_all_at(&[0xA5; 4_096], 0)?;
        }
    }
    Ok(())
}

/// Whether the agent has kept who it is: from then on a kill costs it nothing.
fn is_enrolled(agent: &HostAgent) -> bool {
    let document = std::fs::read(agent.options().state_dir().join("identity.json")).unwrap_or_default();
    serde_json::from_slice::<serde_json::Value>(&document).is_ok_and(|vault| vault["identity"].is_object())
}

fn device_id(agent: &HostAgent) -> Option<String> {
    key_history(&agent.options().state_dir()).ok()?.into_keys().next()
}

async fn until_enrolled(agents: &[Arc<HostAgent>]) -> Result<()> {
    let deadline = Instant::now() + ENROLLED_WITHIN;
    loop {
        let Some(missing) = agents.iter().find(|agent| !is_enrolled(agent)) else { return Ok(()) };
        let unexpected = missing.exits().into_iter().find(|exit| matches!(exit.reason, ExitReason::Unexpected(_)));
        if let Some(exit) = unexpected {
            anyhow::bail!("{} ended before it was enrolled: {:?}", missing.options().alias, exit.reason);
        }
        anyhow::ensure!(Instant::now() < deadline, "{} is not enrolled after {ENROLLED_WITHIN:?}", missing.options().alias);
        sleep(LOOK_EVERY).await;
    }
}

fn operator_plan(site: &Site, args: &AgentKillsArgs, seed: u64, tag: &str) -> OperatorPlan {
    OperatorPlan {
        servers: site.cluster.members().iter().map(|member| member.url()).collect(),
        admin_password: site.cluster.admin_password().to_owned(),
        pause: args.order_every,
        expires_in_s: 300,
        timeout: Duration::from_secs(5),
        seed,
        tag: Some(tag.to_owned()),
        actions: ActionMix::All { package: "com.example.kiosk".into(), exec: EXEC.into() },
    }
}

async fn start_deployments(site: &Site, args: &AgentKillsArgs, seed: u64, tag: &str, acts: &Path) -> Result<deployments::Deploying> {
    let plan = DeployerPlan {
        servers: site.cluster.members().iter().map(|member| member.url()).collect(),
        admin_password: site.cluster.admin_password().to_owned(),
        apks: versions_in(&args.apks),
        package: PACKAGE.into(),
        pause: Duration::from_secs(4),
        seed,
        record: acts.to_owned(),
        tag: Some(tag.to_owned()),
        kill_switch: false,
        timeout: ANSWER_WITHIN,
    };
    deployments::start(plan).await
}

/// A deployment to every agent of the seed; of four seeds one begins with a few devices, and one keeps to a pace.
async fn deploy_to_all(site: &Site, seed: u64, tag: &str) -> Result<String> {
    let (canary, rate, concurrency) = match seed % 4 {
        0 => (json!({"size": 3, "success_threshold_pct": 30, "min_count": 2, "timeout_minutes": 5}), 0, 1_000),
        1 => (json!({"size": 0}), 600, 8),
        _ => (json!({"size": 0}), 0, 1_000),
    };
    let options = json!({"canary": canary, "rate_per_minute": rate, "concurrency": concurrency, "wifi_only": false,
        "min_battery_pct": 0, "retries": {"max": 2, "backoff_seconds": 1}, "failure_pause": {"threshold_pct": 100, "min_count": 5}});
    let made = site.api.deploy(&site.apk, tag, &json!({"tags": [tag]}), &options).await?;
    Ok(made["id"].as_str().context("a deployment without id")?.to_owned())
}

/// A turn of the schedule.
enum Turn {
    Inject(usize),
    Heal(usize),
    Access(usize, Modes),
    End,
}

/// Does and undoes everything but what happens to agents, at its time.
async fn disturb(site: &mut Site, args: &AgentKillsArgs, schedule: &Schedule, operator: &Running) -> Result<()> {
    let started = Instant::now();
    let mut turns = vec![(args.disturbed, Turn::End)];
    for (n, step) in schedule.faults.iter().enumerate() {
        turns.push((step.at, Turn::Inject(n)));
        turns.push((step.until, Turn::Heal(n)));
    }
    for fault in &schedule.access {
        turns.push((fault.at, Turn::Access(fault.node, Modes::both(fault.mode))));
        turns.push((fault.until, Turn::Access(fault.node, Modes::default())));
    }
    turns.sort_by_key(|(at, _)| *at);
    let Site { cluster, faults, access, api, build, .. } = site;
    let updating = async {
        let Some((at, build)) = schedule.update_at.zip(build.as_ref()) else { return Ok(()) };
        sleep_until(started + at).await;
        build.promote(api).await?;
        operator.order_for_all("update").await
    };
    let disturbing = async {
        let mut numbers = vec![None; schedule.faults.len()];
        for (at, turn) in turns {
            sleep_until(started + at).await;
            match turn {
                Turn::Inject(n) => numbers[n] = Some(faults.inject(cluster, schedule.faults[n].fault.clone()).await?),
                Turn::Heal(n) => {
                    if let Some(number) = numbers[n] {
                        faults.heal(cluster, number).await?;
                    }
                }
                Turn::Access(node, modes) => access[node].set(modes),
                Turn::End => {}
            }
        }
        anyhow::Ok(())
    };
    // Beside each other: an answer may have to wait for the end of a fault.
    let (updated, disturbed) = tokio::join!(updating, disturbing);
    disturbed.and(updated)
}

/// Takes the network from all agents for a moment: when it is back, they deliver at once whatever they were waiting for.
async fn come_back(actors: &[Actor]) -> Result<()> {
    for validated in [false, true] {
        for actor in actors {
            DeviceProfile { validated, ..actor.profile.clone() }.write(&actor.agent.options().profile())?;
        }
        sleep(NETWORK_GAP).await;
    }
    Ok(())
}

async fn stop(actors: &[Actor]) -> HostAgentsSummary {
    let stopping: Vec<JoinHandle<()>> = actors
        .iter()
        .map(|actor| {
            let agent = Arc::clone(&actor.agent);
            // What went wrong is among its ends.
            tokio::spawn(async move { drop(agent.stop().await) })
        })
        .collect();
    for stopped in stopping {
        let _ = stopped.await;
    }
    let mut summary = HostAgentsSummary::default();
    actors.iter().for_each(|actor| summary.add(&actor.agent));
    summary
}

/// All agents run to the end and finish what they have, and so do the nodes.
fn aftermath(actors: &[Actor], summary: &HostAgentsSummary, unfinished: Option<String>, died: Vec<String>) -> Check {
    let (mut halted, mut killed) = (Vec::new(), 0);
    for exit in actors.iter().flat_map(|actor| actor.agent.exits()) {
        match exit.reason {
            ExitReason::Halted(point) => halted.push(point.event),
            ExitReason::Killed => killed += 1,
            _ => {}
        }
    }
    halted.sort();
    let halts = halted.len();
    halted.dedup();
    let ended = summary.unexpected_ends.iter().map(|end| format!("ended by itself: {end}"));
    let died = died.into_iter().map(|name| format!("{name} had ended by itself; its log says why"));
    let violation = |what| Violation { promise: "end", device: String::new(), what };
    Check {
        promise: "end",
        looked_at: format!(
            "{} agents, {halts} times halted at a step, {killed} times killed, {} times restarted by their platforms; all finish and stop",
            summary.agents, summary.restarts
        ),
        violations: ended.chain(died).chain(unfinished).map(violation).collect(),
        notes: vec![format!("halted at {}", halted.join(", "))],
    }
}

async fn judge(site: &Site, actors: &[Actor], folder: &Path, deployer: &Deployer, aftermath: Check) -> Result<Verdict> {
    let mut history = History { orders_are_all: true, ..History::default() };
    for actor in actors {
        let options = actor.agent.options();
        history.read_host_agent(&HostAgentFiles {
            state_dir: &options.state_dir(),
            record: Some(&options.record),
            first_version: Some(actor.profile.agent.version_code),
            database_damaged_us: actor.damaged_us,
        })?;
    }
    for name in ["orders.jsonl", "acts.jsonl"] {
        let record = folder.join(name);
        if record.exists() {
            history.read_record(&record)?;
        }
    }
    history.take_faults(site.faults.spans());
    let counts = deployer.counts().await?;
    oracle::read_rows(&mut history, &site.cluster.psql()).await?;
    history.keep_deployments(&deployer.summary.made);
    history.deployments.counts.extend(counts);
    let checks = oracle::judge(&history).checks.into_iter().filter(|check| PROMISES.contains(&check.promise));
    Ok(Verdict { checks: checks.chain([aftermath]).collect() })
}
