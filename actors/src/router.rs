//! Finds whoever owns a device, here or on another node, and talks to it.
//!
//! ```text
//! Here      this node acts for the shard          -> the device's actor
//! Peer      the rows name another live node       -> that node's gateway
//! Nobody    free, moving, or its owner is gone    -> wait for a change
//! ```
//! Whoever is not the owner says so, and the newer view is waited for, within the caller's
//! patience. After that a heartbeat is persisted by this node itself: the write is safe from
//! anywhere, since a bucket is stored once and a newer status wins.

use std::sync::Arc;
use std::time::Duration;

use domain::device::{DeviceView, LastStatus};
use domain::shard::{Epoch, ShardId, shard_of};
use domain::{DeviceId, NodeId, ServiceError};
use link::Links;
use link::cluster_view::ClusterView;
use link::messages::{DeviceReply, DeviceRequest, ForwardedHeartbeat, HeartbeatAck, HeartbeatOutcome, SignedCommand, SocketRef};
use link::trace::{self, TARGET};
use ractor::ActorRef;
use store::{HeartbeatRow, Store};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

use crate::device::DeviceMsg;
use crate::messages::DeviceCredentials;
use crate::metrics::Metrics;
use crate::ownership::Ownership;
use crate::rpc::call;
use crate::shard::{Directory, ShardMsg, ShardTable};
use crate::writers::{HeartbeatWriters, WriteJob};

/// Between two looks while a shard is nobody's, beyond those that a change of the view wakes.
const LEASE_RECHECK: Duration = Duration::from_millis(20);

/// A checked heartbeat on its way in.
#[derive(Debug, Clone)]
pub struct IncomingHeartbeat {
    /// Value that the device reported.
    pub status: Arc<LastStatus>,
    /// A push token it carried.
    pub fcm_token: Option<String>,
}

/// An acknowledged heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// Outcome.
    pub outcome: HeartbeatOutcome,
    /// Epoch of the owner that decided; `None`: this node stored it without the owner.
    pub owner: Option<(Arc<str>, Epoch)>,
    /// Commands that wait for the device.
    pub commands: Vec<SignedCommand>,
}

enum Route {
    Here,
    Peer(NodeId, Arc<str>),
    Nobody,
}

/// Dependencies of the router.
pub struct RouterParts {
    /// Shards and lease of this node.
    pub ownership: Arc<Ownership>,
    /// Directory of the actors of this node's devices.
    pub directory: Directory,
    /// The shards that run here.
    pub shards: ShardTable,
    /// The cluster as last read.
    pub view: watch::Receiver<ClusterView>,
    /// The way to other nodes; none for a console.
    pub links: Option<Arc<Links>>,
    /// Writers for heartbeats whose owner is unreachable.
    pub writers: Option<HeartbeatWriters>,
    /// The database.
    pub store: Store,
    /// Name of this node.
    pub name: Arc<str>,
    /// How long an owner is waited for.
    pub owner_wait: Duration,
    /// Metrics.
    pub metrics: Metrics,
}

/// Finds whoever owns a device, and talks to it.
#[derive(Clone)]
pub struct DeviceRouter(Arc<RouterParts>);

impl DeviceRouter {
    /// A router over these parts.
    pub fn new(parts: RouterParts) -> Self {
        Self(Arc::new(parts))
    }

    fn route(&self, shard: ShardId) -> Route {
        if self.0.ownership.acting(shard).is_some() {
            return Route::Here;
        }
        let view = self.0.view.borrow();
        match view.shard(shard).owner {
            Some(owner) if owner != view.me => match view.node(owner) {
                Some(node) => Route::Peer(owner, node.name.as_str().into()),
                None => Route::Nobody,
            },
            _ => Route::Nobody,
        }
    }

    /// Waits for placement to change, not for long.
    async fn moved(&self, until: Instant) {
        let mut view = self.0.view.clone();
        view.mark_unchanged();
        let recheck = until.min(Instant::now() + LEASE_RECHECK);
        if let Ok(Err(_)) = timeout_at(recheck, view.changed()).await {
            // Nobody watches the cluster any more.
            tokio::time::sleep_until(recheck).await;
        }
    }

    /// The actor of a device that runs here.
    pub(crate) fn running_here(&self, id: DeviceId) -> Option<ActorRef<DeviceMsg>> {
        self.0.directory.get(&id).map(|actor| actor.clone())
    }

    /// Makes the shard of a device fail, for tests of the supervision.
    #[cfg(feature = "fault-injection")]
    pub fn crash_shard_of(&self, id: DeviceId) {
        if let Some(shard) = self.0.shards.get(&shard_of(id)) {
            let _ = shard.cast(ShardMsg::Crash);
        }
    }

    /// The actor of a device of this node, started from the store when it does not run.
    ///
    /// # Errors
    /// There is no such device, it cannot be started right now, or it is not this node's.
    pub async fn locate_here(&self, id: DeviceId) -> Result<ActorRef<DeviceMsg>, ServiceError> {
        if let Some(actor) = self.0.directory.get(&id) {
            return Ok(actor.clone());
        }
        let shard = self.0.shards.get(&shard_of(id)).map(|shard| shard.clone()).ok_or(ServiceError::NotOwner)?;
        call(&shard, |reply| ShardMsg::Locate(id, reply)).await?
    }

    /// Asks a device of this node something.
    pub(crate) async fn ask_here(&self, id: DeviceId, request: DeviceRequest) -> Result<DeviceReply, ServiceError> {
        call(&self.locate_here(id).await?, |reply| DeviceMsg::Request(request, reply)).await?
    }

    /// Asks a device something, wherever its owner is.
    ///
    /// # Errors
    /// The error of the device actor; [`ServiceError::NotOwner`]: its owner was unreachable.
    pub async fn request(&self, id: DeviceId, request: DeviceRequest) -> Result<DeviceReply, ServiceError> {
        let until = Instant::now() + self.0.owner_wait;
        loop {
            let answer = match (self.route(shard_of(id)), &self.0.links) {
                (Route::Here, _) => self.ask_here(id, request.clone()).await,
                (Route::Peer(node, _), Some(links)) => {
                    let patience = until.saturating_duration_since(Instant::now()).max(LEASE_RECHECK);
                    links.device(node, id, request.clone(), patience).await.map_err(ServiceError::from)
                }
                _ => Err(ServiceError::NotOwner),
            };
            match answer {
                Err(ServiceError::NotOwner) if Instant::now() < until => self.moved(until).await,
                answer => return answer.map_err(|error| self.doubted(error)),
            }
        }
    }

    /// Whether what this node does not find is not there. A node without a lease may have been led to a server that lags behind.
    pub fn is_certain(&self) -> bool {
        self.0.ownership.lease_holds() && !self.0.store.reads_are_doubtful()
    }

    /// Whether the database took none of the last heartbeats, as with a full disk, on which leases may still be renewed.
    pub fn writes_fail(&self) -> bool {
        self.0.writers.as_ref().is_some_and(HeartbeatWriters::are_failing)
    }

    /// The refusal of a device: one that may be wrong is none, as an agent that is refused often enough forgets who it is.
    fn doubted(&self, error: ServiceError) -> ServiceError {
        match error {
            ServiceError::Unauthorized | ServiceError::DeviceDeleted | ServiceError::NotFound(_) if !self.is_certain() => {
                ServiceError::Unavailable
            }
            other => other,
        }
    }

    /// Whether credentials hold: the owner's word, or the store's when the owner cannot be reached.
    ///
    /// # Errors
    /// The credentials are revoked, the device is deleted, or neither owner nor database could be asked.
    pub async fn check(&self, credentials: DeviceCredentials) -> Result<(), ServiceError> {
        let DeviceCredentials { device_id, generation } = credentials;
        match self.request(device_id, DeviceRequest::CheckCredentials { generation }).await {
            Err(ServiceError::NotOwner) => self.check_stored(credentials).await,
            answer => answer.map(drop),
        }
    }

    async fn check_stored(&self, credentials: DeviceCredentials) -> Result<(), ServiceError> {
        let refused = match self.0.store.device_access(credentials.device_id).await? {
            Some(access) if access.deleted => ServiceError::DeviceDeleted,
            Some(access) if access.generation == credentials.generation => return Ok(()),
            _ => ServiceError::Unauthorized,
        };
        Err(self.doubted(refused))
    }

    /// The live state of a device, read from its actor.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub async fn view(&self, id: DeviceId) -> Result<DeviceView, ServiceError> {
        match self.request(id, DeviceRequest::View).await? {
            DeviceReply::View(view) => Ok(*view),
            DeviceReply::Done => Err(ServiceError::Internal),
        }
    }

    /// Stores heartbeats of one device. Each answer is for the heartbeat in the same place and
    /// comes after its commit.
    pub async fn heartbeats(
        &self,
        credentials: DeviceCredentials,
        socket: Option<SocketRef>,
        heartbeats: &[IncomingHeartbeat],
    ) -> Vec<Result<Acknowledged, ServiceError>> {
        let until = Instant::now() + self.0.owner_wait;
        let mut answers: Vec<_> = heartbeats.iter().map(|_| Err(ServiceError::NotOwner)).collect();
        let mut open: Vec<usize> = (0..heartbeats.len()).collect();
        loop {
            let items = open.iter().map(|at| &heartbeats[*at]);
            let (owner, round) = match (self.route(shard_of(credentials.device_id)), &self.0.links) {
                (Route::Here, _) => (Arc::clone(&self.0.name), self.store_here(credentials, socket, items).await),
                (Route::Peer(node, name), Some(links)) => {
                    let span = tracing::trace_span!(target: TARGET, "heartbeat.forward", otel.kind = "client", peer = &*name);
                    let trace = span.in_scope(trace::current);
                    let items = items.map(|item| forwarded(credentials, socket, item, trace.clone())).collect();
                    let round = links.forward(node, items, self.patience_with_peers(until)).instrument(span).await;
                    (name, round.into_iter().map(|answer| answer.map_err(ServiceError::from)).collect())
                }
                _ => (Arc::clone(&self.0.name), open.iter().map(|_| Err(ServiceError::NotOwner)).collect()),
            };
            for (at, answer) in open.iter().zip(round) {
                let acknowledged = answer.map(|ack| Acknowledged {
                    outcome: ack.outcome,
                    owner: ack.epoch.map(|epoch| (Arc::clone(&owner), epoch)),
                    commands: ack.commands,
                });
                answers[*at] = acknowledged.map_err(|error| self.doubted(error));
            }
            // An owner that has lost its database is as good as one that cannot be reached.
            let tried_elsewhere = owner != self.0.name;
            let without_owner = |error: &ServiceError| match error {
                ServiceError::NotOwner => true,
                ServiceError::Unavailable => tried_elsewhere,
                _ => false,
            };
            open.retain(|at| answers[*at].as_ref().is_err_and(without_owner));
            if open.is_empty() {
                return answers;
            }
            if Instant::now() >= until || open.iter().any(|at| matches!(answers[*at], Err(ServiceError::Unavailable))) {
                break;
            }
            self.moved(until).await;
        }
        self.persist(credentials, heartbeats, &open, &mut answers).await;
        answers
    }

    /// How long a peer's answer is waited for. Once the time is over this node writes as well; where
    /// its own commits take as long, that would only be the same load a second time.
    fn patience_with_peers(&self, until: Instant) -> Option<Instant> {
        self.0.writers.as_ref().filter(|writers| writers.last_commit() < self.0.owner_wait).map(|_| until)
    }

    async fn store_here<'a>(
        &self,
        credentials: DeviceCredentials,
        socket: Option<SocketRef>,
        items: impl Iterator<Item = &'a IncomingHeartbeat>,
    ) -> Vec<Result<HeartbeatAck, ServiceError>> {
        let device = match self.locate_here(credentials.device_id).await {
            Ok(device) => device,
            Err(error) => return items.map(|_| Err(error.repeated())).collect(),
        };
        let waiting: Vec<_> = items
            .map(|item| {
                let (reply, outcome) = oneshot::channel();
                let message = DeviceMsg::Heartbeat {
                    status: Arc::clone(&item.status),
                    fcm_token: item.fcm_token.clone(),
                    generation: credentials.generation,
                    socket,
                    reply,
                };
                // A device that stopped this moment drops the reply, which reads as unavailable below.
                let _ = device.cast(message);
                outcome
            })
            .collect();
        let mut answers = Vec::with_capacity(waiting.len());
        for outcome in waiting {
            // Without an answer it may be stored or not: nothing is lost if it is tried again.
            let gone = |_| match self.0.ownership.acting(shard_of(credentials.device_id)) {
                Some(_) => Err(ServiceError::Unavailable),
                None => Err(ServiceError::NotOwner),
            };
            answers.push(outcome.await.unwrap_or_else(gone));
        }
        answers
    }

    /// Stores heartbeats without their owner, once the store has said that the device may send them.
    async fn persist(
        &self,
        credentials: DeviceCredentials,
        heartbeats: &[IncomingHeartbeat],
        open: &[usize],
        answers: &mut [Result<Acknowledged, ServiceError>],
    ) {
        let allowed = self.check_stored(credentials).await;
        let Some(writers) = self.0.writers.as_ref().filter(|_| allowed.is_ok()) else {
            let error = allowed.err().unwrap_or(ServiceError::Unavailable);
            open.iter().for_each(|at| answers[*at] = Err(error.repeated()));
            return;
        };
        let waiting: Vec<_> = open
            .iter()
            .map(|at| {
                let item = &heartbeats[*at];
                let (reply, outcome) = oneshot::channel();
                // It is not known whether a newer one is stored; "late" lets the store look.
                let row = HeartbeatRow::new(credentials.device_id, Arc::clone(&item.status), item.fcm_token.clone(), true);
                writers.submit(WriteJob { row, owner: None, commands: vec![], reply });
                outcome
            })
            .collect();
        for (at, outcome) in open.iter().zip(waiting) {
            let answer = outcome.await.unwrap_or(Err(ServiceError::Unavailable));
            let label = if answer.is_ok() { "persisted_here" } else { "failed" };
            self.0.metrics.link.forwarded.with_label_values(&[label]).inc();
            answers[*at] = answer.map(|ack| Acknowledged { outcome: ack.outcome, owner: None, commands: vec![] });
        }
    }
}

fn forwarded(
    credentials: DeviceCredentials,
    socket: Option<SocketRef>,
    item: &IncomingHeartbeat,
    trace: Option<String>,
) -> ForwardedHeartbeat {
    ForwardedHeartbeat {
        device: credentials.device_id,
        status: Arc::clone(&item.status),
        generation: credentials.generation,
        fcm_token: item.fcm_token.clone(),
        socket,
        trace,
    }
}
