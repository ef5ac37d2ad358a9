//! `chaos alerts`: alerts and their messages on a cluster of real nodes under faults, with sinks that record, and a check of P9.

mod drills;
mod fleets;
mod messages;
mod setup;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::builder::TypedValueParser;
use clap::{Args, ValueEnum};
use tokio::time::Instant;

use crate::drills::{Drills, Report, Shown, drills_of};
use crate::limits::allow_connections;
use crate::signals::{Stop, unless_stopped};

pub(crate) use fleets::Fleets;
pub(crate) use messages::until_settled;
pub(crate) use setup::{AlertTimes, MAIL, SINKS, Sinks, alert_env};

/// Connections of proxies and of the fleet to all nodes.
const CONNECTIONS: u64 = 4_096;
/// The APK that is deployed.
const APK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../actors/testdata/apks/till-3.apk");

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, strum::IntoStaticStr)]
#[value(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AlertDrill {
    /// Devices fall silent and return: one message each
    Storm,
    /// The same, with kill -9 of the coordinator's node before each message
    CoordinatorKilled,
    /// kill -9 of all nodes and a start: no storm
    AllKilled,
    /// One channel answers 500, hangs and asks to wait; the others go on
    ChannelDown,
    /// Apps die, and remediation launches them again
    AppDown,
    /// A failing canary, with the deployment's link
    CanaryFailure,
}

impl AlertDrill {
    /// Name on the command line.
    fn name(self) -> &'static str {
        self.into()
    }
}

/// Arguments of `chaos alerts`.
#[derive(Debug, Clone, Args)]
pub struct AlertDrillArgs {
    /// Drill, or `all`; repeatable or comma-separated
    #[arg(long, value_name = "NAME|all", required = true, value_delimiter = ',', value_parser = drills_of::<AlertDrill>)]
    pub drill: Vec<Drills<AlertDrill>>,
    /// Simulated devices
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(8..=20_000).map(|n| n as usize))]
    pub devices: usize,
    /// Of them, devices that fall silent; fewer than half
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub silent: usize,
    /// Number of nodes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=9).map(usize::from))]
    pub nodes: usize,
    /// Random seed of devices
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// The node's binary [default: `nexmdm` beside this executable]
    #[arg(long, value_name = "PATH")]
    pub nexmdm: Option<PathBuf>,
    /// Parent of data folders, which are kept after a failure
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Output file for the results (JSON)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Runs the drills, each on a cluster of its own; true when each had the expected result and P9 was kept.
///
/// # Errors
/// A cluster cannot be started, or the run was interrupted.
pub async fn run(args: AlertDrillArgs, stop: Stop) -> Result<bool> {
    Ok(report(args, stop).await?.is_well())
}

/// Runs the drills, each on a cluster of its own; what came of each.
///
/// # Errors
/// The run was interrupted, or an argument is out of its limits.
pub(crate) async fn report(args: AlertDrillArgs, stop: Stop) -> Result<Report> {
    anyhow::ensure!(
        args.silent > 0 && args.silent * 2 < args.devices,
        "--silent: {} is not between 1 and half of {}",
        args.silent,
        args.devices
    );
    allow_connections(args.devices as u64 + CONNECTIONS).map_err(anyhow::Error::msg)?;
    unless_stopped(&stop, Box::pin(run_all(&args))).await.context("interrupted")?
}

async fn run_all(args: &AlertDrillArgs) -> Result<Report> {
    let mut report = Report::default();
    for drill in args.drill.iter().flat_map(|drills| &drills.0) {
        let started = Instant::now();
        let outcome = Box::pin(drills::run_drill(args, *drill)).await;
        let shown = outcome.map(|(what, check)| Shown { what, checks: vec![check], ..Shown::default() });
        report.add(drill.name(), started.elapsed(), shown);
    }
    report.write(args.json.as_deref())?;
    Ok(report)
}
