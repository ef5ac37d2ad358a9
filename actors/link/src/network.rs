//! Networks between nodes: what carries envelopes to the gateways of peers.
//!
//! [`ClusterNetwork`] is that of a node: sessions of the cluster library over TLS. The library keeps its table of
//! gateways per process, so several nodes in one process, as a simulated cluster has them, need another network.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use domain::NodeId;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use permits::metrics::PoolMetrics;
use ractor::{Actor, ActorCell, ActorRef, pg};
use ractor_cluster::node::{NodeConnectionMode, NodeServer, NodeServerMessage, NodeServerSessionInformation};
use ractor_cluster::{IncomingEncryptionMode, NodeEventSubscription};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::gateway_ref::GatewayRef;
use super::handshakes::Handshakes;
use super::protocol::Envelope;
use super::tls::LinkTls;
use super::transport::{self, DialError};
use super::{LinkSettings, LinkStartError};
use crate::metrics::Metrics;

/// The process group of gateways, one group per node, named by its id.
const GATEWAYS: &str = "nexmdm-gateways";
/// Largest frame that is taken in: a body, its envelope, and the library's own fields.
const FRAME_MAX_BYTES: u64 = 1 << 20;
/// How long sessions may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Network between nodes, as one node uses it.
pub trait Network: Send + Sync {
    /// Enters the gateway of this node under its id, instead of the one under `former`.
    fn enter(&self, node: NodeId, gateway: GatewayRef, former: Option<NodeId>);
    /// Woken whenever a session with a peer came or went.
    fn sessions_changed(&self) -> &Notify;
    /// Whether there is a session with a peer.
    fn is_connected(&self, peer: NodeId) -> bool;
    /// Notes the address of a peer, so that strangers do not keep its connections out.
    fn expect(&self, _address: &str) {}
    /// Connects to the node at an address; the session is there once [`Self::is_connected`].
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<(), DialError>>;
    /// Calls the gateway of a peer. `None`: there is no session, or no answer in time.
    fn call(&self, peer: NodeId, envelope: Envelope, timeout: Duration) -> BoxFuture<'_, Option<Envelope>>;
    /// Sends an envelope to a peer without waiting for an answer; without a session it is lost.
    fn tell(&self, peer: NodeId, envelope: Envelope);
    /// Ends every session.
    fn stop(&self) -> BoxFuture<'_, ()>;
}

/// Sessions of the cluster library, over TLS.
pub struct ClusterNetwork {
    server: ActorRef<NodeServerMessage>,
    tls: LinkTls,
    settings: LinkSettings,
    handshakes: Arc<Handshakes>,
    sessions_changed: Arc<Notify>,
    stopping: CancellationToken,
}

impl ClusterNetwork {
    /// Starts listening.
    ///
    /// # Errors
    /// The library's actor does not start.
    pub async fn start(
        name: &str,
        listener: TcpListener,
        tls: LinkTls,
        settings: LinkSettings,
        clock: &Clock,
        metrics: Metrics,
        pools: &PoolMetrics,
    ) -> Result<Self, LinkStartError> {
        // Its own listener cannot be switched off: its port is given to nobody, and nobody gets through.
        let boot = clock.new_id().simple();
        let server = NodeServer::new(
            0,
            tls.cookie.clone(),
            format!("{name}-{boot}"),
            "nexmdm".to_owned(),
            Some(IncomingEncryptionMode::Tls(tls.shut.clone())),
            Some(NodeConnectionMode::Isolated),
        )
        .with_listen_addr(Ipv4Addr::LOCALHOST.into())
        .with_max_inbound_frame_size(FRAME_MAX_BYTES);
        let (server, _) = Actor::spawn(None, server, ()).await.map_err(|cause| LinkStartError(cause.to_string()))?;
        let sessions_changed = Arc::new(Notify::new());
        let subscription = Box::new(SessionEvents(Arc::clone(&sessions_changed)));
        // The server was started in the line above.
        let _ = server.cast(NodeServerMessage::SubscribeToEvents { id: "links".into(), subscription });
        let stopping = CancellationToken::new();
        let handshakes = Arc::new(Handshakes::new(settings.handshakes, pools));
        let door = transport::Door {
            server: server.clone(),
            tls: tls.clone(),
            settings: settings.clone(),
            handshakes: Arc::clone(&handshakes),
            metrics,
        };
        tokio::spawn(door.accept(listener, stopping.clone()));
        Ok(Self { server, tls, settings, handshakes, sessions_changed, stopping })
    }

    /// Looked up anew each time: a gateway that was started again is another actor.
    fn gateway(peer: NodeId) -> Option<GatewayRef> {
        let members: Vec<ActorCell> = pg::get_scoped_members(&GATEWAYS.to_owned(), &peer.to_string());
        members.into_iter().find(|member| !member.get_id().is_local()).map(|member| GatewayRef::new(member.into()))
    }
}

impl Network for ClusterNetwork {
    fn enter(&self, node: NodeId, gateway: GatewayRef, former: Option<NodeId>) {
        if let Some(former) = former {
            pg::leave_scoped(GATEWAYS.to_owned(), former.to_string(), vec![gateway.cell()]);
        }
        pg::join_scoped(GATEWAYS.to_owned(), node.to_string(), vec![gateway.cell()]);
    }

    fn sessions_changed(&self) -> &Notify {
        &self.sessions_changed
    }

    fn is_connected(&self, peer: NodeId) -> bool {
        Self::gateway(peer).is_some()
    }

    fn expect(&self, address: &str) {
        let (handshakes, address) = (Arc::clone(&self.handshakes), address.to_owned());
        // A literal address is one at once; a name is asked for once, and a peer that is reached under another address is noted then.
        tokio::spawn(async move {
            for peer in tokio::net::lookup_host(address).await.into_iter().flatten() {
                handshakes.note_peer(peer.ip());
            }
        });
    }

    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<(), DialError>> {
        transport::dial(&self.server, &self.tls, address, &self.settings, &self.handshakes).boxed()
    }

    fn call(&self, peer: NodeId, envelope: Envelope, timeout: Duration) -> BoxFuture<'_, Option<Envelope>> {
        async move { Self::gateway(peer)?.call(envelope, timeout).await }.boxed()
    }

    fn tell(&self, peer: NodeId, envelope: Envelope) {
        if let Some(gateway) = Self::gateway(peer) {
            gateway.tell(envelope);
        }
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.stopping.cancel();
        async { drop(self.server.stop_and_wait(None, Some(STOP_TIMEOUT)).await) }.boxed()
    }
}

struct SessionEvents(Arc<Notify>);

impl NodeEventSubscription for SessionEvents {
    fn node_session_opened(&self, _session: NodeServerSessionInformation) {}
    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        tracing::debug!(event = "link.session_ended", peer = session.peer_name.map(|name| name.name));
        self.0.notify_waiters();
    }
    fn node_session_authenticated(&self, _session: NodeServerSessionInformation) {}
    fn node_session_ready(&self, _session: NodeServerSessionInformation) {
        self.0.notify_waiters();
    }
}
