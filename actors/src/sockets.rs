//! The agent sockets attached to this node, and the route to those of other nodes.
//!
//! A device's socket is attached to whichever node it reached. Its owner knows where and pushes
//! through that node's gateway; when the owner changes, this node tells the new one.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock, Weak};

use clock::Clock;
use dashmap::DashMap;
use domain::shard::shard_of;
use domain::{DeviceId, NodeId, ServiceError};
use futures_util::StreamExt;
use link::Links;
use link::cluster_view::{ClusterView, ShardOwner};
use link::messages::{DeviceRequest, SocketPush, SocketRef};
use tokio::sync::{mpsc, watch};

use crate::messages::{DeviceCredentials, SocketPort};
use crate::router::DeviceRouter;

/// The node's end of a socket.
pub type SocketSender = mpsc::Sender<SocketPush>;

/// Sockets announced to new owners at a time.
const ANNOUNCED_AT_A_TIME: usize = 64;

struct OpenSocket {
    credentials: DeviceCredentials,
    sender: SocketSender,
}

/// The agent sockets of this node.
pub struct SocketHub {
    clock: Clock,
    open: DashMap<u64, OpenSocket>,
    links: OnceLock<Weak<Links>>,
}

impl SocketHub {
    /// No socket yet.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, open: DashMap::new(), links: OnceLock::new() }
    }

    pub(crate) fn connect(&self, links: &Arc<Links>) {
        let _ = self.links.set(Arc::downgrade(links));
    }

    /// Number of open sockets.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open here.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Enters a socket; it is taken out when the answer is dropped. The number is random, so
    /// that it names one socket in the whole cluster.
    pub fn enter(self: &Arc<Self>, credentials: DeviceCredentials, sender: SocketSender) -> SocketEntry {
        let number = self.clock.randomness().number();
        self.open.insert(number, OpenSocket { credentials, sender });
        SocketEntry { hub: Arc::clone(self), number }
    }

    /// Sends a message to a socket of this node.
    ///
    /// # Errors
    /// There is no such socket; what it was to be told.
    pub(crate) fn push_here(&self, number: u64, push: SocketPush) -> Result<(), SocketPush> {
        match self.open.get(&number) {
            // One whose queue is full reads too slowly: a command goes another way, and anything else
            // means that it is on its way out already.
            Some(socket) => {
                let _ = socket.sender.try_send(push);
                Ok(())
            }
            None => Err(push),
        }
    }

    /// Announces the sockets of this node to their owners whenever shards have moved.
    pub(crate) async fn keep_announced(self: Arc<Self>, router: DeviceRouter, mut view: watch::Receiver<ClusterView>) {
        let mut known: (NodeId, Arc<[ShardOwner]>) = (view.borrow().me, Arc::from([]));
        let mut unheard = HashSet::new();
        loop {
            let now = {
                let view = view.borrow_and_update();
                (view.me, Arc::clone(&view.shards))
            };
            if now != known || !unheard.is_empty() {
                unheard = self.announce(&router, &known, &now, &unheard).await;
                known = now;
            }
            // The view changes at least with every look of this node, so who was not heard is tried again soon.
            if view.changed().await.is_err() {
                return;
            }
        }
    }

    /// Announces what moved, and what no owner has heard of yet. Returns what still none has.
    async fn announce(
        &self,
        router: &DeviceRouter,
        before: &(NodeId, Arc<[ShardOwner]>),
        now: &(NodeId, Arc<[ShardOwner]>),
        unheard: &HashSet<u64>,
    ) -> HashSet<u64> {
        let moved = |device: DeviceId| {
            let shard = usize::from(shard_of(device).0);
            before.0 != now.0 || before.1.get(shard) != now.1.get(shard)
        };
        let affected: Vec<(u64, DeviceCredentials)> = self
            .open
            .iter()
            .filter(|socket| unheard.contains(socket.key()) || moved(socket.credentials.device_id))
            .map(|socket| (*socket.key(), socket.credentials))
            .collect();
        futures_util::stream::iter(affected)
            .map(|(number, credentials)| async move {
                let socket = SocketRef { node: now.0, socket: number };
                let request = DeviceRequest::SocketOpened { generation: credentials.generation, socket };
                match router.request(credentials.device_id, request).await {
                    Ok(_) => None,
                    Err(ServiceError::Unauthorized | ServiceError::DeviceDeleted) => {
                        let _ = self.push_here(number, SocketPush::Revoked);
                        None
                    }
                    Err(_) => Some(number),
                }
            })
            .buffer_unordered(ANNOUNCED_AT_A_TIME)
            .filter_map(std::future::ready)
            .collect()
            .await
    }
}

impl SocketPort for SocketHub {
    fn push(&self, socket: SocketRef, push: SocketPush) {
        if let Err(push) = self.push_here(socket.socket, push)
            && let Some(links) = self.links.get().and_then(Weak::upgrade)
        {
            links.push_socket(socket, push);
        }
    }
}

/// A socket's entry; gone when dropped.
pub struct SocketEntry {
    hub: Arc<SocketHub>,
    number: u64,
}

impl SocketEntry {
    /// Reference of the socket, valid on every node.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for SocketEntry {
    fn drop(&mut self) {
        self.hub.open.remove(&self.number);
    }
}
