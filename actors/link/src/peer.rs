//! One peer: dialled, kept alive, called within limits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use domain::NodeId;
use domain::backoff::Backoff;
use domain::cluster::Node;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::codec::{self, Message};
use super::message::{ForwardOutcome, HeartbeatOutcomes, Heartbeats, HeartbeatsReceived, NodeStats, Refusal};
use super::protocol::{Envelope, Kind, format_of, negotiated};
use super::{LinkError, Links, Network};
use crate::messages::{ForwardedHeartbeat, HeartbeatAck, HeartbeatOutcome};

/// Batches of heartbeats to one peer that are on their way at a time; while they are, the next gathers.
const BATCHES_ON_THE_WAY: usize = 4;
/// Pings that may stay unanswered before a peer counts as unreachable.
const PINGS_MISSED_MAX: u32 = 2;
/// How long a ping may take.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// The unit in which bytes under way are counted.
const BYTES_UNIT: usize = 1024;

/// State of the link to a peer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PeerStatus {
    /// Whether pings are answered.
    pub reachable: bool,
    /// Round trip of the last ping.
    pub round_trip: Option<Duration>,
    /// The peer's newest figures.
    pub stats: Option<NodeStats>,
    /// Protocol that is spoken with it.
    pub protocol: u16,
}

/// Forwarded heartbeats whose outcomes are still to come.
pub(super) struct Pending {
    pub(super) node: NodeId,
    replies: Vec<Option<oneshot::Sender<Result<HeartbeatAck, LinkError>>>>,
}

type Queued = (ForwardedHeartbeat, oneshot::Sender<Result<HeartbeatAck, LinkError>>);

/// One peer.
pub(super) struct Peer {
    links: Weak<Links>,
    network: Arc<dyn Network>,
    row: Node,
    protocol: u16,
    queue: mpsc::Sender<Queued>,
    calls: Semaphore,
    bytes: Arc<Semaphore>,
    status: Mutex<PeerStatus>,
    ending: CancellationToken,
}

static NEXT_BATCH: AtomicU64 = AtomicU64::new(1);

impl Peer {
    /// Starts linking to a peer; `None` when no protocol is spoken by both.
    pub(super) fn start(links: &Arc<Links>, row: Node) -> Option<Arc<Self>> {
        let Some(protocol) = negotiated(links.settings.protocol_max, row.protocols) else {
            let (min, max) = row.protocols;
            tracing::error!(event = "link.no_common_protocol", peer = row.name, peer_min = min, peer_max = max);
            return None;
        };
        let (queue, queued) = mpsc::channel(links.settings.queue_max);
        let peer = Arc::new(Self {
            links: Arc::downgrade(links),
            network: Arc::clone(&links.network),
            protocol,
            queue,
            calls: Semaphore::new(links.settings.calls_max),
            bytes: Arc::new(Semaphore::new(links.settings.bytes_max / BYTES_UNIT)),
            status: Mutex::new(PeerStatus { protocol, ..PeerStatus::default() }),
            ending: links.stopping.child_token(),
            row,
        });
        let until_end = |work: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
            let ending = peer.ending.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = work => {}
                    () = ending.cancelled() => {}
                }
            });
        };
        until_end(Box::pin(Arc::clone(&peer).keep_alive(Arc::clone(links))));
        until_end(Box::pin(Arc::clone(&peer).send_batches(queued)));
        // One of the two dials, so that they do not end up with two links.
        if links.name < peer.row.name {
            until_end(Box::pin(Arc::clone(&peer).keep_dialling(Arc::clone(links))));
        }
        Some(peer)
    }

    /// The peer is gone.
    pub(super) fn end(&self) {
        self.ending.cancel();
    }

    pub(super) fn status(&self) -> PeerStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_status(&self, change: impl FnOnce(&mut PeerStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Dials whenever there is no link, ever more slowly while it fails.
    async fn keep_dialling(self: Arc<Self>, links: Arc<Links>) {
        let settings = &links.settings;
        let given = settings.addresses.iter().find(|(name, _)| *name == self.row.name).map(|(_, address)| address.clone());
        let address = given.unwrap_or_else(|| self.row.cluster_addr.clone());
        let (first, max) = settings.redial;
        let backoff = Backoff { first, max };
        let mut failures = 0;
        loop {
            let changed = self.network.sessions_changed().notified();
            if self.network.is_connected(self.row.id) {
                failures = 0;
                let _ = timeout(settings.ping_interval, changed).await;
                continue;
            }
            match self.network.dial(&address).await {
                // The session still has to be agreed on.
                Ok(()) => drop(timeout(settings.handshake_timeout, changed).await),
                Err(cause) => tracing::warn!(event = "link.dial_failed", peer = self.row.name, address, %cause),
            }
            if !self.network.is_connected(self.row.id) {
                failures += 1;
                tokio::time::sleep(links.clock.randomness().jittered(backoff.wait(failures), 0.5)).await;
            }
        }
    }

    /// Pings the peer, and notices when it answers and when no longer.
    async fn keep_alive(self: Arc<Self>, links: Arc<Links>) {
        let mut missed = 0;
        loop {
            let changed = self.network.sessions_changed().notified();
            let alive = self.ping(&links).await;
            missed = if alive { 0 } else { missed + 1 };
            let was = self.status().reachable;
            let is = alive || was && missed <= PINGS_MISSED_MAX && self.network.is_connected(self.row.id);
            if is != was {
                self.set_status(|status| {
                    status.reachable = is;
                    status.round_trip = status.round_trip.filter(|_| is);
                });
                if is {
                    tracing::info!(event = "link.up", peer = self.row.name, protocol = self.protocol);
                    (links.on_up)();
                } else {
                    tracing::warn!(event = "link.down", peer = self.row.name);
                    links.fail_pending(self.row.id);
                }
                links.count_reachable();
            }
            links.forget_abandoned(self.row.id);
            let _ = timeout(links.clock.randomness().jittered(links.settings.ping_interval, 0.2), changed).await;
        }
    }

    async fn ping(&self, links: &Links) -> bool {
        let Ok(body) = self.encode(&links.stats()) else { return false };
        let sent = Instant::now();
        let answered = self.exchange(Kind::Ping, body, PING_TIMEOUT).await;
        let Ok(stats) = answered.and_then(|body| self.decode(&body)) else { return false };
        let round_trip = sent.elapsed();
        links.metrics.link_seconds.with_label_values(&[self.row.name.as_str()]).observe(round_trip.as_secs_f64());
        self.set_status(|status| {
            status.round_trip = Some(round_trip);
            status.stats = Some(stats);
        });
        true
    }

    /// Calls the peer and reads its answer.
    pub(super) async fn call<T: Message, A: Message>(&self, kind: Kind, body: &T, patience: Duration) -> Result<A, LinkError> {
        self.decode(&self.call_for_bytes(kind, body, patience).await?)
    }

    /// Calls the peer; the body of its answer.
    pub(super) async fn call_for_bytes<T: Message>(&self, kind: Kind, body: &T, patience: Duration) -> Result<Vec<u8>, LinkError> {
        self.call_bytes(kind, self.encode(body)?, patience).await
    }

    fn encode<T: Message>(&self, body: &T) -> Result<Vec<u8>, codec::BadBody> {
        codec::encode(format_of(self.protocol), body)
    }

    fn decode<T: Message>(&self, body: &[u8]) -> Result<T, LinkError> {
        codec::decode(format_of(self.protocol), body).map_err(|_| LinkError::Unsupported)
    }

    async fn call_bytes(&self, kind: Kind, body: Vec<u8>, patience: Duration) -> Result<Vec<u8>, LinkError> {
        let size = u32::try_from(body.len().div_ceil(BYTES_UNIT)).unwrap_or(u32::MAX);
        let result = match (self.calls.try_acquire(), self.bytes.try_acquire_many(size)) {
            (Ok(_call), Ok(_bytes)) => self.exchange(kind, body, patience).await,
            _ => Err(LinkError::Busy),
        };
        self.count(kind, &result);
        result
    }

    fn count(&self, kind: Kind, result: &Result<Vec<u8>, LinkError>) {
        let kind = match kind {
            Kind::Device => "device",
            Kind::Heartbeats => "heartbeats",
            Kind::Changes => "changes",
            _ => "other",
        };
        let outcome = match result {
            Ok(_) => "ok",
            Err(LinkError::Unreachable) => "unreachable",
            Err(LinkError::Refused(Refusal::NotOwner)) => "not_owner",
            Err(LinkError::Refused(_)) => "refused",
            Err(LinkError::Busy) => "busy",
            Err(_) => "failed",
        };
        if let Some(links) = self.links.upgrade() {
            links.metrics.link_calls.with_label_values(&[kind, outcome]).inc();
        }
    }

    async fn exchange(&self, kind: Kind, body: Vec<u8>, patience: Duration) -> Result<Vec<u8>, LinkError> {
        let envelope = Envelope::new(self.protocol, kind, body);
        let answer = self.network.call(self.row.id, envelope, patience).await.ok_or(LinkError::Unreachable)?;
        match Kind::parse(answer.kind) {
            Some(Kind::Answer) => Ok(answer.body),
            Some(Kind::Refused) => match answer.message() {
                Ok(refusal) => Err(LinkError::Refused(refusal)),
                Err(_) => Err(LinkError::Unsupported),
            },
            _ => Err(LinkError::Unsupported),
        }
    }

    /// The protocol that is spoken with it.
    pub(super) fn protocol(&self) -> u16 {
        self.protocol
    }

    /// Sends a message to the peer without waiting for a reply.
    pub(super) fn tell<T: Message>(&self, kind: Kind, body: &T) {
        match Envelope::of(self.protocol, kind, body) {
            // Without a link it is lost, as it would be on the way.
            Ok(envelope) => self.network.tell(self.row.id, envelope),
            Err(cause) => tracing::error!(event = "link.message_too_large", ?kind, %cause),
        }
    }

    /// Queues heartbeats for the peer and waits for their outcomes.
    pub(super) async fn forward(&self, items: Vec<ForwardedHeartbeat>, until: Option<Instant>) -> Vec<Result<HeartbeatAck, LinkError>> {
        let Some(links) = self.links.upgrade() else { return vec![Err(LinkError::Unreachable); items.len()] };
        let status = self.status();
        let waiting: Vec<_> = items
            .into_iter()
            .map(|item| {
                let (reply, outcome) = oneshot::channel();
                if !status.reachable {
                    let _ = reply.send(Err(LinkError::Unreachable));
                } else if let Err(refused) = self.queue.try_send((item, reply)) {
                    let (_, reply) = refused.into_inner();
                    let _ = reply.send(Err(LinkError::Busy));
                }
                outcome
            })
            .collect();
        let late = if until.is_some() { LinkError::Unreachable } else { LinkError::Refused(Refusal::Unavailable) };
        let until = until.unwrap_or_else(|| Instant::now() + links.settings.commit_timeout);
        let mut answers = Vec::with_capacity(waiting.len());
        for outcome in waiting {
            let answer = match tokio::time::timeout_at(until, outcome).await {
                Ok(Ok(answer)) => answer,
                // The link broke in between.
                Ok(Err(_)) => Err(LinkError::Unreachable),
                Err(_) => Err(late),
            };
            let label = if answer.is_ok() { "by_owner" } else { "not_by_owner" };
            links.metrics.forwarded.with_label_values(&[label]).inc();
            answers.push(answer);
        }
        answers
    }

    /// Gathers heartbeats into batches while earlier ones are on their way.
    async fn send_batches(self: Arc<Self>, mut queued: mpsc::Receiver<Queued>) {
        let on_the_way = Arc::new(Semaphore::new(BATCHES_ON_THE_WAY));
        let Some(batch_max) = self.links.upgrade().map(|links| links.settings.batch_max) else { return };
        loop {
            let mut batch = Vec::with_capacity(batch_max);
            if queued.recv_many(&mut batch, batch_max).await == 0 {
                return;
            }
            // Closed by nobody.
            let Ok(permit) = Arc::clone(&on_the_way).acquire_owned().await else { return };
            while batch.len() < batch_max {
                match queued.try_recv() {
                    Ok(more) => batch.push(more),
                    Err(_) => break,
                }
            }
            let peer = Arc::clone(&self);
            tokio::spawn(async move {
                peer.send_batch(batch).await;
                drop(permit);
            });
        }
    }

    async fn send_batch(&self, mut batch: Vec<Queued>) {
        let Some(links) = self.links.upgrade() else { return };
        // Whoever gave up needs no answer.
        batch.retain(|(_, reply)| !reply.is_closed());
        let (items, replies): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        if items.is_empty() {
            return;
        }
        let number = NEXT_BATCH.fetch_add(1, Ordering::Relaxed);
        let heartbeats = Heartbeats { from: links.me(), batch: number, items };
        let body = match self.encode(&heartbeats) {
            Ok(body) => body,
            Err(codec::BadBody) => return self.send_halves(heartbeats.items, replies).await,
        };
        // Entered before it is sent: the outcomes may be faster than the reply that it was taken.
        links.pending.insert(number, Pending { node: self.row.id, replies: replies.into_iter().map(Some).collect() });
        let taken = self.call_bytes(Kind::Heartbeats, body, links.settings.taken_timeout).await;
        match taken.and_then(|body| self.decode(&body)) {
            Ok(HeartbeatsReceived { not_owned }) => {
                if let Some(mut pending) = links.pending.get_mut(&number) {
                    for place in not_owned {
                        if let Some(reply) = pending.replies.get_mut(place as usize).and_then(Option::take) {
                            let _ = reply.send(Err(LinkError::Refused(Refusal::NotOwner)));
                        }
                    }
                }
                links.drop_if_answered(number);
            }
            Err(error) => {
                if let Some((_, pending)) = links.pending.remove(&number) {
                    for reply in pending.replies.into_iter().flatten() {
                        let _ = reply.send(Err(error));
                    }
                }
            }
        }
    }
}

impl Peer {
    /// Sends what is too large for one message as two.
    async fn send_halves(&self, items: Vec<ForwardedHeartbeat>, replies: Vec<oneshot::Sender<Result<HeartbeatAck, LinkError>>>) {
        let mut batch: Vec<Queued> = items.into_iter().zip(replies).collect();
        if batch.len() == 1 {
            for (_, reply) in batch {
                let _ = reply.send(Err(LinkError::TooLarge));
            }
            return;
        }
        let second = batch.split_off(batch.len() / 2);
        Box::pin(self.send_batch(batch)).await;
        Box::pin(self.send_batch(second)).await;
    }
}

impl Links {
    /// A peer's outcomes of heartbeats that were handed to it.
    pub(super) fn take_outcomes(&self, told: HeartbeatOutcomes) {
        if let Some(mut pending) = self.pending.get_mut(&told.batch) {
            for (place, outcome) in told.outcomes {
                if let Some(reply) = pending.replies.get_mut(place as usize).and_then(Option::take) {
                    let ack = |outcome, epoch, commands| Ok(HeartbeatAck { outcome, epoch: Some(epoch), commands });
                    let _ = reply.send(match outcome {
                        ForwardOutcome::Stored(epoch) => ack(HeartbeatOutcome::Stored, epoch, vec![]),
                        ForwardOutcome::Repeat(epoch) => ack(HeartbeatOutcome::Repeat, epoch, vec![]),
                        ForwardOutcome::WithCommands { stored, epoch, commands } => {
                            ack(if stored { HeartbeatOutcome::Stored } else { HeartbeatOutcome::Repeat }, epoch, commands)
                        }
                        ForwardOutcome::Refused(refusal) => Err(LinkError::Refused(refusal)),
                    });
                }
            }
        }
        self.drop_if_answered(told.batch);
    }

    /// Removes calls whose callers no longer wait.
    fn forget_abandoned(&self, node: NodeId) {
        self.pending.retain(|_, pending| pending.node != node || pending.replies.iter().flatten().any(|reply| !reply.is_closed()));
    }

    fn drop_if_answered(&self, batch: u64) {
        self.pending
            .remove_if(&batch, |_, pending| pending.replies.iter().all(|reply| reply.as_ref().is_none_or(oneshot::Sender::is_closed)));
    }
}
