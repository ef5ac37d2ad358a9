//! `chaos agent-kills`: host agents on a cluster of real nodes. Agents are killed at every step of a command, a deployment and an
//! update of themselves while nodes and links fail, and the oracle checks the promises.

mod drain;
mod environment;
mod schedule;
mod seed_run;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use clap::builder::TypedValueParser;
use serde_json::json;
use tokio::time::Instant;

use crate::duration;
use crate::host_agent::Jvm;
use crate::limits::allow_connections;
use crate::signals::{Stop, unless_stopped};
use environment::Environment;
use schedule::{Limits, Schedule};

/// Connections through the proxies, both ends of each, and of operator and deployer.
const CONNECTIONS: u64 = 2_048;
/// Default build for updates of the agent.
const FIXTURE_BUILD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../actors/testdata/apks/agent-121.apk");

/// Arguments of `chaos agent-kills`.
#[derive(Debug, Clone, Args)]
pub struct AgentKillsArgs {
    /// First seed; determines kills and faults
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Number of seeds, run in sequence on the same cluster, each with new agents
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub seeds: u64,
    /// Host agents per seed
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500).map(usize::from))]
    pub agents: usize,
    /// Number of nodes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=9).map(usize::from))]
    pub nodes: usize,
    /// Heartbeat interval of an agent
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = duration::parse)]
    pub interval: Duration,
    /// Duration of faults after all agents are enrolled
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration::parse)]
    pub disturbed: Duration,
    /// Recovery timeout after all faults are healed
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration::parse)]
    pub drained_within: Duration,
    /// Interval between commands, each sent through a random node
    #[arg(long, alias = "order-every", value_name = "DURATION", default_value = "120ms", value_parser = duration::parse)]
    pub command_every: Duration,
    /// The host agent's jar [default: android-agent/out/nexmdm-agent-host.jar of the checkout]
    #[arg(long, value_name = "PATH")]
    pub agent_jar: Option<PathBuf>,
    /// A signed APK of the agent that agents update themselves to [default: one of the test data]
    #[arg(long, value_name = "FILE")]
    pub agent_apk: Option<PathBuf>,
    /// Folder of the APKs to deploy, as in actors/testdata/apks
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../actors/testdata/apks"), hide_default_value = true)]
    pub apks: PathBuf,
    /// The node's binary [default: `nexmdm` beside this executable]
    #[arg(long, value_name = "PATH")]
    pub nexmdm: Option<PathBuf>,
    /// Persistent data folder [default: a new one, kept only after a violation]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Output file for schedules and verdicts (JSON)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl AgentKillsArgs {
    /// Build that agents update to, if there is one.
    fn agent_build(&self) -> Result<Option<PathBuf>> {
        if let Some(given) = &self.agent_apk {
            ensure!(given.is_file(), "{} is no file: name a signed APK of the agent with --agent-apk", given.display());
            return Ok(Some(given.clone()));
        }
        Ok(Some(PathBuf::from(FIXTURE_BUILD)).filter(|file| file.is_file()))
    }
}

/// Runs the seeds; true when every promise was kept with each.
///
/// # Errors
/// Java, the jar or the cluster is missing, or the run was interrupted.
pub async fn run(args: AgentKillsArgs, stop: Stop) -> Result<bool> {
    allow_connections(args.agents as u64 * 16 + CONNECTIONS).map_err(anyhow::Error::msg)?;
    let jvm = Jvm::find(args.agent_jar.as_deref())?;
    let Some(environment) = unless_stopped(&stop, Box::pin(Environment::start(&args, jvm))).await else { anyhow::bail!("interrupted") };
    let mut environment = environment?;
    let outcome = unless_stopped(&stop, Box::pin(run_seeds(&mut environment, &args))).await;
    if !matches!(outcome, Some(Ok(true))) && args.data_dir.is_none() {
        println!("logs, records and database stay in {}", environment.cluster.folder().display());
        environment.cluster.keep_folder();
    }
    outcome.context("interrupted")?
}

async fn run_seeds(environment: &mut Environment, args: &AgentKillsArgs) -> Result<bool> {
    let mut broken = Vec::new();
    let mut report = Vec::new();
    for (index, seed) in (args.seed..).take(args.seeds as usize).enumerate() {
        let started = Instant::now();
        let limits = Limits { agents: args.agents, nodes: args.nodes, disturbed: args.disturbed, updates: environment.build.is_some() };
        let schedule = Schedule::of(seed, limits);
        println!("seed {seed}:\n{schedule}");
        let first_number = (index * args.agents) as u64 + 1;
        let verdict = Box::pin(seed_run::run(environment, args, &schedule, first_number)).await.with_context(|| format!("seed {seed}"))?;
        let (kept, took_s) = (verdict.violations() == 0, started.elapsed().as_secs_f64());
        println!("{verdict}\nseed {seed}: {} ({took_s:.0} s)\n", if kept { "ok" } else { "BROKEN" });
        report.push(json!({"seed": seed, "ok": kept, "seconds": took_s, "schedule": schedule.to_string(), "verdict": verdict,
            "violations": verdict.violations()}));
        if !kept {
            broken.push(seed);
        }
        if let Some(path) = &args.json {
            std::fs::write(path, serde_json::to_vec_pretty(&report)?).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    match broken.len() {
        0 => println!("{} seeds, every promise was kept", args.seeds),
        n => println!("{n} of {} seeds broke a promise: {broken:?}; repeat one with --seed N", args.seeds),
    }
    Ok(broken.is_empty())
}
