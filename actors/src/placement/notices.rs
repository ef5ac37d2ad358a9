//! What other nodes tell through the database: placement may have changed, somebody changed a device, or an
//! account lost something.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::shard::{ShardId, shard_of};
use domain::{DeploymentId, DeviceId};
use store::{DeviceAccess, Listener, Notice, OpenCommandScope, Store, StoreError, StoredDevice};
use tokio_util::sync::CancellationToken;

use crate::device::DeviceMsg;
use crate::messages::{CommandOrder, DeviceRequest};
use crate::shard::{Directory, ShardMsg, ShardTable};

/// Pause before listening again after the connection was lost.
const LISTEN_BACKOFF: Duration = Duration::from_millis(500);
/// How long one connection listens.
const LISTEN_ANEW: Duration = Duration::from_secs(60);
/// Devices that are read together.
const READ_MAX: usize = 500;
/// Open commands that are read together.
const ORDERS_MAX: i64 = 2_000;
/// How far back changes are read that may have been missed, s: longer than one connection listens,
/// with time for the slowest transaction to commit.
const MISSED_S: i32 = 180;

/// Hears what other nodes tell.
pub(crate) struct Notices {
    /// Over connections of its own.
    pub(crate) store: Store,
    /// Where the actors of this node's devices are.
    pub(crate) directory: Directory,
    /// The shards that run here.
    pub(crate) shards: ShardTable,
    /// Forgets who may do what, so that it is read anew.
    pub(crate) forget_people: Box<dyn Fn() + Send + Sync>,
    /// Called when something happened to a deployment; `None`: to any of them.
    pub(crate) on_deployment: Box<dyn Fn(Option<DeploymentId>) + Send + Sync>,
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
            let mut told = Some(told?);
            let (mut changed, mut orders): (Vec<DeviceId>, Vec<OpenCommandScope>) = (Vec::new(), Vec::new());
            // What came meanwhile is read together: a bulk call tells of thousands at once.
            while let Some(notice) = told.take() {
                match notice {
                    Notice::Placement => (self.wake)(),
                    Notice::Account => (self.forget_people)(),
                    Notice::Device(id) => {
                        changed.extend(id.parse().ok().filter(|id: &DeviceId| self.shards.contains_key(&shard_of(*id))));
                    }
                    Notice::Command(id) => {
                        orders.extend(
                            id.parse().ok().filter(|id: &DeviceId| self.shards.contains_key(&shard_of(*id))).map(OpenCommandScope::Device),
                        );
                    }
                    Notice::DeploymentCommands(id) => orders.extend(id.parse().ok().map(OpenCommandScope::Deployment)),
                    Notice::Deployment(id) => (self.on_deployment)(id.parse().ok()),
                    Notice::CommandBatch(id) => orders.extend(id.parse().ok().map(OpenCommandScope::Batch)),
                    Notice::Missed => return Ok(()),
                }
                if changed.len() + orders.len() < READ_MAX {
                    told = listener.waiting();
                }
            }
            for of in orders {
                tell_orders(&self.store, &self.shards, &running(&self.shards), of).await?;
            }
            if !changed.is_empty() {
                let read_at = Instant::now();
                let found = self.store.devices_by_id(&changed).await?;
                let there: HashSet<DeviceId> = found.iter().map(|device| device.identity.id).collect();
                changed.retain(|id| !there.contains(id));
                hand_over(&self.shards, read_at, found);
                for id in changed {
                    if let Some(actor) = self.shards.get(&shard_of(id)) {
                        let _ = actor.cast(ShardMsg::Purged(id));
                    }
                }
            }
        }
    }

    async fn recheck_access(&self) -> Result<(), StoreError> {
        let running = running(&self.shards);
        self.store.revoked_devices(&running).await?.into_iter().for_each(|access| tell_access(&self.directory, access));
        tell_orders(&self.store, &self.shards, &running, OpenCommandScope::MadeWithin(MISSED_S)).await?;
        tell_changed(&self.store, &self.shards, &running).await
    }
}

/// The shards that run here, whether or not the lease holds: after an outage of the database this node often listens
/// again before its lease is renewed, and what is not read then is read by nobody.
fn running(table: &ShardTable) -> Vec<ShardId> {
    table.iter().map(|entry| *entry.key()).collect()
}

/// Tells the devices of these shards which open commands the store holds for them.
pub(super) async fn tell_orders(store: &Store, table: &ShardTable, shards: &[ShardId], of: OpenCommandScope) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let open = store.open_commands(shards, of, after, ORDERS_MAX).await?;
        let whole = (open.len() as i64) < ORDERS_MAX;
        after = open.last().map(|last| last.id);
        let mut by_shard: HashMap<ShardId, Vec<(DeviceId, CommandOrder)>> = HashMap::new();
        for command in open {
            by_shard.entry(shard_of(command.device_id)).or_default().push((command.device_id, command.into()));
        }
        for (shard, orders) in by_shard {
            if let Some(actor) = table.get(&shard) {
                // A shard that moved in this moment reads them at its new owner.
                let _ = actor.cast(ShardMsg::Orders(orders));
            }
        }
        if whole {
            return Ok(());
        }
    }
}

/// Tells the devices of these shards that people changed lately what the store holds.
pub(super) async fn tell_changed(store: &Store, table: &ShardTable, shards: &[ShardId]) -> Result<(), StoreError> {
    let read_at = Instant::now();
    hand_over(table, read_at, store.devices_changed_within(shards, MISSED_S).await?);
    Ok(())
}

/// Hands what was read at this moment to the shards.
fn hand_over(table: &ShardTable, read_at: Instant, devices: Vec<StoredDevice>) {
    let mut by_shard: HashMap<ShardId, Vec<StoredDevice>> = HashMap::new();
    for device in devices {
        by_shard.entry(shard_of(device.identity.id)).or_default().push(device);
    }
    for (shard, devices) in by_shard {
        if let Some(actor) = table.get(&shard) {
            // A shard that moved in this moment is read by its new owner.
            let _ = actor.cast(ShardMsg::Reread(read_at, devices));
        }
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
