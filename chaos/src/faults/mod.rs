//! What can be done to a cluster from outside, and how it is undone.

mod inject;

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use inject::Faults;

/// A trouble of a cluster; nodes are named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// SIGKILL; healed by a start.
    Kill {
        /// Who dies.
        node: String,
    },
    /// SIGSTOP; healed by SIGCONT.
    Suspend {
        /// Who stands still.
        node: String,
    },
    /// SIGTERM, the graceful stop; healed by a start.
    Stop {
        /// Who ends.
        node: String,
    },
    /// SIGTERM and at once a new start.
    Restart {
        /// Who is started anew.
        node: String,
    },
    /// Connections between two nodes are reset, new ones refused.
    CutLink {
        /// One of them.
        a: String,
        /// The other.
        b: String,
    },
    /// Nothing passes between two nodes, but their connections stay open.
    SilenceLink {
        /// One of them.
        a: String,
        /// The other.
        b: String,
    },
    /// What one node says does not reach the other; what the other says does arrive.
    OneWay {
        /// Who is not heard.
        from: String,
        /// By whom.
        to: String,
    },
    /// Nothing passes between a node and any other; all keep the database.
    Isolate {
        /// Who is alone.
        node: String,
    },
    /// Everything between two nodes comes late.
    SlowLink {
        /// One of them.
        a: String,
        /// The other.
        b: String,
        /// How late, each way.
        #[serde(with = "delay_ms", rename = "delay_ms")]
        delay: Duration,
    },
    /// A node cannot reach PostgreSQL, the others can.
    CutDatabase {
        /// Who cannot.
        node: String,
    },
    /// Every statement of a node takes longer.
    SlowDatabase {
        /// Whose statements.
        node: String,
        /// How much longer.
        #[serde(with = "delay_ms", rename = "delay_ms")]
        delay: Duration,
    },
    /// PostgreSQL is stopped under all nodes; healed by a start.
    StopDatabase,
    /// One more node starts; it stays.
    AddNode,
    /// A node is told to hand its shards over; healed by telling it to resume.
    Drain {
        /// Who hands over.
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
            Self::AddNode => f.write_str("add a node"),
            Self::Drain { node } => write!(f, "drain {node}"),
        }
    }
}

impl Fault {
    /// The node that it is about, when it is about one.
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

/// A fault as it happened, by the wall clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultSpan {
    /// What.
    pub fault: Fault,
    /// URL of the node that it is about, if it is about one.
    pub server: Option<String>,
    /// Just before it was done.
    pub began_at: DateTime<Utc>,
    /// Just after it was done: from here on it was surely in force.
    pub in_force_at: DateTime<Utc>,
    /// Just before it was undone.
    pub healing_at: Option<DateTime<Utc>>,
    /// Just after it was undone.
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
