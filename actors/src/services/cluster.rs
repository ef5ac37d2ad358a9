//! The cluster, for people: nodes, shards, moves, and draining a node.

use std::sync::Arc;

use domain::NodeId;
use domain::access::{Permission, Principal};
use domain::shard::{Epoch, ShardId};
use store::{NodeRow, ShardMoves, Store};
use tokio::sync::watch;

use crate::link::message::NodeStats;
use crate::link::{Links, PeerStatus};
use crate::ownership::{ClusterView, Ownership};
use crate::{ServiceError, clock};

/// Moves that an overview shows.
const MOVES_MAX: i64 = 50;

/// A node as this one sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterNode {
    /// Its row.
    pub row: NodeRow,
    /// Shards that it owns.
    pub shards: usize,
    /// Whether it is the node that answers.
    pub is_this: bool,
    /// The link to it; `None` for the node that answers and for those that ended.
    pub link: Option<PeerStatus>,
    /// Last telemetry.
    pub stats: Option<NodeStats>,
}

/// A shard as this node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterShard {
    /// Shard.
    pub shard: ShardId,
    /// Its owner.
    pub owner: Option<NodeId>,
    /// Counts its claims.
    pub epoch: Epoch,
}

/// The cluster as this node sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterOverview {
    /// Name of the node that answers.
    pub this: String,
    /// Whether its lease holds.
    pub lease_holds: bool,
    /// Nodes that live, and those that ended within the hour.
    pub nodes: Vec<ClusterNode>,
    /// Every shard, in the order of their ids.
    pub shards: Vec<ClusterShard>,
    /// The newest moves, newest first.
    pub moves: Vec<ShardMoves>,
}

/// The cluster, for display.
pub struct ClusterService {
    store: Store,
    view: watch::Receiver<ClusterView>,
    links: Arc<Links>,
    ownership: Arc<Ownership>,
    name: String,
}

impl ClusterService {
    /// The service over the view of a node.
    pub fn new(store: Store, view: watch::Receiver<ClusterView>, links: Arc<Links>, ownership: Arc<Ownership>, name: String) -> Self {
        Self { store, view, links, ownership, name }
    }

    /// Whether this node's lease holds.
    pub fn lease_holds(&self) -> bool {
        self.ownership.lease_holds()
    }

    /// The cluster as this node sees it.
    ///
    /// # Errors
    /// Forbidden, or the database is unavailable.
    pub async fn overview(&self, principal: &Principal) -> Result<ClusterOverview, ServiceError> {
        principal.require(Permission::ViewCluster)?;
        let moves = self.store.shard_moves(MOVES_MAX).await?;
        let view = self.view.borrow().clone();
        let links = self.links.status();
        let nodes = view
            .nodes
            .iter()
            .map(|row| {
                let is_this = row.id == view.me;
                let link = links.iter().find(|(id, _)| *id == row.id).map(|(_, status)| *status);
                ClusterNode {
                    shards: view.shards.iter().filter(|shard_owner| shard_owner.owner == Some(row.id)).count(),
                    is_this,
                    link,
                    stats: if is_this { Some(self.links.stats()) } else { link.and_then(|link| link.stats) },
                    row: row.clone(),
                }
            })
            .collect();
        let shards = ShardId::all()
            .zip(view.shards.iter())
            .map(|(shard, shard_owner)| ClusterShard { shard, owner: shard_owner.owner, epoch: shard_owner.epoch })
            .collect();
        Ok(ClusterOverview { this: self.name.clone(), lease_holds: self.lease_holds(), nodes, shards, moves })
    }

    /// Makes a node hand its shards over and take none, or take its part again.
    ///
    /// # Errors
    /// Forbidden, there is no such live node, or the database is unavailable.
    pub async fn set_draining(&self, principal: &Principal, node: &str, draining: bool) -> Result<(), ServiceError> {
        principal.require(Permission::ManageCluster)?;
        set_draining(&self.store, principal, node, draining).await
    }
}

/// [`ClusterService::set_draining`] without a running node, for the command line.
///
/// # Errors
/// There is no such live node, or the database is unavailable.
pub async fn set_draining(store: &Store, by: &Principal, node: &str, draining: bool) -> Result<(), ServiceError> {
    if !store.set_draining(node, draining, by, clock::now()).await? {
        return Err(ServiceError::NotFound("live node"));
    }
    tracing::info!(event = if draining { "cluster.drain_asked" } else { "cluster.resume_asked" }, node);
    Ok(())
}
