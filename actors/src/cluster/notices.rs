//! What other nodes tell through the database: placement may have changed, or a device's or a person's credentials have.

use std::sync::Arc;
use std::time::Duration;

use domain::DeviceId;
use domain::shard::ShardId;
use store::{DeviceAccess, Listener, Notice, Store, StoreError};
use tokio_util::sync::CancellationToken;

use super::ownership::Ownership;
use crate::device::DeviceMsg;
use crate::link::message::DeviceRequest;
use crate::shard::Directory;

/// Pause before listening again after the connection was lost.
const LISTEN_BACKOFF: Duration = Duration::from_millis(500);
/// How long one connection listens.
const LISTEN_ANEW: Duration = Duration::from_secs(60);

/// Hears what other nodes tell.
pub(crate) struct Notices {
    /// Over connections of its own.
    pub(crate) store: Store,
    /// Where the actors of this node's devices are.
    pub(crate) directory: Directory,
    /// What this node may do right now.
    pub(crate) ownership: Arc<Ownership>,
    /// Forgets who may do what, so that it is read anew.
    pub(crate) forget_people: Box<dyn Fn() + Send + Sync>,
    /// Wakes placement.
    pub(crate) wake: Arc<dyn Fn() + Send + Sync>,
}

impl Notices {
    /// Listens until `stopping`; whenever the connection was lost, what may have been missed is read.
    pub(crate) async fn keep_listening(self, stopping: CancellationToken) {
        let listening = async {
            loop {
                let listened = async { self.listen(self.store.listen().await?).await };
                if let Err(cause) = listened.await {
                    tracing::warn!(event = "cluster.listen_failed", %cause);
                }
                tokio::time::sleep(LISTEN_BACKOFF).await;
            }
        };
        tokio::select! {
            () = listening => {}
            () = stopping.cancelled() => {}
        }
    }

    /// Hears until the connection is lost.
    async fn listen(&self, mut listener: Listener) -> Result<(), StoreError> {
        // Whatever was told before is lost.
        (self.forget_people)();
        self.recheck_access().await?;
        (self.wake)();
        loop {
            // A connection that is only half there tells nothing: it is made anew now and then.
            let Ok(told) = tokio::time::timeout(LISTEN_ANEW, listener.next()).await else { return Ok(()) };
            match told? {
                Notice::Placement => (self.wake)(),
                Notice::Account => (self.forget_people)(),
                Notice::Device(id) => {
                    let id = id.parse().ok().filter(|id: &DeviceId| self.directory.contains_key(id));
                    if let Some(id) = id
                        && let Some(access) = self.store.device_access(id).await?
                    {
                        tell_access(&self.directory, access);
                    }
                }
                Notice::Missed => return Ok(()),
            }
        }
    }

    async fn recheck_access(&self) -> Result<(), StoreError> {
        let mine: Vec<ShardId> = ShardId::all().filter(|shard| self.ownership.acting(*shard).is_some()).collect();
        self.store.revoked_devices(&mine).await?.into_iter().for_each(|access| tell_access(&self.directory, access));
        Ok(())
    }
}

/// Tells a device that runs here which credentials hold, and whether it is deleted.
pub(super) fn tell_access(directory: &Directory, access: DeviceAccess) {
    if let Some(actor) = directory.get(&access.id) {
        let request = DeviceRequest::AccessChanged { generation: access.generation, deleted: access.deleted };
        let (reply, _) = ractor::concurrency::oneshot();
        // Nobody waits for the answer.
        let _ = actor.cast(DeviceMsg::Request(request, reply.into()));
    }
}
