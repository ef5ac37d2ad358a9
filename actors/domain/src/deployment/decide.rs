//! What happens to a deployment now: which tasks start, wait, end; whether it pauses, opens its gate or is over.
//!
//! ```text
//! settle   what is over by itself: installed, deleted, too late, no answer, called off
//! judge    the gate behind the first devices, the failures after it
//! start    in the order of the set: as many as window, devices, concurrency and rate allow, and no other
//! ```
//! A dry run is this function with every task new.

use chrono::TimeDelta;

use super::judge::{Verdict, judge};
use super::pace::allowance;
use super::readiness::{DeviceFacts, unready};
use super::report::AttemptEnd;
use super::{DeploymentState, ErrorCode, Options, PauseReason, Phase, Reason, Task, TaskState, Wait};
use crate::{DeviceId, Timestamp};

/// Longest time until the next look, when nothing is due before.
const LOOK_AGAIN: TimeDelta = TimeDelta::seconds(5);

/// What is on record of a deployment, as far as decisions need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Where it stands.
    pub state: DeploymentState,
    /// How far it may go.
    pub phase: Phase,
    /// How long its first devices had so far, pauses not counted.
    pub canary_ran: TimeDelta,
    /// Failures from before do not count for the failure rate.
    pub judged_since: Timestamp,
    /// What waits then is skipped.
    pub expires_at: Timestamp,
    /// The version to be installed.
    pub version_code: i64,
    /// Oldest Android API level that it runs on.
    pub min_sdk: Option<i32>,
}

/// Why no deployment at all goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// `deployments.enabled` is off.
    FlagOff,
    /// `deployments.kill_switch` is on.
    KillSwitch,
}

impl Blocked {
    /// Its name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FlagOff => "flag_off",
            Self::KillSwitch => "kill_switch",
        }
    }
}

/// Everything that a decision looks at.
pub struct Situation<'a> {
    /// What may be done and when.
    pub options: &'a Options,
    /// What is on record.
    pub run: Run,
    /// Why nothing may start anywhere.
    pub blocked: Option<Blocked>,
    /// How long a device has to take its task.
    pub accept_within: TimeDelta,
    /// How long a device may say nothing while it installs.
    pub silent_within: TimeDelta,
    /// The tasks, in the order of the set.
    pub tasks: &'a [Task],
    /// Starts of the last minute, oldest first.
    pub starts: &'a [Timestamp],
    /// What is known of a device.
    pub facts: &'a dyn Fn(DeviceId) -> Option<DeviceFacts>,
    /// Whether another deployment of the package has a device first.
    pub elsewhere: &'a dyn Fn(DeviceId) -> bool,
    /// The moment.
    pub now: Timestamp,
}

/// What becomes of a task, other than its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskChange {
    /// It waits, for this reason.
    Waits(TaskState, Reason),
    /// Its attempt is over without success; it is tried again, not before that time.
    Again(Reason, Option<Timestamp>),
    /// It is over.
    Over(TaskState, Reason),
}

impl TaskChange {
    /// What becomes of a task whose attempt failed with `error`, `reason` being why it waits if it is tried again.
    pub fn after_failure(
        options: &Options,
        state: DeploymentState,
        attempts: u32,
        error: ErrorCode,
        reason: Reason,
        now: Timestamp,
    ) -> Self {
        match AttemptEnd::of(options, state, attempts, error, now) {
            AttemptEnd::Again(at) => Self::Again(reason, Some(at)),
            AttemptEnd::Failed => Self::Over(TaskState::Failed, error.into()),
            AttemptEnd::Skipped => Self::Over(TaskState::Skipped, error.into()),
        }
    }
}

/// What becomes of the deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeploymentChange {
    /// It pauses by itself.
    Pause(PauseReason),
    /// The others may follow the first devices.
    OpenGate,
    /// Nothing is left to do.
    Finish,
}

/// What is to be done. Numbers are places in [`Situation::tasks`].
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// These start.
    pub starts: Vec<usize>,
    /// What becomes of others.
    pub changes: Vec<(usize, TaskChange)>,
    /// What becomes of the deployment.
    pub deployment: Option<DeploymentChange>,
    /// When it is worth looking again, if nothing happens before.
    pub look_again: Timestamp,
}

/// Decides. See the module.
pub fn decide(situation: &Situation<'_>) -> Decision {
    let mut tasks = situation.tasks.to_vec();
    let mut decision = Decision { starts: Vec::new(), changes: Vec::new(), deployment: None, look_again: situation.now + LOOK_AGAIN };
    // What is over needs no look at its device.
    let known = |task: &Task| if task.state.is_over() { None } else { (situation.facts)(task.device) };
    let known: Vec<Option<DeviceFacts>> = tasks.iter().map(known).collect();
    for (place, task) in tasks.iter_mut().enumerate() {
        if let Some(change) = settle(situation, task, known[place].as_ref()) {
            apply(task, change, situation.now);
            decision.changes.push((place, change));
        }
    }
    let running = situation.run.state == DeploymentState::Running;
    if tasks.iter().all(|task| task.state.is_over()) {
        decision.deployment = Some(DeploymentChange::Finish);
        return decision;
    }
    if running {
        let Situation { options, run, .. } = situation;
        match judge(options, run.phase, run.canary_ran, run.judged_since, &tasks) {
            Verdict::GoOn => {}
            Verdict::OpenGate => decision.deployment = Some(DeploymentChange::OpenGate),
            Verdict::Pause(reason) => {
                decision.deployment = Some(DeploymentChange::Pause(reason));
                return decision;
            }
        }
    }
    start(situation, &tasks, &known, running && situation.blocked.is_none(), &mut decision);
    decision
}

/// What is over by itself.
fn settle(situation: &Situation<'_>, task: &Task, facts: Option<&DeviceFacts>) -> Option<TaskChange> {
    if task.state.is_over() {
        return None;
    }
    let over = |state, reason: Wait| Some(TaskChange::Over(state, reason.into()));
    let Situation { run, now, .. } = situation;
    if let Some(facts) = facts {
        if facts.version_code.is_some_and(|installed| installed >= run.version_code) {
            if task.attempts == 0 {
                return over(TaskState::Skipped, Wait::AlreadyInstalled);
            }
            if !task.state.is_busy() || facts.received_at > task.started_at {
                return over(TaskState::Succeeded, Wait::SeenInHeartbeat);
            }
        }
        if facts.deleted {
            return over(TaskState::Skipped, Wait::DeviceDeleted);
        }
        if !task.state.is_busy() && facts.sdk_int.zip(run.min_sdk).is_some_and(|(sdk, least)| sdk < least) {
            return over(TaskState::Skipped, Wait::SdkTooOld);
        }
    }
    let canceled = run.state == DeploymentState::Canceled;
    match task.state {
        TaskState::Installing => {
            let last = task.reported_at.max(task.started_at)?;
            (*now >= last + situation.silent_within).then(|| attempt_over(situation, task, ErrorCode::Timeout, ErrorCode::Timeout.into()))
        }
        _ if canceled => over(TaskState::Canceled, Wait::Canceled),
        TaskState::Sending if run.state == DeploymentState::Paused || situation.blocked.is_some() => {
            Some(TaskChange::Again(Wait::Paused.into(), None))
        }
        TaskState::Sending => {
            let late = task.started_at.is_none_or(|at| *now >= at + situation.accept_within);
            late.then(|| attempt_over(situation, task, ErrorCode::Timeout, Wait::NoAnswer.into()))
        }
        _ if *now >= run.expires_at => over(TaskState::Skipped, Wait::Deadline),
        _ => None,
    }
}

fn attempt_over(situation: &Situation<'_>, task: &Task, error: ErrorCode, reason: Reason) -> TaskChange {
    TaskChange::after_failure(situation.options, situation.run.state, task.attempts, error, reason, situation.now)
}

fn apply(task: &mut Task, change: TaskChange, now: Timestamp) {
    match change {
        TaskChange::Waits(state, reason) => (task.state, task.reason) = (state, Some(reason)),
        TaskChange::Again(reason, not_before) => {
            (task.state, task.reason, task.stage, task.not_before) = (TaskState::Queued, Some(reason), None, not_before);
        }
        TaskChange::Over(state, reason) => (task.state, task.reason, task.finished_at) = (state, Some(reason), Some(now)),
    }
}

/// Starts what may start, and says of everything else why it waits.
fn start(situation: &Situation<'_>, tasks: &[Task], known: &[Option<DeviceFacts>], may_start: bool, decision: &mut Decision) {
    let Situation { options, run, now, .. } = situation;
    let window = options.window.as_ref().map(|window| (window.is_open(*now), window));
    let busy = tasks.iter().filter(|task| task.state.is_busy()).count();
    let mut slots = (options.concurrency as usize).saturating_sub(busy);
    let (mut allowed, rate_again) = allowance(options.rate_per_minute, situation.starts, *now);
    let mut look_again = decision.look_again;
    for (place, task) in tasks.iter().enumerate() {
        match (task.state.is_busy(), task.reported_at.max(task.started_at)) {
            (true, Some(last)) => {
                let due = if task.state == TaskState::Sending { situation.accept_within } else { situation.silent_within };
                look_again = look_again.min(last + due);
            }
            (true, None) => {}
            (false, _) if !may_start || !task.state.is_waiting() => {}
            (false, _) => {
                let waits = if run.phase == Phase::Canary && !task.canary {
                    Some((TaskState::Queued, Wait::Canary.into()))
                } else if let Some(at) = task.not_before.filter(|at| *at > *now) {
                    look_again = look_again.min(at);
                    // Why it is tried again says more than that it is.
                    Some((TaskState::Queued, task.reason.filter(|_| task.state == TaskState::Queued).unwrap_or(Wait::Backoff.into())))
                } else if let Some((_, closed)) = window.filter(|(open, _)| !open) {
                    look_again = closed.opens_at(*now).map_or(look_again, |at| look_again.min(at));
                    Some((TaskState::WaitingWindow, ErrorCode::OutsideWindow.into()))
                } else if (situation.elsewhere)(task.device) {
                    Some((TaskState::Queued, Wait::OtherDeployment.into()))
                } else if let Some(reason) = unready(options, &known[place].unwrap_or_default(), *now) {
                    Some((TaskState::Queued, reason))
                } else if slots == 0 {
                    Some((TaskState::Throttled, Wait::Concurrency.into()))
                } else if allowed == 0 {
                    look_again = rate_again.map_or(look_again, |at| look_again.min(at));
                    Some((TaskState::Throttled, Wait::Rate.into()))
                } else {
                    None
                };
                match waits {
                    Some((state, reason)) if (task.state, task.reason) == (state, Some(reason)) => {}
                    Some((state, reason)) => decision.changes.push((place, TaskChange::Waits(state, reason))),
                    None => {
                        decision.starts.push(place);
                        (slots, allowed) = (slots - 1, allowed - 1);
                    }
                }
            }
        }
    }
    decision.look_again = look_again.max(*now);
}

#[cfg(test)]
mod tests;
