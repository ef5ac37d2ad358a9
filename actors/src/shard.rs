//! The actor of one shard: supervises its devices and watches their liveness deadlines.
//!
//! A device that fails is started again from the store; its neighbours notice
//! nothing. One that fails again and again is started again ever more slowly.
//! Deadlines stand in one queue per shard, one entry per online device, and a
//! device that is asked too early answers with its new deadline.
//!
//! A shard lives as long as its node owns it, in one epoch.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use clock::Moment;
use dashmap::DashMap;
use domain::alert::{OpenRecord, SubjectKind};
use domain::backoff::Backoff;
use domain::device::DeviceState;
use domain::shard::{Epoch, ShardId, shard_of};
use domain::{DeviceId, ServiceError, Timestamp};
use link::messages::PendingCommand;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, ActorStatus, RpcReplyPort, SupervisionEvent};
use ractor_cluster::RactorMessage;
use store::{OpenAlert, OpenCommandScope, Store, StoreError, StoredDevice};

use crate::device::{DeviceActor, DeviceArguments, DeviceContext, DeviceMsg, DeviceSupervisor};
use crate::metrics::Metrics;

/// Interval of checking the deadlines.
const DEADLINE_TICK: Duration = Duration::from_millis(500);
/// Delay before a restart; the first one in a row is immediate.
const RESTART_BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), max: Duration::from_secs(30) };
/// Most open commands of one device that are read.
const COMMANDS_READ_MAX: i64 = 1_000;
/// Delay before open commands are read again after a failure.
pub(crate) const COMMANDS_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Open alerts that are read together.
const ALERTS_READ_MAX: i64 = 5_000;
/// Delay before open alerts are read again after a failure.
const ALERTS_RETRY_DELAY: chrono::TimeDelta = chrono::TimeDelta::seconds(2);
/// Running time after which the failures of a device no longer count.
const RECOVERED_AFTER_S: i64 = 60;

/// Directory of the actors of this node's devices.
pub type Directory = Arc<DashMap<DeviceId, ActorRef<DeviceMsg>>>;

/// Table of the shards that run on this node.
pub type ShardTable = Arc<DashMap<ShardId, ActorRef<ShardMsg>>>;

/// Message to a shard actor. Local to a node.
#[derive(RactorMessage)]
pub enum ShardMsg {
    /// Start these stored devices.
    Activate(Vec<StoredDevice>),
    /// Stored state of these devices, read at this moment: start those that do
    /// not run, unless they are deleted, and tell the others.
    Refresh(Moment, Vec<StoredDevice>),
    /// Stored open commands of these devices.
    PendingCommands(Vec<(DeviceId, PendingCommand)>),
    /// This device was purged: stop its actor.
    Purged(DeviceId),
    /// Read a device from the store and refresh its actor.
    Reload(DeviceId),
    /// Replied once all earlier messages are handled.
    Settled(RpcReplyPort<()>),
    /// Locate the actor of this device, starting it from the store if needed.
    Locate(DeviceId, RpcReplyPort<Result<ActorRef<DeviceMsg>, ServiceError>>),
    /// Read the open alerts of this device.
    ReadOpenAlerts(DeviceId),
    /// The open alerts of this shard, read for these devices; `None`: they could not be read.
    OpenAlertsRead(HashSet<DeviceId>, Option<Vec<OpenAlert>>),
    /// Wake this device at this time.
    WatchUntil(DeviceId, Timestamp),
    /// Check the deadlines.
    Tick,
    /// Restart a failed device.
    Restart(DeviceId),
    /// Fails on purpose, for tests of the supervision.
    #[cfg(any(test, feature = "fault-injection"))]
    Crash,
}

/// Shard actor, as the supervisor of its devices.
struct Supervisor {
    shard: ActorRef<ShardMsg>,
    judged_since: Timestamp,
}

impl DeviceSupervisor for Supervisor {
    fn watch_until(&self, device: DeviceId, deadline: Timestamp) {
        let _ = self.shard.cast(ShardMsg::WatchUntil(device, deadline));
    }

    fn reload(&self, device: DeviceId) {
        let _ = self.shard.cast(ShardMsg::Reload(device));
    }

    fn read_open_alerts(&self, device: DeviceId) {
        let _ = self.shard.cast(ShardMsg::ReadOpenAlerts(device));
    }

    fn judged_since(&self) -> Timestamp {
        self.judged_since
    }
}

/// The actor of one shard.
pub struct ShardActor;

/// Arguments of a shard actor.
pub struct ShardArguments {
    /// The shard.
    pub shard: ShardId,
    /// Epoch in which this node owns the shard.
    pub epoch: Epoch,
    /// Store of its devices.
    pub store: Store,
    /// Directory of device actors.
    pub directory: Directory,
    /// Dependencies that all devices share.
    pub context: Arc<DeviceContext>,
    /// Metrics.
    pub metrics: Metrics,
}

struct FailureCount {
    times: u32,
    last: Timestamp,
}

/// State of a shard actor.
pub struct ShardState {
    start: ShardArguments,
    supervisor: Arc<dyn DeviceSupervisor>,
    devices: HashMap<ActorId, DeviceId>,
    deadlines: BinaryHeap<Reverse<(Timestamp, DeviceId)>>,
    failing: HashMap<DeviceId, FailureCount>,
    /// Devices that do not know which of their alerts are open.
    alerts_unread: HashSet<DeviceId>,
    alerts_reading: bool,
    /// When open alerts may be read again after a failure.
    alerts_again_at: Option<Timestamp>,
}

impl Actor for ShardActor {
    type Msg = ShardMsg;
    type State = ShardState;
    type Arguments = ShardArguments;

    async fn pre_start(&self, me: ActorRef<ShardMsg>, start: ShardArguments) -> Result<ShardState, ActorProcessingErr> {
        me.send_interval(DEADLINE_TICK, || ShardMsg::Tick);
        let supervisor = Arc::new(Supervisor { shard: me, judged_since: start.context.clock.now() });
        Ok(ShardState {
            start,
            supervisor,
            devices: HashMap::new(),
            deadlines: BinaryHeap::new(),
            failing: HashMap::new(),
            alerts_unread: HashSet::new(),
            alerts_reading: false,
            alerts_again_at: None,
        })
    }

    async fn handle(&self, me: ActorRef<ShardMsg>, message: ShardMsg, state: &mut ShardState) -> Result<(), ActorProcessingErr> {
        match message {
            ShardMsg::Activate(devices) => {
                let read_at = state.start.context.clock.monotonic();
                for device in devices {
                    if !state.start.directory.contains_key(&device.identity.id) {
                        // What changed since they were read is read once all of them run; so are their commands.
                        state.start_device_of_many(&me, read_at, device).await;
                    }
                }
            }
            ShardMsg::Refresh(read_at, devices) => state.refresh(&me, read_at, devices).await,
            ShardMsg::PendingCommands(commands) => state.commands(commands),
            ShardMsg::Purged(id) => state.purged(id),
            ShardMsg::Reload(id) => {
                let read_at = state.start.context.clock.monotonic();
                match state.start.store.device(id).await {
                    Ok(Some(device)) => state.refresh(&me, read_at, vec![device]).await,
                    Ok(None) => state.purged(id),
                    // The device goes on with what it knows; the next reading tells it.
                    Err(cause) => tracing::warn!(event = "device.reread_failed", device_id = %id, %cause),
                }
            }
            #[cfg(any(test, feature = "fault-injection"))]
            #[allow(clippy::panic, reason = "that is what it is for")]
            ShardMsg::Crash => panic!("crash on request"),
            ShardMsg::Settled(reply) => drop(reply.send(())),
            ShardMsg::Locate(id, reply) => drop(reply.send(state.locate(&me, id).await)),
            ShardMsg::WatchUntil(id, deadline) => state.deadlines.push(Reverse((deadline, id))),
            ShardMsg::ReadOpenAlerts(id) => drop(state.alerts_unread.insert(id)),
            ShardMsg::OpenAlertsRead(devices, open) => state.open_alerts_read(devices, open),
            ShardMsg::Tick => {
                let now = state.start.context.clock.now();
                state.tick(now);
                state.read_open_alerts(&me, now);
            }
            ShardMsg::Restart(id) => {
                if state.activate(&me, id).await.is_err() {
                    state.restart_later(&me, id);
                }
            }
        }
        Ok(())
    }

    async fn post_stop(&self, _me: ActorRef<ShardMsg>, state: &mut ShardState) -> Result<(), ActorProcessingErr> {
        // Devices stop with their supervisor, and no stop of a single one is reported.
        for (actor, id) in state.devices.drain() {
            state.start.directory.remove_if(&id, |_, current| current.get_id() == actor);
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<ShardMsg>,
        event: SupervisionEvent,
        state: &mut ShardState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(cell, cause) => {
                if let Some(id) = state.forget(cell.get_id()) {
                    tracing::error!(event = "device.failed", device_id = %id, %cause);
                    state.start.metrics.device_restarts.inc();
                    state.restart_later(&me, id);
                }
            }
            SupervisionEvent::ActorTerminated(cell, ..) => drop(state.forget(cell.get_id())),
            _ => {}
        }
        Ok(())
    }
}

impl ShardState {
    /// Starts one of many devices, whose commands are read together; see [`Self::start_device`].
    async fn start_device_of_many(&mut self, me: &ActorRef<ShardMsg>, read_at: Moment, stored: StoredDevice) {
        let id = stored.identity.id;
        if let Err(cause) = self.spawn(me, read_at, stored).await {
            tracing::error!(event = "device.start_failed", device_id = %id, %cause);
            self.restart_later(me, id);
        }
    }

    /// Starts a device; one that does not start is retried later and holds up no other.
    async fn start_device(&mut self, me: &ActorRef<ShardMsg>, read_at: Moment, stored: StoredDevice) {
        let id = stored.identity.id;
        match self.spawn(me, read_at, stored).await {
            Ok(actor) => self.load_pending_commands(id, &actor),
            Err(cause) => {
                tracing::error!(event = "device.start_failed", device_id = %id, %cause);
                self.restart_later(me, id);
            }
        }
    }

    async fn refresh(&mut self, me: &ActorRef<ShardMsg>, read_at: Moment, devices: Vec<StoredDevice>) {
        for device in devices {
            let running = self.start.directory.get(&device.identity.id).map(|actor| actor.clone());
            match running {
                Some(actor) => drop(actor.cast(DeviceMsg::Refresh(read_at, Box::new(device)))),
                None if device.deleted_at.is_some() => {}
                None => self.start_device(me, read_at, device).await,
            }
        }
    }

    /// Sends commands to running devices; others read theirs when they are started.
    fn commands(&self, commands: Vec<(DeviceId, PendingCommand)>) {
        let mut by_device: HashMap<DeviceId, Vec<PendingCommand>> = HashMap::new();
        for (id, command) in commands {
            by_device.entry(id).or_default().push(command);
        }
        for (id, commands) in by_device {
            if let Some(actor) = self.start.directory.get(&id) {
                let _ = actor.cast(DeviceMsg::PendingCommands(commands));
            }
        }
    }

    /// Loads the open commands of a device that was started alone; retries until it succeeds or the device has stopped.
    fn load_pending_commands(&self, id: DeviceId, actor: &ActorRef<DeviceMsg>) {
        let (store, actor) = (self.start.store.clone(), actor.clone());
        tokio::spawn(async move {
            while actor.get_status() < ActorStatus::Draining {
                match store.open_commands(&[shard_of(id)], OpenCommandScope::Device(id), None, COMMANDS_READ_MAX).await {
                    Ok(open) if open.is_empty() => return,
                    Ok(open) => return drop(actor.cast(DeviceMsg::PendingCommands(open.into_iter().map(Into::into).collect()))),
                    Err(cause) => tracing::warn!(event = "command.pending_not_read", device_id = %id, %cause),
                }
                tokio::time::sleep(COMMANDS_RETRY_DELAY).await;
            }
        });
    }

    /// Stops the actor of a purged device.
    fn purged(&mut self, id: DeviceId) {
        self.failing.remove(&id);
        if let Some(actor) = self.start.directory.get(&id) {
            let _ = actor.cast(DeviceMsg::Purged);
        }
    }

    async fn spawn(
        &mut self,
        me: &ActorRef<ShardMsg>,
        read_at: Moment,
        mut stored: StoredDevice,
    ) -> Result<ActorRef<DeviceMsg>, ActorProcessingErr> {
        let id = stored.identity.id;
        let policy = &self.start.context.policy;
        let (fcm_token, condition, key_version) = (stored.fcm_token.take(), stored.condition.clone(), stored.key_version);
        let arguments = DeviceArguments {
            state: DeviceState::restored(stored.known(), self.start.context.clock.now(), policy),
            read_at,
            fcm_token,
            key_version,
            condition,
            supervisor: Arc::clone(&self.supervisor),
            epoch: self.start.epoch,
            context: Arc::clone(&self.start.context),
        };
        let (actor, _) = Actor::spawn_linked(None, DeviceActor, arguments, me.get_cell()).await?;
        self.devices.insert(actor.get_id(), id);
        self.start.directory.insert(id, actor.clone());
        self.alerts_unread.insert(id);
        Ok(actor)
    }

    /// Reads the open alerts of devices that do not know them, all together.
    fn read_open_alerts(&mut self, me: &ActorRef<ShardMsg>, now: Timestamp) {
        if self.alerts_unread.is_empty() || self.alerts_reading || self.alerts_again_at.is_some_and(|at| at > now) {
            return;
        }
        self.alerts_reading = true;
        let (devices, store, shard, me) = (std::mem::take(&mut self.alerts_unread), self.start.store.clone(), self.start.shard, me.clone());
        tokio::spawn(async move {
            let read = all_open_alerts(&store, &[shard]).await;
            let open = read.inspect_err(|cause| tracing::warn!(event = "alert.open_not_read", shard = shard.0, %cause)).ok();
            let _ = me.cast(ShardMsg::OpenAlertsRead(devices, open));
        });
    }

    fn open_alerts_read(&mut self, devices: HashSet<DeviceId>, open: Option<Vec<OpenAlert>>) {
        self.alerts_reading = false;
        let Some(open) = open else {
            self.alerts_unread.extend(devices);
            self.alerts_again_at = Some(self.start.context.clock.now() + ALERTS_RETRY_DELAY);
            return;
        };
        let mut by_device = open_by_device(open);
        for id in devices {
            if let Some(actor) = self.start.directory.get(&id) {
                let _ = actor.cast(DeviceMsg::OpenAlerts(by_device.remove(&id).unwrap_or_default()));
            }
        }
    }

    async fn locate(&mut self, me: &ActorRef<ShardMsg>, id: DeviceId) -> Result<ActorRef<DeviceMsg>, ServiceError> {
        if let Some(actor) = self.start.directory.get(&id) {
            return Ok(actor.clone());
        }
        if self.failing.contains_key(&id) {
            // Its restart is scheduled; starting it here would undo the back-off.
            return Err(ServiceError::Unavailable);
        }
        self.activate(me, id).await?.ok_or(ServiceError::NotFound("device"))
    }

    /// Starts a device from the store. `None`: there is no such device.
    async fn activate(&mut self, me: &ActorRef<ShardMsg>, id: DeviceId) -> Result<Option<ActorRef<DeviceMsg>>, ServiceError> {
        if let Some(actor) = self.start.directory.get(&id) {
            return Ok(Some(actor.clone()));
        }
        let read_at = self.start.context.clock.monotonic();
        let Some(stored) = self.start.store.device(id).await? else { return Ok(None) };
        match self.spawn(me, read_at, stored).await {
            Ok(actor) => {
                self.load_pending_commands(id, &actor);
                Ok(Some(actor))
            }
            Err(cause) => {
                tracing::error!(event = "device.start_failed", device_id = %id, %cause);
                Err(ServiceError::Unavailable)
            }
        }
    }

    fn forget(&mut self, actor: ActorId) -> Option<DeviceId> {
        let id = self.devices.remove(&actor)?;
        self.start.directory.remove_if(&id, |_, current| current.get_id() == actor);
        Some(id)
    }

    fn restart_later(&mut self, me: &ActorRef<ShardMsg>, id: DeviceId) {
        let now = self.start.context.clock.now();
        let failing = self.failing.entry(id).or_insert(FailureCount { times: 0, last: now });
        if (now - failing.last).num_seconds() > RECOVERED_AFTER_S {
            failing.times = 0;
        }
        failing.last = now;
        let wait = RESTART_BACKOFF.wait(failing.times);
        failing.times += 1;
        me.send_after(wait, move || ShardMsg::Restart(id));
    }

    fn tick(&mut self, now: Timestamp) {
        while let Some(Reverse((deadline, id))) = self.deadlines.peek().copied() {
            if deadline > now {
                break;
            }
            self.deadlines.pop();
            if let Some(actor) = self.start.directory.get(&id) {
                let _ = actor.cast(DeviceMsg::DeadlinePassed);
            }
        }
        self.failing.retain(|_, failing| (now - failing.last).num_seconds() <= RECOVERED_AFTER_S);
    }
}

/// The open alerts about devices of these shards.
pub(crate) async fn all_open_alerts(store: &Store, shards: &[ShardId]) -> Result<Vec<OpenAlert>, StoreError> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = store.open_alerts(shards, Some(SubjectKind::Device), after, ALERTS_READ_MAX).await?;
        let whole = (page.len() as i64) < ALERTS_READ_MAX;
        after = page.last().map(|last| last.id);
        all.extend(page);
        if whole {
            return Ok(all);
        }
    }
}

/// Open alerts by the device that they are about.
pub(crate) fn open_by_device(open: Vec<OpenAlert>) -> HashMap<DeviceId, Vec<OpenRecord>> {
    let mut by_device: HashMap<DeviceId, Vec<OpenRecord>> = HashMap::new();
    for alert in open {
        if let Some(id) = alert.key.subject.device() {
            by_device.entry(id).or_default().push(OpenRecord { rule: alert.key.rule, id: alert.id, severity: alert.severity });
        }
    }
    by_device
}
