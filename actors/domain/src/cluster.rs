//! Nodes of a cluster and moves of shards, as they are stored and shown.

use crate::{NodeId, Timestamp};

/// Entry of the shard history: shards that moved together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardMoves {
    /// Former owner; `None`: unassigned.
    pub from: Option<String>,
    /// New owner.
    pub to: String,
    /// Reason: free, expired, left, released.
    pub reason: String,
    /// Number of shards.
    pub shards: i64,
    /// Time of the last move.
    pub at: Timestamp,
}

/// State of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum NodeState {
    /// Accepts shards.
    Active,
    /// Releases its shards and accepts none.
    Draining,
    /// Its lease ran out, and another node ended it.
    Expired,
    /// Left by itself.
    Left,
}

named!(pub NodeState, parse -> Option);

impl NodeState {
    /// Whether the node may still own shards.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Active | Self::Draining)
    }
}

/// Stored node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Id of this start of the node.
    pub id: NodeId,
    /// Name of the node.
    pub name: String,
    /// Address that other nodes dial.
    pub cluster_addr: String,
    /// URL for devices and people.
    pub http_url: String,
    /// Version of the build.
    pub version: String,
    /// Oldest and newest node protocol that it speaks.
    pub protocols: (i32, i32),
    /// State of the node.
    pub state: NodeState,
    /// When it joined.
    pub joined_at: Timestamp,
    /// When it left or was expired.
    pub ended_at: Option<Timestamp>,
    /// Remaining time of its lease, ms; negative once it has run out.
    pub lease_left_ms: i64,
}
