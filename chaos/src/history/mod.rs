//! `chaos history`: archives and backups of real nodes under faults, with a check of P1, P8 and P13.

mod archive_killed;
mod backup_restore;
mod disk_full;
mod drill;
mod partitions;
mod past;
mod planted;
mod store_faults;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::builder::TypedValueParser;
use clap::{Args, ValueEnum};
use tokio::time::Instant;

use crate::drills::{Drills, Report, Shown, drills_of};
use crate::limits::allow_connections;
use crate::signals::{Stop, unless_stopped};

pub(crate) use partitions::Partitions;
pub(crate) use past::PastDevices;

/// Connections of proxies and of the devices to all nodes.
const CONNECTIONS: u64 = 2_048;

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, strum::IntoStaticStr)]
#[value(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum HistoryDrill {
    /// kill -9 of `partitions run` at many moments, of a node beside it, and two runs at once
    ArchiveKilled,
    /// A backup while nodes are killed, and a node that is restored from it
    BackupRestore,
    /// An object store that is full, read-only, slow, gone, truncating, or answers an older version
    StoreFaults,
    /// No space left while archiving, and while PostgreSQL writes; needs root
    DiskFull,
}

impl HistoryDrill {
    /// Name on the command line.
    fn name(self) -> &'static str {
        self.into()
    }
}

/// Arguments of `chaos history`.
#[derive(Debug, Clone, Args)]
pub struct HistoryDrillArgs {
    /// Drill, or `all`; repeatable or comma-separated
    #[arg(long, value_name = "NAME|all", required = true, value_delimiter = ',', value_parser = drills_of::<HistoryDrill>)]
    pub drill: Vec<Drills<HistoryDrill>>,
    /// Simulated devices
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=2_000).map(|n| n as usize))]
    pub devices: usize,
    /// Heartbeats of a device on each day gone by
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=8_640).map(|n| n as usize))]
    pub per_day: usize,
    /// Kills of a run that archives
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub kills: usize,
    /// Number of nodes
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=9).map(usize::from))]
    pub nodes: usize,
    /// Random seed
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

/// Runs the drills, each on a cluster of its own; true when each had the expected result and the promises were kept.
///
/// # Errors
/// A cluster cannot be started, or the run was interrupted.
pub async fn run(args: HistoryDrillArgs, stop: Stop) -> Result<bool> {
    Ok(report(args, stop).await?.is_well())
}

/// Runs the drills, each on a cluster of its own; what came of each.
///
/// # Errors
/// The run was interrupted.
pub(crate) async fn report(args: HistoryDrillArgs, stop: Stop) -> Result<Report> {
    allow_connections(args.devices as u64 + CONNECTIONS).map_err(anyhow::Error::msg)?;
    unless_stopped(&stop, Box::pin(run_all(&args))).await.context("interrupted")?
}

async fn run_all(args: &HistoryDrillArgs) -> Result<Report> {
    let mut report = Report::default();
    for drill in args.drill.iter().flat_map(|drills| &drills.0) {
        let started = Instant::now();
        let outcome = match drill {
            HistoryDrill::ArchiveKilled => Box::pin(archive_killed::run(args)).await,
            HistoryDrill::BackupRestore => Box::pin(backup_restore::run(args)).await,
            HistoryDrill::StoreFaults => Box::pin(store_faults::run(args)).await,
            HistoryDrill::DiskFull => Box::pin(disk_full::run(args)).await,
        };
        let shown = outcome.map(|(what, verdict)| Shown { what, checks: verdict.checks, ..Shown::default() });
        report.add(drill.name(), started.elapsed(), shown);
    }
    report.write(args.json.as_deref())?;
    Ok(report)
}
