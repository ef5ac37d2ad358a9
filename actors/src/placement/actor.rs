//! The placement actor: reconciles the shards that run on this node with the placement.
//!
//! ```text
//!            database rows                         this node
//! nodes, shards --read--> plan(domain) --claim--> load devices --> act --> report
//!                                      \-release: stop acting, flush, stop devices, release
//! ```
//! Notifications, a timer and failures only wake the actor; it then compares the rows with the shards that
//! run here. The next reconcile repairs whatever failed before.
//! It supervises the shard actors; one that fails is started again from the store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::NodeId;
use domain::cluster::{Node, NodeState};
use domain::placement::{Member, plan, takes_part};
use domain::shard::{Epoch, SHARD_COUNT, ShardId, shard_of};
use link::cluster_view::{ClusterView, ShardOwner};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use ractor_cluster::RactorMessage;
use store::{ClaimedShard, OpenCommandScope, Store, StoreError, StoredDevice};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::membership::Membership;
use super::notifications::{refresh_changed, send_access, send_pending_commands};
use crate::device::DeviceContext;
use crate::metrics::Metrics;
use crate::ownership::Ownership;
use crate::rpc::call;
use crate::shard::{COMMANDS_RETRY_DELAY, Directory, ShardActor, ShardArguments, ShardMsg, ShardTable};

/// Interval of reconciles without a notification.
const RECONCILE_INTERVAL: Duration = Duration::from_millis(500);
/// Devices handed to a shard at a time while they load.
const ACTIVATION_CHUNK: usize = 64;
/// Timeout of the flush of the writers before a shard is released.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Least time between two refreshes of all devices.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);

/// Message to the placement actor. Local to a node.
#[derive(RactorMessage)]
pub(crate) enum PlacementMsg {
    /// Reconcile.
    Reconcile,
    /// Reconcile, and reply with the cause if it failed.
    ReconcileAndReply(RpcReplyPort<Result<(), String>>),
    /// Read all devices of this node again, because other nodes may have written for them.
    Refresh,
    /// Stop acting for all shards, and reconcile no more.
    Leave(RpcReplyPort<()>),
}

/// The placement actor.
pub(crate) struct PlacementActor;

/// Arguments of the placement actor.
pub(crate) struct PlacementArguments {
    pub(crate) membership: Arc<Membership>,
    pub(crate) ownership: Arc<Ownership>,
    /// Store with its own connections, so that a flood of heartbeats does not delay the lease.
    pub(crate) cluster_store: Store,
    pub(crate) store: Store,
    pub(crate) directory: Directory,
    pub(crate) shards: ShardTable,
    pub(crate) context: Arc<DeviceContext>,
    pub(crate) view: watch::Sender<ClusterView>,
    pub(crate) metrics: Metrics,
    pub(crate) reconcile_pending: Arc<AtomicBool>,
}

pub(crate) struct PlacementState {
    start: PlacementArguments,
    running: HashMap<ShardId, (Epoch, ActorRef<ShardMsg>)>,
    refreshed_at: Option<Instant>,
    refresh_pending: bool,
    leaving: bool,
}

impl Actor for PlacementActor {
    type Msg = PlacementMsg;
    type State = PlacementState;
    type Arguments = PlacementArguments;

    async fn pre_start(&self, me: ActorRef<PlacementMsg>, start: PlacementArguments) -> Result<PlacementState, ActorProcessingErr> {
        let (pending, timer) = (Arc::clone(&start.reconcile_pending), me.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(RECONCILE_INTERVAL).await;
                // One waiting reconcile is enough, however long the present one takes.
                if !pending.swap(true, Ordering::AcqRel) && timer.cast(PlacementMsg::Reconcile).is_err() {
                    return;
                }
            }
        });
        Ok(PlacementState { start, running: HashMap::new(), refreshed_at: None, refresh_pending: false, leaving: false })
    }

    async fn handle(
        &self,
        me: ActorRef<PlacementMsg>,
        message: PlacementMsg,
        state: &mut PlacementState,
    ) -> Result<(), ActorProcessingErr> {
        if state.leaving {
            if matches!(message, PlacementMsg::Reconcile) {
                state.start.reconcile_pending.store(false, Ordering::Release);
                // Only to route the requests that still arrive here.
                if let Err(cause) = state.watch_others().await {
                    tracing::warn!(event = "placement.reconcile_failed", %cause);
                }
            }
            return Ok(());
        }
        match message {
            PlacementMsg::Reconcile => {
                // Wake-ups during the last reconcile count as one.
                state.start.reconcile_pending.store(false, Ordering::Release);
                // The log has the cause, and the next reconcile comes by itself.
                let _ = state.reconcile_and_log(&me).await;
            }
            PlacementMsg::ReconcileAndReply(reply) => drop(reply.send(state.reconcile_and_log(&me).await)),
            PlacementMsg::Refresh => {
                let wait = state.refreshed_at.map_or(Duration::ZERO, |at| REFRESH_INTERVAL.saturating_sub(at.elapsed()));
                if !wait.is_zero() {
                    // A link that comes and goes causes one refresh per interval, and the last one is not lost.
                    if !std::mem::replace(&mut state.refresh_pending, true) {
                        me.send_after(wait, || PlacementMsg::Refresh);
                    }
                } else if !state.running.is_empty() {
                    state.refresh_pending = false;
                    state.refreshed_at = Some(Instant::now());
                    if let Err(cause) = state.refresh().await {
                        tracing::warn!(event = "placement.reread_failed", %cause);
                        let _ = me.cast(PlacementMsg::Refresh);
                    }
                }
            }
            PlacementMsg::Leave(reply) => {
                state.leaving = true;
                let all: Vec<_> = state.running.iter().map(|(shard, (epoch, _))| ClaimedShard { shard: *shard, epoch: *epoch }).collect();
                state.stop_acting(&all).await;
                let _ = reply.send(());
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<PlacementMsg>,
        event: SupervisionEvent,
        state: &mut PlacementState,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(cell, cause) = event {
            let failed = state.running.iter().find(|(_, (_, actor))| actor.get_id() == cell.get_id()).map(|(shard, _)| *shard);
            if let Some(shard) = failed {
                tracing::error!(event = "shard.failed", shard = shard.0, %cause);
                // Its devices ended with it; the next reconcile starts the shard anew.
                state.stop_devices(HashSet::from([shard])).await;
                let _ = me.cast(PlacementMsg::Reconcile);
            }
        }
        Ok(())
    }
}

impl PlacementState {
    /// Reconciles; returns the cause if it failed.
    async fn reconcile_and_log(&mut self, me: &ActorRef<PlacementMsg>) -> Result<(), String> {
        let reconciled = self.reconcile(me).await;
        reconciled.inspect_err(|cause| tracing::warn!(event = "placement.reconcile_failed", %cause)).map_err(|cause| cause.to_string())
    }

    async fn reconcile(&mut self, me: &ActorRef<PlacementMsg>) -> Result<(), ActorProcessingErr> {
        let (nodes, shards) = tokio::try_join!(self.start.cluster_store.cluster_nodes(), self.start.cluster_store.shards())?;
        let node = self.start.membership.node();
        if !nodes.iter().any(|row| row.id == node && row.state.is_live()) {
            // This node has been expired: its shards belong to other nodes by now.
            self.start.ownership.fenced();
            let all: Vec<_> = self.running.keys().copied().collect();
            self.stop_devices(all.into_iter().collect()).await;
            self.start.membership.register().await?;
            let _ = me.cast(PlacementMsg::Reconcile);
            return Ok(());
        }
        let steady = self.start.membership.is_steady();
        let lives = |row: &&Node| row.state.is_live() && takes_part(row.id == node, row.lease_left_ms, steady);
        let members: Vec<Member> = nodes
            .iter()
            .filter(lives)
            .map(|row| Member { id: row.id, name: row.name.clone(), accepts: row.state == NodeState::Active })
            .collect();
        let mut owners: Vec<ShardOwner> = shards
            .iter()
            .map(|row| ShardOwner { owner: row.owner.filter(|owner| members.iter().any(|member| member.id == *owner)), epoch: row.epoch })
            .collect();
        if owners.len() != usize::from(SHARD_COUNT) {
            return Err("the table of shards is not whole".into());
        }
        self.stop_lost_shards(node, &owners).await;

        let owner_ids: Vec<Option<NodeId>> = owners.iter().map(|shard_owner| shard_owner.owner).collect();
        let plan = plan(node, &members, &owner_ids);
        let mut to_run: Vec<ClaimedShard> = ShardId::all()
            .zip(&owners)
            .filter(|(shard, shard_owner)| {
                shard_owner.owner == Some(node) && !self.running.contains_key(shard) && !plan.release.contains(shard)
            })
            .map(|(shard, shard_owner)| ClaimedShard { shard, epoch: shard_owner.epoch })
            .collect();
        if !plan.claim.is_empty() {
            let claimed = self.start.cluster_store.claim_shards(node, &plan.claim, steady).await?;
            for shard in &claimed {
                owners[usize::from(shard.shard.0)] = ShardOwner { owner: Some(node), epoch: shard.epoch };
            }
            if !claimed.is_empty() {
                self.start.metrics.shard_moves.with_label_values(&["claimed"]).inc_by(claimed.len() as u64);
                tracing::info!(event = "placement.claimed", shards = claimed.len());
            }
            to_run.extend(claimed);
        }
        let view = ClusterView { me: node, nodes: nodes.into(), shards: owners.into() };
        self.publish(view.clone());
        if !to_run.is_empty() {
            self.activate(me, &to_run).await?;
            self.publish(view.clone());
        }
        if !plan.release.is_empty() {
            self.release(node, &plan.release, view).await?;
        }
        self.start.metrics.shards_owned.set(self.running.len() as i64);
        Ok(())
    }

    fn publish(&self, view: ClusterView) {
        self.start.view.send_replace(view);
    }

    /// Loads the devices of these shards in one query and acts for them.
    async fn activate(&mut self, me: &ActorRef<PlacementMsg>, shards: &[ClaimedShard]) -> Result<(), ActorProcessingErr> {
        let started = Instant::now();
        let mut actors: HashMap<ShardId, ActorRef<ShardMsg>> = HashMap::with_capacity(shards.len());
        for claimed in shards {
            let arguments = ShardArguments {
                shard: claimed.shard,
                epoch: claimed.epoch,
                store: self.start.store.clone(),
                directory: Arc::clone(&self.start.directory),
                context: Arc::clone(&self.start.context),
                metrics: self.start.metrics.clone(),
            };
            let (actor, _) = Actor::spawn_linked(None, ShardActor, arguments, me.get_cell()).await?;
            self.start.shards.insert(claimed.shard, actor.clone());
            self.running.insert(claimed.shard, (claimed.epoch, actor.clone()));
            actors.insert(claimed.shard, actor);
        }
        let devices = match distribute(&self.start.store, &actors, &ShardMsg::Activate).await {
            Ok(devices) => devices,
            Err(cause) => {
                // The next reconcile finds them owned and not running, and tries again.
                self.stop_devices(actors.into_keys().collect()).await;
                return Err(cause.into());
            }
        };
        for actor in actors.values() {
            settled(actor).await;
        }
        // Revoked, deleted or edited since they were read, and told when they did not run yet.
        let ids: Vec<ShardId> = shards.iter().map(|claimed| claimed.shard).collect();
        let reported = async {
            self.send_revoked_access(ids.clone()).await?;
            refresh_changed(&self.start.store, &self.start.context.clock, &self.start.shards, &ids).await
        };
        if let Err(cause) = reported.await {
            self.stop_devices(actors.into_keys().collect()).await;
            return Err(cause.into());
        }
        shards.iter().for_each(|claimed| self.start.ownership.begin(claimed.shard, claimed.epoch));
        tokio::spawn(load_pending_commands(self.start.store.clone(), Arc::clone(&self.start.shards), ids));
        let epochs: HashMap<ShardId, Epoch> = shards.iter().map(|claimed| (claimed.shard, claimed.epoch)).collect();
        let directory = &self.start.directory;
        let gone = self.start.context.view.keep_only(
            &epochs.keys().copied().collect(),
            |shard| epochs.get(&shard).copied().unwrap_or(Epoch(0)),
            |id| directory.contains_key(&id),
        );
        for id in gone {
            // Deleted while it moved: the other nodes are to hear of it.
            self.start.context.view.withdraw(id, epochs.get(&shard_of(id)).copied().unwrap_or(Epoch(0)));
        }
        let took = started.elapsed();
        self.start.metrics.activation_seconds.observe(took.as_secs_f64());
        tracing::info!(event = "placement.activated", shards = shards.len(), devices, duration_ms = took.as_millis() as u64);
        // For people who look at the rows; the shards run whether or not it is noted.
        if let Err(cause) = self.start.cluster_store.report_activated(self.start.membership.node(), shards).await {
            tracing::warn!(event = "placement.report_failed", %cause);
        }
        Ok(())
    }

    /// Tells the devices of these shards whose credentials were ever revoked, or which are deleted.
    async fn send_revoked_access(&self, shards: Vec<ShardId>) -> Result<(), StoreError> {
        for access in self.start.store.revoked_devices(&shards).await? {
            send_access(&self.start.directory, access);
        }
        Ok(())
    }

    /// Publishes the owners of all shards, without claiming any.
    async fn watch_others(&self) -> Result<(), StoreError> {
        let (nodes, shards) = tokio::try_join!(self.start.cluster_store.cluster_nodes(), self.start.cluster_store.shards())?;
        let live = |owner: &NodeId| nodes.iter().any(|row| row.id == *owner && row.state.is_live());
        let owners: Vec<ShardOwner> = shards.iter().map(|row| ShardOwner { owner: row.owner.filter(live), epoch: row.epoch }).collect();
        self.publish(ClusterView { me: self.start.membership.node(), nodes: nodes.into(), shards: owners.into() });
        Ok(())
    }

    /// Stops and releases shards.
    async fn release(&mut self, node: NodeId, shards: &[ShardId], mut view: ClusterView) -> Result<(), StoreError> {
        let started = Instant::now();
        let drained: Vec<ClaimedShard> =
            shards.iter().map(|shard| ClaimedShard { shard: *shard, epoch: view.shard(*shard).epoch }).collect();
        self.stop_acting(&drained).await;
        let released = self.start.cluster_store.release_shards(node, &drained).await?;
        self.start.metrics.shard_moves.with_label_values(&["released"]).inc_by(released);
        tracing::info!(event = "placement.released", shards = released, duration_ms = started.elapsed().as_millis() as u64);
        let mut owners = view.shards.to_vec();
        for shard in shards {
            owners[usize::from(shard.0)].owner = None;
        }
        view.shards = owners.into();
        self.publish(view);
        Ok(())
    }

    /// Stops acting for shards: ends decisions, waits for the commit of what was decided, and
    /// stops the devices.
    async fn stop_acting(&mut self, shards: &[ClaimedShard]) {
        shards.iter().for_each(|claimed| self.start.ownership.end(claimed.shard));
        if timeout(FLUSH_TIMEOUT, self.start.context.writers.flushed()).await.is_err() {
            tracing::warn!(event = "placement.flush_timed_out");
        }
        self.stop_devices(shards.iter().map(|claimed| claimed.shard).collect()).await;
    }

    async fn stop_devices(&mut self, shards: HashSet<ShardId>) {
        let mut stopping = tokio::task::JoinSet::new();
        for shard in &shards {
            if let Some((_, actor)) = self.forget(*shard) {
                stopping.spawn(async move {
                    // Devices end with their shard.
                    let _ = actor.stop_and_wait(None, Some(FLUSH_TIMEOUT)).await;
                });
            }
        }
        while stopping.join_next().await.is_some() {}
        self.start.directory.retain(|id, _| !shards.contains(&shard_of(*id)));
        self.start.context.view.handed_over(&shards);
    }

    fn forget(&mut self, shard: ShardId) -> Option<(Epoch, ActorRef<ShardMsg>)> {
        self.start.ownership.end(shard);
        self.start.shards.remove(&shard);
        self.running.remove(&shard)
    }

    /// Stops shards that this node no longer owns in the epoch that runs here.
    async fn stop_lost_shards(&mut self, node: NodeId, owners: &[ShardOwner]) {
        let lost: HashSet<ShardId> = self
            .running
            .iter()
            .filter(|(shard, (epoch, _))| {
                owners.get(usize::from(shard.0)).is_none_or(|shard_owner| shard_owner.owner != Some(node) || shard_owner.epoch != *epoch)
            })
            .map(|(shard, _)| *shard)
            .collect();
        if !lost.is_empty() {
            tracing::warn!(event = "placement.lost", shards = lost.len());
            self.stop_devices(lost).await;
        }
    }

    async fn refresh(&mut self) -> Result<(), StoreError> {
        let started = Instant::now();
        let actors = self.running.iter().map(|(shard, (_, actor))| (*shard, actor.clone())).collect();
        let read_at = self.start.context.clock.monotonic();
        let devices = distribute(&self.start.store, &actors, &|devices| ShardMsg::Refresh(read_at, devices)).await?;
        let shards: Vec<ShardId> = self.running.keys().copied().collect();
        self.send_revoked_access(shards.clone()).await?;
        send_pending_commands(&self.start.store, &self.start.shards, &shards, OpenCommandScope::Shards).await?;
        tracing::info!(event = "placement.reread", devices, duration_ms = started.elapsed().as_millis() as u64);
        Ok(())
    }
}

/// Reads the devices of shards in one query and distributes them to the actors of the shards.
async fn distribute(
    store: &Store,
    actors: &HashMap<ShardId, ActorRef<ShardMsg>>,
    message: &(dyn Fn(Vec<StoredDevice>) -> ShardMsg + Sync),
) -> Result<u64, StoreError> {
    let shards: Vec<ShardId> = actors.keys().copied().collect();
    let mut chunks: HashMap<ShardId, Vec<StoredDevice>> = HashMap::with_capacity(shards.len());
    let mut devices = 0;
    let tell = |shard: ShardId, chunk: Vec<StoredDevice>| {
        if let Some(actor) = actors.get(&shard) {
            // The next reconcile finds a shard that ended in the meantime.
            let _ = actor.cast(message(chunk));
        }
    };
    store
        .for_each_device(&shards, |device| {
            devices += 1;
            let shard = shard_of(device.identity.id);
            let chunk = chunks.entry(shard).or_default();
            chunk.push(device);
            if chunk.len() == ACTIVATION_CHUNK {
                tell(shard, std::mem::take(chunk));
            }
        })
        .await?;
    chunks.into_iter().for_each(|(shard, chunk)| tell(shard, chunk));
    Ok(devices)
}

/// Waits until a shard has started its devices, however many they are.
async fn settled(shard: &ActorRef<ShardMsg>) {
    for _ in 0..24 {
        if call(shard, ShardMsg::Settled).await.is_ok() {
            return;
        }
    }
}
/// Loads the pending commands of claimed shards; retries until it succeeds or the shards are gone.
async fn load_pending_commands(store: Store, table: ShardTable, shards: Vec<ShardId>) {
    while let Err(cause) = send_pending_commands(&store, &table, &shards, OpenCommandScope::Shards).await {
        tracing::warn!(event = "command.pending_not_read", shards = shards.len(), %cause);
        tokio::time::sleep(COMMANDS_RETRY_DELAY).await;
        if !shards.iter().any(|shard| table.contains_key(shard)) {
            return;
        }
    }
}
