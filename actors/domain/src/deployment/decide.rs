//! The plan of a deployment: which tasks start, wait and finish, and whether the deployment pauses, passes its canary or finishes.
//!
//! ```text
//! settle   tasks that need no start: installed, confirmed or not, device deleted, deadline, no acknowledgement, canceled
//! judge    the verdict of the canary, then the failure rate
//! start    tasks in the order of the set: as many as window, device requirements, concurrency and rate allow
//! ```
//! The preview of a deployment is this function with every task new.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use super::judge::{Verdict, judge};
use super::rate_limit::allowance;
use super::readiness::{DeviceSnapshot, Unmet, unmet};
use super::report::AttemptEnd;
use super::{DeploymentState, ErrorCode, OnUnmet, Options, PauseReason, Phase, Reason, Task, TaskReason, TaskState};
use crate::abi::AbiSet;
use crate::{DeviceId, Timestamp};

mod settle;

use settle::{outside, settle};

/// Longest time until the next reconcile, when nothing is due before.
const WAKEUP_MAX: TimeDelta = TimeDelta::seconds(5);
/// From these API levels on, devices refuse apps that were made for an older one than that.
const TARGETS_MIN: [(i32, i32); 2] = [(34, 23), (35, 24)];

/// Stored state of a deployment, as far as the plan depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// State of the deployment.
    pub state: DeploymentState,
    /// Phase of the deployment.
    pub phase: Phase,
    /// Running time of the canary so far, pauses not counted.
    pub canary_ran: TimeDelta,
    /// Failures from before do not count for the failure rate.
    pub judged_since: Timestamp,
    /// Deadline: tasks that wait then are skipped.
    pub expires_at: Timestamp,
    /// Version code of the APK.
    pub version_code: i64,
    /// Oldest Android API level that the APK runs on.
    pub min_sdk: Option<i32>,
    /// Android API level that the APK was made for.
    pub target_sdk: Option<i32>,
    /// ABIs that the APK has native code for.
    pub native_abis: AbiSet,
}

impl Run {
    /// Why a device of this API level and these ABIs refuses the APK, now and later; `None`: it does not, as far as is known.
    pub fn refusal(&self, sdk_int: Option<i32>, abis: Option<AbiSet>) -> Option<TaskReason> {
        if sdk_int.zip(self.min_sdk).is_some_and(|(sdk, least)| sdk < least) {
            return Some(TaskReason::SdkTooOld);
        }
        let target_too_old = |(sdk, target): (i32, i32)| TARGETS_MIN.iter().any(|(from, least)| sdk >= *from && target < *least);
        if sdk_int.zip(self.target_sdk).is_some_and(target_too_old) {
            return Some(TaskReason::TargetSdkTooOld);
        }
        (abis.is_some_and(|abis| !self.native_abis.runs_on(abis))).then_some(TaskReason::NoMatchingAbi)
    }
}

/// Reason for blocking all deployments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum BlockReason {
    /// `deployments.enabled` is off.
    FlagOff,
    /// `deployments.kill_switch` is on.
    KillSwitch,
}

named!(pub BlockReason);

/// Everything that a plan depends on.
pub struct PlanInput<'a> {
    /// Options of the deployment.
    pub options: &'a Options,
    /// Stored state of the deployment.
    pub run: Run,
    /// Reason for starting nothing in any deployment.
    pub blocked: Option<BlockReason>,
    /// How long a device has to accept its task.
    pub accept_within: TimeDelta,
    /// How long an installing device may go without a report.
    pub silent_within: TimeDelta,
    /// How long a heartbeat has to confirm a reported success.
    pub confirm_within: TimeDelta,
    /// The tasks, in the order of the set.
    pub tasks: &'a [Task],
    /// Starts of the last minute, oldest first.
    pub starts: &'a [Timestamp],
    /// Returns the newest state of a device.
    pub snapshot: &'a dyn Fn(DeviceId) -> Option<DeviceSnapshot>,
    /// Returns whether an older deployment of the package has the device first.
    pub elsewhere: &'a dyn Fn(DeviceId) -> bool,
    /// Time of the plan.
    pub now: Timestamp,
}

/// Change of a task, other than its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskChange {
    /// The task waits, for this reason.
    Wait(TaskState, Reason),
    /// The attempt failed; the task is retried, not before that time.
    Retry(Reason, Option<Timestamp>),
    /// The task has finished, in this state.
    Finish(TaskState, Reason),
}

impl TaskChange {
    /// Change of a task whose attempt failed with `error`; `reason` is why it waits if it is retried.
    pub fn after_failure(
        options: &Options,
        state: DeploymentState,
        attempts: u32,
        error: ErrorCode,
        reason: Reason,
        now: Timestamp,
    ) -> Self {
        match AttemptEnd::of(options, state, attempts, error, now) {
            AttemptEnd::Retry(at) => Self::Retry(reason, Some(at)),
            AttemptEnd::Failed => Self::Finish(TaskState::Failed, error.into()),
            AttemptEnd::Skipped => Self::Finish(TaskState::Skipped, error.into()),
        }
    }
}

/// Change of the deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeploymentChange {
    /// The deployment pauses automatically.
    Pause(PauseReason),
    /// The canary has passed: the other devices may start.
    OpenGate,
    /// Every task has finished.
    Finish,
}

/// The next steps of a deployment. Numbers are indexes of [`PlanInput::tasks`].
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Tasks to start.
    pub starts: Vec<usize>,
    /// Changes of other tasks.
    pub changes: Vec<(usize, TaskChange)>,
    /// Values behind the reasons of the changes, for display.
    pub details: BTreeMap<usize, String>,
    /// Change of the deployment.
    pub deployment: Option<DeploymentChange>,
    /// Time of the next decision, if nothing happens before.
    pub next_wakeup: Timestamp,
}

/// Makes the plan; the module describes the steps.
pub fn decide(input: &PlanInput<'_>) -> Plan {
    let mut tasks = input.tasks.to_vec();
    let next_wakeup = input.now + WAKEUP_MAX;
    let mut plan = Plan { starts: Vec::new(), changes: Vec::new(), details: BTreeMap::new(), deployment: None, next_wakeup };
    // A finished task needs no state of its device, but a success that is still watched.
    let known = |task: &Task| {
        let watched = task.state == TaskState::Succeeded && task.finished_at.is_some_and(|at| input.now < at + input.confirm_within);
        if task.state.is_finished() && !watched { None } else { (input.snapshot)(task.device) }
    };
    let known: Vec<Option<DeviceSnapshot>> = tasks.iter().map(known).collect();
    for (index, task) in tasks.iter_mut().enumerate() {
        if let Some((change, detail)) = settle(input, task, known[index].as_ref()) {
            apply(task, change, input.now);
            plan.details.extend(detail.map(|detail| (index, detail)));
            plan.changes.push((index, change));
        }
    }
    let running = input.run.state == DeploymentState::Running;
    if tasks.iter().all(|task| task.state.is_finished()) {
        plan.deployment = Some(DeploymentChange::Finish);
        return plan;
    }
    if running {
        let PlanInput { options, run, .. } = input;
        match judge(options, run.phase, run.canary_ran, run.judged_since, &tasks) {
            Verdict::Continue => {}
            Verdict::OpenGate => plan.deployment = Some(DeploymentChange::OpenGate),
            Verdict::Pause(reason) => {
                plan.deployment = Some(DeploymentChange::Pause(reason));
                return plan;
            }
        }
    }
    start(input, &tasks, &known, running && input.blocked.is_none(), &mut plan);
    plan
}

fn apply(task: &mut Task, change: TaskChange, now: Timestamp) {
    match change {
        TaskChange::Wait(state, reason) => (task.state, task.reason) = (state, Some(reason)),
        TaskChange::Retry(reason, not_before) => {
            (task.state, task.reason, task.stage, task.not_before) = (TaskState::Queued, Some(reason), None, not_before);
        }
        TaskChange::Finish(state, reason) => (task.state, task.reason, task.finished_at) = (state, Some(reason), Some(now)),
    }
}

/// Reason of a task for not starting now.
struct Hold {
    change: TaskChange,
    /// Values behind the reason, for display.
    detail: Option<String>,
}

impl Hold {
    fn wait(state: TaskState, reason: impl Into<Reason>) -> Self {
        Self { change: TaskChange::Wait(state, reason.into()), detail: None }
    }

    fn with(change: TaskChange, detail: String) -> Self {
        Self { change, detail: Some(detail) }
    }

    /// Whether the task holds for the same reason already.
    fn is_known(&self, task: &Task) -> bool {
        matches!(self.change, TaskChange::Wait(state, reason) if (task.state, task.reason) == (state, Some(reason)))
            && self.detail == task.detail
    }
}

/// Hold of a task by itself, whatever the limits of the deployment; `None`: it may start.
fn hold(input: &PlanInput<'_>, task: &Task, known: Option<&DeviceSnapshot>) -> Option<Hold> {
    let PlanInput { options, run, now, .. } = input;
    if let Some(window) = options.window.as_ref().filter(|window| window.is_over(*now)) {
        let skipped = TaskChange::Finish(TaskState::Skipped, ErrorCode::OutsideWindow.into());
        return Some(Hold::with(skipped, outside(window, *now)));
    }
    if run.phase == Phase::Canary && !task.canary {
        return Some(Hold::wait(TaskState::Queued, TaskReason::Canary));
    }
    if task.not_before.is_some_and(|at| at > *now) {
        // The reason of the retry says more than that there is one.
        let reason = task.reason.filter(|_| task.state == TaskState::Queued).unwrap_or(TaskReason::Backoff.into());
        return Some(Hold { detail: task.detail.clone(), ..Hold::wait(TaskState::Queued, reason) });
    }
    if options.window.as_ref().is_some_and(|window| !window.is_open(*now)) {
        return Some(Hold::wait(TaskState::WaitingWindow, ErrorCode::OutsideWindow));
    }
    if (input.elsewhere)(task.device) {
        return Some(Hold::wait(TaskState::Queued, TaskReason::OtherDeployment));
    }
    let snapshot = known.copied().unwrap_or_default();
    let first = unmet(options, &snapshot, *now).next()?;
    // Of a device that is away, or that two report as, it is not known what it will lack.
    let skips = options.on_unmet == OnUnmet::Skip && !first.is_away() && first != Unmet::IdentityConflict;
    if let Some(lacks) = unmet(options, &snapshot, *now).find(|unmet| skips && unmet.is_requirement()) {
        return Some(Hold::with(TaskChange::Finish(TaskState::Skipped, lacks.reason()), lacks.to_string()));
    }
    Some(Hold::with(TaskChange::Wait(TaskState::Queued, first.reason()), first.to_string()))
}

/// Starts the tasks that may start, and notes of every other why it waits.
fn start(input: &PlanInput<'_>, tasks: &[Task], known: &[Option<DeviceSnapshot>], may_start: bool, plan: &mut Plan) {
    let PlanInput { options, now, .. } = input;
    let busy = tasks.iter().filter(|task| task.state.is_busy()).count();
    let mut slots = (options.concurrency as usize).saturating_sub(busy);
    let (mut allowed, rate_again) = allowance(options.rate_per_minute, input.starts, *now);
    let mut next_wakeup = plan.next_wakeup;
    for (index, task) in tasks.iter().enumerate() {
        if let Some(last) = task.reported_at.max(task.started_at) {
            let due = match task.state {
                TaskState::Sending => Some(input.accept_within),
                TaskState::Installing => Some(input.silent_within),
                TaskState::Confirming => Some(input.confirm_within),
                _ => None,
            };
            next_wakeup = due.map_or(next_wakeup, |due| next_wakeup.min(last + due));
        }
        if !may_start || !task.state.is_waiting() {
            continue;
        }
        let held = match hold(input, task, known[index].as_ref()) {
            Some(held) => Some(held),
            None if slots == 0 => Some(Hold::wait(TaskState::Throttled, TaskReason::Concurrency)),
            None if allowed == 0 => {
                next_wakeup = rate_again.map_or(next_wakeup, |at| next_wakeup.min(at));
                Some(Hold::wait(TaskState::Throttled, TaskReason::Rate))
            }
            None => None,
        };
        match held {
            Some(held) => {
                next_wakeup = again(options, task, &held, *now).map_or(next_wakeup, |at| next_wakeup.min(at));
                if !held.is_known(task) {
                    plan.changes.push((index, held.change));
                    plan.details.extend(held.detail.map(|detail| (index, detail)));
                }
            }
            None => {
                plan.starts.push(index);
                (slots, allowed) = (slots - 1, allowed - 1);
            }
        }
    }
    plan.next_wakeup = next_wakeup.max(*now);
}

/// When a task is to be looked at again by the time of its own, if there is one.
fn again(options: &Options, task: &Task, held: &Hold, now: Timestamp) -> Option<Timestamp> {
    match held.change {
        TaskChange::Wait(TaskState::WaitingWindow, _) => options.window.as_ref()?.opens_at(now),
        TaskChange::Wait(TaskState::Queued, _) => task.not_before.filter(|at| *at > now),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
