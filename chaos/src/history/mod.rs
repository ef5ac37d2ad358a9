//! `chaos history`: archives and backups of real nodes under faults, with a check of P1, P8 and P13.

mod archive_killed;
mod backup_restore;
mod disk;
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
use serde_json::json;
use tokio::time::Instant;

use crate::limits::allow_connections;
use crate::oracle::Verdict;
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
    #[arg(long, value_name = "NAME|all", required = true, value_delimiter = ',', value_parser = drills_of)]
    pub drill: Vec<HistoryDrills>,
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

/// Selection of drills.
#[derive(Debug, Clone)]
pub struct HistoryDrills(Vec<HistoryDrill>);

fn drills_of(text: &str) -> Result<HistoryDrills, String> {
    if text == "all" {
        return Ok(HistoryDrills(HistoryDrill::value_variants().to_vec()));
    }
    let names = || HistoryDrill::value_variants().iter().map(|drill| drill.name()).collect::<Vec<_>>().join(", ");
    let drill = HistoryDrill::from_str(text, false);
    drill.map(|drill| HistoryDrills(vec![drill])).map_err(|_| format!("unknown drill `{text}`; expected all, {}", names()))
}

/// Runs the drills, each on a cluster of its own; true when each had the expected result and the promises were kept.
///
/// # Errors
/// A cluster cannot be started, or the run was interrupted.
pub async fn run(args: HistoryDrillArgs, stop: Stop) -> Result<bool> {
    allow_connections(args.devices as u64 + CONNECTIONS).map_err(anyhow::Error::msg)?;
    unless_stopped(&stop, Box::pin(run_all(&args))).await.context("interrupted")?
}

async fn run_all(args: &HistoryDrillArgs) -> Result<bool> {
    let (mut all_well, mut report) = (true, Vec::new());
    for drill in args.drill.iter().flat_map(|drills| &drills.0) {
        let (name, started) = (drill.name(), Instant::now());
        let outcome: Result<(String, Verdict)> = match drill {
            HistoryDrill::ArchiveKilled => Box::pin(archive_killed::run(args)).await,
            HistoryDrill::BackupRestore => Box::pin(backup_restore::run(args)).await,
            HistoryDrill::StoreFaults => Box::pin(store_faults::run(args)).await,
            HistoryDrill::DiskFull => Box::pin(disk_full::run(args)).await,
        };
        let took_s = started.elapsed().as_secs_f64();
        match outcome {
            Ok((shown, verdict)) => {
                let kept = verdict.violations() == 0;
                all_well &= kept;
                println!("\n{name}: {} ({took_s:.0} s): {shown}\n{verdict}", if kept { "ok" } else { "BROKEN" });
                report.push(json!({"drill": name, "ok": kept, "seconds": took_s, "shown": shown, "verdict": verdict}));
            }
            Err(error) => {
                all_well = false;
                println!("\n{name}: FAILED ({took_s:.0} s): {error:#}");
                report.push(json!({"drill": name, "ok": false, "seconds": took_s, "error": format!("{error:#}")}));
            }
        }
    }
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(all_well)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drills_are_named_one_by_one_or_all_at_once() {
        assert_eq!(drills_of("all").unwrap().0.len(), HistoryDrill::value_variants().len());
        for drill in HistoryDrill::value_variants() {
            assert_eq!(drills_of(drill.name()).unwrap().0, [*drill]);
        }
        assert!(drills_of("flood").unwrap_err().contains("store_faults"));
    }
}
