//! `chaos soak`: a cluster, a fleet on all of its nodes, a schedule of faults, and the verdict of the oracle at the end.

mod quiescence;
mod run;
mod schedule;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::duration::{self, Interval};
use crate::fleet::{AgentArgs, Behaviours, TransportChoice};
use crate::harness::Network;

pub use run::run;
pub(crate) use schedule::random_fault;
pub use schedule::{Kind, ScenarioStep, Step, scenario, seeded};

/// Arguments of `chaos soak`.
#[derive(Debug, Clone, Args)]
pub struct SoakArgs {
    /// How long faults are done
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0)]
    pub minutes: f64,
    /// Decides which fault comes when; the same seed means the same schedule
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// These faults one after the other instead, e.g. kill,suspend=10s,cut,db,add,drain
    #[arg(long, value_name = "FAULTS", value_delimiter = ',')]
    pub scenario: Vec<ScenarioStep>,
    /// How long each fault of a scenario lasts
    #[arg(long, value_name = "DURATION", default_value = "12s", value_parser = duration::parse)]
    pub lasts: Duration,
    /// The rest between two faults of a scenario
    #[arg(long, value_name = "DURATION", default_value = "11s", value_parser = duration::parse)]
    pub rest: Duration,
    /// Nodes to begin with
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub nodes: usize,
    /// Devices
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    pub devices: usize,
    /// Time between the heartbeats of a device
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub interval: Interval,
    /// How devices talk
    #[arg(long, value_enum, default_value_t = TransportChoice::Mix)]
    pub transport: TransportChoice,
    /// How long a device waits for an answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    pub timeout: Duration,
    /// How long the fleet may take to be calm when all is healed
    #[arg(long, value_name = "DURATION", default_value = "90s", value_parser = duration::parse)]
    pub calm_within: Duration,
    /// What the links between nodes are made of
    #[arg(long, value_enum, default_value_t = Network::Proxies)]
    pub network: Network,
    /// Orders no commands meanwhile
    #[arg(long)]
    pub no_commands: bool,
    /// Time between two orders of commands, each of a random node
    #[arg(long, value_name = "DURATION", default_value = "250ms", value_parser = duration::parse)]
    pub order_every: Duration,
    /// Deploys nothing meanwhile
    #[arg(long)]
    pub no_deployments: bool,
    /// Time between two acts about deployments: one is made, paused, resumed or canceled
    #[arg(long, value_name = "DURATION", default_value = "8s", value_parser = duration::parse)]
    pub deploy_every: Duration,
    /// Folder of the APKs that are deployed, as in actors/testdata/apks
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../actors/testdata/apks"), hide_default_value = true)]
    pub apks: PathBuf,
    /// What devices do with commands, by weight, as for `chaos fleet`
    #[arg(long, value_name = "WEIGHTS", default_value = "execute=75,refuse=5,fail=5,late=5,lose-answer=5,never-answer=2,deaf-socket=3")]
    pub commands: Behaviours,
    /// Devices that are host agents
    #[command(flatten)]
    pub agents: AgentArgs,
    /// Share of commands beside which altered, repeated and foreign ones are slipped in
    #[arg(long, value_name = "0..1", default_value_t = 0.1)]
    pub hostile_share: f64,
    /// A folder that stays [default: a new one, kept only if a promise was broken]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The node's binary [default: `nexmdm` beside this executable]
    #[arg(long, value_name = "PATH")]
    pub nexmdm: Option<PathBuf>,
    /// Writes schedule, faults and verdict to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}
