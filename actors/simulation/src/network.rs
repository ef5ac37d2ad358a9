//! The network between simulated nodes: envelopes in memory, late or lost.
//!
//! Each direction between two hosts keeps its order, as a stream does. A cut direction swallows what is sent; after a
//! while without a sign of life the session ends, as that of a stream with an idle deadline does.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::NodeId;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use link::{DialError, Envelope, GatewayRef, Network};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Number of a start of a node on the network.
pub(crate) type Host = usize;

/// Time that a message takes at most, ms.
const LATENCY_MAX_MS: u64 = 5;
/// Time that a session lives without a sign of life.
const IDLE_AFTER: Duration = Duration::from_secs(2);
/// Time that an attempt to connect takes to fail.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Time that a gateway may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The network of a cluster.
pub(crate) struct MemoryNetwork(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
}

struct State {
    chance: StdRng,
    hosts: Vec<HostState>,
    gateways: HashMap<NodeId, (Host, GatewayRef)>,
    /// Sessions, lower host first.
    sessions: HashSet<(Host, Host)>,
    /// Directions that swallow what is sent.
    cuts: HashSet<(Host, Host)>,
    directions: HashMap<(Host, Host), mpsc::UnboundedSender<Message>>,
}

struct HostState {
    address: String,
    up: bool,
    changed: Arc<Notify>,
}

/// An envelope on its way.
struct Message {
    due: Instant,
    to: NodeId,
    content: Content,
}

enum Content {
    Tell(Envelope),
    Call(Envelope, oneshot::Sender<Envelope>),
    Answer(Envelope, oneshot::Sender<Envelope>),
}

fn pair(a: Host, b: Host) -> (Host, Host) {
    (a.min(b), a.max(b))
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message in one direction; what leaves first arrives first.
    fn send(self: &Arc<Self>, from: Host, host: Host, to: NodeId, content: Content) {
        let mut state = self.state();
        let due = Instant::now() + Duration::from_millis(state.chance.random_range(0..=LATENCY_MAX_MS));
        let direction = state.directions.entry((from, host)).or_insert_with(|| {
            let (sender, messages) = mpsc::unbounded_channel();
            tokio::spawn(Arc::clone(self).carry(from, host, messages));
            sender
        });
        // Its receiver lives as long as the network.
        let _ = direction.send(Message { due, to, content });
    }

    async fn carry(self: Arc<Self>, from: Host, host: Host, mut messages: mpsc::UnboundedReceiver<Message>) {
        while let Some(Message { due, to, content }) = messages.recv().await {
            sleep_until(due).await;
            let gateway = {
                let state = self.state();
                let arrives = !state.cuts.contains(&(from, host)) && state.sessions.contains(&pair(from, host));
                arrives.then(|| state.gateways.get(&to).filter(|(at, _)| *at == host).map(|(_, gateway)| gateway.clone()))
            };
            let Some(gateway) = gateway else { continue };
            match (content, gateway) {
                // Whoever asked may have given up.
                (Content::Answer(envelope, reply), _) => drop(reply.send(envelope)),
                (Content::Tell(envelope), Some(gateway)) => gateway.tell(envelope),
                (Content::Call(envelope, reply), Some(gateway)) => {
                    let (network, asker) = (Arc::clone(&self), to);
                    tokio::spawn(async move {
                        if let Some(answer) = gateway.call(envelope, ANSWER_TIMEOUT).await {
                            network.send(host, from, asker, Content::Answer(answer, reply));
                        }
                    });
                }
                (_, None) => {}
            }
        }
    }

    fn end_session(&self, a: Host, b: Host) {
        let mut state = self.state();
        if state.sessions.remove(&pair(a, b)) {
            for host in [a, b] {
                state.hosts[host].changed.notify_waiters();
            }
        }
    }
}

impl MemoryNetwork {
    /// A network without hosts.
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            chance: StdRng::seed_from_u64(seed),
            hosts: Vec::new(),
            gateways: HashMap::new(),
            sessions: HashSet::new(),
            cuts: HashSet::new(),
            directions: HashMap::new(),
        };
        Self(Arc::new(Shared { state: Mutex::new(state) }))
    }

    /// Adds a host, at an address that an earlier host may have had.
    pub(crate) fn attach(&self, address: &str) -> (Host, Arc<dyn Network>) {
        let mut state = self.0.state();
        for host in &mut state.hosts {
            host.up &= host.address != address;
        }
        let (host, changed) = (state.hosts.len(), Arc::new(Notify::new()));
        state.hosts.push(HostState { address: address.to_owned(), up: true, changed: Arc::clone(&changed) });
        drop(state);
        (host, Arc::new(HostNetwork { host, changed, shared: Arc::clone(&self.0) }))
    }

    /// Takes a host off the network; its sessions end at once, as those of a process that dies do.
    pub(crate) fn detach(&self, host: Host) {
        let mut state = self.0.state();
        state.hosts[host].up = false;
        state.gateways.retain(|_, (at, _)| *at != host);
        let others: Vec<Host> = (0..state.hosts.len()).filter(|other| *other != host).collect();
        drop(state);
        others.into_iter().for_each(|other| self.0.end_session(host, other));
    }

    /// Swallows what a host sends to another.
    pub(crate) fn cut(&self, from: Host, to: Host) {
        self.0.state().cuts.insert((from, to));
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            sleep(IDLE_AFTER).await;
            let cut = shared.state().cuts.contains(&(from, to));
            if cut {
                shared.end_session(from, to);
            }
        });
    }

    /// Ends a cut.
    pub(crate) fn heal(&self, from: Host, to: Host) {
        self.0.state().cuts.remove(&(from, to));
    }
}

/// The network as one host uses it.
struct HostNetwork {
    host: Host,
    changed: Arc<Notify>,
    shared: Arc<Shared>,
}

impl HostNetwork {
    /// The host of a peer that there is a session with.
    fn connected(&self, peer: NodeId) -> Option<Host> {
        let state = self.shared.state();
        let (host, _) = state.gateways.get(&peer)?;
        state.sessions.contains(&pair(self.host, *host)).then_some(*host)
    }
}

impl Network for HostNetwork {
    fn enter(&self, node: NodeId, gateway: GatewayRef, former: Option<NodeId>) {
        let mut state = self.shared.state();
        if !state.hosts[self.host].up {
            return;
        }
        if let Some(former) = former {
            state.gateways.remove(&former);
        }
        state.gateways.insert(node, (self.host, gateway));
    }

    fn sessions_changed(&self) -> &Notify {
        &self.changed
    }

    fn is_connected(&self, peer: NodeId) -> bool {
        self.connected(peer).is_some()
    }

    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<(), DialError>> {
        async move {
            sleep(Duration::from_millis(LATENCY_MAX_MS)).await;
            let reached = {
                let mut state = self.shared.state();
                let up = |host: &HostState| host.up && host.address == address;
                let peer = state.hosts.iter().position(up).filter(|_| state.hosts[self.host].up);
                let peer = peer.filter(|peer| !state.cuts.contains(&(self.host, *peer)) && !state.cuts.contains(&(*peer, self.host)));
                if let Some(peer) = peer {
                    state.sessions.insert(pair(self.host, peer));
                    state.hosts[peer].changed.notify_waiters();
                }
                peer.is_some()
            };
            if reached {
                self.changed.notify_waiters();
                return Ok(());
            }
            sleep(DIAL_TIMEOUT).await;
            Err(DialError::TimedOut(DIAL_TIMEOUT))
        }
        .boxed()
    }

    fn call(&self, peer: NodeId, envelope: Envelope, patience: Duration) -> BoxFuture<'_, Option<Envelope>> {
        async move {
            let host = self.connected(peer)?;
            let (reply, answer) = oneshot::channel();
            self.shared.send(self.host, host, peer, Content::Call(envelope, reply));
            let answered = async {
                match answer.await {
                    Ok(envelope) => envelope,
                    // Lost, which is not told from late.
                    Err(_) => std::future::pending().await,
                }
            };
            timeout(patience, answered).await.ok()
        }
        .boxed()
    }

    fn tell(&self, peer: NodeId, envelope: Envelope) {
        if let Some(host) = self.connected(peer) {
            self.shared.send(self.host, host, peer, Content::Tell(envelope));
        }
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        MemoryNetwork(Arc::clone(&self.shared)).detach(self.host);
        async {}.boxed()
    }
}
