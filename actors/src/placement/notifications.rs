//! Notifications of other nodes through the database: of placement, devices, commands, deployments, alerts and accounts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use clock::{Clock, Moment};
use domain::shard::{ShardId, shard_of};
use domain::{DeploymentId, DeviceId};
use link::messages::{DeviceRequest, PendingCommand};
use store::{DeviceAccess, Listener, Notification, OpenCommandScope, Store, StoreError, StoredDevice};
use tokio_util::sync::CancellationToken;

use crate::device::DeviceMsg;
use crate::shard::{Directory, ShardMsg, ShardTable};

/// Delay before listening again after a lost connection.
const LISTEN_BACKOFF: Duration = Duration::from_millis(500);
/// Lifetime of a connection that listens.
const LISTEN_ANEW: Duration = Duration::from_secs(60);
/// Most devices that are read together.
const READ_MAX: usize = 500;
/// Most open commands that are read together.
const COMMANDS_READ_MAX: i64 = 2_000;
/// How far back changes are read that may have been missed, s: longer than one connection listens,
/// with time for the slowest transaction to commit.
const MISSED_S: i32 = 180;

/// Listener for the notifications of other nodes.
pub(crate) struct NotifyListener {
    /// Clock of the node.
    pub(crate) clock: Clock,
    /// Store with its own connections.
    pub(crate) store: Store,
    /// Actors of this node's devices.
    pub(crate) directory: Directory,
    /// The shards that run here.
    pub(crate) shards: ShardTable,
    /// Clears the cache of sign-ins and API tokens.
    pub(crate) forget_people: Box<dyn Fn() + Send + Sync>,
    /// Called when a deployment has changed; `None`: any of them.
    pub(crate) on_deployment: Box<dyn Fn(Option<DeploymentId>) + Send + Sync>,
    /// Called when alerts have changed, or what decides about their notifications; with whether the settings of rules may have.
    pub(crate) on_alert: Box<dyn Fn(bool) + Send + Sync>,
    /// Wakes placement.
    pub(crate) wake: Arc<dyn Fn() + Send + Sync>,
}

impl NotifyListener {
    /// Listens until `stopping`; after a lost connection it reads what it may have missed.
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

    /// Listens until the connection is lost.
    async fn listen(&self, mut listener: Listener) -> Result<(), StoreError> {
        // Earlier notifications are lost.
        (self.forget_people)();
        (self.on_alert)(true);
        self.recheck_access().await?;
        (self.wake)();
        loop {
            // A half-open connection delivers nothing, so the connection is renewed at an interval.
            let Ok(received) = tokio::time::timeout(LISTEN_ANEW, listener.next()).await else { return Ok(()) };
            let mut received = Some(received?);
            let (mut changed, mut commands): (Vec<DeviceId>, Vec<OpenCommandScope>) = (Vec::new(), Vec::new());
            // Notifications that have arrived are handled together: a bulk call sends thousands at once.
            while let Some(notification) = received.take() {
                match notification {
                    Notification::Placement => (self.wake)(),
                    Notification::Account => (self.forget_people)(),
                    Notification::Device(id) => {
                        changed.extend(id.parse().ok().filter(|id: &DeviceId| self.shards.contains_key(&shard_of(*id))));
                    }
                    Notification::Command(id) => {
                        commands.extend(
                            id.parse().ok().filter(|id: &DeviceId| self.shards.contains_key(&shard_of(*id))).map(OpenCommandScope::Device),
                        );
                    }
                    Notification::DeploymentCommands(id) => commands.extend(id.parse().ok().map(OpenCommandScope::Deployment)),
                    Notification::Deployment(id) => (self.on_deployment)(id.parse().ok()),
                    Notification::Alert { rules } => (self.on_alert)(rules),
                    Notification::CommandBatch(id) => commands.extend(id.parse().ok().map(OpenCommandScope::Batch)),
                    Notification::Missed => return Ok(()),
                }
                if changed.len() + commands.len() < READ_MAX {
                    received = listener.waiting();
                }
            }
            for of in commands {
                send_pending_commands(&self.store, &self.shards, &running(&self.shards), of).await?;
            }
            if !changed.is_empty() {
                let read_at = self.clock.monotonic();
                let found = self.store.devices_by_id(&changed).await?;
                let there: HashSet<DeviceId> = found.iter().map(|device| device.identity.id).collect();
                changed.retain(|id| !there.contains(id));
                refresh_devices(&self.shards, read_at, found);
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
        self.store.revoked_devices(&running).await?.into_iter().for_each(|access| send_access(&self.directory, access));
        send_pending_commands(&self.store, &self.shards, &running, OpenCommandScope::MadeWithin(MISSED_S)).await?;
        refresh_changed(&self.store, &self.clock, &self.shards, &running).await
    }
}

/// The shards that run here, whether or not the lease holds: after an outage of the database this node often listens
/// again before its lease is renewed, and what is not read then is read by nobody.
fn running(table: &ShardTable) -> Vec<ShardId> {
    table.iter().map(|entry| *entry.key()).collect()
}

/// Sends the stored open commands of these shards to their devices.
pub(super) async fn send_pending_commands(
    store: &Store,
    table: &ShardTable,
    shards: &[ShardId],
    of: OpenCommandScope,
) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let open = store.open_commands(shards, of, after, COMMANDS_READ_MAX).await?;
        let whole = (open.len() as i64) < COMMANDS_READ_MAX;
        after = open.last().map(|last| last.id);
        let mut by_shard: HashMap<ShardId, Vec<(DeviceId, PendingCommand)>> = HashMap::new();
        for command in open {
            by_shard.entry(shard_of(command.device_id)).or_default().push((command.device_id, command.into()));
        }
        for (shard, commands) in by_shard {
            if let Some(actor) = table.get(&shard) {
                // If the shard moves at this moment, its new owner reads them.
                let _ = actor.cast(ShardMsg::PendingCommands(commands));
            }
        }
        if whole {
            return Ok(());
        }
    }
}

/// Refreshes the devices of these shards that were changed lately.
pub(super) async fn refresh_changed(store: &Store, clock: &Clock, table: &ShardTable, shards: &[ShardId]) -> Result<(), StoreError> {
    let read_at = clock.monotonic();
    refresh_devices(table, read_at, store.devices_changed_within(shards, MISSED_S).await?);
    Ok(())
}

/// Sends devices that were read at this moment to their shards.
fn refresh_devices(table: &ShardTable, read_at: Moment, devices: Vec<StoredDevice>) {
    let mut by_shard: HashMap<ShardId, Vec<StoredDevice>> = HashMap::new();
    for device in devices {
        by_shard.entry(shard_of(device.identity.id)).or_default().push(device);
    }
    for (shard, devices) in by_shard {
        if let Some(actor) = table.get(&shard) {
            // If the shard moves at this moment, its new owner reads the devices.
            let _ = actor.cast(ShardMsg::Refresh(read_at, devices));
        }
    }
}

/// Sends a device that runs here its credential generation and whether it is deleted.
pub(super) fn send_access(directory: &Directory, access: DeviceAccess) {
    if let Some(actor) = directory.get(&access.id) {
        let request = DeviceRequest::AccessChanged { generation: access.generation, deleted: access.deleted };
        let (reply, _) = ractor::concurrency::oneshot();
        // Nobody waits for the answer.
        let _ = actor.cast(DeviceMsg::Request(request, reply.into()));
    }
}
