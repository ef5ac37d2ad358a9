//! Membership of this node in the cluster: it joins, renews its lease, and leaves.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clock::{Clock, Moment};
use domain::NodeId;
use domain::cluster::Node;
use link::protocol::{PROTOCOL_MIN, negotiated};
use ractor::ActorRef;
use store::{JoinOutcome, NewNode, Store, StoreError};
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::PlacementMsg;
use crate::metrics::Metrics;
use crate::ownership::Ownership;

/// Most renewals under way: with a database that takes seconds, the next must not wait for the last.
const RENEWALS_MAX: usize = 4;
/// Time after the end of a lease before its name counts as free.
const NAME_SLACK_MS: i64 = 500;

/// Options of a member of a cluster.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of this node, unique among live nodes.
    pub node: String,
    /// Address that other nodes dial.
    pub cluster_addr: String,
    /// URL for devices and people.
    pub http_url: String,
    /// Version of the build.
    pub version: String,
    /// Identity of the lock file in the data folder.
    pub lock_identity: String,
    /// Digest of the shared keys.
    pub key_fingerprint: Vec<u8>,
    /// Digest of the master key alone.
    pub master_digest: Vec<u8>,
    /// Time to live of a lease.
    pub lease_ttl: Duration,
    /// Interval of renewals.
    pub renew_interval: Duration,
    /// How long after a renewal was sent this node stops acting as an owner; less than the lease.
    pub fence_after: Duration,
    /// How long a node takes no other node for dead after its own lease has lapsed.
    pub steady_after: Duration,
    /// Newest node protocol that this node speaks.
    pub protocol_max: u16,
}

/// Reason why a node cannot join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The database is that of another cluster.
    #[error("cluster.name is {given:?}, but this database belongs to the cluster {found:?}")]
    OtherCluster {
        /// The configured name.
        given: String,
        /// The database's.
        found: String,
    },
    /// The node's keys are not the cluster's.
    #[error(
        "the keys of this node are not those of the cluster: give it the same secrets.master_key, jwt_key and cluster_key, or a database of its \
         own; keys that were replaced are made known by `nexmdm cluster rekey`"
    )]
    OtherKeys,
    /// Two clusters share the database.
    #[error(
        "this database is that of another cluster: its devices have keys of another secrets.master_key than that of this node; give this cluster a \
         database of its own, or this node the keys of that one"
    )]
    OtherMasterKey,
    /// Another live node has this name.
    #[error("another live node, at {cluster_addr}, has the name {name:?}: set cluster.node_name")]
    NameTaken {
        /// The name.
        name: String,
        /// Address of that node.
        cluster_addr: String,
    },
    /// A live node and this one speak no protocol in common.
    #[error(
        "the live node {peer:?} speaks the protocols {} to {} between nodes, this one {PROTOCOL_MIN} to {own_max}: \
         upgrade all nodes to a build in between first", peer_speaks.0, peer_speaks.1
    )]
    NoCommonProtocol {
        /// Name.
        peer: String,
        /// Oldest and newest protocol.
        peer_speaks: (i32, i32),
        /// This node's newest protocol.
        own_max: u16,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Membership of this node.
pub struct Membership {
    options: ClusterOptions,
    store: Store,
    ownership: Arc<Ownership>,
    clock: Clock,
    node: Mutex<NodeId>,
    /// Since when the lease has held without a break, ns of the monotonic clock.
    steady_since_ns: AtomicI64,
    metrics: Metrics,
}

impl Membership {
    /// Joins. Waits for the lease of a predecessor with the same name to run out.
    ///
    /// # Errors
    /// The database belongs to another cluster, the name is taken, a live node could not be talked to,
    /// or the database is unavailable.
    pub async fn join(
        options: ClusterOptions,
        store: Store,
        ownership: Arc<Ownership>,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Arc<Self>, JoinError> {
        let (found, fingerprint) = store.cluster_identity(&options.cluster, &options.key_fingerprint).await?;
        if found != options.cluster {
            return Err(JoinError::OtherCluster { given: options.cluster, found });
        }
        if fingerprint != options.key_fingerprint {
            let is_other = store.master_digest().await?.is_some_and(|known| known != options.master_digest);
            return Err(if is_other { JoinError::OtherMasterKey } else { JoinError::OtherKeys });
        }
        store.keep_master_digest(&options.master_digest).await?;
        let nodes = store.cluster_nodes().await?;
        let mute = |row: &&Node| row.state.is_live() && row.lease_left_ms > 0 && negotiated(options.protocol_max, row.protocols).is_none();
        if let Some(row) = nodes.iter().find(mute) {
            return Err(JoinError::NoCommonProtocol { peer: row.name.clone(), peer_speaks: row.protocols, own_max: options.protocol_max });
        }
        let node = Mutex::new(NodeId(Uuid::nil()));
        let membership = Arc::new(Self { options, store, ownership, clock, node, steady_since_ns: AtomicI64::new(0), metrics });
        membership.register().await?;
        Ok(membership)
    }

    /// Registers this node, also again after it has been expired.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub(crate) async fn register(&self) -> Result<NodeId, JoinError> {
        let options = &self.options;
        let ttl_ms = options.lease_ttl.as_millis() as i64;
        let patience = Instant::now() + 2 * options.lease_ttl;
        loop {
            let new = NewNode {
                id: NodeId(self.clock.new_id()),
                name: options.node.clone(),
                cluster_addr: options.cluster_addr.clone(),
                http_url: options.http_url.clone(),
                version: options.version.clone(),
                protocol_min: i32::from(PROTOCOL_MIN),
                protocol_max: i32::from(options.protocol_max),
                lock_identity: options.lock_identity.clone(),
            };
            let sent = self.clock.monotonic();
            match self.store.join_cluster(&new, ttl_ms).await? {
                JoinOutcome::Joined => {
                    *self.node.lock().unwrap_or_else(PoisonError::into_inner) = new.id;
                    self.renewed(sent);
                    tracing::info!(event = "cluster.joined", node = options.node, node_id = %new.id);
                    return Ok(new.id);
                }
                JoinOutcome::NameTaken { cluster_addr, lease_left_ms } => {
                    if Instant::now() >= patience {
                        return Err(JoinError::NameTaken { name: options.node.clone(), cluster_addr });
                    }
                    tracing::warn!(event = "cluster.name_taken", node = options.node, cluster_addr, lease_left_ms);
                    let wait_ms = (lease_left_ms + NAME_SLACK_MS).clamp(100, ttl_ms);
                    tokio::time::sleep(Duration::from_millis(wait_ms as u64)).await;
                }
            }
        }
    }

    /// Id of this node since it last registered.
    pub fn node(&self) -> NodeId {
        *self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Options of the membership.
    pub fn options(&self) -> &ClusterOptions {
        &self.options
    }

    /// Whether the lease has held long enough to trust that others whose leases ran out are gone,
    /// rather than only as slow to come back from an outage of the database as this node was.
    pub(crate) fn is_steady(&self) -> bool {
        let since = self.steady_since_ns.load(Ordering::Acquire);
        self.ownership.lease_holds() && self.clock.elapsed(Moment::from_ns(since)) >= self.options.steady_after
    }

    fn renewed(&self, sent: Moment) {
        if !self.ownership.lease_holds() {
            self.steady_since_ns.store(self.clock.monotonic().as_ns(), Ordering::Release);
        }
        self.ownership.renewed(sent, self.options.fence_after);
        self.metrics.lease_holds.set(i64::from(self.ownership.lease_holds()));
    }

    /// Renews the lease until `stopping`. Renewals overlap, so that a slow database does not end the lease.
    pub(crate) async fn keep_renewed(self: Arc<Self>, placement: ActorRef<PlacementMsg>, stopping: CancellationToken) {
        let permits = Arc::new(tokio::sync::Semaphore::new(RENEWALS_MAX));
        let mut ticks = tokio::time::interval(self.options.renew_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stopping.cancelled() => return,
            }
            self.metrics.lease_holds.set(i64::from(self.ownership.lease_holds()));
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else { continue };
            let (membership, placement) = (Arc::clone(&self), placement.clone());
            tokio::spawn(async move {
                let _permit = permit;
                membership.renew(&placement).await;
            });
        }
    }

    async fn renew(&self, placement: &ActorRef<PlacementMsg>) {
        let (node, sent) = (self.node(), self.clock.monotonic());
        let ttl = self.options.lease_ttl;
        match timeout(ttl, self.store.renew_lease(node, ttl.as_millis() as i64)).await {
            Ok(Ok(Some(_))) => {
                let lapsed = !self.ownership.lease_holds();
                self.renewed(sent);
                if lapsed {
                    // Others may have written for our devices while we did not act.
                    let _ = placement.cast(PlacementMsg::Refresh);
                }
            }
            Ok(Ok(None)) if node == self.node() => {
                tracing::warn!(event = "cluster.fenced", node = self.options.node, node_id = %node);
                self.ownership.fenced();
                // A placement that is stopping has nothing to give up any more.
                let _ = placement.cast(PlacementMsg::Reconcile);
            }
            Ok(Ok(None)) => {}
            Ok(Err(cause)) => tracing::warn!(event = "cluster.renewal_failed", %cause, lease_holds = self.ownership.lease_holds()),
            Err(_) => tracing::warn!(event = "cluster.renewal_timed_out", lease_holds = self.ownership.lease_holds()),
        }
    }

    /// Leaves the cluster.
    pub(crate) async fn leave(&self, patience: Duration) {
        self.ownership.fenced();
        match timeout(patience, self.store.leave_cluster(self.node())).await {
            Ok(Ok(())) => tracing::info!(event = "cluster.left", node = self.options.node),
            // Others take over once the lease has run out.
            Ok(Err(cause)) => tracing::warn!(event = "cluster.leave_failed", %cause),
            Err(_) => tracing::warn!(event = "cluster.leave_failed", cause = "no answer from the database"),
        }
    }
}
