//! The link between nodes: one gateway actor per node, reached over mutual TLS.
//!
//! ```text
//! node A                                              node B
//! Links -> Peer(B): calls and bytes bounded    -->    Gateway(B) -> device actors, change log
//!          heartbeats gathered into batches    <--    outcomes, once committed
//! ```
//! Losing the link to a peer means: nothing is sent there. It never means that its shards are
//! free; that only its lease in the database decides.

pub mod cluster_view;
mod codec;
pub mod fuzzing;
mod gateway;
mod gateway_ref;
mod handshakes;
mod local;
pub mod message;
pub mod messages;
pub mod metrics;
mod network;
mod peer;
pub mod protocol;
#[cfg(test)]
mod recorded;
mod schema;
pub mod tls;
pub mod trace;
mod transport;

use std::sync::{Arc, Weak};
use std::time::Duration;

use clock::Clock;
use dashmap::DashMap;
use domain::permits::PoolLimits;
use domain::{DeviceId, NodeId, ServiceError};
use ractor::{Actor, ActorRef};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use cluster_view::ClusterView;
use codec::BadBody;
use gateway::GatewaySupervisor;
pub use gateway_ref::GatewayRef;
pub use local::{HeartbeatAnswer, LocalNode};
use message::{DeviceCall, NodeStats, Refusal, SocketMessage};
use messages::{Changes, ChangesRequest, DeviceReply, DeviceRequest, ForwardedHeartbeat, HeartbeatAck, SocketPush, SocketRef};
use metrics::Metrics;
pub use network::{ClusterNetwork, Network};
pub use peer::PeerStatus;
use peer::{Peer, Pending};
pub use protocol::Envelope;
use protocol::{Kind, format_of};
pub use transport::DialError;

/// How long a change log may take to answer.
const CHANGES_TIMEOUT: Duration = Duration::from_secs(2);

/// Limits and deadlines of the link.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// How long a TCP and TLS handshake may take.
    pub handshake_timeout: Duration,
    /// Shares of the handshakes that peers and strangers begin at a time; the reserve is for addresses of peers.
    pub handshakes: PoolLimits,
    /// A stream on which nothing was read for this long is dead.
    pub idle_after: Duration,
    /// Time between pings.
    pub ping_interval: Duration,
    /// How long a peer may take to say that a batch of heartbeats arrived.
    pub taken_timeout: Duration,
    /// How long a peer may take to commit a batch.
    pub commit_timeout: Duration,
    /// Most calls to one peer between sending and answer.
    pub calls_max: usize,
    /// Most bytes of calls to one peer between sending and answer.
    pub bytes_max: usize,
    /// Most heartbeats for one peer that wait to be sent.
    pub queue_max: usize,
    /// Most heartbeats of one batch.
    pub batch_max: usize,
    /// Most heartbeats from all peers between intake and commit.
    pub taken_max: usize,
    /// Shortest and longest wait before dialling again.
    pub redial: (Duration, Duration),
    /// Addresses to dial instead of those that peers advertise, by name.
    pub addresses: Vec<(String, String)>,
    /// Newest protocol that is spoken.
    pub protocol_max: u16,
}

/// Error of a call to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// No link, or no answer in time: whether it did is unknown.
    #[error("the peer cannot be reached")]
    Unreachable,
    /// The protocol of the peer has no such message.
    #[error("the peer does not speak this protocol")]
    Unsupported,
    /// The peer refused.
    #[error("the peer refused: {0:?}")]
    Refused(Refusal),
    /// The message is larger than the link carries.
    #[error("the message is too large")]
    TooLarge,
    /// Too much is under way to this peer.
    #[error("too much is under way to this peer")]
    Busy,
}

impl From<LinkError> for ServiceError {
    fn from(error: LinkError) -> Self {
        match error {
            // Whether the peer acted is unknown; what is sent over the link may be done twice.
            LinkError::Unreachable | LinkError::Unsupported => Self::NotOwner,
            LinkError::Refused(refusal) => refusal.into(),
            LinkError::TooLarge => Self::Internal,
            LinkError::Busy => Self::Overloaded("cluster.peer_in_flight_max"),
        }
    }
}

impl From<BadBody> for LinkError {
    fn from(_: BadBody) -> Self {
        Self::TooLarge
    }
}

/// The links of this node.
pub struct Links {
    name: String,
    clock: Clock,
    settings: LinkSettings,
    network: Arc<dyn Network>,
    supervisor: ActorRef<gateway::SupervisorMsg>,
    view: watch::Receiver<ClusterView>,
    peers: DashMap<NodeId, Arc<Peer>>,
    pending: DashMap<u64, Pending>,
    local: std::sync::OnceLock<Arc<dyn LocalNode>>,
    /// Called when a link came up: the peer may have written for our devices meanwhile.
    on_up: Box<dyn Fn() + Send + Sync>,
    taken: Arc<tokio::sync::Semaphore>,
    metrics: Metrics,
    stopping: CancellationToken,
}

/// Error in starting the link.
#[derive(Debug, thiserror::Error)]
#[error("the link between nodes does not start: {0}")]
pub struct LinkStartError(String);

impl Links {
    /// Starts linking to whichever nodes `view` shows.
    ///
    /// # Errors
    /// An actor does not start.
    pub async fn start(
        name: &str,
        network: Arc<dyn Network>,
        settings: LinkSettings,
        view: watch::Receiver<ClusterView>,
        clock: Clock,
        on_up: Box<dyn Fn() + Send + Sync>,
        metrics: Metrics,
    ) -> Result<Arc<Self>, LinkStartError> {
        let failed = |cause: ractor::SpawnErr| LinkStartError(cause.to_string());
        let (supervisor, _) = Actor::spawn(None, GatewaySupervisor, Arc::clone(&network)).await.map_err(failed)?;
        let stopping = CancellationToken::new();
        let links = Arc::new(Self {
            name: name.to_owned(),
            clock,
            taken: Arc::new(tokio::sync::Semaphore::new(settings.taken_max)),
            settings,
            network,
            supervisor,
            view,
            peers: DashMap::new(),
            pending: DashMap::new(),
            local: std::sync::OnceLock::new(),
            on_up,
            metrics,
            stopping,
        });
        Ok(links)
    }

    /// Opens the gateway: from now on peers are answered.
    pub fn open(self: &Arc<Self>, local: Arc<dyn LocalNode>) {
        let _ = self.local.set(local);
        let _ = self.supervisor.cast(gateway::SupervisorMsg::Open(Arc::downgrade(self)));
        tokio::spawn(Arc::clone(self).keep_peers());
    }

    /// Closes every link.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.supervisor.stop(None);
        self.network.stop().await;
    }

    fn local(&self) -> Option<&Arc<dyn LocalNode>> {
        self.local.get()
    }

    fn me(&self) -> NodeId {
        self.view.borrow().me
    }

    /// Starts and ends peers as the view shows them.
    async fn keep_peers(self: Arc<Self>) {
        let mut view = self.view.clone();
        // Peers that no protocol is shared with.
        let mut strangers = std::collections::HashSet::new();
        loop {
            let (me, live): (NodeId, Vec<_>) = {
                let view = view.borrow_and_update();
                (view.me, view.peers().cloned().collect())
            };
            let _ = self.supervisor.cast(gateway::SupervisorMsg::Join(me));
            self.peers.retain(|id, peer| {
                let lives = live.iter().any(|row| row.id == *id);
                if !lives {
                    peer.end();
                    self.fail_pending(*id);
                }
                lives
            });
            for row in live {
                let id = row.id;
                if !self.peers.contains_key(&id) && !strangers.contains(&id) {
                    self.network.expect(&row.cluster_addr);
                    match Peer::start(&self, row) {
                        Some(peer) => drop(self.peers.insert(id, peer)),
                        None => drop(strangers.insert(id)),
                    }
                }
            }
            self.count_reachable();
            tokio::select! {
                changed = view.changed() => if changed.is_err() { return },
                () = self.stopping.cancelled() => {
                    self.peers.iter().for_each(|peer| peer.end());
                    return;
                }
            }
        }
    }

    fn count_reachable(&self) {
        let reachable = self.peers.iter().filter(|peer| peer.status().reachable).count();
        self.metrics.link_peers.set(reachable as i64);
    }

    fn peer(&self, node: NodeId) -> Result<Arc<Peer>, LinkError> {
        self.peers.get(&node).map(|peer| Arc::clone(&peer)).ok_or(LinkError::Unreachable)
    }

    /// Asks a device of a peer something.
    ///
    /// # Errors
    /// The peer cannot be reached, or refuses.
    pub async fn device(
        &self,
        node: NodeId,
        device: DeviceId,
        request: DeviceRequest,
        patience: Duration,
    ) -> Result<DeviceReply, LinkError> {
        self.peer(node)?.call(Kind::Device, &DeviceCall { device, request, trace: trace::current() }, patience).await
    }

    /// Hands heartbeats to a peer that owns their devices; each answer comes after its commit, or
    /// is [`LinkError::Unreachable`] at `until`.
    pub async fn forward(
        &self,
        node: NodeId,
        items: Vec<ForwardedHeartbeat>,
        until: Option<Instant>,
    ) -> Vec<Result<HeartbeatAck, LinkError>> {
        let count = items.len();
        match self.peer(node) {
            Ok(peer) => peer.forward(items, until).await,
            Err(error) => vec![Err(error); count],
        }
    }

    /// Changes of a peer's devices.
    ///
    /// # Errors
    /// The peer cannot be reached, or refuses.
    pub async fn changes(&self, node: NodeId, wanted: ChangesRequest) -> Result<Changes, LinkError> {
        let peer = self.peer(node)?;
        let body = peer.call_for_bytes(Kind::Changes, &wanted, CHANGES_TIMEOUT).await?;
        message::decode_changes(format_of(peer.protocol()), &body).map_err(|_| LinkError::Unsupported)
    }

    /// Sends a message to a socket of a peer without waiting for a reply.
    pub fn push_socket(&self, socket: SocketRef, push: SocketPush) {
        if let Ok(peer) = self.peer(socket.node) {
            peer.tell(Kind::SocketPush, &SocketMessage { socket: socket.socket, push });
        }
    }

    /// State of the links to live peers.
    pub fn status(&self) -> Vec<(NodeId, PeerStatus)> {
        self.peers.iter().map(|peer| (*peer.key(), peer.status())).collect()
    }

    /// Figures of this node.
    pub fn stats(&self) -> NodeStats {
        self.local().map(|local| local.stats()).unwrap_or_default()
    }

    /// Heartbeats that were forwarded to a lost peer have an unknown outcome.
    fn fail_pending(&self, node: NodeId) {
        self.pending.retain(|_, pending| pending.node != node);
    }
}

/// Links outlive nothing: whoever holds them weakly finds them gone with the system.
pub(crate) type WeakLinks = Weak<Links>;
