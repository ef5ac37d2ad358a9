//! The actor of one deployment: reads what is on record and what its devices are like, asks `decide`, and carries it out.
//!
//! ```text
//! deployment, flags, starts, changed tasks --read--\
//!                                                   decide --> one transaction --> commands on their way
//! what devices are like (FleetView) ---------------/
//! ```
//! It decides nothing without its shard's epoch, and the transaction checks that again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use domain::deployment::{
    Decision, DeploymentState, DeviceFacts, ErrorCode, Phase, Situation, Task, TaskChange, TaskState, decide, portion,
};
use domain::shard::ShardLease;
use domain::{CommandId, DeploymentId, DeviceId, Timestamp};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use ractor_cluster::RactorMessage;
use store::{ApkRow, Carried, Carry, ChangedTask, DeploymentReading, RefusedCommand, StoreError, TaskStart};
use tokio::time::Instant;
use uuid::Uuid;

use super::memory::TaskMemory;
use super::params::params;
use super::{DeploymentContext, facts_of};
use crate::messages::DeviceRequest;

/// Between two looks, however much happens.
const LOOK_GAP: Duration = Duration::from_millis(100);
/// How often one looks that stands still.
const STILL_INTERVAL: Duration = Duration::from_secs(2);
/// How often it is looked which devices were deleted, and which others have.
const AROUND_INTERVAL: Duration = Duration::from_secs(2);
/// How often it is noted how long the first devices had.
const CANARY_NOTE: TimeDelta = TimeDelta::seconds(10);
/// Longest time between two looks that counts for the first devices: whoever took over does not count the gap.
const CANARY_STEP_MAX: TimeDelta = TimeDelta::seconds(5);
/// Tasks whose reason to wait is written in one look; the others follow with the next.
const REASONS_MAX: usize = 2_000;
/// A look is followed by a rest of so many times its own length: one of a large deployment leaves room for others.
const REST: u32 = 3;

/// What a deployment is told. Local to a node.
#[derive(RactorMessage)]
pub(super) enum DeploymentMsg {
    /// Look.
    Look,
    /// The time of this timer has come.
    Due(u64),
}

/// The actor of one deployment.
pub(super) struct DeploymentActor;

/// How it starts.
pub(super) struct DeploymentArguments {
    pub(super) id: DeploymentId,
    pub(super) lease: ShardLease,
    pub(super) context: Arc<DeploymentContext>,
}

pub(super) struct DriverState {
    id: DeploymentId,
    lease: ShardLease,
    context: Arc<DeploymentContext>,
    memory: TaskMemory,
    apk: Option<ApkRow>,
    gone: HashSet<DeviceId>,
    elsewhere: HashSet<DeviceId>,
    around_at: Option<Instant>,
    /// Time of the first devices, ms, beyond which `looked_at` counts; and what of it is on record.
    canary_ms: i64,
    canary_noted_ms: i64,
    looked_at: Option<Timestamp>,
    /// When the last look began, and how long it took.
    last_look: Option<(Instant, Duration)>,
    last_start: Option<Timestamp>,
    timer: u64,
}

impl Actor for DeploymentActor {
    type Msg = DeploymentMsg;
    type State = DriverState;
    type Arguments = DeploymentArguments;

    async fn pre_start(&self, me: ActorRef<DeploymentMsg>, start: DeploymentArguments) -> Result<DriverState, ActorProcessingErr> {
        let DeploymentArguments { id, lease, context } = start;
        let _ = me.cast(DeploymentMsg::Look);
        Ok(DriverState {
            id,
            lease,
            context,
            memory: TaskMemory::default(),
            apk: None,
            gone: HashSet::new(),
            elsewhere: HashSet::new(),
            around_at: None,
            canary_ms: 0,
            canary_noted_ms: 0,
            looked_at: None,
            last_look: None,
            last_start: None,
            timer: 0,
        })
    }

    async fn handle(&self, me: ActorRef<DeploymentMsg>, message: DeploymentMsg, state: &mut DriverState) -> Result<(), ActorProcessingErr> {
        if matches!(message, DeploymentMsg::Due(timer) if timer != state.timer) {
            return Ok(());
        }
        // However often it is woken, it looks at its pace; the last look sees what all of them were about.
        // One that only waited for the database needs no long rest.
        let gap = |took: Duration| LOOK_GAP.max(took + (took * REST).min(STILL_INTERVAL));
        let early = state.last_look.map(|(at, took)| gap(took).saturating_sub(at.elapsed())).filter(|wait| !wait.is_zero());
        let wait = match early {
            Some(wait) => wait,
            None => {
                let began = Instant::now();
                let looked = state.look().await;
                state.last_look = Some((began, began.elapsed()));
                match looked {
                    Ok(Some(wait)) => wait,
                    Ok(None) => {
                        me.stop(None);
                        return Ok(());
                    }
                    Err(cause) => {
                        tracing::warn!(event = "deployment.look_failed", deployment_id = %state.id, %cause);
                        STILL_INTERVAL
                    }
                }
            }
        };
        state.timer += 1;
        let timer = state.timer;
        me.send_after(wait, move || DeploymentMsg::Due(timer));
        Ok(())
    }
}

impl DriverState {
    /// Looks once. Answers when to look again; `None`: there is nothing left to do here.
    async fn look(&mut self) -> Result<Option<Duration>, StoreError> {
        let context = Arc::clone(&self.context);
        if !context.ownership.acts(self.lease.shard, self.lease.epoch) {
            return Ok(Some(STILL_INTERVAL));
        }
        let Some(reading) = context.store.read_deployment(self.id).await? else { return Ok(None) };
        if reading.row.finished_at.is_some() {
            return Ok(None);
        }
        let since = self.memory.since(reading.now);
        self.memory.take(context.store.tasks_changed(self.id, since).await?, since, reading.now);
        self.look_around(&reading).await?;
        let refused = self.refused_changes(&reading).await?;
        self.count_canary_time(&reading).await?;
        let decision = self.decided(&reading);
        let again = (decision.look_again - reading.now).to_std().unwrap_or_default();
        let carried = self.carry(&reading, decision, refused).await?;
        let paused = reading.row.pause_reason.zip(reading.row.paused_at);
        context.gauges.show(self.id, self.memory.tasks(), reading.row.state, paused);
        let still = reading.row.state != DeploymentState::Running || reading.flags.blocked().is_some();
        let interval = if still { STILL_INTERVAL } else { context.settings.look_interval };
        // What was done is looked at at once: there may be more of it.
        Ok(Some(if carried { LOOK_GAP } else { again.min(interval).max(LOOK_GAP) }))
    }

    async fn look_around(&mut self, reading: &DeploymentReading) -> Result<(), StoreError> {
        if self.around_at.is_none_or(|at| at.elapsed() >= AROUND_INTERVAL) {
            let store = &self.context.store;
            self.gone = store.gone_targets(self.id).await?.into_iter().collect();
            self.elsewhere = store.targets_elsewhere(&reading.row).await?.into_iter().collect();
            if self.apk.is_none() {
                self.apk = store.apk(reading.row.apk).await?;
            }
            self.around_at = Some(Instant::now());
        }
        Ok(())
    }

    /// Tasks whose device refused the command itself: it does not know the action, or trusts it not.
    async fn refused_changes(&self, reading: &DeploymentReading) -> Result<Vec<ChangedTask>, StoreError> {
        if !self.memory.tasks().iter().any(|task| task.state == TaskState::Sending) {
            return Ok(Vec::new());
        }
        let refused = self.context.store.refused_commands(self.id).await?;
        let changed = |RefusedCommand { device, code, message }| {
            let task = self.memory.tasks().iter().find(|task| task.device == device && task.state == TaskState::Sending)?;
            let error = code.as_deref().and_then(ErrorCode::of_name).unwrap_or(ErrorCode::InstallFailed);
            let row = &reading.row;
            let change = TaskChange::after_failure(&row.options, row.state, task.attempts, error, error.into(), reading.now);
            Some(ChangedTask { device, from: task.state, attempts: task.attempts, change, message: message.or(code) })
        };
        Ok(refused.into_iter().filter_map(changed).collect())
    }

    /// The first devices have their time while the deployment runs, nothing blocks it and its window is open.
    async fn count_canary_time(&mut self, reading: &DeploymentReading) -> Result<(), StoreError> {
        let before = self.looked_at.replace(reading.now);
        if reading.row.phase != Phase::Canary {
            return Ok(());
        }
        // Less on record than was noted: somebody resumed, and the time begins anew.
        if reading.row.canary_ms < self.canary_noted_ms || before.is_none() {
            (self.canary_ms, self.canary_noted_ms) = (reading.row.canary_ms, reading.row.canary_ms);
        }
        let open = reading.row.options.window.as_ref().is_none_or(|window| window.is_open(reading.now));
        let counts = reading.row.state == DeploymentState::Running && reading.flags.blocked().is_none() && open;
        if let Some(before) = before.filter(|_| counts) {
            self.canary_ms += (reading.now - before).min(CANARY_STEP_MAX).num_milliseconds().max(0);
        }
        if self.canary_ms - self.canary_noted_ms >= CANARY_NOTE.num_milliseconds() {
            self.context.store.note_canary_time(self.id, self.canary_ms).await?;
            self.canary_noted_ms = self.canary_ms;
        }
        Ok(())
    }

    fn decided(&self, reading: &DeploymentReading) -> Decision {
        let (context, row) = (&self.context, &reading.row);
        let facts = |id: DeviceId| {
            let known = facts_of(&context.view, &row.package, id);
            if self.gone.contains(&id) { Some(DeviceFacts { deleted: true, ..known.unwrap_or_default() }) } else { known }
        };
        let mut run = row.run();
        run.canary_ran = TimeDelta::milliseconds(self.canary_ms);
        decide(&Situation {
            options: &row.options,
            run,
            blocked: reading.flags.blocked(),
            accept_within: context.settings.accept_within,
            silent_within: context.settings.silent_within,
            tasks: self.memory.tasks(),
            starts: &reading.starts,
            facts: &facts,
            elsewhere: &|id| self.elsewhere.contains(&id),
            now: reading.now,
        })
    }

    /// Does what was decided. Answers whether there was anything beyond reasons to wait.
    async fn carry(&mut self, reading: &DeploymentReading, decision: Decision, mut changes: Vec<ChangedTask>) -> Result<bool, StoreError> {
        let refused: HashSet<DeviceId> = changes.iter().map(|changed| changed.device).collect();
        let mut reasons_left = REASONS_MAX;
        for (place, change) in decision.changes {
            let Some(task) = self.memory.tasks().get(place) else { continue };
            if matches!(change, TaskChange::Waits(..)) {
                if reasons_left == 0 {
                    continue;
                }
                reasons_left -= 1;
            }
            if !refused.contains(&task.device) {
                changes.push(ChangedTask { device: task.device, from: task.state, attempts: task.attempts, change, message: None });
            }
        }
        let since = self.last_start.map_or(TimeDelta::milliseconds(LOOK_GAP.as_millis() as i64), |at| reading.now - at);
        let most = portion(self.context.settings.starts_per_second, since);
        let starts = self.starts(reading, &decision.starts[..most.min(decision.starts.len())]);
        if !starts.is_empty() {
            self.last_start = Some(reading.now);
        }
        if changes.is_empty() && starts.is_empty() && decision.deployment.is_none() {
            return Ok(false);
        }
        let more = !starts.is_empty()
            || decision.deployment.is_some()
            || changes.iter().any(|changed| !matches!(changed.change, TaskChange::Waits(..)));
        let (settings, started) = (self.context.settings, starts.len());
        let carry = Carry {
            id: self.id,
            lease: self.lease,
            changes,
            starts,
            concurrency: reading.row.options.concurrency,
            commands_expire_at: reading.now + settings.accept_within + settings.silent_within,
            deployment: decision.deployment,
            canary_ms: self.canary_ms,
            now: reading.now,
        };
        match self.context.store.carry_deployment(&carry).await? {
            Some(carried) => {
                self.carried(&carried, started);
                if let Some(change) = carry.deployment {
                    tracing::info!(event = "deployment.changed", deployment_id = %self.id, change = ?change);
                }
                Ok(more)
            }
            // Another node owns the shard; the manager ends this actor.
            None => Ok(false),
        }
    }

    fn starts(&self, reading: &DeploymentReading, places: &[usize]) -> Vec<TaskStart> {
        let Some(apk) = self.apk.as_ref().filter(|_| !places.is_empty()) else { return Vec::new() };
        let (url, _) = (self.context.download_url)(apk.id, reading.now);
        let start = |task: &Task| {
            let attempt = task.attempts + 1;
            let (params, params_shown) = params(&reading.row, apk, &url, attempt);
            let facts = facts_of(&self.context.view, &reading.row.package, task.device);
            let version_before = facts.and_then(|facts| facts.version_code);
            TaskStart { device: task.device, command: CommandId(Uuid::now_v7()), attempt, params, params_shown, version_before }
        };
        places.iter().filter_map(|place| self.memory.tasks().get(*place)).map(start).collect()
    }

    fn carried(&mut self, carried: &Carried, wanted: usize) {
        self.context.metrics.deployment_starts.inc_by(carried.started.len() as u64);
        if carried.started.len() < wanted {
            // Something came in between; look around before trying again.
            self.around_at = None;
        }
        for (device, id) in carried.taken_back.iter().copied() {
            let router = self.context.router.clone();
            // An owner that does not hear of it gives it to its device once more, which asks before it installs.
            tokio::spawn(async move { router.request(device, DeviceRequest::CommandTaken { id, over: true }).await });
        }
    }
}
