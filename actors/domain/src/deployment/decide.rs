//! The plan of a deployment: which tasks start, wait and finish, and whether the deployment pauses, passes its canary or finishes.
//!
//! ```text
//! settle   tasks that need no start: installed, device deleted, deadline, no acknowledgement, canceled
//! judge    the verdict of the canary, then the failure rate
//! start    tasks in the order of the set: as many as window, device requirements, concurrency and rate allow
//! ```
//! The preview of a deployment is this function with every task new.

use chrono::TimeDelta;

use super::judge::{Verdict, judge};
use super::rate_limit::allowance;
use super::readiness::{DeviceSnapshot, ineligibility};
use super::report::AttemptEnd;
use super::{DeploymentState, ErrorCode, Options, PauseReason, Phase, Reason, Task, TaskReason, TaskState};
use crate::abi::AbiSet;
use crate::{DeviceId, Timestamp};

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
    /// Change of the deployment.
    pub deployment: Option<DeploymentChange>,
    /// Time of the next decision, if nothing happens before.
    pub next_wakeup: Timestamp,
}

/// Makes the plan; the module describes the steps.
pub fn decide(input: &PlanInput<'_>) -> Plan {
    let mut tasks = input.tasks.to_vec();
    let mut plan = Plan { starts: Vec::new(), changes: Vec::new(), deployment: None, next_wakeup: input.now + WAKEUP_MAX };
    // A finished task needs no state of its device.
    let known = |task: &Task| if task.state.is_finished() { None } else { (input.snapshot)(task.device) };
    let known: Vec<Option<DeviceSnapshot>> = tasks.iter().map(known).collect();
    for (index, task) in tasks.iter_mut().enumerate() {
        if let Some(change) = settle(input, task, known[index].as_ref()) {
            apply(task, change, input.now);
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

/// Change of a task that needs no start: it has finished, or its attempt has.
fn settle(input: &PlanInput<'_>, task: &Task, snapshot: Option<&DeviceSnapshot>) -> Option<TaskChange> {
    if task.state.is_finished() {
        return None;
    }
    let over = |state, reason: TaskReason| Some(TaskChange::Finish(state, reason.into()));
    let PlanInput { run, now, .. } = input;
    if let Some(snapshot) = snapshot {
        if snapshot.version_code.is_some_and(|installed| installed >= run.version_code) {
            if task.attempts == 0 {
                return over(TaskState::Skipped, TaskReason::AlreadyInstalled);
            }
            if !task.state.is_busy() || snapshot.received_at > task.started_at {
                return over(TaskState::Succeeded, TaskReason::SeenInHeartbeat);
            }
        }
        if snapshot.deleted {
            return over(TaskState::Skipped, TaskReason::DeviceDeleted);
        }
        if !task.state.is_busy()
            && let Some(refusal) = run.refusal(snapshot.sdk_int, snapshot.abis)
        {
            return over(TaskState::Skipped, refusal);
        }
    }
    let canceled = run.state == DeploymentState::Canceled;
    match task.state {
        TaskState::Installing => {
            let last = task.reported_at.max(task.started_at)?;
            (*now >= last + input.silent_within).then(|| attempt_over(input, task, ErrorCode::Timeout, ErrorCode::Timeout.into()))
        }
        _ if canceled => over(TaskState::Canceled, TaskReason::Canceled),
        TaskState::Sending if run.state == DeploymentState::Paused || input.blocked.is_some() => {
            Some(TaskChange::Retry(TaskReason::Paused.into(), None))
        }
        TaskState::Sending => {
            let late = task.started_at.is_none_or(|at| *now >= at + input.accept_within);
            late.then(|| attempt_over(input, task, ErrorCode::Timeout, TaskReason::NoAnswer.into()))
        }
        _ if *now >= run.expires_at => over(TaskState::Skipped, TaskReason::Deadline),
        _ => None,
    }
}

fn attempt_over(input: &PlanInput<'_>, task: &Task, error: ErrorCode, reason: Reason) -> TaskChange {
    TaskChange::after_failure(input.options, input.run.state, task.attempts, error, reason, input.now)
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

/// Starts the tasks that may start, and notes of every other why it waits.
fn start(input: &PlanInput<'_>, tasks: &[Task], known: &[Option<DeviceSnapshot>], may_start: bool, plan: &mut Plan) {
    let PlanInput { options, run, now, .. } = input;
    let window = options.window.as_ref().map(|window| (window.is_open(*now), window));
    let busy = tasks.iter().filter(|task| task.state.is_busy()).count();
    let mut slots = (options.concurrency as usize).saturating_sub(busy);
    let (mut allowed, rate_again) = allowance(options.rate_per_minute, input.starts, *now);
    let mut next_wakeup = plan.next_wakeup;
    for (index, task) in tasks.iter().enumerate() {
        match (task.state.is_busy(), task.reported_at.max(task.started_at)) {
            (true, Some(last)) => {
                let due = if task.state == TaskState::Sending { input.accept_within } else { input.silent_within };
                next_wakeup = next_wakeup.min(last + due);
            }
            (true, None) => {}
            (false, _) if !may_start || !task.state.is_waiting() => {}
            (false, _) => {
                let waits = if run.phase == Phase::Canary && !task.canary {
                    Some((TaskState::Queued, TaskReason::Canary.into()))
                } else if let Some(at) = task.not_before.filter(|at| *at > *now) {
                    next_wakeup = next_wakeup.min(at);
                    // The reason of the retry says more than that there is one.
                    Some((TaskState::Queued, task.reason.filter(|_| task.state == TaskState::Queued).unwrap_or(TaskReason::Backoff.into())))
                } else if let Some((_, closed)) = window.filter(|(open, _)| !open) {
                    next_wakeup = closed.opens_at(*now).map_or(next_wakeup, |at| next_wakeup.min(at));
                    Some((TaskState::WaitingWindow, ErrorCode::OutsideWindow.into()))
                } else if (input.elsewhere)(task.device) {
                    Some((TaskState::Queued, TaskReason::OtherDeployment.into()))
                } else if let Some(reason) = ineligibility(options, &known[index].unwrap_or_default(), *now) {
                    Some((TaskState::Queued, reason))
                } else if slots == 0 {
                    Some((TaskState::Throttled, TaskReason::Concurrency.into()))
                } else if allowed == 0 {
                    next_wakeup = rate_again.map_or(next_wakeup, |at| next_wakeup.min(at));
                    Some((TaskState::Throttled, TaskReason::Rate.into()))
                } else {
                    None
                };
                match waits {
                    Some((state, reason)) if (task.state, task.reason) == (state, Some(reason)) => {}
                    Some((state, reason)) => plan.changes.push((index, TaskChange::Wait(state, reason))),
                    None => {
                        plan.starts.push(index);
                        (slots, allowed) = (slots - 1, allowed - 1);
                    }
                }
            }
        }
    }
    plan.next_wakeup = next_wakeup.max(*now);
}

#[cfg(test)]
mod tests;
