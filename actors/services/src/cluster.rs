//! The cluster, for people: nodes, shards, moves, and draining a node.

use std::collections::HashMap;
use std::sync::Arc;

use clock::Clock;
use domain::access::{Permission, Principal};
use domain::cluster::{Node, ShardMoves};
use domain::reconcile::ReconcilerStatus;
use domain::shard::{Epoch, ShardId};
use domain::{NodeId, ServiceError, Timestamp};
use store::Store;
use tokio::sync::watch;

use actors::ownership::Ownership;
use link::cluster_view::ClusterView;
use link::message::NodeStats;
use link::{Links, PeerStatus};

/// Moves that an overview shows.
const MOVES_MAX: i64 = 50;

/// A node as this one sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterNode {
    /// The node itself.
    pub info: Node,
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
    /// Owner.
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
    /// A node per name: the live one, else the start that ended last, of those within the hour.
    pub nodes: Vec<ClusterNode>,
    /// Earlier starts of these names, the newest first.
    pub ended: Vec<ClusterNode>,
    /// Every shard, in the order of their ids.
    pub shards: Vec<ClusterShard>,
    /// The newest moves, newest first.
    pub moves: Vec<ShardMoves>,
    /// Reconcilers of live nodes by name; those that run once per cluster at the node that ran them last.
    pub reconcilers: Vec<NodeReconciler>,
}

/// The state of a reconciler at a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReconciler {
    /// Name of the node.
    pub node: String,
    /// State there.
    pub status: ReconcilerStatus,
}

/// Reconcilers of every live node in the order of their names. Of one that runs once per cluster, only the node that ran it last
/// is of interest.
fn reconcilers(nodes: &[ClusterNode]) -> Vec<NodeReconciler> {
    let live = nodes.iter().filter(|node| node.info.state.is_live());
    let mut all: Vec<NodeReconciler> = live
        .filter_map(|node| node.stats.as_ref().map(|stats| (node.info.name.clone(), &stats.reconcilers)))
        .flat_map(|(node, statuses)| statuses.iter().map(move |status| NodeReconciler { node: node.clone(), status: status.clone() }))
        .collect();
    all.sort_by(|a, b| {
        let newest_first = b.status.newest_run_at().cmp(&a.status.newest_run_at());
        let of_a_name = if a.status.per_cluster { newest_first } else { std::cmp::Ordering::Equal };
        a.status.name.cmp(&b.status.name).then(of_a_name).then_with(|| a.node.cmp(&b.node))
    });
    all.dedup_by(|next, kept| kept.status.per_cluster && next.status.name == kept.status.name);
    all
}

/// The current node of every name, in the order that they are in, and the earlier starts, the newest first.
fn one_per_name(nodes: Vec<ClusterNode>) -> (Vec<ClusterNode>, Vec<ClusterNode>) {
    let age = |node: &ClusterNode| (node.info.state.is_live(), node.info.joined_at, node.info.id);
    let mut current: HashMap<String, (bool, Timestamp, NodeId)> = HashMap::new();
    for node in &nodes {
        let newest = current.entry(node.info.name.clone()).or_insert_with(|| age(node));
        *newest = (*newest).max(age(node));
    }
    let (shown, mut ended): (Vec<_>, Vec<_>) = nodes.into_iter().partition(|node| current.get(&node.info.name) == Some(&age(node)));
    ended.sort_by_key(|node| std::cmp::Reverse((node.info.ended_at, node.info.joined_at)));
    (shown, ended)
}

/// The cluster, for display.
pub struct ClusterService {
    clock: Clock,
    store: Store,
    view: watch::Receiver<ClusterView>,
    links: Arc<Links>,
    ownership: Arc<Ownership>,
    name: String,
}

impl ClusterService {
    /// The service over the view of a node.
    pub fn new(
        clock: Clock,
        store: Store,
        view: watch::Receiver<ClusterView>,
        links: Arc<Links>,
        ownership: Arc<Ownership>,
        name: String,
    ) -> Self {
        Self { clock, store, view, links, ownership, name }
    }

    /// Whether this node's lease holds.
    pub fn lease_holds(&self) -> bool {
        self.ownership.lease_holds()
    }

    /// Whether a person or script may read the metrics of the node.
    ///
    /// # Errors
    /// Forbidden.
    pub fn authorize_metrics(&self, principal: &Principal) -> Result<(), ServiceError> {
        Ok(principal.require(Permission::ViewCluster)?)
    }

    /// The cluster as this node sees it.
    ///
    /// # Errors
    /// Forbidden, or the database is unavailable.
    pub async fn overview(&self, principal: &Principal) -> Result<ClusterOverview, ServiceError> {
        principal.require(Permission::ViewCluster)?;
        let moves = self.store.shard_moves(MOVES_MAX).await?;
        let view = self.view.borrow().clone();
        let nodes = self.nodes(&view);
        let shards = ShardId::all()
            .zip(view.shards.iter())
            .map(|(shard, shard_owner)| ClusterShard { shard, owner: shard_owner.owner, epoch: shard_owner.epoch })
            .collect();
        let reconcilers = reconcilers(&nodes);
        let (nodes, ended) = one_per_name(nodes);
        Ok(ClusterOverview { this: self.name.clone(), lease_holds: self.lease_holds(), nodes, ended, shards, moves, reconcilers })
    }

    /// Reconcilers of live nodes, as an overview has them.
    pub(crate) fn reconcilers(&self) -> Vec<NodeReconciler> {
        let view = self.view.borrow().clone();
        reconcilers(&self.nodes(&view))
    }

    /// Name of this node.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Every node of a view, with what this node knows of it.
    fn nodes(&self, view: &ClusterView) -> Vec<ClusterNode> {
        let links = self.links.status();
        view.nodes
            .iter()
            .map(|row| {
                let is_this = row.id == view.me;
                let link = links.iter().find(|(id, _)| *id == row.id).map(|(_, status)| status.clone());
                ClusterNode {
                    shards: view.shards.iter().filter(|shard_owner| shard_owner.owner == Some(row.id)).count(),
                    is_this,
                    stats: if is_this { Some(self.links.stats()) } else { link.as_ref().and_then(|link| link.stats.clone()) },
                    link,
                    info: row.clone(),
                }
            })
            .collect()
    }

    /// Drains a node, or ends its draining.
    ///
    /// # Errors
    /// Forbidden, there is no such live node, or the database is unavailable.
    pub async fn set_draining(&self, principal: &Principal, node: &str, draining: bool) -> Result<(), ServiceError> {
        principal.require(Permission::ManageCluster)?;
        set_draining(&self.store, &self.clock, principal, node, draining).await
    }
}

/// [`ClusterService::set_draining`] without a running node, for the command line.
///
/// # Errors
/// There is no such live node, or the database is unavailable.
pub async fn set_draining(store: &Store, clock: &Clock, by: &Principal, node: &str, draining: bool) -> Result<(), ServiceError> {
    if !store.set_draining(node, draining, by, clock.now()).await? {
        return Err(ServiceError::NotFound("live node"));
    }
    tracing::info!(event = if draining { "cluster.drain_asked" } else { "cluster.resume_asked" }, node);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::cluster::NodeState;

    fn node(name: &str, state: NodeState, statuses: &[(&str, bool, Option<i64>)]) -> ClusterNode {
        let at = |second: i64| chrono::DateTime::from_timestamp(second, 0).unwrap();
        let reconcilers = statuses
            .iter()
            .map(|(name, per_cluster, ran_at)| ReconcilerStatus {
                name: (*name).to_owned(),
                per_cluster: *per_cluster,
                last_run_at: ran_at.map(at),
                ..ReconcilerStatus::default()
            })
            .collect();
        let info = Node {
            id: NodeId(uuid::Uuid::nil()),
            name: name.to_owned(),
            cluster_addr: String::new(),
            http_url: String::new(),
            version: String::new(),
            protocols: (3, 4),
            state,
            joined_at: at(0),
            ended_at: None,
            lease_left_ms: 1,
        };
        ClusterNode { info, shards: 0, is_this: false, link: None, stats: Some(NodeStats { reconcilers, ..NodeStats::default() }) }
    }

    #[test]
    fn a_node_that_was_lost_several_times_has_one_row() {
        let start = |name: &str, state, second: i64| {
            let mut node = node(name, state, &[]);
            node.info.id = NodeId(uuid::Uuid::from_u128(second.unsigned_abs().into()));
            node.info.joined_at = chrono::DateTime::from_timestamp(second, 0).unwrap();
            node.info.ended_at = (!state.is_live()).then(|| node.info.joined_at + chrono::TimeDelta::seconds(1));
            node
        };
        let (shown, ended) = one_per_name(vec![
            start("a", NodeState::Expired, 10),
            start("a", NodeState::Expired, 20),
            start("a", NodeState::Active, 15),
            start("b", NodeState::Expired, 30),
            start("b", NodeState::Left, 40),
        ]);
        let shown: Vec<_> = shown.iter().map(|node| (node.info.name.as_str(), node.info.state)).collect();
        assert_eq!(shown, [("a", NodeState::Active), ("b", NodeState::Left)], "the live one, else the last");
        assert_eq!(ended.iter().map(|node| node.info.joined_at.timestamp()).collect::<Vec<_>>(), [30, 20, 10]);
    }

    #[test]
    fn one_that_runs_once_per_cluster_is_shown_at_the_node_that_ran_it_last() {
        let nodes = [
            node("b", NodeState::Active, &[("retention", true, Some(5)), ("partitions", false, Some(9))]),
            node("a", NodeState::Active, &[("retention", true, Some(7)), ("partitions", false, None)]),
            node("c", NodeState::Draining, &[("retention", true, None)]),
            node("d", NodeState::Left, &[("retention", true, Some(99)), ("partitions", false, Some(99))]),
        ];
        let shown: Vec<(String, String)> = reconcilers(&nodes).into_iter().map(|shown| (shown.status.name, shown.node)).collect();
        let expected = [("partitions", "a"), ("partitions", "b"), ("retention", "a")];
        assert_eq!(shown, expected.map(|(name, node)| (name.to_owned(), node.to_owned())));
    }
}
