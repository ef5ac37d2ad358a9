//! Runs of scenarios, from the file to the verdict.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Parser, ValueEnum};
use domain::secret_file::is_open_to_others;
use tokio::sync::watch;

use super::RunArgs;
use super::drill::DrillName;
use super::file::{Scenario, Target};
use super::journal::{self, Entry, Journal};
use super::measured::{steady_state, thresholds};
use super::steps::{Steps, need_fcm, need_sinks, random_steps};
use crate::clock::now;
use crate::faults::Faults;
use crate::fcm::{FakeFcm, FakeFcmOptions};
use crate::fleet::{self, FleetArgs, Summary};
use crate::harness::{Cluster, Network, Psql, TempDir};
use crate::oracle::{self, Check, History, Violation};
use crate::signals::{Stop, unless_stopped};
use crate::soak::{self, SoakArgs};
use crate::verdict::{
    EVENTS, Findings, LoadWindows, Machine, Outcome, RUN, RecordLimits, Run, RunRecorder, SCENARIO, VERDICT_JSON, Verdict, Version, When,
    conclude,
};

/// Largest file of credentials.
const CREDENTIALS_BYTES_MAX: u64 = 4_096;
/// Length of a time such as 20260102-030405.
const TIME_FORMAT_LENGTH: usize = 15;
/// Time that a fleet against a cluster which is there already goes on before and after the steps.
const AROUND: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct SoakCommandLine {
    #[command(flatten)]
    args: SoakArgs,
}

#[derive(Parser)]
struct FleetCommandLine {
    #[command(flatten)]
    args: FleetArgs,
}

/// Runs a scenario; what it comes to.
///
/// # Errors
/// The folder of the run cannot be written; everything else is in the verdict.
pub(super) async fn run(text: String, mut scenario: Scenario, args: &RunArgs, dir: &Path, stop: &Stop) -> Result<Verdict> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let healed = journal::heal(dir)?;
    for line in &healed {
        println!("an earlier run was cut off: {line}");
    }
    if let Some(seed) = args.seed {
        scenario.seed = seed;
    }
    if !healed.is_empty() && !dir.join(VERDICT_JSON).exists() {
        // The record of a run that was cut off has no end, and cannot be judged.
        for file in [RUN, SCENARIO, EVENTS].map(|file| dir.join(file)).iter().filter(|file| file.exists()) {
            fs::remove_file(file).with_context(|| file.display().to_string())?;
        }
    }
    let mut run = Run {
        name: scenario.name.clone(),
        description: scenario.description.trim().to_owned(),
        scenario: text,
        seed: scenario.seed,
        versions: versions(args).await,
        machine: Machine::this(),
        started_at: now(),
        ended_at: None,
        repeat: vec![repeated(args, scenario.seed)],
    };
    let recorder = RunRecorder::open(dir, &run, RecordLimits::default())?;
    let journal = Journal::begin(dir)?;
    let findings = match (&scenario.drill, &scenario.target) {
        (Some(drill), _) => drilled(&scenario, drill, args, journal, stop).await,
        (None, Some(target)) => on_target(&scenario, target, args, &recorder, journal, dir, stop).await,
        (None, None) => on_cluster(&mut scenario, args, &recorder, journal, stop).await,
    };
    let findings = findings.unwrap_or_else(|error| Findings { problem: Some(format!("{error:#}")), ..Findings::default() });
    run.ended_at = Some(now());
    conclude(recorder, &run, findings)
}

/// Command that repeats a run; into a new folder, as this one has its record.
fn repeated(args: &RunArgs, seed: u64) -> String {
    let file = args.file.as_deref().unwrap_or(Path::new("FILE"));
    let mut words = format!("chaos run {} --seed {seed}", file.display());
    if let Some(promise) = args.sabotage.and_then(|sabotage| sabotage.to_possible_value()) {
        words.push_str(" --sabotage ");
        words.push_str(promise.get_name());
    }
    if args.i_mean_it {
        words.push_str(" --i-mean-it");
    }
    words
}

/// Versions of what takes part.
async fn versions(args: &RunArgs) -> Vec<Version> {
    let mut versions = vec![Version { program: "chaos".into(), version: env!("CARGO_PKG_VERSION").into() }];
    if let Ok(binary) = args.nexmdm.clone().map_or_else(crate::harness::nexmdm_path, Ok)
        && let Ok(output) = tokio::process::Command::new(binary).arg("--version").output().await
    {
        let text = String::from_utf8_lossy(&output.stdout).trim().trim_start_matches("nexmdm ").to_owned();
        versions.push(Version { program: "nexmdm".into(), version: text });
    }
    versions
}

/// New folder of all processes of a run, in the journal before there is one.
fn folder_of_run(args: &RunArgs, journal: &mut Journal) -> Result<TempDir> {
    let folder = match &args.work_dir {
        Some(parent) => TempDir::below(parent, "run"),
        None => TempDir::new("run"),
    };
    let folder = folder.context("cannot make a folder for the run")?;
    journal.write(&Entry::Cluster { folder: fs::canonicalize(folder.path())? })?;
    Ok(folder)
}

/// Runs a drill.
async fn drilled(scenario: &Scenario, drill: &str, args: &RunArgs, mut journal: Journal, stop: &Stop) -> Result<Findings> {
    let name: DrillName = drill.parse().map_err(anyhow::Error::msg)?;
    ensure!(args.sabotage.is_none(), "a drill is not sabotaged");
    let folder = folder_of_run(args, &mut journal)?;
    let words = name.command_line(&scenario.drill_args, scenario.seed, folder.path(), args.nexmdm.as_deref());
    let drilled = Box::pin(name.run(&words, stop.clone())).await;
    journal.write(&Entry::Over)?;
    let is_well = |checks: &Vec<Check>| checks.iter().all(|check| check.violations.is_empty());
    if args.keep || !drilled.as_ref().is_ok_and(is_well) {
        println!("logs, records and database stay in {}", folder.path().display());
        folder.keep();
    }
    Ok(Findings { checks: drilled?, ..Findings::default() })
}

/// Runs a scenario on a cluster that is started for it.
async fn on_cluster(
    scenario: &mut Scenario,
    args: &RunArgs,
    recorder: &RunRecorder,
    mut journal: Journal,
    stop: &Stop,
) -> Result<Findings> {
    let plan = scenario.cluster.clone().unwrap_or_default();
    if scenario.random.is_some() {
        scenario.steps = random_steps(scenario, plan.nodes)?;
    }
    let scenario = &*scenario;
    let mut soak_args = soak_args(scenario, args)?;
    soak_args.nodes = plan.nodes;
    soak_args.database = plan.database;
    soak_args.network = match plan.network {
        super::file::NetworkPlan::Proxies => Network::Proxies,
        super::file::NetworkPlan::Namespaces => Network::Namespaces,
    };
    soak_args.nexmdm = args.nexmdm.clone().or(plan.binary);
    soak::allow_fleet(scenario.fleet.devices)?;
    let mut options = soak::cluster_options(&soak_args)?;
    options.env.extend(plan.env);
    let account = tempfile::NamedTempFile::new()?;
    let fcm = match scenario.fleet.push || need_fcm(scenario) {
        false => None,
        true => {
            let listen = SocketAddr::from(([127, 0, 0, 1], 0));
            let fcm = FakeFcm::start(FakeFcmOptions { listen, ..FakeFcmOptions::default() }).await?;
            fcm.write_account(account.path())?;
            options.env.push(("NEXMDM__FCM__BASE_URL".into(), fcm.url()));
            options.env.push(("NEXMDM__FCM__SERVICE_ACCOUNT_FILE".into(), account.path().display().to_string()));
            Some(Arc::new(fcm))
        }
    };
    for fault in scenario.steps.iter().filter_map(|step| step.fault.as_ref()) {
        fault.prepare(&mut options);
    }
    let folder = folder_of_run(args, &mut journal)?;
    options.parent_dir = Some(folder.path().to_owned());
    let starting = unless_stopped(stop, Box::pin(Cluster::start(options))).await;
    let started = starting.context("interrupted").flatten();
    if started.is_err() {
        journal.write(&Entry::Over)?;
    }
    let mut cluster = started?;
    let mut faults = Faults::new();
    let mut steps = Steps::new(scenario, recorder.sender(), journal, fcm.clone(), args.sabotage);
    let length = scenario.steps.iter().filter_map(|step| Some(step.at? + step.lasts.unwrap_or_default())).max().unwrap_or_default();
    let finished = Box::pin(soak::run_disturbed(&soak_args, length, &mut cluster, &mut faults, &mut steps, fcm, stop)).await;
    let left = steps.finish()?;
    if args.keep || finished.is_err() {
        println!("logs, record and database stay in {}", cluster.folder().display());
        cluster.keep_folder();
        folder.keep();
    }
    let finished = finished?;
    let mut checks = vec![finished.calm];
    checks.extend(faults_check(&steps.broken));
    let recovered_s = finished.recovered_in.map(|time| time.as_secs_f64());
    let devices = scenario.fleet.devices;
    let states = [(When::Before, &scenario.before, steps.before), (When::After, &scenario.after, steps.after)];
    let steady_states = states
        .into_iter()
        .filter_map(|(when, plan, window)| Some(steady_state(when, plan.as_ref()?, &finished.history, window, devices)))
        .collect();
    Ok(Findings {
        thresholds: thresholds(&scenario.thresholds, &finished.summary, Some(&finished.history), recovered_s),
        history: Some(finished.history),
        checks,
        promises: scenario.promises.clone(),
        steady_states,
        problem: finished.problem.or(left),
    })
}

/// What faults and conditions of steps have shown to be broken.
fn faults_check(broken: &[String]) -> Option<Check> {
    let looked_at = "what faults themselves have looked at, and what steps have waited for".into();
    let violations: Vec<_> = broken.iter().map(|text| Violation::new("faults", "", text)).collect();
    (!violations.is_empty()).then(|| Check { promise: "faults", looked_at, violations, notes: Vec::new() })
}

/// Arguments of a soak with the fleet and the work of a scenario.
fn soak_args(scenario: &Scenario, args: &RunArgs) -> Result<SoakArgs> {
    let fleet = &scenario.fleet;
    let mut words: Vec<String> = vec!["soak".into()];
    let mut add = |name: &str, value: String| words.extend([name.to_owned(), value]);
    add("--seed", scenario.seed.to_string());
    add("--devices", fleet.devices.to_string());
    add("--interval", format!("{}ms", fleet.interval.as_millis()));
    add("--transport", <&str>::from(fleet.transport).into());
    add("--timeout", format!("{}ms", fleet.timeout.as_millis()));
    add("--hostile-share", fleet.hostile_share.to_string());
    add("--duplicate-share", fleet.duplicate_share.to_string());
    add("--midnights", scenario.work.midnights.to_string());
    if let Some(commands) = &fleet.commands {
        add("--commands", commands.clone());
    }
    if let Some(after) = &scenario.after {
        add("--calm-within", format!("{}ms", after.within.as_millis()));
    }
    if let Some(apks) = &args.apks {
        add("--apks", apks.display().to_string());
    }
    match scenario.work.commands_every {
        Some(every) => add("--command-every", format!("{}ms", every.as_millis())),
        None => words.push("--no-commands".into()),
    }
    match scenario.work.deployments_every {
        Some(every) => words.extend(["--deploy-every".into(), format!("{}ms", every.as_millis())]),
        None => words.push("--no-deployments".into()),
    }
    if !scenario.work.alerts && !need_sinks(scenario) {
        words.push("--no-alerts".into());
    }
    Ok(SoakCommandLine::try_parse_from(words)?.args)
}

/// Runs a scenario against a cluster that is there already.
async fn on_target(
    scenario: &Scenario,
    target: &Target,
    args: &RunArgs,
    recorder: &RunRecorder,
    journal: Journal,
    dir: &Path,
    stop: &Stop,
) -> Result<Findings> {
    ensure!(args.sabotage.is_none(), "only a cluster that was started for the run is sabotaged");
    let destructive = scenario.hooks.iter().find(|(_, hook)| hook.destructive);
    if let Some((name, _)) = destructive {
        ensure!(args.i_mean_it, "the hook {name} destroys something: say --i-mean-it");
    }
    let credentials = credentials_of(target)?;
    let (record, state_dir) = (dir.join("record.jsonl"), dir.join("fleet"));
    let fleet_args = target_fleet(scenario, target, &credentials, &record, &state_dir)?;
    soak::allow_fleet(scenario.fleet.devices)?;
    let (end_fleet, fleet_stop) = watch::channel(false);
    let fleet = tokio::spawn(Box::pin(fleet::run(fleet_args, fleet_stop)));
    let mut steps = Steps::new(scenario, recorder.sender(), journal, None, None);
    let disturbed = async {
        let window = async |over: Duration| {
            let from = now().timestamp_micros();
            tokio::time::sleep(over).await;
            (from, now().timestamp_micros())
        };
        // The time before is for the first connections.
        tokio::time::sleep(AROUND).await;
        steps.before = Some(window(scenario.before.as_ref().map_or(AROUND, |plan| plan.over)).await);
        let disturbed = steps.run(&mut None).await;
        let healed = steps.heal_all(&mut None).await;
        disturbed.and(healed)?;
        tokio::time::sleep(scenario.after.as_ref().map_or(AROUND, |plan| plan.within.min(AROUND * 3))).await;
        steps.after = Some(window(scenario.after.as_ref().map_or(AROUND, |plan| plan.over)).await);
        anyhow::Ok(())
    };
    let outcome = unless_stopped(stop, Box::pin(disturbed)).await;
    let outcome = match outcome {
        Some(outcome) => outcome,
        None => steps.heal_all(&mut None).await.and(Err(anyhow!("interrupted"))),
    };
    end_fleet.send_replace(true);
    let summary: Summary = fleet.await.context("the fleet has failed")??;
    println!("\n{summary}\n");
    let left = steps.finish()?;
    let mut history = History { requested_are_all: false, ..History::default() };
    history.read_record(&record)?;
    history.read_state_dir(&state_dir)?;
    // Also for a run that is not judged, for want of a database.
    LoadWindows::of(&history).take_all().into_iter().for_each(|window| recorder.record(window));
    let devices = scenario.fleet.devices;
    let states = [(When::Before, &scenario.before, steps.before), (When::After, &scenario.after, steps.after)];
    let steady_states =
        states.into_iter().filter_map(|(when, plan, window)| Some(steady_state(when, plan.as_ref()?, &history, window, devices))).collect();
    let thresholds = thresholds(&scenario.thresholds, &summary, Some(&history), None);
    let judged = match &target.database_env {
        None => None,
        Some(variable) => {
            let url = std::env::var(variable).with_context(|| format!("the variable {variable} of the environment has no URL"))?;
            oracle::read_rows(&mut history, &Psql::of_url(&url)).await?;
            Some(history)
        }
    };
    let problem = outcome.err().map(|error| format!("{error:#}")).into_iter().chain(left).reduce(|one, other| format!("{one}; {other}"));
    let checks = faults_check(&steps.broken).into_iter().collect();
    Ok(Findings { history: judged, checks, promises: scenario.promises.clone(), thresholds, steady_states, problem })
}

fn target_fleet(scenario: &Scenario, target: &Target, credentials: &str, record: &Path, state_dir: &Path) -> Result<FleetArgs> {
    let fleet = &scenario.fleet;
    let words = [
        ("--server", target.urls.join(",")),
        ("--devices", fleet.devices.to_string()),
        ("--interval", format!("{}ms", fleet.interval.as_millis())),
        ("--transport", <&str>::from(fleet.transport).into()),
        ("--state-dir", state_dir.display().to_string()),
        ("--record", record.display().to_string()),
        ("--enroll-with", credentials.to_owned()),
        ("--timeout", format!("{}ms", fleet.timeout.as_millis())),
        ("--seed", scenario.seed.to_string()),
        ("--alias-prefix", format!("chaos-{}", scenario.name)),
        ("--hostile-share", fleet.hostile_share.to_string()),
        ("--duplicate-share", fleet.duplicate_share.to_string()),
        ("--retry-min", "300ms".into()),
        ("--retry-max", "3s".into()),
        ("--outages-per-hour", "0".into()),
    ];
    let words = words.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    let words = ["fleet".to_owned(), "--sessions-first".into()].into_iter().chain(words);
    // What clap says of an argument may repeat the credentials.
    let parsed = FleetCommandLine::try_parse_from(words).map_err(|error| anyhow::anyhow!("the fleet's arguments: {:?}", error.kind()))?;
    Ok(parsed.args)
}

/// Credentials of those that enroll devices.
fn credentials_of(target: &Target) -> Result<String> {
    if let Some(variable) = &target.credentials_env {
        return std::env::var(variable).with_context(|| format!("the variable {variable} of the environment has no credentials"));
    }
    let path = target.credentials_file.as_deref().context("the target has no credentials")?;
    let named = || path.display().to_string();
    let metadata = fs::metadata(path).with_context(named)?;
    ensure!(!is_open_to_others(metadata.mode(), metadata.uid()), "{}: others may read or change it: chmod 600", path.display());
    ensure!(metadata.len() <= CREDENTIALS_BYTES_MAX, "{}: it has more than {CREDENTIALS_BYTES_MAX} bytes", path.display());
    Ok(fs::read_to_string(path).with_context(named)?.trim().to_owned())
}

/// Folders of runs of this scenario without `--out` that were cut off.
pub(super) fn earlier_dirs(scenario: &Scenario) -> Result<Vec<PathBuf>> {
    let prefix = format!("chaos-{}-", scenario.name);
    let dirs = fs::read_dir(".")?.filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        // The rest is a time, as the name of another scenario may begin with this one's.
        let time = name.strip_prefix(&prefix)?;
        let is_time = time.len() == TIME_FORMAT_LENGTH && time.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        is_time.then(|| PathBuf::from(&name))
    });
    Ok(dirs.filter(|dir| journal::is_cut_off(dir)).collect())
}

/// Folder of a run without `--out`.
pub(super) fn default_dir(scenario: &Scenario) -> PathBuf {
    PathBuf::from(format!("chaos-{}-{}", scenario.name, now().format("%Y%m%d-%H%M%S")))
}

/// One line about a verdict.
pub(super) fn line_of(verdict: &Verdict) -> String {
    let broken: Vec<_> = verdict.broken().map(|promise| promise.id.as_str()).collect();
    match verdict.outcome {
        Outcome::Passed => "passed".into(),
        Outcome::NotRun => format!("not run: {}", verdict.problem.as_deref().unwrap_or_default()),
        Outcome::Failed if broken.is_empty() => "failed: a threshold or steady state does not hold".into(),
        Outcome::Failed => format!("failed: {} broken", broken.join(", ")),
    }
}
