//! The cluster as this node last read it from the database.

use std::sync::Arc;

use domain::NodeId;
use domain::cluster::Node;
use domain::shard::{Epoch, SHARD_COUNT, ShardId};

/// Owner of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardOwner {
    /// Live node that owns the shard.
    pub owner: Option<NodeId>,
    /// Epoch of the last claim.
    pub epoch: Epoch,
}

/// Nodes and shards, as last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterView {
    /// This node; its id changes when it has to rejoin.
    pub me: NodeId,
    /// Live nodes, and those that ended lately.
    pub nodes: Arc<[Node]>,
    /// Owners of the shards, in the order of the shard ids.
    pub shards: Arc<[ShardOwner]>,
}

impl ClusterView {
    /// View before the first read.
    pub fn unknown(me: NodeId) -> Self {
        let nowhere = ShardOwner { owner: None, epoch: Epoch(0) };
        Self { me, nodes: Arc::from([]), shards: vec![nowhere; usize::from(SHARD_COUNT)].into() }
    }

    /// Owner of a shard.
    pub fn shard(&self, shard: ShardId) -> ShardOwner {
        self.shards.get(usize::from(shard.0)).copied().unwrap_or(ShardOwner { owner: None, epoch: Epoch(0) })
    }

    /// A node, alive or lately ended.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// Other live nodes.
    pub fn peers(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.state.is_live() && node.id != self.me)
    }
}
