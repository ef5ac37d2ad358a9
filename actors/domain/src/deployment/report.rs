//! What a device's word changes in its task: the only place where an installation is let through.
//!
//! ```text
//! sending    --accepted..installing, and the gate is open--> installing      (the gate: running, no switch off, window open)
//! installing --a later word of the same attempt-----------> installing
//! sending | installing --succeeded-----------------------> succeeded
//!                      --failed | skipped----------------> tried again later | failed | skipped
//! ```
//! A device installs only after its `accepted` was answered with 200, so whoever closes the gate knows that nothing begins
//! any more, on whichever path the command is still under way. The same word again is fine; a step back is refused.

use chrono::TimeDelta;

use super::{Blocked, DeploymentState, ErrorCode, Options, Reason, Run, Stage, Task, TaskState, Wait};
use crate::Timestamp;

/// What a device says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is at it.
    At(Stage),
    /// It is done.
    Succeeded,
    /// It could not.
    Failed(ErrorCode),
    /// It would not.
    Skipped(ErrorCode),
}

/// Why a device's word is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The deployment is paused.
    #[error("the deployment is paused; do not install")]
    Paused,
    /// The deployment or the task was called off.
    #[error("the deployment is canceled for this device; do not install")]
    Canceled,
    /// Deployments are switched off.
    #[error("deployments are disabled; do not install")]
    SwitchedOff,
    /// The maintenance window is closed.
    #[error("the maintenance window is closed; do not install")]
    OutsideWindow,
    /// The device was not told to, or the order was taken back.
    #[error("there is no such installation, or it was canceled; do not install")]
    NotOrdered,
    /// It is about an attempt that is over.
    #[error("attempt: another attempt is in progress; do not install")]
    OtherAttempt,
    /// The task is over.
    #[error("this task has finished as {}", .0.as_str())]
    Over(TaskState),
    /// The device is further than that.
    #[error("status: a step backwards; {} is on record", .0.as_str())]
    Backwards(Stage),
}

/// How an attempt ended, and what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// It is tried again, not before this time.
    Again(Timestamp),
    /// It is given up.
    Failed,
    /// It could not begin, and is not tried again.
    Skipped,
}

impl AttemptEnd {
    /// What follows an attempt that failed with `error`, the deployment being in `state`.
    pub fn of(options: &Options, state: DeploymentState, attempts: u32, error: ErrorCode, now: Timestamp) -> Self {
        if error.is_permanent() {
            return Self::Failed;
        }
        // Called off meanwhile: there is no other try.
        if attempts < options.attempts_max() && state != DeploymentState::Canceled {
            return Self::Again(now + TimeDelta::seconds(options.backoff_s(attempts).into()));
        }
        if error.is_constraint() { Self::Skipped } else { Self::Failed }
    }
}

/// What a task becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskUpdate {
    /// Where it stands.
    pub state: TaskState,
    /// Why.
    pub reason: Option<Reason>,
    /// How far the device is.
    pub stage: Option<Stage>,
    /// It is not started before.
    pub not_before: Option<Timestamp>,
    /// What the attempt failed with.
    pub error: Option<ErrorCode>,
    /// The attempt is over.
    pub attempt_over: bool,
}

/// What a device's word changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// Nothing: it is on record.
    Nothing,
    /// The task becomes this.
    Changed(TaskUpdate),
}

fn gate(options: &Options, run: &Run, blocked: Option<Blocked>, now: Timestamp) -> Result<(), Refusal> {
    match run.state {
        DeploymentState::Paused => return Err(Refusal::Paused),
        DeploymentState::Canceled | DeploymentState::Finished => return Err(Refusal::Canceled),
        DeploymentState::Running => {}
    }
    if blocked.is_some() {
        return Err(Refusal::SwitchedOff);
    }
    match &options.window {
        Some(window) if !window.is_open(now) => Err(Refusal::OutsideWindow),
        _ => Ok(()),
    }
}

fn succeeded() -> Report {
    let stage = Some(Stage::Installing);
    Report::Changed(TaskUpdate { state: TaskState::Succeeded, reason: None, stage, not_before: None, error: None, attempt_over: true })
}

/// Decides about a device's word on its task, `attempt` being the one it speaks of, if it says so.
///
/// # Errors
/// The word is refused; a device that is told so does not install.
pub fn report(
    options: &Options,
    run: &Run,
    blocked: Option<Blocked>,
    task: &Task,
    status: Status,
    attempt: Option<u32>,
    now: Timestamp,
) -> Result<Report, Refusal> {
    let other_attempt = attempt.is_some_and(|attempt| attempt != task.attempts);
    if !task.state.is_busy() {
        return not_busy(task, status, other_attempt);
    }
    if other_attempt && status != Status::Succeeded {
        return Err(Refusal::OtherAttempt);
    }
    match status {
        Status::Succeeded => Ok(succeeded()),
        Status::Failed(error) | Status::Skipped(error) => {
            let (state, not_before) = match AttemptEnd::of(options, run.state, task.attempts, error, now) {
                AttemptEnd::Again(at) => (TaskState::Queued, Some(at)),
                AttemptEnd::Failed => (TaskState::Failed, None),
                AttemptEnd::Skipped => (TaskState::Skipped, None),
            };
            let reason = Some(Reason::Device(error));
            Ok(Report::Changed(TaskUpdate { state, reason, stage: None, not_before, error: Some(error), attempt_over: true }))
        }
        Status::At(stage) => {
            match (task.state, task.stage) {
                (TaskState::Installing, Some(known)) if (stage as u8) < known as u8 => return Err(Refusal::Backwards(known)),
                (TaskState::Installing, Some(known)) if known == stage => return Ok(Report::Nothing),
                (TaskState::Installing, _) => {}
                _ => gate(options, run, blocked, now)?,
            }
            let (state, stage) = (TaskState::Installing, Some(stage));
            Ok(Report::Changed(TaskUpdate { state, reason: None, stage, not_before: None, error: None, attempt_over: false }))
        }
    }
}

/// The task is waiting, or over.
fn not_busy(task: &Task, status: Status, other_attempt: bool) -> Result<Report, Refusal> {
    let same_failure = matches!(status, Status::Failed(error) | Status::Skipped(error) if task.error == Some(error)) && !other_attempt;
    match (task.state, status) {
        (TaskState::Succeeded, Status::Succeeded) => Ok(Report::Nothing),
        _ if same_failure && task.attempts > 0 => Ok(Report::Nothing),
        // The server gave up waiting; the device knows better.
        (TaskState::Failed, Status::Succeeded) if task.error == Some(ErrorCode::Timeout) => Ok(succeeded()),
        // It was taken back on its way, or waits for another try: what is installed is installed.
        (state, Status::Succeeded) if state.is_waiting() && task.attempts > 0 => Ok(succeeded()),
        (TaskState::Canceled, _) => Err(Refusal::Canceled),
        (state, _) if state.is_over() => Err(Refusal::Over(state)),
        _ if task.reason == Some(Reason::Server(Wait::Paused)) => Err(Refusal::Paused),
        _ if other_attempt => Err(Refusal::OtherAttempt),
        _ => Err(Refusal::NotOrdered),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MaintenanceWindow, Phase};
    use super::*;
    use crate::DeviceId;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_795_000_000 + second, 0).unwrap()
    }

    fn run(state: DeploymentState) -> Run {
        Run {
            state,
            phase: Phase::Rollout,
            canary_ran: TimeDelta::zero(),
            judged_since: at(0),
            expires_at: at(100_000),
            version_code: 2,
            min_sdk: None,
        }
    }

    fn task(state: TaskState, stage: Option<Stage>, attempts: u32, error: Option<ErrorCode>) -> Task {
        Task { state, stage, attempts, error, ..Task::new(DeviceId(uuid::Uuid::nil()), false) }
    }

    fn told(task: &Task, status: Status) -> Result<Report, Refusal> {
        report(&Options::careful(10), &run(DeploymentState::Running), None, task, status, None, at(10))
    }

    fn becomes(report: Result<Report, Refusal>) -> (TaskState, Option<Timestamp>) {
        match report {
            Ok(Report::Changed(update)) => (update.state, update.not_before),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn words_go_forward_only() {
        let sending = task(TaskState::Sending, None, 1, None);
        assert_eq!(becomes(told(&sending, Status::At(Stage::Accepted))).0, TaskState::Installing);
        assert_eq!(becomes(told(&sending, Status::At(Stage::Downloading))).0, TaskState::Installing, "its first word was lost");
        let verifying = task(TaskState::Installing, Some(Stage::Verifying), 1, None);
        assert_eq!(told(&verifying, Status::At(Stage::Verifying)), Ok(Report::Nothing));
        assert_eq!(told(&verifying, Status::At(Stage::Downloading)), Err(Refusal::Backwards(Stage::Verifying)));
        assert_eq!(becomes(told(&verifying, Status::Succeeded)).0, TaskState::Succeeded);
        let done = task(TaskState::Succeeded, Some(Stage::Installing), 1, None);
        assert_eq!(told(&done, Status::Succeeded), Ok(Report::Nothing));
        for status in [Status::At(Stage::Installing), Status::Failed(ErrorCode::InstallFailed)] {
            assert_eq!(told(&done, status), Err(Refusal::Over(TaskState::Succeeded)));
        }
    }

    #[test]
    fn failures_are_tried_again_given_up_or_skipped() {
        let sending = |attempts| task(TaskState::Installing, Some(Stage::Accepted), attempts, None);
        assert_eq!(becomes(told(&sending(1), Status::Failed(ErrorCode::InstallFailed))), (TaskState::Queued, Some(at(70))));
        assert_eq!(becomes(told(&sending(2), Status::Failed(ErrorCode::InstallFailed))), (TaskState::Queued, Some(at(130))));
        assert_eq!(becomes(told(&sending(3), Status::Failed(ErrorCode::InstallFailed))).0, TaskState::Failed);
        assert_eq!(becomes(told(&sending(3), Status::Skipped(ErrorCode::LowBattery))).0, TaskState::Skipped);
        assert_eq!(becomes(told(&sending(1), Status::Failed(ErrorCode::SignerMismatch))).0, TaskState::Failed);
        // Repeated, since the answer was lost.
        let again = task(TaskState::Queued, None, 1, Some(ErrorCode::InstallFailed));
        assert_eq!(told(&again, Status::Failed(ErrorCode::InstallFailed)), Ok(Report::Nothing));
        assert_eq!(told(&again, Status::Failed(ErrorCode::DownloadFailed)), Err(Refusal::NotOrdered));
        assert_eq!(told(&task(TaskState::Queued, None, 0, None), Status::Succeeded), Err(Refusal::NotOrdered));
        // Given up by the server, done by the device.
        let timed_out = task(TaskState::Failed, None, 3, Some(ErrorCode::Timeout));
        assert_eq!(becomes(told(&timed_out, Status::Succeeded)).0, TaskState::Succeeded);
        assert_eq!(
            told(&task(TaskState::Failed, None, 3, Some(ErrorCode::InstallFailed)), Status::Succeeded),
            Err(Refusal::Over(TaskState::Failed))
        );
    }

    #[test]
    fn nothing_begins_once_the_gate_is_closed_and_what_began_may_end() {
        let night = Options { window: Some(MaintenanceWindow::parse("22:00", "05:00", "UTC").unwrap()), ..Options::careful(10) };
        let noon: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let sending = task(TaskState::Sending, None, 1, None);
        let installing = task(TaskState::Installing, Some(Stage::Accepted), 1, None);
        let accepted = |options: &Options, state, blocked, task: &Task| {
            report(options, &run(state), blocked, task, Status::At(Stage::Downloading), None, noon)
        };
        let options = Options::careful(10);
        let table = [
            (accepted(&options, DeploymentState::Paused, None, &sending), Refusal::Paused),
            (accepted(&options, DeploymentState::Canceled, None, &sending), Refusal::Canceled),
            (accepted(&options, DeploymentState::Running, Some(Blocked::KillSwitch), &sending), Refusal::SwitchedOff),
            (accepted(&options, DeploymentState::Running, Some(Blocked::FlagOff), &sending), Refusal::SwitchedOff),
            (accepted(&night, DeploymentState::Running, None, &sending), Refusal::OutsideWindow),
        ];
        for (answer, refusal) in table {
            assert_eq!(answer, Err(refusal));
        }
        for state in [DeploymentState::Paused, DeploymentState::Canceled] {
            assert_eq!(becomes(accepted(&options, state, Some(Blocked::KillSwitch), &installing)).0, TaskState::Installing);
        }
        let failed =
            report(&options, &run(DeploymentState::Canceled), None, &installing, Status::Failed(ErrorCode::InstallFailed), None, noon);
        assert_eq!(becomes(failed).0, TaskState::Failed, "no other try after it was called off");
    }

    proptest! {
        /// Whatever a device says in whatever order: it is never let through for another attempt, a task that is over
        /// stays over unless the server itself had given up, and the same word twice changes nothing more.
        #[test]
        fn a_task_never_goes_back(words in prop::collection::vec((0_usize..8, prop::option::of(1_u32..4)), 1..20)) {
            let options = Options::careful(10);
            let mut task = task(TaskState::Sending, None, 2, None);
            for (word, attempt) in words {
                let status = [
                    Status::At(Stage::Accepted), Status::At(Stage::Downloading), Status::At(Stage::Verifying), Status::At(Stage::Installing),
                    Status::Succeeded, Status::Failed(ErrorCode::InstallFailed), Status::Skipped(ErrorCode::LowBattery),
                    Status::Failed(ErrorCode::SignerMismatch),
                ][word];
                let before = task.clone();
                if let Ok(Report::Changed(update)) = report(&options, &run(DeploymentState::Running), None, &task, status, attempt, at(5)) {
                    prop_assert!(!before.state.is_over());
                    if let Status::At(_) = status {
                        prop_assert!(before.state.is_busy() && attempt.is_none_or(|attempt| attempt == 2));
                        prop_assert!(update.stage.map(|stage| stage as u8) > before.stage.map(|stage| stage as u8) || before.stage.is_none());
                    }
                    (task.state, task.stage, task.error) = (update.state, update.stage, update.error);
                    task.not_before = update.not_before;
                    let again = report(&options, &run(DeploymentState::Running), None, &task, status, attempt, at(5));
                    prop_assert_eq!(again, Ok(Report::Nothing));
                }
            }
        }
    }
}
