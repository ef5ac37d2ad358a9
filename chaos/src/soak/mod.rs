//! `chaos soak`: a cluster, a fleet on all of its nodes, a schedule of faults, and the verdict of the oracle at the end.

mod alerts;
mod midnights;
mod quiescence;
mod run;
mod schedule;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::duration::{self, Interval};
use crate::fleet::{AgentArgs, Behaviours, TransportChoice};
use crate::harness::{DatabaseKind, Network};

pub use run::run;
pub(crate) use run::{Disturbance, Ground, allow_fleet, cluster_options, run_disturbed};
pub(crate) use schedule::random_fault;
pub use schedule::{Kind, ScenarioStep, Step, scenario, seeded};

/// Arguments of `chaos soak`.
#[derive(Debug, Clone, Args)]
pub struct SoakArgs {
    /// Duration of fault injection
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0)]
    pub minutes: f64,
    /// Seed of the fault schedule
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Fixed sequence of faults instead of a random schedule, e.g. kill,suspend=10s,cut,db,add,drain
    #[arg(long, value_name = "FAULTS", value_delimiter = ',')]
    pub scenario: Vec<ScenarioStep>,
    /// Duration of each fault of a sequence
    #[arg(long, value_name = "DURATION", default_value = "12s", value_parser = duration::parse)]
    pub lasts: Duration,
    /// Pause between faults of a sequence
    #[arg(long, value_name = "DURATION", default_value = "11s", value_parser = duration::parse)]
    pub rest: Duration,
    /// Initial number of nodes
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub nodes: usize,
    /// Number of devices
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    pub devices: usize,
    /// Heartbeat interval of a device
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub interval: Interval,
    /// Transport of devices
    #[arg(long, value_enum, default_value_t = TransportChoice::Mix)]
    pub transport: TransportChoice,
    /// Response timeout of a device
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    pub timeout: Duration,
    /// Recovery timeout of the fleet after all faults are healed
    #[arg(long, value_name = "DURATION", default_value = "90s", value_parser = duration::parse)]
    pub calm_within: Duration,
    /// Network between nodes
    #[arg(long, value_enum, default_value_t = Network::Proxies)]
    pub network: Network,
    /// PostgreSQL of the cluster
    #[arg(long, value_enum, default_value_t = DatabaseKind::Single)]
    pub database: DatabaseKind,
    /// Send no commands
    #[arg(long)]
    pub no_commands: bool,
    /// Interval between commands, each sent through a random node
    #[arg(long, alias = "order-every", value_name = "DURATION", default_value = "250ms", value_parser = duration::parse)]
    pub command_every: Duration,
    /// Run no deployments
    #[arg(long)]
    pub no_deployments: bool,
    /// Interval between deployment operations: create, pause, resume, cancel
    #[arg(long, value_name = "DURATION", default_value = "8s", value_parser = duration::parse)]
    pub deploy_every: Duration,
    /// Raise no alerts: no channels, and no devices that fall silent
    #[arg(long)]
    pub no_alerts: bool,
    /// Simulated midnights: devices also report of so many days gone by, one after the other, and days are archived and dropped, with runs that
    /// are killed
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=midnights::MIDNIGHTS_MAX))]
    pub midnights: u64,
    /// Folder of the APKs to deploy, as in actors/testdata/apks
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../actors/testdata/apks"), hide_default_value = true)]
    pub apks: PathBuf,
    /// Command behaviour of devices, by weight, as for `chaos fleet`
    #[arg(long, value_name = "WEIGHTS", default_value = "execute=75,refuse=5,fail=5,late=5,lose-answer=5,never-answer=2,deaf-socket=3")]
    pub commands: Behaviours,
    /// Host agents among the devices
    #[command(flatten)]
    pub agents: AgentArgs,
    /// Share of commands accompanied by forged, replayed and misdirected ones
    #[arg(long, value_name = "0..1", default_value_t = 0.1)]
    pub hostile_share: f64,
    /// Share of heartbeats that are sent twice
    #[arg(long, value_name = "0..1", default_value_t = 0.005)]
    pub duplicate_share: f64,
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
