//! Run of a soak, from the first node to the verdict.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::SoakArgs;
use super::alerts::{FinishedAlerts, SoakAlerts};
use super::midnights::{FinishedMidnights, SoakMidnights};
use super::quiescence::Follower;
use super::schedule::{Step, scenario, seeded};
use crate::alerts::{AlertTimes, Sinks, alert_env};
use crate::deployment_api::TIMEOUT;
use crate::faults::Faults;
use crate::fcm::FakeFcm;
use crate::fleet::{self, FleetArgs, Summary};
use crate::harness::{Cluster, ClusterOptions, nexmdm_path};
use crate::limits::allow_connections;
use crate::operator::deployments::{self, Deployer, DeployerPlan, versions_in};
use crate::operator::{self, ActionMix, OperatorPlan};
use crate::oracle::{self, Check, History, Violation};
use crate::signals::{Stop, unless_stopped};

/// Time limit of enrollment and first heartbeats.
const FIRST_QUIESCENCE_WITHIN: Duration = Duration::from_secs(600);
/// Shortest time over which midnights are spread, where there are few faults.
const MIDNIGHTS_OVER: Duration = Duration::from_secs(60);
/// Connections through the proxies, both ends of each, and of the fleet to all nodes.
const PROXY_CONNECTIONS: u64 = 4_096;
/// Settings that make password and token hashes cheap, as their cost is not under test.
const CHEAP_HASHING: [(&str, &str); 2] = [("NEXMDM__AUTH__PASSWORD_BCRYPT_COST", "4"), ("NEXMDM__AUTH__DEVICE_TOKEN_BCRYPT_COST", "4")];

#[derive(Parser)]
struct FleetCommandLine {
    #[command(flatten)]
    args: FleetArgs,
}

/// Runs a soak; true when every promise was kept.
pub async fn run(args: SoakArgs, stop: Stop) -> Result<bool> {
    let steps = match args.scenario.is_empty() {
        true => seeded(args.seed, args.nodes, Duration::try_from_secs_f64(args.minutes * 60.0)?),
        false => scenario(&args.scenario, args.seed, args.nodes, args.lasts, args.rest),
    };
    ensure!(args.nodes > 1 || steps.is_empty(), "a cluster of one has no other to take over: give --nodes 2 or more");
    println!("seed {}: {} faults, starting when the fleet is first quiescent", args.seed, steps.len());
    for step in &steps {
        println!("  {step}");
    }
    let starting = start(&args);
    let Some(cluster) = unless_stopped(&stop, Box::pin(starting)).await else { anyhow::bail!("interrupted") };
    let mut cluster = cluster?;
    for member in cluster.members() {
        println!("{} is ready at {}", member.name(), member.url());
    }
    let outcome = Box::pin(soak(&args, &steps, &mut cluster, &stop)).await;
    if !matches!(outcome, Ok(true)) && args.data_dir.is_none() {
        println!("logs, record and database stay in {}", cluster.folder().display());
        cluster.keep_folder();
    }
    outcome
}

async fn start(args: &SoakArgs) -> Result<Cluster> {
    allow_fleet(args.devices)?;
    Cluster::start(cluster_options(args)?).await
}

/// Raises the limit of open files to what devices and proxies need, which run in this process.
pub(crate) fn allow_fleet(devices: usize) -> Result<()> {
    allow_connections(devices as u64 + PROXY_CONNECTIONS).map_err(anyhow::Error::msg)
}

/// Options of the cluster of a soak.
pub(crate) fn cluster_options(args: &SoakArgs) -> Result<ClusterOptions> {
    let mut options = ClusterOptions::new(args.nexmdm.clone().map_or_else(nexmdm_path, Ok)?, args.nodes);
    options.data_dir.clone_from(&args.data_dir);
    options.network = args.network;
    options.database = args.database;
    for (name, value) in CHEAP_HASHING {
        options = options.env(name, value);
    }
    if !args.no_alerts {
        options.env.extend(alert_env(AlertTimes::soak()));
    }
    Ok(options)
}

/// What a disturbance works on.
pub(crate) struct Ground<'a> {
    /// Nodes.
    pub(crate) cluster: &'a mut Cluster,
    /// Faults of nodes, links and the database.
    pub(crate) faults: &'a mut Faults,
    /// Sinks of alerts that fail only when they are made to.
    pub(crate) sinks: Option<&'a mut Sinks>,
}

/// What happens to a cluster while a fleet and its work go on.
pub(crate) trait Disturbance: Send {
    /// Whether the sinks of alerts fail at random.
    fn has_failing_sinks(&self) -> bool;
    /// What comes first, when every device was acknowledged.
    fn before<'a>(&'a mut self, ground: Ground<'a>) -> BoxFuture<'a, Result<()>>;
    /// The disturbance itself.
    fn disturb<'a>(&'a mut self, ground: Ground<'a>) -> BoxFuture<'a, Result<()>>;
    /// Healing of what is still in force; also after a failure.
    fn heal<'a>(&'a mut self, ground: Ground<'a>) -> BoxFuture<'a, Result<()>>;
    /// What comes last, when every device was acknowledged again.
    fn after<'a>(&'a mut self, ground: Ground<'a>) -> BoxFuture<'a, Result<()>>;
}

/// Faults at their times.
struct Scheduled<'a> {
    steps: &'a [Step],
}

impl Disturbance for Scheduled<'_> {
    fn has_failing_sinks(&self) -> bool {
        true
    }

    fn before<'a>(&'a mut self, _ground: Ground<'a>) -> BoxFuture<'a, Result<()>> {
        ready(Ok(())).boxed()
    }

    fn disturb<'a>(&'a mut self, ground: Ground<'a>) -> BoxFuture<'a, Result<()>> {
        run_faults(ground.cluster, ground.faults, self.steps).boxed()
    }

    fn heal<'a>(&'a mut self, ground: Ground<'a>) -> BoxFuture<'a, Result<()>> {
        ground.faults.heal_all(ground.cluster).boxed()
    }

    fn after<'a>(&'a mut self, _ground: Ground<'a>) -> BoxFuture<'a, Result<()>> {
        ready(Ok(())).boxed()
    }
}

/// What is known when all faults were healed.
#[derive(Default)]
struct Recovered {
    /// What has not recovered.
    unsettled: Option<String>,
    /// Why it was not gone through to the end.
    problem: Option<String>,
    /// Time from the last healing until every device was heard.
    recovered_in: Option<Duration>,
    /// Nodes that exited unexpectedly.
    died: Vec<String>,
    deployer: Option<Deployer>,
    alerts: FinishedAlerts,
    midnights: Option<FinishedMidnights>,
}

/// What is known of a disturbed run.
pub(crate) struct Finished {
    /// What the oracle judges.
    pub(crate) history: History,
    /// Whether all have recovered.
    pub(crate) calm: Check,
    /// What the fleet has counted.
    pub(crate) summary: Summary,
    /// Time from the last healing until every device was heard.
    pub(crate) recovered_in: Option<Duration>,
    /// Why it was not gone through to the end.
    pub(crate) problem: Option<String>,
}

async fn soak(args: &SoakArgs, steps: &[Step], cluster: &mut Cluster, stop: &Stop) -> Result<bool> {
    let length = steps.iter().map(|step| step.until).max().unwrap_or_default();
    let mut faults = Faults::new();
    let finished = run_disturbed(args, length, cluster, &mut faults, &mut Scheduled { steps }, None, stop).await?;
    let mut verdict = oracle::judge(&finished.history);
    verdict.add(finished.calm);
    println!("{verdict}");
    if let Some(path) = &args.json {
        let report = json!({"seed": args.seed, "faults": faults.spans(), "fleet": finished.summary, "verdict": verdict,
                            "violations": verdict.violations()});
        std::fs::write(path, serde_json::to_vec_pretty(&report)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(verdict.violations() == 0)
}

/// Runs a fleet and its work on a cluster that is disturbed; `length` is the time over which midnights are spread.
pub(crate) async fn run_disturbed(
    args: &SoakArgs,
    length: Duration,
    cluster: &mut Cluster,
    faults: &mut Faults,
    disturbance: &mut dyn Disturbance,
    push: Option<Arc<FakeFcm>>,
    stop: &Stop,
) -> Result<Finished> {
    let (record, requests) = (cluster.folder().join("record.jsonl"), cluster.folder().join("requests.jsonl"));
    let (end_fleet, fleet_stop) = watch::channel(false);
    let mut fleet_args = fleet_args(args, cluster, &record)?;
    fleet_args.push = push.is_some();
    let fleet: JoinHandle<Result<Summary>> = match push {
        Some(push) => tokio::spawn(Box::pin(fleet::run_with_push(fleet_args, fleet_stop, push))),
        None => tokio::spawn(Box::pin(fleet::run(fleet_args, fleet_stop))),
    };
    let disturbed = async {
        let mut follower = Follower::of(&record).await?;
        if let Some(trouble) = follower.until_quiescent(args.devices, FIRST_QUIESCENCE_WITHIN).await? {
            anyhow::bail!("before any fault: {trouble}");
        }
        println!("all {} devices were acknowledged", args.devices);
        disturbance.before(Ground { cluster, faults, sinks: None }).await?;
        let running_deployer = match deployer_plan(args, cluster)? {
            Some(plan) => Some(deployments::start(plan).await?),
            None => None,
        };
        let mut alerts = match args.no_alerts {
            true => None,
            false => Some(SoakAlerts::start(cluster, args.devices, args.seed, disturbance.has_failing_sinks()).await?),
        };
        let midnights = match args.midnights {
            0 => None,
            count => Some(SoakMidnights::start(cluster, count, length.max(MIDNIGHTS_OVER), args.seed).await?),
        };
        let operator = (!args.no_commands).then(|| operator::start(operator_plan(args, cluster), &requests)).transpose()?;
        let sinks = alerts.as_mut().and_then(SoakAlerts::sinks_mut);
        let problem = disturbance.disturb(Ground { cluster, faults, sinks }).await.err().map(|error| format!("{error:#}"));
        let sinks = alerts.as_mut().and_then(SoakAlerts::sinks_mut);
        disturbance.heal(Ground { cluster, faults, sinks }).await?;
        let healed = Instant::now();
        let died = restart_ended_nodes(cluster).await?;
        if let Some(operator) = operator {
            println!("{}", operator.finish().await?);
        }
        let mut deployer = None;
        if let Some(running_deployer) = running_deployer {
            let finished = running_deployer.finish().await?;
            println!("{}", finished.summary);
            deployer = Some(finished);
        }
        let unsettled = follower.until_quiescent(args.devices, args.calm_within).await?;
        let recovered_in = unsettled.is_none().then(|| healed.elapsed());
        disturbance.after(Ground { cluster, faults, sinks: None }).await?;
        let alerts = match alerts {
            Some(alerts) => alerts.finish().await?,
            None => FinishedAlerts::default(),
        };
        let midnights = match midnights {
            Some(midnights) => Some(midnights.finish().await?),
            None => None,
        };
        if let Some(midnights) = &midnights {
            println!("{}", midnights.summary);
        }
        let unsettled = unsettled.or(alerts.left.clone()).or(midnights.as_ref().and_then(|midnights| midnights.left.clone()));
        anyhow::Ok(Recovered { unsettled, problem, recovered_in, died, deployer, alerts, midnights })
    };
    let found = unless_stopped(stop, Box::pin(disturbed)).await;
    end_fleet.send_replace(true);
    let summary = fleet.await.context("the fleet has failed")??;
    println!("\n{summary}\n");
    let ground = Ground { cluster, faults, sinks: None };
    let Recovered { unsettled, problem, recovered_in, died, deployer, alerts, midnights } = match found {
        Some(Ok(found)) => found,
        None => {
            disturbance.heal(ground).await?;
            anyhow::bail!("interrupted");
        }
        // The record so far is checked all the same.
        Some(Err(error)) => {
            let healed = disturbance.heal(ground).await;
            let problem = format!("{error:#}; healed afterwards: {healed:?}");
            Recovered { unsettled: Some(problem.clone()), problem: Some(problem), ..Recovered::default() }
        }
    };
    let actions = actions_file(cluster);
    let past = midnights.map(|midnights| midnights.record);
    let records = [Some(record), requests.exists().then_some(requests), actions.exists().then_some(actions), past];
    let history = history_of(cluster, faults, records.into_iter().flatten(), deployer.as_ref(), alerts).await?;
    let died = died.into_iter().map(|name| format!("{name} exited unexpectedly; see its log"));
    let ended = summary.host_agents.unexpected_ends.iter().map(|end| format!("the host agent {end}"));
    let unsettled = unsettled.or(problem.clone());
    let calm = recovery_check(unsettled, died.chain(ended));
    Ok(Finished { history, calm, summary, recovered_in, problem })
}

fn fleet_args(args: &SoakArgs, cluster: &Cluster, record: &Path) -> Result<FleetArgs> {
    let servers: Vec<String> = cluster.members().iter().map(|member| member.url()).collect();
    let state_dir = cluster.folder().join("fleet");
    let words = [
        ("--server", servers.join(",")),
        ("--devices", args.devices.to_string()),
        ("--interval", args.interval.to_string()),
        ("--state-dir", state_dir.display().to_string()),
        ("--record", record.display().to_string()),
        ("--enroll-with", format!("admin:{}", cluster.admin_password())),
        ("--timeout", format!("{}ms", args.timeout.as_millis())),
        ("--seed", args.seed.to_string()),
        // Short, so that an outage is seen from beginning to end.
        ("--retry-min", "300ms".into()),
        ("--retry-max", "3s".into()),
        ("--outages-per-hour", "0".into()),
        // Brings devices back to a node that was down.
        ("--roam-share", "0.03".into()),
        ("--commands", args.commands.to_string()),
        ("--hostile-share", args.hostile_share.to_string()),
        ("--duplicate-share", args.duplicate_share.to_string()),
        ("--deploy-fail", "install_failed=0.05,checksum_mismatch=0.02,not_permitted=0.02,in_call=0.03".into()),
        ("--deploy-hang", "0.02".into()),
        ("--deploy-reboot", "0.05".into()),
        ("--deploy-drop", "0.1".into()),
        ("--deploy-report-twice", "0.1".into()),
    ];
    let words = words.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    let all = ["fleet".to_owned(), "--sessions-first".into()].into_iter().chain(words);
    Ok(FleetArgs { transport: args.transport, agents: args.agents.clone(), ..FleetCommandLine::try_parse_from(all)?.args })
}

/// Plan of the operator; commands may outlast a fault, but expire before the verdict or soon after.
fn operator_plan(args: &SoakArgs, cluster: &Cluster) -> OperatorPlan {
    OperatorPlan {
        servers: cluster.members().iter().map(|member| member.url()).collect(),
        admin_password: cluster.admin_password().to_owned(),
        pause: args.command_every,
        expires_in_s: 120,
        timeout: args.timeout,
        seed: args.seed,
        tag: None,
        actions: ActionMix::Few,
    }
}

fn actions_file(cluster: &Cluster) -> PathBuf {
    cluster.folder().join("acts.jsonl")
}

/// Plan of the deployer; `None` with `--no-deployments`.
fn deployer_plan(args: &SoakArgs, cluster: &Cluster) -> Result<Option<DeployerPlan>> {
    if args.no_deployments {
        return Ok(None);
    }
    let apks = versions_in(&args.apks);
    ensure!(!apks.is_empty(), "there are no APKs in {}: name their folder with --apks, or say --no-deployments", args.apks.display());
    Ok(Some(DeployerPlan {
        servers: cluster.members().iter().map(|member| member.url()).collect(),
        admin_password: cluster.admin_password().to_owned(),
        apks,
        package: "com.example.till".into(),
        pause: args.deploy_every,
        seed: args.seed,
        record: actions_file(cluster),
        tag: None,
        kill_switch: true,
        timeout: TIMEOUT,
    }))
}

/// Injects and heals the faults at their times.
async fn run_faults(cluster: &mut Cluster, faults: &mut Faults, steps: &[Step]) -> Result<()> {
    let started = Instant::now();
    // Time, whether it is an injection, step; at equal times, healings come first.
    let mut events: Vec<(Duration, bool, usize)> = steps
        .iter()
        .enumerate()
        .flat_map(|(n, step)| [(step.at, true, n), (step.until.max(step.at + Duration::from_millis(1)), false, n)])
        .collect();
    events.sort();
    let mut numbers = HashMap::new();
    for (at, begins, n) in events {
        sleep_until(started + at).await;
        if begins {
            numbers.insert(n, faults.inject(cluster, steps[n].fault.clone()).await?);
        } else if let Some(number) = numbers.get(&n) {
            faults.heal(cluster, *number).await?;
        }
    }
    Ok(())
}

/// Restarts nodes that have ended unexpectedly; their names.
async fn restart_ended_nodes(cluster: &mut Cluster) -> Result<Vec<String>> {
    let names: Vec<String> = cluster.members().iter().map(|member| member.name().to_owned()).collect();
    let mut died = Vec::new();
    for name in names {
        let node = cluster.node_mut(&name)?;
        if !node.is_running() {
            node.start_again()?;
            died.push(name.clone());
        }
        node.wait_ready().await.with_context(|| format!("{name} after healing"))?;
    }
    Ok(died)
}

async fn history_of(
    cluster: &Cluster,
    faults: &Faults,
    records: impl Iterator<Item = PathBuf>,
    deployer: Option<&Deployer>,
    alerts: FinishedAlerts,
) -> Result<History> {
    let mut history = History { requested_are_all: true, alerts: alerts.facts, ..History::default() };
    for record in records.chain(alerts.records) {
        history.read_record(&record)?;
    }
    for state_dir in alerts.state_dir.into_iter().chain([cluster.folder().join("fleet")]) {
        history.read_state_dir(&state_dir)?;
    }
    history.add_faults(faults.spans());
    if let Some(deployer) = deployer {
        history.deployments.counts.extend(deployer.counts().await?);
    }
    oracle::read_rows(&mut history, &cluster.psql()).await?;
    oracle::read_archives(&mut history, &cluster.psql(), &cluster.archive_dir()).await?;
    Ok(history)
}

/// Check that the system has recovered by itself after all faults were healed.
fn recovery_check(unsettled: Option<String>, ended: impl Iterator<Item = String>) -> Check {
    let violation = |what: String| Violation::new("calm", "", what);
    Check {
        promise: "calm",
        looked_at: "all nodes run and every device is heard when all is healed".into(),
        violations: unsettled.into_iter().chain(ended).map(violation).collect(),
        notes: Vec::new(),
    }
}
