//! `chaos failover`: the primary of three PostgreSQL servers is killed again and again while a fleet reports, and the oracle judges.
//!
//! It is a soak with a sequence of its own, by turns: `failover` (PostgreSQL and its Patroni die, and another server is promoted), `primary` (PostgreSQL dies, and
//! Patroni starts it again), `manager` (Patroni dies, and another server is promoted while the one before still takes itself for the primary).

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, Parser};

use crate::duration::Interval;
use crate::harness::{DatabaseKind, Patroni};
use crate::signals::Stop;
use crate::soak::{self, SoakArgs};

/// Arguments of `chaos failover`.
#[derive(Debug, Clone, Args)]
pub struct FailoverArgs {
    /// Kills of the primary, one after the other on the same servers
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub repeat: u32,
    /// Way of nodes to the primary: they know all servers, or HAProxy
    #[arg(long, value_enum, default_value_t = DatabaseKind::Patroni)]
    pub by: DatabaseKind,
    /// Number of nodes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=9))]
    pub nodes: u8,
    /// Number of devices
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub devices: u32,
    /// Heartbeat interval of a device
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub interval: Interval,
    /// Random seed
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Persistent data folder [default: a new one, kept only after a violation]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The node's binary [default: `nexmdm` beside this executable]
    #[arg(long, value_name = "PATH")]
    pub nexmdm: Option<PathBuf>,
    /// Output file for schedule, faults and verdict (JSON)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

#[derive(Parser)]
struct SoakCommandLine {
    #[command(flatten)]
    args: SoakArgs,
}

/// Runs the fail-overs; true when every promise was kept.
///
/// # Errors
/// Patroni, etcd or HAProxy is not installed, or the cluster does not start.
pub async fn run(args: FailoverArgs, stop: Stop) -> Result<bool> {
    ensure!(args.by != DatabaseKind::Single, "--by single: one server has no other to fail over to");
    if let Some(missing) = Patroni::missing() {
        anyhow::bail!("{missing}");
    }
    soak::run(soak_args(&args)?, stop).await
}

fn soak_args(args: &FailoverArgs) -> Result<SoakArgs> {
    let kinds = ["failover", "primary", "manager"].into_iter().cycle().take(args.repeat as usize);
    let words = [
        ("--scenario", kinds.collect::<Vec<_>>().join(",")),
        // Longer than what is allowed, so that what comes back does so by itself and not by the healing.
        ("--lasts", "45s".to_owned()),
        ("--rest", "10s".to_owned()),
        ("--nodes", args.nodes.to_string()),
        ("--devices", args.devices.to_string()),
        ("--interval", args.interval.to_string()),
        ("--seed", args.seed.to_string()),
        ("--network", "proxies".to_owned()),
    ];
    let words = words.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    let all = ["soak".to_owned(), "--no-alerts".into()].into_iter().chain(words);
    let soak = SoakCommandLine::try_parse_from(all)?.args;
    let FailoverArgs { data_dir, nexmdm, json, by: database, .. } = args.clone();
    Ok(SoakArgs { database, data_dir, nexmdm, json, ..soak })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        args: FailoverArgs,
    }

    #[test]
    fn parts_of_the_primary_are_killed_by_turns() {
        let args = CommandLine::try_parse_from(["failover", "--repeat", "4", "--by", "haproxy"]).unwrap().args;
        let soak = soak_args(&args).unwrap();
        let words: Vec<_> = ["failover", "primary", "manager", "failover"].map(|word| word.parse().unwrap()).into();
        assert_eq!((soak.scenario, soak.database, soak.nodes), (words, DatabaseKind::Haproxy, 3));
    }
}
