//! Faults that are injected into a cluster from outside, and their healing.

mod inject;

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use inject::Faults;

use crate::harness::PrimaryPart;

/// Fault of a cluster; nodes are given by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// SIGKILL; healed by a start.
    Kill {
        /// Killed node.
        node: String,
    },
    /// SIGSTOP; healed by SIGCONT.
    Suspend {
        /// Suspended node.
        node: String,
    },
    /// SIGTERM, the graceful stop; healed by a start.
    Stop {
        /// Stopped node.
        node: String,
    },
    /// SIGTERM followed by a start.
    Restart {
        /// Restarted node.
        node: String,
    },
    /// Connections between two nodes are reset, new ones refused.
    CutLink {
        /// One node.
        a: String,
        /// The other node.
        b: String,
    },
    /// No data passes between two nodes, but their connections stay open.
    SilenceLink {
        /// One node.
        a: String,
        /// The other node.
        b: String,
    },
    /// Data of one node does not reach the other, while the opposite direction works.
    OneWay {
        /// Sending node.
        from: String,
        /// Receiving node.
        to: String,
    },
    /// No data passes between a node and all others; all keep the database.
    Isolate {
        /// Isolated node.
        node: String,
    },
    /// Data between two nodes is delayed.
    SlowLink {
        /// One node.
        a: String,
        /// The other node.
        b: String,
        /// Delay in each direction.
        #[serde(with = "delay_ms", rename = "delay_ms")]
        delay: Duration,
    },
    /// A node cannot reach PostgreSQL, the others can.
    CutDatabase {
        /// Affected node.
        node: String,
    },
    /// Every statement of a node takes longer.
    SlowDatabase {
        /// Affected node.
        node: String,
        /// Delay per statement.
        #[serde(with = "delay_ms", rename = "delay_ms")]
        delay: Duration,
    },
    /// PostgreSQL is stopped for all nodes; healed by a start.
    StopDatabase,
    /// SIGKILL of the primary of several PostgreSQL servers; healed by starting its Patroni, if that was killed.
    KillPrimary {
        /// What of it is killed.
        part: PrimaryPart,
    },
    /// A node is added and stays.
    AddNode,
    /// A node is drained; healed by resuming it.
    Drain {
        /// Drained node.
        node: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { node } => write!(f, "kill -9 {node}"),
            Self::Suspend { node } => write!(f, "suspend {node}: it stands still (SIGSTOP)"),
            Self::Stop { node } => write!(f, "stop {node} gracefully (SIGTERM)"),
            Self::Restart { node } => write!(f, "restart {node} gracefully"),
            Self::CutLink { a, b } => write!(f, "cut the link {a} - {b}"),
            Self::SilenceLink { a, b } => write!(f, "silence the link {a} - {b}: open, but nothing passes"),
            Self::OneWay { from, to } => write!(f, "one way: {to} does not hear {from}"),
            Self::Isolate { node } => write!(f, "isolate {node}: silence all of its links, not its database"),
            Self::SlowLink { a, b, delay } => write!(f, "slow the link {a} - {b} by {delay:?} each way"),
            Self::CutDatabase { node } => write!(f, "cut {node} from PostgreSQL"),
            Self::SlowDatabase { node, delay } => write!(f, "slow PostgreSQL for {node} by {delay:?} per statement"),
            Self::StopDatabase => f.write_str("stop PostgreSQL under all nodes"),
            Self::KillPrimary { part } => write!(f, "kill -9 {}", part.text()),
            Self::AddNode => f.write_str("add a node"),
            Self::Drain { node } => write!(f, "drain {node}"),
        }
    }
}

impl Fault {
    /// The affected node, if it is a single one.
    pub fn node(&self) -> Option<&str> {
        match self {
            Self::Kill { node }
            | Self::Suspend { node }
            | Self::Stop { node }
            | Self::Restart { node }
            | Self::Isolate { node }
            | Self::CutDatabase { node }
            | Self::SlowDatabase { node, .. }
            | Self::Drain { node } => Some(node),
            _ => None,
        }
    }
}

/// Injected fault with its times by the wall clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultSpan {
    /// Fault.
    pub fault: Fault,
    /// URL of the affected node, if it is a single one.
    pub server: Option<String>,
    /// Just before the injection.
    pub began_at: DateTime<Utc>,
    /// Just after the injection, from when on it was certainly in force.
    pub in_force_at: DateTime<Utc>,
    /// Just before the healing.
    pub healing_at: Option<DateTime<Utc>>,
    /// Just after the healing.
    pub healed_at: Option<DateTime<Utc>>,
}

mod delay_ms {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(delay: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_written_and_read_again() {
        let fault = Fault::SlowLink { a: "node-1".into(), b: "node-2".into(), delay: Duration::from_millis(200) };
        let text = serde_json::to_string(&fault).unwrap();
        assert_eq!(text, r#"{"kind":"slow_link","a":"node-1","b":"node-2","delay_ms":200}"#);
        assert_eq!(serde_json::from_str::<Fault>(&text).unwrap(), fault);
    }
}
