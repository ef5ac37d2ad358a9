//! The actor of one device: owns its live state and decides about its heartbeats.
//!
//! It never waits for the database: rows go to a writer, which reports the
//! commit back, and only then does the live state change.

mod alerts;
mod context;
mod messages;
mod precondition;
mod queue;

use std::sync::Arc;

use clock::Moment;
use domain::command::{Channels, DispatchEvent};
use domain::condition::{self, Condition};
use domain::device::{Admission, DeviceEffect, DeviceEvent, DeviceState, DeviceView, LastStatus};
use domain::event_budget::EventBudget;
use domain::shard::{Epoch, ShardLease, shard_of};
use domain::{CommandId, ServiceError, Timestamp};
use link::messages::{DeviceReply, DeviceRequest, HeartbeatAck, HeartbeatOutcome, SignedCommand, SocketPush, SocketRef};
use push::PushOutcome;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use store::{HeartbeatRow, RecordedChange, StoredDevice, same_details};

use crate::messages::{HeartbeatReply, RecordOutcome, StoredHeartbeat};
use crate::writers::WriteJob;
use alerts::DeviceAlerts;
pub use alerts::RecordedAlert;
pub use context::{DeviceContext, DeviceSupervisor};
pub use messages::DeviceMsg;
use queue::{CommandQueue, Driver};

/// Delay before a deadline is checked again while this node has no lease.
const LEASE_RECHECK: chrono::TimeDelta = chrono::TimeDelta::seconds(1);
/// Delay before events are recorded again that could not be recorded.
const RECORD_RETRY_DELAY: chrono::TimeDelta = chrono::TimeDelta::seconds(5);

/// The actor of one device.
pub struct DeviceActor;

/// Arguments of a device actor.
pub struct DeviceArguments {
    /// Stored state of the device.
    pub state: DeviceState,
    /// When it was read from the store.
    pub read_at: Moment,
    /// Stored push token.
    pub fcm_token: Option<String>,
    /// Version of the device key.
    pub key_version: i32,
    /// Recorded condition and its version.
    pub condition: Option<(i64, Condition)>,
    /// Supervisor of the device.
    pub supervisor: Arc<dyn DeviceSupervisor>,
    /// Epoch of its shard.
    pub epoch: Epoch,
    /// Dependencies that all devices share.
    pub context: Arc<DeviceContext>,
}

/// State of a device actor.
pub struct DeviceActorState {
    device: DeviceState,
    fcm_token: Option<Box<str>>,
    key_version: i32,
    socket: Option<SocketRef>,
    commands: CommandQueue,
    /// Heartbeats handed to a writer whose commit was not reported. One whose outcome is unknown
    /// stays counted: which details are stored is then not known for good.
    unreported: u32,
    /// A heartbeat of this very actor has written its details. Until then an earlier
    /// actor's last write may still be on its way.
    details_known: bool,
    /// Recorded condition and its version; 0 when there is none.
    recorded: (i64, Condition),
    /// What is being recorded.
    recording: Option<Recording>,
    /// Events that it caused within the hour.
    budget: EventBudget,
    /// Whether recording is paused after a refusal, so that a permanent refusal does not loop.
    paused: bool,
    /// When the recorded condition was last read or written. One that was read before is older.
    recorded_at: Moment,
    /// When what this actor knows was read from the store, or told by whoever wrote it. What was
    /// read before that is older, and is not taken over.
    known_at: Moment,
    alerts: DeviceAlerts,
    supervisor: Arc<dyn DeviceSupervisor>,
    lease: ShardLease,
    context: Arc<DeviceContext>,
}

/// Change of a device on its way to the store.
struct Recording {
    condition: Condition,
    /// Whether it includes a reboot.
    rebooted: bool,
    /// Budget of events, once it is recorded.
    budget: EventBudget,
    /// Events that it leaves out.
    left_out: u64,
}

fn refusal(admission: Admission) -> ServiceError {
    match admission {
        Admission::Deleted => ServiceError::DeviceDeleted,
        _ => ServiceError::Unauthorized,
    }
}

impl Actor for DeviceActor {
    type Msg = DeviceMsg;
    type State = DeviceActorState;
    type Arguments = DeviceArguments;

    async fn pre_start(&self, _me: ActorRef<DeviceMsg>, start: DeviceArguments) -> Result<DeviceActorState, ActorProcessingErr> {
        let DeviceArguments { state: device, read_at, fcm_token, key_version, condition, supervisor, epoch, context } = start;
        // Enrolled before events were recorded: they begin with what it is like now.
        let begin = || condition::compare(&Condition::default(), &device, &context.policy).map_or(Condition::default(), |(now, _)| now);
        let state = DeviceActorState {
            recorded: condition.unwrap_or_else(|| (0, begin())),
            recording: None,
            budget: EventBudget::default(),
            paused: false,
            recorded_at: read_at,
            known_at: read_at,
            lease: ShardLease { shard: shard_of(device.identity.id), epoch },
            device,
            fcm_token: fcm_token.map(Into::into),
            key_version,
            socket: None,
            commands: CommandQueue::new(context.metrics.open_commands.clone()),
            unreported: 0,
            details_known: false,
            alerts: DeviceAlerts::default(),
            supervisor,
            context,
        };
        if state.device.lifecycle == domain::device::Lifecycle::Active {
            state.publish();
            if let Some(deadline) = state.device.deadline(&state.context.policy) {
                state.watch_until(deadline);
            }
            // Not before this node acts for it; something may have happened while nobody did.
            if condition::compare(&state.recorded.1, &state.device, &state.context.policy).is_some() {
                state.recheck_lease();
            }
        }
        Ok(state)
    }

    async fn handle(&self, me: ActorRef<DeviceMsg>, message: DeviceMsg, state: &mut DeviceActorState) -> Result<(), ActorProcessingErr> {
        match message {
            DeviceMsg::Heartbeat { reply, .. } if !state.acts() => answer_heartbeat(reply, Err(ServiceError::NotOwner)),
            DeviceMsg::Heartbeat { status, fcm_token, generation, socket, reply } => {
                if let Some(socket) = socket.filter(|_| state.device.credentials(generation).is_ok()) {
                    state.socket_is(&me, socket);
                }
                state.observe(&me, generation, &status);
                state.heartbeat(me, status, fcm_token, generation, reply);
            }
            DeviceMsg::Stored(StoredHeartbeat { status, fcm_token, with_details }) => {
                state.details_known |= with_details;
                if let Some(token) = fcm_token {
                    state.fcm_token = Some(token.into());
                    state.drive(&me, DispatchEvent::Reconcile);
                }
                state.unreported = state.unreported.saturating_sub(1);
                let before = state.device.last.clone();
                state.apply(DeviceEvent::Stored(status));
                state.count_streaks(before.as_ref());
                state.record(&me);
                state.judge_alerts(&me);
            }
            // Without its lease a node judges nobody; it looks again once it may.
            DeviceMsg::DeadlinePassed if !state.acts() => state.recheck_lease(),
            DeviceMsg::DeadlinePassed => {
                state.apply(DeviceEvent::DeadlinePassed);
                state.record(&me);
                state.judge_alerts(&me);
                state.drive(&me, DispatchEvent::Reconcile);
            }
            // What takes rights away is in force whoever owns the device by now.
            DeviceMsg::Request(request, reply) if !state.acts() && !matches!(request, DeviceRequest::AccessChanged { .. }) => {
                answer(reply, Err(ServiceError::NotOwner));
            }
            DeviceMsg::Request(request, reply) => {
                let answered = state.request(&me, request);
                answer(reply, answered);
            }
            DeviceMsg::Refresh(read_at, stored) => {
                let held = state.device.holds_commands();
                let before = state.device.last.clone();
                state.refresh(read_at, *stored);
                state.count_streaks(before.as_ref());
                state.record(&me);
                state.judge_alerts(&me);
                if held && !state.device.holds_commands() {
                    state.drive(&me, DispatchEvent::Reconcile);
                }
            }
            DeviceMsg::ChangeRecorded(outcome) => state.change_recorded(&me, outcome),
            DeviceMsg::RetryRecord => {
                state.paused = false;
                state.record(&me);
            }
            DeviceMsg::OpenAlerts(open) => state.open_alerts_read(&me, open),
            DeviceMsg::AlertRecorded(recorded) => state.alert_recorded(&me, *recorded),
            DeviceMsg::JudgeAlerts => state.judge_alerts(&me),
            DeviceMsg::PendingCommands(commands) => {
                state.commands.add(commands);
                state.drive(&me, DispatchEvent::Reconcile);
            }
            DeviceMsg::CompareCommands(open, reply) => {
                let (missing, held) = state.commands.compare(open);
                let lacked = !missing.is_empty();
                answer(reply, (missing, held));
                if lacked {
                    state.drive(&me, DispatchEvent::Reconcile);
                }
            }
            DeviceMsg::CommandsOver(ids) => ids.into_iter().for_each(|id| state.commands.finish(id)),
            DeviceMsg::Pushed(id, token, outcome) => state.pushed(&me, id, &token, outcome),
            DeviceMsg::Purged => {
                state.apply(DeviceEvent::Deleted);
                me.stop(None);
            }
            #[cfg(any(test, feature = "fault-injection"))]
            #[allow(clippy::panic, reason = "that is what it is for")]
            DeviceMsg::Crash => panic!("crash on request"),
        }
        Ok(())
    }
}

fn answer_heartbeat(reply: HeartbeatReply, outcome: Result<HeartbeatAck, ServiceError>) {
    let _ = reply.send(outcome);
}

/// Replies; a caller that has given up is ignored.
fn answer<T: Send + 'static>(reply: RpcReplyPort<T>, value: T) {
    let _ = reply.send(value);
}

impl DeviceActorState {
    /// Whether this node still owns the device in the epoch of this actor.
    fn acts(&self) -> bool {
        self.context.ownership.acts(self.lease.shard, self.lease.epoch)
    }

    fn request(&mut self, me: &ActorRef<DeviceMsg>, request: DeviceRequest) -> Result<DeviceReply, ServiceError> {
        match request {
            DeviceRequest::CheckCredentials { generation } => self.device.credentials(generation).map_err(refusal)?,
            DeviceRequest::View => return self.view().map(|view| DeviceReply::View(Box::new(view))),
            DeviceRequest::SocketOpened { generation, socket } => {
                self.device.credentials(generation).map_err(refusal)?;
                if let Some(older) = self.socket.filter(|older| older.socket != socket.socket) {
                    self.context.sockets.push(older, SocketPush::Replaced);
                }
                self.socket_is(me, socket);
            }
            DeviceRequest::SocketClosed { socket } => {
                if self.socket == Some(socket) {
                    self.socket = None;
                    self.publish_active();
                    self.drive(me, DispatchEvent::SocketClosed);
                }
            }
            DeviceRequest::Command(command) => {
                self.commands.add(vec![*command]);
                self.drive(me, DispatchEvent::Reconcile);
            }
            DeviceRequest::CommandUpdated { id, finished: true, succeeded } => {
                self.commands.finish(id);
                self.command_ended(me, succeeded);
            }
            DeviceRequest::CommandUpdated { id, finished: false, .. } => self.commands.received(id),
            DeviceRequest::AccessChanged { generation, deleted } => {
                self.apply(DeviceEvent::CredentialsRevoked { generation });
                if deleted && self.device.lifecycle == domain::device::Lifecycle::Active {
                    self.known_at = self.context.clock.monotonic();
                    self.apply(DeviceEvent::Deleted);
                    self.judge_alerts(me);
                    // It may have been restored since; only the store knows.
                    self.supervisor.reload(self.device.identity.id);
                }
            }
        }
        Ok(DeviceReply::Done)
    }

    fn refresh(&mut self, read_at: Moment, mut stored: StoredDevice) {
        if read_at < self.known_at {
            return;
        }
        self.known_at = read_at;
        // Whatever else wrote may have written other details.
        self.details_known = false;
        if let Some(token) = stored.fcm_token.take() {
            self.fcm_token = Some(token.into());
        }
        self.key_version = stored.key_version;
        // Whichever differs, even a lower version: after a database was put back, that is what is on record.
        let newer = self.recording.is_none() && read_at >= self.recorded_at;
        if let Some(condition) = stored.condition.take().filter(|(version, _)| newer && *version != self.recorded.0) {
            let before = self.device.open_conflict();
            self.device.conflict = condition.1.conflict;
            self.recorded = condition;
            if self.device.open_conflict() != before {
                self.publish_active();
            }
        }
        self.apply(DeviceEvent::Refresh(Box::new(stored.known())));
    }

    /// Submits the events since the recorded condition, if there are any.
    fn record(&mut self, me: &ActorRef<DeviceMsg>) {
        if self.recording.is_some() || self.paused || !self.acts() {
            return;
        }
        let now = self.context.clock.now();
        let (condition, happened) = match condition::compare(&self.recorded.1, &self.device, &self.context.policy) {
            Some(change) => change,
            None if self.budget.is_due(now) => (self.recorded.1.clone(), vec![]),
            None => return,
        };
        let mut budget = self.budget.clone();
        let (occurrences, left_out) = budget.admit(happened, self.context.policy.events_per_hour, now);
        let change = RecordedChange {
            device_id: self.device.identity.id,
            epoch: self.lease.epoch,
            follows: self.recorded.0,
            condition: condition.clone(),
            occurrences,
        };
        let recorder = me.clone();
        // A device that stopped in the meantime is loaded with what is on record.
        let on_recorded = Box::new(move |outcome| drop(recorder.cast(DeviceMsg::ChangeRecorded(outcome))));
        if self.context.events.submit(change, on_recorded) {
            let rebooted = std::mem::take(&mut self.device.rebooted);
            self.recording = Some(Recording { condition, rebooted, budget, left_out });
        } else {
            self.record_later();
        }
    }

    /// Schedules another try; an online device retries with its next heartbeat.
    fn record_later(&self) {
        if self.device.connectivity != domain::device::Connectivity::Online {
            self.watch_until(self.context.clock.now() + RECORD_RETRY_DELAY);
        }
    }

    fn change_recorded(&mut self, me: &ActorRef<DeviceMsg>, outcome: RecordOutcome) {
        let Some(Recording { condition, rebooted, budget, left_out }) = self.recording.take() else { return };
        match outcome {
            RecordOutcome::Recorded => {
                self.recorded = (self.recorded.0 + 1, condition);
                self.budget = budget;
                self.context.metrics.events_left_out.inc_by(left_out);
                self.recorded_at = self.context.clock.monotonic();
                // More may have happened meanwhile.
                self.record(me);
            }
            // Another owner recorded the same, or the device is gone.
            RecordOutcome::Refused => {
                self.device.rebooted |= rebooted;
                self.paused = true;
                me.send_after(RECORD_RETRY_DELAY.to_std().unwrap_or_default(), || DeviceMsg::RetryRecord);
                self.supervisor.reload(self.device.identity.id);
            }
            RecordOutcome::Failed => {
                self.device.rebooted |= rebooted;
                self.record_later();
            }
        }
    }

    /// Takes a heartbeat as it arrives: whether it shows that another device reports as this one.
    fn observe(&mut self, me: &ActorRef<DeviceMsg>, generation: i32, status: &LastStatus) {
        if self.device.credentials(generation).is_ok() && self.device.observe(status) {
            self.context.metrics.identity_conflicts.inc();
            tracing::warn!(event = "device.identity_conflict", device_id = %self.device.identity.id);
            self.publish();
            self.record(me);
        }
    }

    fn heartbeat(
        &mut self,
        me: ActorRef<DeviceMsg>,
        status: Arc<LastStatus>,
        fcm_token: Option<String>,
        generation: i32,
        reply: HeartbeatReply,
    ) {
        let status = self.device.dated(status);
        match self.device.admit(generation, &status) {
            Admission::Write { late } => {
                let fcm_token = fcm_token.filter(|token| self.fcm_token.as_deref() != Some(token));
                let status = status.following(self.device.last.as_deref());
                let mut row = HeartbeatRow::new(self.device.identity.id, status, fcm_token, late);
                // While another heartbeat is on its way it is not known which details are stored.
                row.same_details = self.details_known
                    && self.unreported == 0
                    && self.device.last.as_ref().is_some_and(|last| same_details(&last.telemetry, &row.status.telemetry));
                self.unreported += 1;
                let commands = self.commands_for_answer(&me);
                // A device that is being restarted reads the row from the store instead.
                let on_stored = Box::new(move |stored| drop(me.cast(DeviceMsg::Stored(stored))));
                self.context.writers.submit(WriteJob { row, owner: Some((on_stored, self.lease.epoch)), commands, reply });
            }
            Admission::Repeat => {
                let commands = self.commands_for_answer(&me);
                answer_heartbeat(reply, Ok(HeartbeatAck { outcome: HeartbeatOutcome::Repeat, epoch: Some(self.lease.epoch), commands }));
            }
            refused => answer_heartbeat(reply, Err(refusal(refused))),
        }
    }

    fn driver<'a>(&'a self, me: &'a ActorRef<DeviceMsg>) -> Driver<'a> {
        Driver {
            me,
            supervisor: self.supervisor.as_ref(),
            device: self.device.identity.id,
            lease: self.lease,
            key_version: self.key_version,
            socket: self.socket,
            fcm_token: self.fcm_token.as_deref(),
            last: self.device.last.as_deref(),
            held: self.device.holds_commands(),
            context: &self.context,
            now: self.context.clock.now(),
        }
    }

    /// Drives the open commands after `event`; without the lease, later.
    fn drive(&mut self, me: &ActorRef<DeviceMsg>, event: DispatchEvent) {
        if self.commands.is_empty() || self.device.lifecycle != domain::device::Lifecycle::Active {
            return;
        }
        if !self.acts() {
            return self.recheck_lease();
        }
        let mut commands = std::mem::take(&mut self.commands);
        commands.drive(event, &self.driver(me));
        self.commands = commands;
    }

    fn commands_for_answer(&mut self, me: &ActorRef<DeviceMsg>) -> Vec<SignedCommand> {
        if self.commands.is_empty() {
            return Vec::new();
        }
        let mut commands = std::mem::take(&mut self.commands);
        let answered = commands.answer(&self.driver(me));
        self.commands = commands;
        answered
    }

    /// Sets the socket of the device.
    fn socket_is(&mut self, me: &ActorRef<DeviceMsg>, socket: SocketRef) {
        if self.socket.replace(socket) != Some(socket) {
            self.publish_active();
            self.drive(me, DispatchEvent::SocketOpened);
        }
    }

    fn pushed(&mut self, me: &ActorRef<DeviceMsg>, id: CommandId, token: &str, outcome: PushOutcome) {
        if matches!(outcome, PushOutcome::TokenGone) && self.fcm_token.as_deref() == Some(token) {
            self.fcm_token = None;
            self.publish_active();
            let (store, device, token) = (self.context.store.clone(), self.device.identity.id, token.to_owned());
            tokio::spawn(async move {
                if let Err(cause) = store.forget_fcm_token(device, &token).await {
                    tracing::warn!(event = "push.token_not_forgotten", device_id = %device, %cause);
                }
            });
        }
        if self.acts() {
            let mut commands = std::mem::take(&mut self.commands);
            commands.pushed(id, &outcome, &self.driver(me));
            self.commands = commands;
        }
    }

    fn shown(&self) -> DeviceView {
        let channels = Channels {
            socket: self.socket.is_some(),
            push: self.fcm_token.as_deref().is_some_and(|token| self.context.push.reaches(token)),
        };
        DeviceView { channels, ..self.device.view(&self.context.policy) }
    }

    /// Publishes the device, unless it is deleted.
    fn publish_active(&self) {
        if self.device.lifecycle == domain::device::Lifecycle::Active {
            self.publish();
        }
    }

    fn view(&self) -> Result<DeviceView, ServiceError> {
        match self.device.lifecycle {
            domain::device::Lifecycle::Active => Ok(self.shown()),
            domain::device::Lifecycle::Deleted => Err(ServiceError::NotFound("device")),
        }
    }

    fn apply(&mut self, event: DeviceEvent) {
        for effect in self.device.apply(event, self.context.clock.now(), &self.context.policy) {
            match effect {
                DeviceEffect::Publish => self.publish(),
                DeviceEffect::Withdraw => self.context.view.withdraw(self.device.identity.id, self.lease.epoch),
                DeviceEffect::WatchUntil(deadline) => self.watch_until(deadline),
                DeviceEffect::Disconnect => {
                    if let Some(socket) = self.socket.take() {
                        self.context.sockets.push(socket, SocketPush::Revoked);
                    }
                }
            }
        }
    }

    fn publish(&self) {
        self.context.view.publish(self.shown(), self.lease.epoch);
    }

    /// Looks again later whether this node acts for the device.
    fn recheck_lease(&self) {
        self.watch_until(self.context.clock.now() + LEASE_RECHECK);
    }

    fn watch_until(&self, deadline: Timestamp) {
        self.supervisor.watch_until(self.device.identity.id, deadline);
    }
}
