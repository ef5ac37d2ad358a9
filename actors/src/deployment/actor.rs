//! The actor of one deployment: reads its rows and the state of its devices, calls `decide` and applies the plan.
//!
//! ```text
//! deployment, flags, starts, changed tasks --read--\
//!                                                   decide --> one transaction --> commands are sent
//! state of devices (FleetView) --------------------/
//! ```
//! It acts only in the epoch of its shard, and the transaction checks that again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use domain::apk::Apk;
use domain::deployment::{
    DeploymentState, DeviceSnapshot, ErrorCode, Phase, Plan, PlanInput, Task, TaskChange, TaskState, decide, portion,
};
use domain::shard::ShardLease;
use domain::{CommandId, DeploymentId, DeviceId, Timestamp};
use link::messages::DeviceRequest;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use ractor_cluster::RactorMessage;
use store::{Applied, ApplyPlan, ChangedTask, DeploymentReading, RefusedCommand, StoreError, TaskStart};
use tokio::time::Instant;

use super::cache::TaskCache;
use super::params::params;
use super::{DeploymentContext, snapshot_of};

/// Least time between two reconciles, however often the actor is woken.
const RECONCILE_GAP: Duration = Duration::from_millis(100);
/// Interval of reconciles while nothing may start.
const IDLE_INTERVAL: Duration = Duration::from_secs(2);
/// Interval of reading which devices were deleted, and which an older deployment has.
const TARGETS_INTERVAL: Duration = Duration::from_secs(2);
/// Interval of storing the running time of the canary.
const CANARY_NOTE_INTERVAL: TimeDelta = TimeDelta::seconds(10);
/// Longest time between two reconciles that counts as running time of the canary: a new owner does not count the gap.
const CANARY_STEP_MAX: TimeDelta = TimeDelta::seconds(5);
/// Tasks whose reason to wait is written in one reconcile; the others follow with the next.
const REASONS_MAX: usize = 2_000;
/// A reconcile is followed by a cooldown of so many times its own duration: a large deployment leaves time to others.
const COOLDOWN_FACTOR: u32 = 3;

/// Message to a deployment actor. Local to a node.
#[derive(RactorMessage)]
pub(super) enum DeploymentMsg {
    /// Reconcile.
    Reconcile,
    /// This timer has expired.
    Due(u64),
}

/// The actor of one deployment.
pub(super) struct DeploymentActor;

/// Arguments of a deployment actor.
pub(super) struct DeploymentArguments {
    pub(super) id: DeploymentId,
    pub(super) lease: ShardLease,
    pub(super) context: Arc<DeploymentContext>,
}

pub(super) struct DriverState {
    id: DeploymentId,
    lease: ShardLease,
    context: Arc<DeploymentContext>,
    cache: TaskCache,
    apk: Option<Apk>,
    gone: HashSet<DeviceId>,
    elsewhere: HashSet<DeviceId>,
    targets_read_at: Option<Instant>,
    /// Running time of the canary until `reconciled_at`, ms; and what of it is stored.
    canary_ms: i64,
    canary_noted_ms: i64,
    reconciled_at: Option<Timestamp>,
    /// Begin and duration of the last reconcile.
    last_reconcile: Option<(Instant, Duration)>,
    last_start: Option<Timestamp>,
    timer: u64,
}

impl Actor for DeploymentActor {
    type Msg = DeploymentMsg;
    type State = DriverState;
    type Arguments = DeploymentArguments;

    async fn pre_start(&self, me: ActorRef<DeploymentMsg>, start: DeploymentArguments) -> Result<DriverState, ActorProcessingErr> {
        let DeploymentArguments { id, lease, context } = start;
        let _ = me.cast(DeploymentMsg::Reconcile);
        Ok(DriverState {
            id,
            lease,
            context,
            cache: TaskCache::default(),
            apk: None,
            gone: HashSet::new(),
            elsewhere: HashSet::new(),
            targets_read_at: None,
            canary_ms: 0,
            canary_noted_ms: 0,
            reconciled_at: None,
            last_reconcile: None,
            last_start: None,
            timer: 0,
        })
    }

    async fn handle(&self, me: ActorRef<DeploymentMsg>, message: DeploymentMsg, state: &mut DriverState) -> Result<(), ActorProcessingErr> {
        if matches!(message, DeploymentMsg::Due(timer) if timer != state.timer) {
            return Ok(());
        }
        // However often the actor is woken, reconciles keep their distance; the next one sees everything that woke it.
        // One that only waited for the database needs no long cooldown.
        let gap = |took: Duration| RECONCILE_GAP.max(took + (took * COOLDOWN_FACTOR).min(IDLE_INTERVAL));
        let early = state.last_reconcile.map(|(at, took)| gap(took).saturating_sub(at.elapsed())).filter(|wait| !wait.is_zero());
        let wait = match early {
            Some(wait) => wait,
            None => {
                let began = Instant::now();
                let reconciled = state.reconcile().await;
                state.last_reconcile = Some((began, began.elapsed()));
                match reconciled {
                    Ok(Some(wait)) => wait,
                    Ok(None) => {
                        me.stop(None);
                        return Ok(());
                    }
                    Err(cause) => {
                        tracing::warn!(event = "deployment.reconcile_failed", deployment_id = %state.id, %cause);
                        IDLE_INTERVAL
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
    /// Reconciles once. Returns the time until the next reconcile; `None`: the deployment has finished.
    async fn reconcile(&mut self) -> Result<Option<Duration>, StoreError> {
        let context = Arc::clone(&self.context);
        if !context.ownership.acts(self.lease.shard, self.lease.epoch) {
            return Ok(Some(IDLE_INTERVAL));
        }
        let Some(reading) = context.store.read_deployment(self.id).await? else { return Ok(None) };
        if reading.row.finished_at.is_some() {
            return Ok(None);
        }
        let since = self.cache.since(reading.now);
        self.cache.take(context.store.tasks_changed(self.id, since).await?, since, reading.now);
        self.refresh_targets(&reading).await?;
        let refused = self.refused_changes(&reading).await?;
        self.count_canary_time(&reading).await?;
        let plan = self.plan(&reading);
        let again = (plan.next_wakeup - reading.now).to_std().unwrap_or_default();
        let applied = self.apply(&reading, plan, refused).await?;
        let paused = reading.row.pause_reason.zip(reading.row.paused_at);
        context.gauges.show(self.id, self.cache.tasks(), reading.row.state, paused);
        let idle = reading.row.state != DeploymentState::Running || reading.flags.blocked().is_some();
        let interval = if idle { IDLE_INTERVAL } else { context.settings.reconcile_interval };
        // After a change the next reconcile follows at once: there may be more to do.
        Ok(Some(if applied { RECONCILE_GAP } else { again.min(interval).max(RECONCILE_GAP) }))
    }

    async fn refresh_targets(&mut self, reading: &DeploymentReading) -> Result<(), StoreError> {
        if self.targets_read_at.is_none_or(|at| at.elapsed() >= TARGETS_INTERVAL) {
            let store = &self.context.store;
            self.gone = store.gone_targets(self.id).await?.into_iter().collect();
            self.elsewhere = store.targets_elsewhere(&reading.row).await?.into_iter().collect();
            if self.apk.is_none() {
                self.apk = store.apk(reading.row.apk).await?;
            }
            self.targets_read_at = Some(Instant::now());
        }
        Ok(())
    }

    /// Changes of tasks whose device refused the command itself: an unknown action, or a wrong signature.
    async fn refused_changes(&self, reading: &DeploymentReading) -> Result<Vec<ChangedTask>, StoreError> {
        if !self.cache.tasks().iter().any(|task| task.state == TaskState::Sending) {
            return Ok(Vec::new());
        }
        let refused = self.context.store.refused_commands(self.id).await?;
        let changed = |RefusedCommand { device, code, message }| {
            let task = self.cache.tasks().iter().find(|task| task.device == device && task.state == TaskState::Sending)?;
            let error = code.as_deref().and_then(ErrorCode::parse).unwrap_or(ErrorCode::InstallFailed);
            let row = &reading.row;
            let change = TaskChange::after_failure(&row.options, row.state, task.attempts, error, error.into(), reading.now);
            Some(ChangedTask { device, from: task.state, attempts: task.attempts, change, message: message.or(code), detail: None })
        };
        Ok(refused.into_iter().filter_map(changed).collect())
    }

    /// Counts the running time of the canary: while the deployment runs, is not blocked and its window is open.
    async fn count_canary_time(&mut self, reading: &DeploymentReading) -> Result<(), StoreError> {
        let before = self.reconciled_at.replace(reading.now);
        if reading.row.phase != Phase::Canary {
            return Ok(());
        }
        // Less is stored than this actor has stored: somebody resumed the deployment, and the time begins anew.
        if reading.row.canary_ms < self.canary_noted_ms || before.is_none() {
            (self.canary_ms, self.canary_noted_ms) = (reading.row.canary_ms, reading.row.canary_ms);
        }
        let open = reading.row.options.window.as_ref().is_none_or(|window| window.is_open(reading.now));
        let counts = reading.row.state == DeploymentState::Running && reading.flags.blocked().is_none() && open;
        if let Some(before) = before.filter(|_| counts) {
            self.canary_ms += (reading.now - before).min(CANARY_STEP_MAX).num_milliseconds().max(0);
        }
        if self.canary_ms - self.canary_noted_ms >= CANARY_NOTE_INTERVAL.num_milliseconds() {
            self.context.store.note_canary_time(self.id, self.canary_ms).await?;
            self.canary_noted_ms = self.canary_ms;
        }
        Ok(())
    }

    fn plan(&self, reading: &DeploymentReading) -> Plan {
        let (context, row) = (&self.context, &reading.row);
        let snapshot = |id: DeviceId| {
            let known = snapshot_of(&context.view, &row.package, id);
            if self.gone.contains(&id) { Some(DeviceSnapshot { deleted: true, ..known.unwrap_or_default() }) } else { known }
        };
        let mut run = row.run();
        run.canary_ran = TimeDelta::milliseconds(self.canary_ms);
        decide(&PlanInput {
            options: &row.options,
            run,
            blocked: reading.flags.blocked(),
            accept_within: context.settings.accept_within,
            silent_within: context.settings.silent_within,
            confirm_within: context.settings.confirm_within,
            tasks: self.cache.tasks(),
            starts: &reading.starts,
            snapshot: &snapshot,
            elsewhere: &|id| self.elsewhere.contains(&id),
            now: reading.now,
        })
    }

    /// Applies the plan. Returns whether it changed more than reasons to wait.
    async fn apply(&mut self, reading: &DeploymentReading, mut plan: Plan, mut changes: Vec<ChangedTask>) -> Result<bool, StoreError> {
        let refused: HashSet<DeviceId> = changes.iter().map(|changed| changed.device).collect();
        let mut reasons_left = REASONS_MAX;
        for (index, change) in plan.changes {
            let Some(task) = self.cache.tasks().get(index) else { continue };
            if matches!(change, TaskChange::Wait(..)) {
                if reasons_left == 0 {
                    continue;
                }
                reasons_left -= 1;
            }
            if !refused.contains(&task.device) {
                let (device, detail) = (task.device, plan.details.remove(&index));
                changes.push(ChangedTask { device, from: task.state, attempts: task.attempts, change, message: None, detail });
            }
        }
        let since = self.last_start.map_or(TimeDelta::milliseconds(RECONCILE_GAP.as_millis() as i64), |at| reading.now - at);
        let most = portion(self.context.settings.starts_per_second, since);
        let starts = self.starts(reading, &plan.starts[..most.min(plan.starts.len())]);
        if !starts.is_empty() {
            self.last_start = Some(reading.now);
        }
        if changes.is_empty() && starts.is_empty() && plan.deployment.is_none() {
            return Ok(false);
        }
        let more = !starts.is_empty()
            || plan.deployment.is_some()
            || changes.iter().any(|changed| !matches!(changed.change, TaskChange::Wait(..)));
        let (settings, started) = (self.context.settings, starts.len());
        let request = ApplyPlan {
            id: self.id,
            lease: self.lease,
            changes,
            starts,
            concurrency: reading.row.options.concurrency,
            commands_expire_at: reading.now + settings.accept_within + settings.silent_within,
            deployment: plan.deployment,
            canary_ms: self.canary_ms,
            now: reading.now,
        };
        match self.context.store.apply_plan(&request).await? {
            Some(applied) => {
                self.applied(&applied, started);
                if let Some(change) = request.deployment {
                    tracing::info!(event = "deployment.changed", deployment_id = %self.id, change = ?change);
                }
                Ok(more)
            }
            // Another node owns the shard; the manager ends this actor.
            None => Ok(false),
        }
    }

    fn starts(&self, reading: &DeploymentReading, indexes: &[usize]) -> Vec<TaskStart> {
        let Some(apk) = self.apk.as_ref().filter(|_| !indexes.is_empty()) else { return Vec::new() };
        let start = |task: &Task| {
            let attempt = task.attempts + 1;
            let (url, _) = (self.context.download_url)(apk.id, task.device, reading.now);
            let (params, params_shown) = params(&reading.row, apk, &url, attempt);
            let snapshot = snapshot_of(&self.context.view, &reading.row.package, task.device);
            let version_before = snapshot.and_then(|snapshot| snapshot.installed.code());
            TaskStart {
                device: task.device,
                command: CommandId(self.context.clock.new_id()),
                attempt,
                params,
                params_shown,
                version_before,
            }
        };
        indexes.iter().filter_map(|index| self.cache.tasks().get(*index)).map(start).collect()
    }

    fn applied(&mut self, applied: &Applied, wanted: usize) {
        self.context.metrics.deployment_starts.inc_by(applied.started.len() as u64);
        for (state, reason) in &applied.finished {
            self.context.metrics.deployment_tasks_finished.with_label_values(&[state.as_str(), reason.as_str()]).inc();
        }
        if applied.started.len() < wanted {
            // Another change came in between: read the targets before the next try.
            self.targets_read_at = None;
        }
        for (device, id) in applied.taken_back.iter().copied() {
            let router = self.context.router.clone();
            // An owner that misses this message sends the command once more; the device asks before it installs.
            let finished = DeviceRequest::CommandUpdated { id, finished: true, succeeded: None };
            tokio::spawn(async move { router.request(device, finished).await });
        }
    }
}
