//! Faults of scenarios beyond signals and links, one file each: what begins them, and what heals them.

mod certificate;
mod clock_jump;
mod connections;
mod disk_full;
mod dns;
mod download_storm;
mod lossy_network;
mod one_address;
mod outages;
mod poison;
mod primary_killed;
mod rolling_upgrade;
mod scale_out;
mod slow_disk;
mod table;
mod thundering_herd;

use std::fmt;

use anyhow::{Context, Result};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use certificate::CertificateExpiry;
pub use clock_jump::ClockJump;
pub use connections::ConnectionsUsedUp;
pub use disk_full::DiskFull;
pub use dns::DnsGone;
pub use download_storm::DownloadStorm;
pub use lossy_network::LossyNetwork;
pub use one_address::OneAddress;
pub use outages::{FcmOutage, NotificationOutage, OutageKind};
pub use poison::PoisonHeartbeats;
pub use primary_killed::PrimaryKilled;
pub use rolling_upgrade::RollingUpgrade;
pub use scale_out::ScaleOut;
pub use slow_disk::SlowPostgresDisk;
pub use table::fault_table;
pub use thundering_herd::ThunderingHerd;

use crate::alerts::Sinks;
use crate::fcm::FakeFcm;
use crate::harness::{Cluster, ClusterOptions};

/// What a fault works on.
pub struct Scene<'a> {
    /// Nodes, their database and what lies between them.
    pub cluster: &'a mut Cluster,
    /// Stand-in for FCM, if the scenario has one.
    pub fcm: Option<&'a FakeFcm>,
    /// Stand-ins for channels of alerts, if the scenario has some.
    pub(crate) sinks: Option<&'a mut Sinks>,
    /// What the record of the run says of the fault, such as the means by which packets were lost.
    pub notes: Vec<String>,
    /// What the fault has shown to be broken, for the verdict.
    pub broken: Vec<String>,
}

impl<'a> Scene<'a> {
    /// A scene without stand-ins.
    pub fn of(cluster: &'a mut Cluster) -> Self {
        Self { cluster, fcm: None, sinks: None, notes: Vec::new(), broken: Vec::new() }
    }

    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

/// Parameter of a fault that is out of its limits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct OutOfLimits {
    /// Key of the parameter.
    pub key: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// Checks that a number is within its limits.
fn within<T: PartialOrd + fmt::Display + Copy>(key: &'static str, value: T, least: T, most: T) -> Result<(), OutOfLimits> {
    if value >= least && value <= most {
        return Ok(());
    }
    Err(OutOfLimits { key, problem: format!("{value} is not in {least} to {most}") })
}

/// Fault with its parameters.
pub trait Fault: fmt::Display + Send + Sync {
    /// Checks the limits of its parameters.
    ///
    /// # Errors
    /// Names the first one that is out of its limits.
    fn check(&self) -> Result<(), OutOfLimits>;

    /// Turns on what it needs of a cluster that is to be started.
    fn prepare(&self, _options: &mut ClusterOptions) {}

    /// Node that it affects, if it is one alone.
    fn node(&self) -> Option<&str> {
        None
    }

    /// Whether it lasts until it is healed; false: it is over once it has begun.
    fn lasts(&self) -> bool {
        true
    }

    /// Commands that heal it from outside when this process is gone; nodes that are left are stopped besides.
    ///
    /// # Errors
    /// The cluster lacks what the fault needs.
    fn undo(&self, _cluster: &Cluster) -> Result<Vec<Vec<String>>> {
        Ok(Vec::new())
    }

    /// Begins it.
    fn begin<'a>(&'a self, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<InForce>>;
}

/// State of a fault that has begun.
pub enum InForce {
    /// It is over: there is nothing to heal.
    Over,
    /// It lasts until it is healed.
    Until(Box<dyn Healing>),
}

impl InForce {
    fn until(healing: impl Healing + 'static) -> Self {
        Self::Until(Box::new(healing))
    }
}

/// Healing of a fault that is in force.
pub trait Healing: Send + Sync {
    /// Heals it.
    fn heal<'a>(self: Box<Self>, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<()>>;
}

/// Fault of a scenario file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ScenarioFault {
    /// Nodes are upgraded one after the other.
    RollingUpgrade(RollingUpgrade),
    /// Nodes are added, and removed again.
    ScaleOut(ScaleOut),
    /// All devices reconnect at once.
    ThunderingHerd(ThunderingHerd),
    /// The clock of a node jumps.
    ClockJump(ClockJump),
    /// PostgreSQL's disk is slow.
    SlowPostgresDisk(SlowPostgresDisk),
    /// PostgreSQL's disk is full.
    DiskFull(DiskFull),
    /// Others use up the connections of PostgreSQL.
    ConnectionsUsedUp(ConnectionsUsedUp),
    /// A part of the fleet is behind one address.
    OneAddress(OneAddress),
    /// The certificate of a node's links expires.
    CertificateExpiry(CertificateExpiry),
    /// Devices send bodies of every bad kind.
    PoisonHeartbeats(PoisonHeartbeats),
    /// All devices download an APK at once.
    DownloadStorm(DownloadStorm),
    /// FCM does not work.
    FcmOutage(FcmOutage),
    /// Receivers of notifications do not work.
    NotificationOutage(NotificationOutage),
    /// A node resolves no names.
    DnsGone(DnsGone),
    /// Packets of nodes are lost and late.
    LossyNetwork(LossyNetwork),
    /// The primary of several PostgreSQL servers dies.
    PrimaryKilled(PrimaryKilled),
}

impl ScenarioFault {
    /// The fault itself.
    pub fn as_fault(&self) -> &dyn Fault {
        match self {
            Self::RollingUpgrade(fault) => fault,
            Self::ScaleOut(fault) => fault,
            Self::ThunderingHerd(fault) => fault,
            Self::ClockJump(fault) => fault,
            Self::SlowPostgresDisk(fault) => fault,
            Self::DiskFull(fault) => fault,
            Self::ConnectionsUsedUp(fault) => fault,
            Self::OneAddress(fault) => fault,
            Self::CertificateExpiry(fault) => fault,
            Self::PoisonHeartbeats(fault) => fault,
            Self::DownloadStorm(fault) => fault,
            Self::FcmOutage(fault) => fault,
            Self::NotificationOutage(fault) => fault,
            Self::DnsGone(fault) => fault,
            Self::LossyNetwork(fault) => fault,
            Self::PrimaryKilled(fault) => fault,
        }
    }
}

/// Names of nodes that run, which there must be.
fn running(scene: &mut Scene<'_>) -> Result<Vec<String>> {
    let names = scene.cluster.running();
    names.first().context("no node runs")?;
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ScenarioFault, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_fault_is_read_with_its_defaults_and_without_unknown_keys() {
        assert_eq!(read("kind = \"thundering_herd\"").unwrap(), ScenarioFault::ThunderingHerd(ThunderingHerd::default()));
        assert!(read("kind = \"thundering_herd\"\ntime = 3").unwrap_err().contains("time"));
        assert!(read("kind = \"flood\"").unwrap_err().contains("flood"));
        assert!(read("kind = \"clock_jump\"").is_err(), "which node, and how far");
    }

    #[test]
    fn every_limit_names_its_key() {
        for (text, key) in [
            ("kind = \"rolling_upgrade\"\nbalanced_within_s = 0", "balanced_within_s"),
            ("kind = \"scale_out\"\nnodes = 1", "nodes"),
            ("kind = \"thundering_herd\"\ntimes = 0", "times"),
            ("kind = \"clock_jump\"\nnode = \"node-1\"\nahead_s = 0", "ahead_s"),
            ("kind = \"slow_postgres_disk\"\nflush_ms = 101", "flush_ms"),
            ("kind = \"connections_used_up\"\nleave = 51", "leave"),
            ("kind = \"one_address\"\nshare_pct = 101", "share_pct"),
            ("kind = \"certificate_expiry\"\nnode = \"node-1\"\nvalid_s = 1", "valid_s"),
            ("kind = \"poison_heartbeats\"\nper_second = 0", "per_second"),
            ("kind = \"download_storm\"\nwithin_s = 0", "within_s"),
            ("kind = \"notification_outage\"\nsinks = [\"nobody\"]", "sinks"),
            ("kind = \"lossy_network\"\nloss_pct = 51", "loss_pct"),
            ("kind = \"lossy_network\"\nlatency_ms = 5001", "latency_ms"),
        ] {
            let fault = read(text).unwrap();
            assert_eq!(fault.as_fault().check().unwrap_err().key, key, "{text}");
        }
    }
}
