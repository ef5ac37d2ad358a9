//! The cluster as this node last read it from the database.

use std::sync::Arc;

use domain::NodeId;
use domain::shard::{Epoch, SHARD_COUNT, ShardId};
use store::NodeRow;

/// A shard's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The live node that owns it.
    pub owner: Option<NodeId>,
    /// Counts its claims.
    pub epoch: Epoch,
}

/// Nodes and shards, as last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterView {
    /// This node; changes when it has to join anew.
    pub me: NodeId,
    /// Nodes that live, and those that ended lately.
    pub nodes: Arc<[NodeRow]>,
    /// Where each shard is, in the order of their ids.
    pub places: Arc<[Place]>,
}

impl ClusterView {
    /// A cluster that is not known yet.
    pub fn unknown(me: NodeId) -> Self {
        let nowhere = Place { owner: None, epoch: Epoch(0) };
        Self { me, nodes: Arc::from([]), places: vec![nowhere; usize::from(SHARD_COUNT)].into() }
    }

    /// Where a shard is.
    pub fn place(&self, shard: ShardId) -> Place {
        self.places.get(usize::from(shard.0)).copied().unwrap_or(Place { owner: None, epoch: Epoch(0) })
    }

    /// A node, alive or lately ended.
    pub fn node(&self, id: NodeId) -> Option<&NodeRow> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// The other nodes that live.
    pub fn peers(&self) -> impl Iterator<Item = &NodeRow> {
        self.nodes.iter().filter(|node| node.state.is_live() && node.id != self.me)
    }
}
