//! `chaos`: simulated devices, load, measurements and faults for NexMDM nodes.

use std::fmt::Display;
use std::process::ExitCode;

use anyhow::Result;
use chaos::harness::Network;
use chaos::network::namespaces::move_into_own_namespaces;
use chaos::verdict::{JudgeArgs, Outcome, judge_command};
use chaos::{
    accept, agent_kills, alerts, bench, cluster, deploy, failover, fcm, fleet, game_day, history, load, oracle, s3, scenario, signals,
    sink, soak,
};
use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

// Thousands of small, long-lived buffers: this allocator keeps them together.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Simulated fleets, load generation, benchmarks and fault injection for NexMDM nodes, over plain http
#[derive(Parser)]
#[command(name = "chaos", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run simulated devices that follow the agent protocol
    Fleet(Box<fleet::FleetArgs>),
    /// Closed-loop load: unique heartbeats at the maximum rate
    Load(Box<load::LoadArgs>),
    /// Benchmark node processes and print the figures with their conditions
    Bench(Box<bench::BenchArgs>),
    /// Run a local cluster with an interactive fault-injection console
    Cluster(Box<cluster::ClusterArgs>),
    /// Soak test: a cluster and a fleet under scheduled faults, with a verdict; or, with --hours, a game day of scenarios by seed
    Soak(Box<game_day::SoakCommand>),
    /// Judge a run again from its folder alone
    Judge(JudgeArgs),
    /// Check the acceptance criteria against any installation
    Accept(Box<accept::AcceptArgs>),
    /// Fail-overs of PostgreSQL by Patroni under load, with a verdict
    Failover(Box<failover::FailoverArgs>),
    /// Kill host agents at every step on a cluster under faults, with a verdict
    #[command(alias = "agents")]
    AgentKills(Box<agent_kills::AgentKillsArgs>),
    /// Deployment drills under faults, with a verdict each
    Deploy(Box<deploy::DeployDrillArgs>),
    /// Alert drills under faults, with sinks that record every message, and a verdict each
    Alerts(Box<alerts::AlertDrillArgs>),
    /// Drills of archives and backups under faults, with a verdict each
    History(Box<history::HistoryDrillArgs>),
    /// Run a scenario file, with a verdict as text, JSON, JUnit XML and HTML; exit code 0, 1 when something does not hold, 2 when it was not run
    Run(Box<scenario::RunArgs>),
    /// Check scenario files
    Check(scenario::CheckArgs),
    /// Heal what a run that was cut off has left
    Heal(scenario::HealArgs),
    /// Verify all guarantees from a fleet's record and the database
    Oracle(Box<oracle::OracleArgs>),
    /// Fake FCM server; prints every message
    Fcm(Box<fcm::FcmArgs>),
    /// Stand-ins for Discord, webhooks and a mail server; prints every message
    Sink(Box<sink::SinkArgs>),
    /// Stand-in for an object store with S3's API, in memory, which fails on demand
    S3(Box<s3::S3Args>),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    let network = match &command {
        Command::Cluster(args) => args.network,
        Command::Soak(args) => args.soak.network,
        Command::Run(args) => scenario::network_of(args),
        _ => Network::default(),
    };
    if network == Network::Namespaces {
        // Before there is a thread: a process moves as a whole.
        move_into_own_namespaces()?;
    }
    let done = match command {
        Command::Run(args) => {
            let code = many_threads()?.block_on(async { Box::pin(scenario::run(*args, signals::stop_on_signal()?)).await });
            let not_run = |error| {
                eprintln!("chaos: {error:#}");
                scenario::NOT_RUN
            };
            return Ok(code.unwrap_or_else(not_run).into());
        }
        Command::Check(args) => return Ok(scenario::check(&args).into()),
        Command::Heal(args) => scenario::heal_dir(&args),
        Command::Fleet(args) => many_threads()?.block_on(async { report(Box::pin(fleet::run(*args, signals::stop_on_signal()?)).await?) }),
        Command::Load(args) => one_thread()?.block_on(async { report(Box::pin(load::run(*args, signals::stop_on_signal()?)).await?) }),
        Command::Bench(args) => one_thread()?.block_on(async { Box::pin(bench::run(*args, signals::stop_on_signal()?)).await }),
        Command::Cluster(args) => many_threads()?.block_on(async { Box::pin(cluster::run(*args, signals::stop_on_signal()?)).await }),
        Command::Soak(args) => match args.hours {
            Some(hours) => {
                let held = one_thread()?.block_on(async { Box::pin(game_day::run(&args, hours, signals::stop_on_signal()?)).await });
                return Ok(exit_code(held));
            }
            None => {
                let args = args.soak;
                many_threads()?.block_on(async { verdict(Box::pin(soak::run(args, signals::stop_on_signal()?)).await?) })
            }
        },
        Command::Judge(args) => return Ok(exit_code(judge_command(&args))),
        Command::Accept(args) => {
            let accepted = one_thread()?.block_on(async { Box::pin(accept::run(*args, signals::stop_on_signal()?)).await });
            return Ok(exit_code(accepted));
        }
        Command::Failover(args) => {
            many_threads()?.block_on(async { verdict(Box::pin(failover::run(*args, signals::stop_on_signal()?)).await?) })
        }
        Command::Deploy(args) => {
            many_threads()?.block_on(async { verdict(Box::pin(deploy::run(*args, signals::stop_on_signal()?)).await?) })
        }
        Command::AgentKills(args) => {
            many_threads()?.block_on(async { verdict(Box::pin(agent_kills::run(*args, signals::stop_on_signal()?)).await?) })
        }
        Command::Alerts(args) => {
            many_threads()?.block_on(async { verdict(Box::pin(alerts::run(*args, signals::stop_on_signal()?)).await?) })
        }
        Command::History(args) => {
            many_threads()?.block_on(async { verdict(Box::pin(history::run(*args, signals::stop_on_signal()?)).await?) })
        }
        Command::S3(args) => one_thread()?.block_on(async { s3::run(*args, signals::stop_on_signal()?).await }),
        Command::Sink(args) => one_thread()?.block_on(async { sink::run(*args, signals::stop_on_signal()?).await }),
        Command::Fcm(args) => one_thread()?.block_on(async { fcm::run(*args, signals::stop_on_signal()?).await }),
        Command::Oracle(args) => one_thread()?.block_on(async { verdict(oracle::run(*args).await?) }),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// 0, 1 or 2; an error is 2, as nothing was found then.
fn exit_code(outcome: Result<Outcome>) -> ExitCode {
    let outcome = outcome.unwrap_or_else(|error| {
        eprintln!("chaos: {error:#}");
        Outcome::NotRun
    });
    outcome.exit_code().into()
}

fn report(summary: impl Display) -> Result<()> {
    println!("{summary}");
    Ok(())
}

fn verdict(kept: bool) -> Result<()> {
    anyhow::ensure!(kept, "a promise was broken");
    Ok(())
}

fn many_threads() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build()
}

/// One thread leaves the other cores to what is measured.
fn one_thread() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
