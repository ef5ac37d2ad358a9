//! `chaos`: simulated devices, load, measurements and faults for NexMDM nodes.

use std::fmt::Display;
use std::process::ExitCode;

use anyhow::Result;
use chaos::harness::Network;
use chaos::network::namespaces::move_into_own_namespaces;
use chaos::{agent_kills, bench, cluster, deploy, fcm, fleet, load, oracle, signals, soak};
use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

// Thousands of small, long-lived buffers: this allocator keeps them together.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Simulated devices, load, measurements and faults for NexMDM nodes, over plain http
#[derive(Parser)]
#[command(name = "chaos", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Simulated devices that enroll, send heartbeats and keep the agent's rules
    Fleet(Box<fleet::FleetArgs>),
    /// A closed loop of heartbeats, every one a new row, as fast as the node takes them
    Load(Box<load::LoadArgs>),
    /// Speed and memory of real node processes, printed with their conditions
    Bench(Box<bench::BenchArgs>),
    /// Real nodes on this machine that share a PostgreSQL, and commands to disturb them
    Cluster(Box<cluster::ClusterArgs>),
    /// A cluster, a fleet, a schedule of faults, and whether every promise was kept
    Soak(Box<soak::SoakArgs>),
    /// Host agents that are killed at every step on a cluster under faults, and whether every promise was kept
    #[command(alias = "agents")]
    AgentKills(Box<agent_kills::AgentKillsArgs>),
    /// Deployments while something goes wrong: drills with a verdict each
    Deploy(Box<deploy::DeployDrillArgs>),
    /// Whether every promise was kept, from a fleet's record and the database
    Oracle(Box<oracle::OracleArgs>),
    /// A stand-in for Google's side of push; prints every message
    Fcm(Box<fcm::FcmArgs>),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let network = match &command {
        Command::Cluster(args) => args.network,
        Command::Soak(args) => args.network,
        _ => Network::default(),
    };
    if network == Network::Namespaces {
        // Before there is a thread: a process moves as a whole.
        move_into_own_namespaces()?;
    }
    match command {
        Command::Fleet(args) => many_threads()?.block_on(async { report(Box::pin(fleet::run(*args, signals::stop_on_signal()?)).await?) }),
        Command::Load(args) => one_thread()?.block_on(async { report(Box::pin(load::run(*args, signals::stop_on_signal()?)).await?) }),
        Command::Bench(args) => one_thread()?.block_on(async { Box::pin(bench::run(*args, signals::stop_on_signal()?)).await }),
        Command::Cluster(args) => many_threads()?.block_on(async { Box::pin(cluster::run(*args, signals::stop_on_signal()?)).await }),
        Command::Soak(args) => many_threads()?.block_on(async { verdict(Box::pin(soak::run(*args, signals::stop_on_signal()?)).await?) }),
        Command::Deploy(args) => {
            many_threads()?.block_on(async { verdict(Box::pin(deploy::run(*args, signals::stop_on_signal()?)).await?) })
        }
        Command::AgentKills(args) => {
            many_threads()?.block_on(async { verdict(Box::pin(agent_kills::run(*args, signals::stop_on_signal()?)).await?) })
        }
        Command::Fcm(args) => one_thread()?.block_on(async { fcm::run(*args, signals::stop_on_signal()?).await }),
        Command::Oracle(args) => one_thread()?.block_on(async { verdict(oracle::run(*args).await?) }),
    }
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
