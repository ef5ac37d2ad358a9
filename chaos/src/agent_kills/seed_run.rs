//! Run of one seed, from the enrollment of its agents to the verdict.

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
use super::environment::{CALL_TIMEOUT, EXEC, Environment, PACKAGE};
use super::schedule::{AgentSchedule, DeviceChange, Schedule};
use crate::clock::now;
use crate::host_agent::{AppVersion, DeviceProfile, ExitReason, HostAgent, HostAgents, HostAgentsPlan, HostAgentsSummary};
use crate::identity::key_history;
use crate::network::Modes;
use crate::operator::deployments::{self, Deployer, DeployerPlan, versions_in};
use crate::operator::{self, ActionMix, OperatorPlan, RunningOperator};
use crate::oracle::{self, Check, History, HostAgentFiles, Verdict, Violation};

/// Time limit of start and enrollment of all agents.
const ENROLLED_WITHIN: Duration = Duration::from_secs(120);
/// Promises that are checked here; the others concern what this run does not do, or agents that retry at once.
const PROMISES: [&str; 6] = ["P1", "P2", "P3", "P5", "P6", "P14"];
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Duration of the network interruption after all faults are healed, whose end makes agents deliver at once.
const NETWORK_GAP: Duration = Duration::from_millis(400);

/// An agent with its schedule and device profile.
struct ScheduledAgent {
    agent: Arc<HostAgent>,
    schedule: AgentSchedule,
    profile: DeviceProfile,
    /// When its database was damaged, microseconds.
    damaged_us: Option<i64>,
}

pub(super) async fn run(environment: &mut Environment, args: &AgentKillsArgs, schedule: &Schedule, first_number: u64) -> Result<Verdict> {
    let tag = format!("seed-{}-{first_number}", schedule.seed);
    let folder = environment.cluster.folder().join(&tag);
    std::fs::create_dir_all(&folder)?;
    let agents = prepare_agents(environment, args, schedule, first_number, &tag, &folder).await?;
    let (begin, begins) = watch::channel(None);
    let enrolling: Vec<Arc<HostAgent>> = agents.iter().map(|scheduled| Arc::clone(&scheduled.agent)).collect();
    let mut running: JoinSet<Result<ScheduledAgent>> = JoinSet::new();
    for scheduled in agents {
        running.spawn(Box::pin(run_lives(scheduled, begins.clone())));
    }
    let started = Instant::now();
    until_enrolled(&enrolling).await?;
    println!("{} agents are enrolled after {:.1} s", enrolling.len(), started.elapsed().as_secs_f64());
    drop(enrolling);
    begin.send_replace(Some(Instant::now()));

    let requests = folder.join("requests.jsonl");
    let operator = operator::start(operator_plan(environment, args, schedule.seed, &tag), &requests)?;
    let first = deploy_to_all(environment, schedule.seed, &tag).await?;
    let actions = folder.join("acts.jsonl");
    let running_deployer = start_deployments(environment, args, schedule.seed, &tag, &actions).await?;
    let disturbed = run_faults(environment, args, schedule, &operator).await;
    let died = environment.heal().await?;
    disturbed?;
    println!("{}", operator.finish().await?);
    let mut deployer = running_deployer.finish().await?;
    println!("{}", deployer.summary);
    let mut agents = Vec::new();
    while let Some(finished) = running.join_next().await {
        agents.push(finished.context("an agent's task has failed")??);
    }
    println!("all faults healed and every agent running after {:.1} s", started.elapsed().as_secs_f64());
    interrupt_network(&agents).await?;
    let lost = agents.iter().find_map(|scheduled| scheduled.damaged_us.zip(device_id(&scheduled.agent)));
    let lost = lost.as_ref().map(|(at_us, device)| (device.as_str(), *at_us));
    let unfinished = until_drained(&environment.cluster.psql(), &tag, lost, args.drained_within).await?;
    println!("drained after {:.1} s", started.elapsed().as_secs_f64());
    // Only a device that lost its database can have left it unfinished; a finished deployment cannot be canceled.
    let _ = environment.api.transition(0, &first, "cancel").await;
    deployer.summary.made.push(first);
    if let Some(build) = &environment.build {
        build.roll_back(&environment.api).await?;
    }
    let summary = stop(&agents).await;
    let recovery_check = recovery_check(&agents, &summary, unfinished, died);
    judge(environment, &agents, &folder, &deployer, recovery_check).await
}

async fn prepare_agents(
    environment: &Environment,
    args: &AgentKillsArgs,
    schedule: &Schedule,
    first_number: u64,
    tag: &str,
    folder: &Path,
) -> Result<Vec<ScheduledAgent>> {
    let plan = HostAgentsPlan {
        jvm: &environment.jvm,
        count: args.agents,
        first_number,
        servers: environment.servers(),
        enroll_at: environment.cluster.members()[0].url().parse().map_err(anyhow::Error::msg)?,
        credentials: Some(format!("admin:{}", environment.cluster.admin_password()).parse().map_err(anyhow::Error::msg)?),
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
        if let Some(build) = &environment.build {
            profile.agent = build.before.clone();
        }
        let app = AppVersion { version_code: 1, version_name: "1.0".into(), signers: None };
        profile.apps.insert("com.example.kiosk".into(), app);
        profiles.push(profile.clone());
    })
    .await?;
    let schedules = schedule.agents.iter().cloned();
    let agents = agents.into_shared().into_iter().zip(schedules).zip(profiles);
    Ok(agents.map(|((agent, schedule), profile)| ScheduledAgent { agent, schedule, profile, damaged_us: None }).collect())
}

/// Runs the lives of an agent up to the start of the last one.
async fn run_lives(mut scheduled: ScheduledAgent, mut begins: watch::Receiver<Option<Instant>>) -> Result<ScheduledAgent> {
    let changing = change_device(scheduled.agent.options().profile(), scheduled.profile.clone(), scheduled.schedule.change, begins.clone());
    let lives = async {
        for life in &scheduled.schedule.lives {
            scheduled.agent.start(life.halt_at.clone()).await?;
            let in_time = async {
                // The time counts from the start of the schedule, but an earlier halt ends the life as well.
                tokio::select! {
                    () = scheduled.agent.until_ended() => return,
                    begun = begins.wait_for(Option::is_some) => drop(begun),
                }
                // An agent that does not reach its halting point is killed wherever it is.
                let _ = timeout(life.killed_after, scheduled.agent.until_ended()).await;
            };
            in_time.await;
            scheduled.agent.kill().await?;
            if life.database_damaged {
                damage_database(&scheduled.agent.options().state_dir())?;
                scheduled.damaged_us = Some(now().timestamp_micros());
            }
            sleep(life.down).await;
            if !is_enrolled(&scheduled.agent) {
                // It was halted while it enrolled: the schedule waits for it.
                scheduled.agent.start(None).await?;
                until_enrolled(std::slice::from_ref(&scheduled.agent)).await?;
                scheduled.agent.kill().await?;
            }
        }
        scheduled.agent.start(None).await
    };
    let (changed, finished) = tokio::join!(changing, lives);
    changed.and(finished)?;
    Ok(scheduled)
}

/// Applies the temporary change of a device.
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

/// Whether the agent has stored its identity.
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
        sleep(POLL_INTERVAL).await;
    }
}

fn operator_plan(environment: &Environment, args: &AgentKillsArgs, seed: u64, tag: &str) -> OperatorPlan {
    OperatorPlan {
        servers: environment.cluster.members().iter().map(|member| member.url()).collect(),
        admin_password: environment.cluster.admin_password().to_owned(),
        pause: args.command_every,
        expires_in_s: 300,
        timeout: Duration::from_secs(5),
        seed,
        tag: Some(tag.to_owned()),
        actions: ActionMix::All { package: "com.example.kiosk".into(), exec: EXEC.into() },
    }
}

async fn start_deployments(
    environment: &Environment,
    args: &AgentKillsArgs,
    seed: u64,
    tag: &str,
    actions: &Path,
) -> Result<deployments::RunningDeployer> {
    let plan = DeployerPlan {
        servers: environment.cluster.members().iter().map(|member| member.url()).collect(),
        admin_password: environment.cluster.admin_password().to_owned(),
        apks: versions_in(&args.apks),
        package: PACKAGE.into(),
        pause: Duration::from_secs(4),
        seed,
        record: actions.to_owned(),
        tag: Some(tag.to_owned()),
        kill_switch: false,
        timeout: CALL_TIMEOUT,
    };
    deployments::start(plan).await
}

/// Creates a deployment to every agent of the seed; of four seeds one has a canary, and one a rate limit.
async fn deploy_to_all(environment: &Environment, seed: u64, tag: &str) -> Result<String> {
    let (canary, rate, concurrency) = match seed % 4 {
        0 => (json!({"size": 3, "success_threshold_pct": 30, "min_count": 2, "timeout_minutes": 5}), 0, 1_000),
        1 => (json!({"size": 0}), 600, 8),
        _ => (json!({"size": 0}), 0, 1_000),
    };
    let options = json!({"canary": canary, "rate_per_minute": rate, "concurrency": concurrency, "wifi_only": false,
        "min_battery_pct": 0, "retries": {"max": 2, "backoff_seconds": 1}, "failure_pause": {"threshold_pct": 100, "min_count": 5}});
    let made = environment.api.deploy(&environment.apk, tag, &json!({"tags": [tag]}), &options).await?;
    Ok(made["id"].as_str().context("a deployment without id")?.to_owned())
}

/// Event of the schedule.
enum ScheduleEvent {
    Inject(usize),
    Heal(usize),
    Access(usize, Modes),
    End,
}

/// Carries out all events but those of agents, at their times.
async fn run_faults(environment: &mut Environment, args: &AgentKillsArgs, schedule: &Schedule, operator: &RunningOperator) -> Result<()> {
    let started = Instant::now();
    let mut events = vec![(args.disturbed, ScheduleEvent::End)];
    for (n, step) in schedule.faults.iter().enumerate() {
        events.push((step.at, ScheduleEvent::Inject(n)));
        events.push((step.until, ScheduleEvent::Heal(n)));
    }
    for fault in &schedule.access {
        events.push((fault.at, ScheduleEvent::Access(fault.node, Modes::both(fault.mode))));
        events.push((fault.until, ScheduleEvent::Access(fault.node, Modes::default())));
    }
    events.sort_by_key(|(at, _)| *at);
    let Environment { cluster, faults, access, api, build, .. } = environment;
    let updating = async {
        let Some((at, build)) = schedule.update_at.zip(build.as_ref()) else { return Ok(()) };
        sleep_until(started + at).await;
        build.promote(api).await?;
        operator.request_for_all("update").await
    };
    let injecting = async {
        let mut numbers = vec![None; schedule.faults.len()];
        for (at, event) in events {
            sleep_until(started + at).await;
            match event {
                ScheduleEvent::Inject(n) => numbers[n] = Some(faults.inject(cluster, schedule.faults[n].fault.clone()).await?),
                ScheduleEvent::Heal(n) => {
                    if let Some(number) = numbers[n] {
                        faults.heal(cluster, number).await?;
                    }
                }
                ScheduleEvent::Access(node, modes) => access[node].set(modes),
                ScheduleEvent::End => {}
            }
        }
        anyhow::Ok(())
    };
    // Concurrently, as a response may have to wait for the end of a fault.
    let (updated, disturbed) = tokio::join!(updating, injecting);
    disturbed.and(updated)
}

/// Interrupts the network of all agents; when it is back, they deliver at once whatever is queued.
async fn interrupt_network(agents: &[ScheduledAgent]) -> Result<()> {
    for validated in [false, true] {
        for scheduled in agents {
            DeviceProfile { validated, ..scheduled.profile.clone() }.write(&scheduled.agent.options().profile())?;
        }
        sleep(NETWORK_GAP).await;
    }
    Ok(())
}

async fn stop(agents: &[ScheduledAgent]) -> HostAgentsSummary {
    let stopping: Vec<JoinHandle<()>> = agents
        .iter()
        .map(|scheduled| {
            let agent = Arc::clone(&scheduled.agent);
            // Errors are among its exits.
            tokio::spawn(async move { drop(agent.stop().await) })
        })
        .collect();
    for stopped in stopping {
        let _ = stopped.await;
    }
    let mut summary = HostAgentsSummary::default();
    agents.iter().for_each(|scheduled| summary.add(&scheduled.agent));
    summary
}

/// Check that all agents and nodes run to the end and finish their work.
fn recovery_check(agents: &[ScheduledAgent], summary: &HostAgentsSummary, unfinished: Option<String>, died: Vec<String>) -> Check {
    let (mut halted, mut killed) = (Vec::new(), 0);
    for exit in agents.iter().flat_map(|scheduled| scheduled.agent.exits()) {
        match exit.reason {
            ExitReason::Halted(point) => halted.push(point.event),
            ExitReason::Killed => killed += 1,
            _ => {}
        }
    }
    halted.sort();
    let halts = halted.len();
    halted.dedup();
    let ended = summary.unexpected_ends.iter().map(|end| format!("exited unexpectedly: {end}"));
    let died = died.into_iter().map(|name| format!("{name} exited unexpectedly; see its log"));
    let violation = |what: String| Violation::new("end", "", what);
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

async fn judge(
    environment: &Environment,
    agents: &[ScheduledAgent],
    folder: &Path,
    deployer: &Deployer,
    recovery_check: Check,
) -> Result<Verdict> {
    let mut history = History { requested_are_all: true, ..History::default() };
    for scheduled in agents {
        let options = scheduled.agent.options();
        history.read_host_agent(&HostAgentFiles {
            state_dir: &options.state_dir(),
            record: Some(&options.record),
            first_version: Some(scheduled.profile.agent.version_code),
            database_damaged_us: scheduled.damaged_us,
        })?;
    }
    for name in ["requests.jsonl", "acts.jsonl"] {
        let record = folder.join(name);
        if record.exists() {
            history.read_record(&record)?;
        }
    }
    history.add_faults(environment.faults.spans());
    let counts = deployer.counts().await?;
    oracle::read_rows(&mut history, &environment.cluster.psql()).await?;
    history.keep_deployments(&deployer.summary.made);
    history.deployments.counts.extend(counts);
    let checks = oracle::judge(&history).checks.into_iter().filter(|check| PROMISES.contains(&check.promise));
    Ok(Verdict { checks: checks.chain([recovery_check]).collect() })
}
