//! Effect of a device's report on its task: the only place where an installation is permitted.
//!
//! ```text
//! sending    --accepted..installing, if permitted----------> installing      (permitted: running, not blocked, window open)
//! installing --a later stage of the same attempt-----------> installing
//! sending | installing --succeeded-----------------------> confirming, until a heartbeat shows the version
//!                      --failed | skipped----------------> retried later | failed | skipped
//! ```
//! A device installs only after its `accepted` was answered with 200, so once a pause is committed nothing begins
//! any more, on whichever path the command is still under way. A repeated report is fine; a step back is refused.

use chrono::TimeDelta;

use super::{BlockReason, DeploymentState, ErrorCode, OnUnmet, Options, Reason, Run, Stage, Task, TaskReason, TaskState};
use crate::text::{bounded, fit, fit_line, line};
use crate::{DeploymentId, DeviceId, Invalid, Timestamp};

/// Progress of a task as its device reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskStatus {
    /// In progress, at this stage.
    InProgress(Stage),
    /// Installed.
    Succeeded,
    /// The installation failed.
    Failed(ErrorCode),
    /// The device did not begin, because a constraint was not met.
    Skipped(ErrorCode),
}

/// Reason for refusing a device's report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The deployment is paused.
    #[error("the deployment is paused; do not install")]
    Paused,
    /// The deployment or the task was canceled.
    #[error("the deployment is canceled for this device; do not install")]
    Canceled,
    /// Deployments are disabled by a flag.
    #[error("deployments are disabled; do not install")]
    SwitchedOff,
    /// The maintenance window is closed.
    #[error("the maintenance window is closed; do not install")]
    OutsideWindow,
    /// No command to install was sent, or it was canceled.
    #[error("there is no such installation, or it was canceled; do not install")]
    NotOrdered,
    /// The report is about an attempt that has ended.
    #[error("attempt: another attempt is in progress; do not install")]
    OtherAttempt,
    /// The task has finished.
    #[error("this task has finished as {}", .0.as_str())]
    Finished(TaskState),
    /// The device has reported a later stage.
    #[error("status: a step backwards; {} is on record", .0.as_str())]
    Backwards(Stage),
}

impl Refusal {
    /// Whether the report contradicts what is on record, rather than coming when nothing may be installed or when it is over.
    pub fn is_contradiction(self) -> bool {
        matches!(self, Self::NotOrdered | Self::OtherAttempt | Self::Backwards(_))
    }
}

/// Consequence of a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The task is retried, not before this time.
    Retry(Timestamp),
    /// The task has failed.
    Failed,
    /// The task could not begin, and is not retried.
    Skipped,
}

impl AttemptEnd {
    /// Consequence of an attempt that failed with `error` while the deployment was in `state`.
    pub fn of(options: &Options, state: DeploymentState, attempts: u32, error: ErrorCode, now: Timestamp) -> Self {
        // Android did not let the agent try: that says nothing about the app, and another try would end the same.
        if error == ErrorCode::NotPermitted {
            return Self::Skipped;
        }
        if error.is_permanent() {
            return Self::Failed;
        }
        if error.is_requirement() && options.on_unmet == OnUnmet::Skip {
            return Self::Skipped;
        }
        // Canceled meanwhile: there is no retry.
        if attempts < options.attempts_max() && state != DeploymentState::Canceled {
            return Self::Retry(now + TimeDelta::seconds(options.backoff_s(attempts).into()));
        }
        if error.is_constraint() { Self::Skipped } else { Self::Failed }
    }
}

/// New values of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskUpdate {
    /// State of the task.
    pub state: TaskState,
    /// Reason of the state.
    pub reason: Option<Reason>,
    /// Stage of the device.
    pub stage: Option<Stage>,
    /// Earliest start.
    pub not_before: Option<Timestamp>,
    /// Error of the attempt.
    pub error: Option<ErrorCode>,
    /// Whether the attempt has ended.
    pub attempt_over: bool,
}

/// Effect of a device's report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportEffect {
    /// None: the report repeats what is stored.
    Nothing,
    /// The task changes.
    Changed(TaskUpdate),
}

fn check_permitted(options: &Options, run: &Run, blocked: Option<BlockReason>, now: Timestamp) -> Result<(), Refusal> {
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

fn reported_success(state: TaskState) -> ReportEffect {
    let stage = Some(Stage::Installing);
    ReportEffect::Changed(TaskUpdate { state, reason: None, stage, not_before: None, error: None, attempt_over: true })
}

/// Decides about a device's report of its task; `attempt` is the attempt that the report names, if it names one.
///
/// # Errors
/// The report is refused; a device that gets this answer does not install.
pub fn apply_report(
    options: &Options,
    run: &Run,
    blocked: Option<BlockReason>,
    task: &Task,
    status: TaskStatus,
    attempt: Option<u32>,
    now: Timestamp,
) -> Result<ReportEffect, Refusal> {
    let other_attempt = attempt.is_some_and(|attempt| attempt != task.attempts);
    if !task.state.is_busy() {
        return not_busy(task, status, other_attempt);
    }
    if other_attempt && status != TaskStatus::Succeeded {
        return Err(Refusal::OtherAttempt);
    }
    match status {
        TaskStatus::Succeeded => Ok(reported_success(TaskState::Confirming)),
        TaskStatus::Failed(error) | TaskStatus::Skipped(error) => {
            let (state, not_before) = match AttemptEnd::of(options, run.state, task.attempts, error, now) {
                AttemptEnd::Retry(at) => (TaskState::Queued, Some(at)),
                AttemptEnd::Failed => (TaskState::Failed, None),
                AttemptEnd::Skipped => (TaskState::Skipped, None),
            };
            let reason = Some(Reason::Device(error));
            Ok(ReportEffect::Changed(TaskUpdate { state, reason, stage: None, not_before, error: Some(error), attempt_over: true }))
        }
        TaskStatus::InProgress(stage) => {
            match (task.state, task.stage) {
                (TaskState::Installing, Some(known)) if (stage as u8) < known as u8 => return Err(Refusal::Backwards(known)),
                (TaskState::Installing, Some(known)) if known == stage => return Ok(ReportEffect::Nothing),
                (TaskState::Installing, _) => {}
                _ => check_permitted(options, run, blocked, now)?,
            }
            let (state, stage) = (TaskState::Installing, Some(stage));
            Ok(ReportEffect::Changed(TaskUpdate { state, reason: None, stage, not_before: None, error: None, attempt_over: false }))
        }
    }
}

/// Decides about a report of a task that is waiting or has finished.
fn not_busy(task: &Task, status: TaskStatus, other_attempt: bool) -> Result<ReportEffect, Refusal> {
    let same_failure =
        matches!(status, TaskStatus::Failed(error) | TaskStatus::Skipped(error) if task.error == Some(error)) && !other_attempt;
    match (task.state, status) {
        (TaskState::Confirming | TaskState::Succeeded, TaskStatus::Succeeded) => Ok(ReportEffect::Nothing),
        (TaskState::Confirming, _) => Err(Refusal::Finished(TaskState::Succeeded)),
        _ if same_failure && task.attempts > 0 => Ok(ReportEffect::Nothing),
        // The server gave up waiting; the device knows better. Its deployment may have finished: nobody would confirm it.
        (TaskState::Failed, TaskStatus::Succeeded) if task.error == Some(ErrorCode::Timeout) => Ok(reported_success(TaskState::Succeeded)),
        // Its command was canceled on the way, or it waits for a retry: the device has installed all the same.
        (state, TaskStatus::Succeeded) if state.is_waiting() && task.attempts > 0 => Ok(reported_success(TaskState::Confirming)),
        (TaskState::Canceled, _) => Err(Refusal::Canceled),
        (state, _) if state.is_finished() => Err(Refusal::Finished(state)),
        _ if task.reason == Some(Reason::Server(TaskReason::Paused)) => Err(Refusal::Paused),
        _ if other_attempt => Err(Refusal::OtherAttempt),
        _ => Err(Refusal::NotOrdered),
    }
}

/// Longest message of a device, in characters.
const MESSAGE_MAX_CHARS: usize = 1_000;
/// Longest version name, in characters.
const VERSION_MAX_CHARS: usize = 200;

/// A device's report of the progress of its task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskReport {
    /// The deployment.
    pub deployment: DeploymentId,
    /// The device.
    pub device: DeviceId,
    /// Reported status.
    pub status: TaskStatus,
    /// Number of the attempt, if the device names it.
    pub attempt: Option<u32>,
    /// Downloaded part of the file, percent.
    pub progress_pct: Option<i16>,
    /// Message for display.
    pub message: Option<String>,
    /// Version that is installed now.
    pub installed_version: Option<String>,
}

impl TaskReport {
    /// Fits the texts to their limits, so that they do not cost the report. Names the fields that were changed.
    pub fn fit(&mut self) -> Vec<&'static str> {
        let message = self.message.as_mut().is_some_and(|text| fit(text, MESSAGE_MAX_CHARS)).then_some("message");
        let version = self.installed_version.as_mut().is_some_and(|text| fit_line(text, VERSION_MAX_CHARS)).then_some("installed_version");
        message.into_iter().chain(version).collect()
    }

    /// Checks the lengths of what people read.
    ///
    /// # Errors
    /// Names the field.
    pub fn checked(&self) -> Result<(), Invalid> {
        self.message.as_ref().map_or(Ok(()), |text| bounded("message", text, MESSAGE_MAX_CHARS))?;
        self.installed_version.as_ref().map_or(Ok(()), |text| line("installed_version", text, VERSION_MAX_CHARS))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MaintenanceWindow, Phase};
    use super::*;
    use crate::DeviceId;
    use proptest::prelude::*;
    use std::cell::Cell;

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
            target_sdk: None,
            native_abis: crate::abi::AbiSet::default(),
        }
    }

    fn task(state: TaskState, stage: Option<Stage>, attempts: u32, error: Option<ErrorCode>) -> Task {
        Task { state, stage, attempts, error, ..Task::new(DeviceId(uuid::Uuid::nil()), false) }
    }

    fn reported(task: &Task, status: TaskStatus) -> Result<ReportEffect, Refusal> {
        apply_report(&Options::conservative(10), &run(DeploymentState::Running), None, task, status, None, at(10))
    }

    fn becomes(report: Result<ReportEffect, Refusal>) -> (TaskState, Option<Timestamp>) {
        match report {
            Ok(ReportEffect::Changed(update)) => (update.state, update.not_before),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_device_that_may_not_install_is_skipped_at_once_and_says_nothing_of_the_app() {
        let installing = task(TaskState::Installing, Some(Stage::Installing), 1, None);
        for status in [TaskStatus::Failed(ErrorCode::NotPermitted), TaskStatus::Skipped(ErrorCode::NotPermitted)] {
            assert_eq!(becomes(reported(&installing, status)), (TaskState::Skipped, None), "{status:?}");
        }
        let skipped = task(TaskState::Skipped, None, 1, Some(ErrorCode::NotPermitted));
        assert_eq!(reported(&skipped, TaskStatus::Failed(ErrorCode::NotPermitted)), Ok(ReportEffect::Nothing), "told twice");
        assert_eq!(super::super::judge::Tally::of([skipped].iter()).counted(), 0, "it counts for no gate");
        let mismatch = TaskStatus::Failed(ErrorCode::SignerMismatch);
        assert_eq!(becomes(reported(&installing, mismatch)).0, TaskState::Failed, "of the app");
    }

    #[test]
    fn words_go_forward_only() {
        let sending = task(TaskState::Sending, None, 1, None);
        assert_eq!(becomes(reported(&sending, TaskStatus::InProgress(Stage::Accepted))).0, TaskState::Installing);
        assert_eq!(
            becomes(reported(&sending, TaskStatus::InProgress(Stage::Downloading))).0,
            TaskState::Installing,
            "its first word was lost"
        );
        let verifying = task(TaskState::Installing, Some(Stage::Verifying), 1, None);
        assert_eq!(reported(&verifying, TaskStatus::InProgress(Stage::Verifying)), Ok(ReportEffect::Nothing));
        assert_eq!(reported(&verifying, TaskStatus::InProgress(Stage::Downloading)), Err(Refusal::Backwards(Stage::Verifying)));
        assert_eq!(becomes(reported(&verifying, TaskStatus::Succeeded)).0, TaskState::Confirming);
        for state in [TaskState::Confirming, TaskState::Succeeded] {
            let done = task(state, Some(Stage::Installing), 1, None);
            assert_eq!(reported(&done, TaskStatus::Succeeded), Ok(ReportEffect::Nothing));
            for status in [TaskStatus::InProgress(Stage::Installing), TaskStatus::Failed(ErrorCode::InstallFailed)] {
                assert_eq!(reported(&done, status), Err(Refusal::Finished(TaskState::Succeeded)));
            }
        }
    }

    #[test]
    fn failures_are_tried_again_given_up_or_skipped() {
        let sending = |attempts| task(TaskState::Installing, Some(Stage::Accepted), attempts, None);
        assert_eq!(becomes(reported(&sending(1), TaskStatus::Failed(ErrorCode::InstallFailed))), (TaskState::Queued, Some(at(70))));
        assert_eq!(becomes(reported(&sending(2), TaskStatus::Failed(ErrorCode::InstallFailed))), (TaskState::Queued, Some(at(130))));
        assert_eq!(becomes(reported(&sending(3), TaskStatus::Failed(ErrorCode::InstallFailed))).0, TaskState::Failed);
        assert_eq!(becomes(reported(&sending(3), TaskStatus::Skipped(ErrorCode::LowBattery))).0, TaskState::Skipped);
        assert_eq!(becomes(reported(&sending(1), TaskStatus::Failed(ErrorCode::SignerMismatch))).0, TaskState::Failed);
        // Skipped at once where that is asked for; a call ends by itself.
        let options = Options { on_unmet: OnUnmet::Skip, ..Options::conservative(10) };
        for (error, state) in [(ErrorCode::LowBattery, TaskState::Skipped), (ErrorCode::InCall, TaskState::Queued)] {
            let report = TaskStatus::Skipped(error);
            let skipped = apply_report(&options, &run(DeploymentState::Running), None, &sending(1), report, None, at(10));
            assert_eq!(becomes(skipped).0, state, "{error:?}");
        }
        // Repeated, since the answer was lost.
        let again = task(TaskState::Queued, None, 1, Some(ErrorCode::InstallFailed));
        assert_eq!(reported(&again, TaskStatus::Failed(ErrorCode::InstallFailed)), Ok(ReportEffect::Nothing));
        assert_eq!(reported(&again, TaskStatus::Failed(ErrorCode::DownloadFailed)), Err(Refusal::NotOrdered));
        assert_eq!(reported(&task(TaskState::Queued, None, 0, None), TaskStatus::Succeeded), Err(Refusal::NotOrdered));
        // Given up by the server, done by the device.
        let timed_out = task(TaskState::Failed, None, 3, Some(ErrorCode::Timeout));
        assert_eq!(becomes(reported(&timed_out, TaskStatus::Succeeded)).0, TaskState::Succeeded);
        assert_eq!(
            reported(&task(TaskState::Failed, None, 3, Some(ErrorCode::InstallFailed)), TaskStatus::Succeeded),
            Err(Refusal::Finished(TaskState::Failed))
        );
    }

    #[test]
    fn nothing_begins_once_the_gate_is_closed_and_what_began_may_end() {
        let night = Options { window: Some(MaintenanceWindow::parse("22:00", "05:00", "UTC").unwrap()), ..Options::conservative(10) };
        let noon: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let sending = task(TaskState::Sending, None, 1, None);
        let installing = task(TaskState::Installing, Some(Stage::Accepted), 1, None);
        let accepted = |options: &Options, state, blocked, task: &Task| {
            apply_report(options, &run(state), blocked, task, TaskStatus::InProgress(Stage::Downloading), None, noon)
        };
        let options = Options::conservative(10);
        let table = [
            (accepted(&options, DeploymentState::Paused, None, &sending), Refusal::Paused),
            (accepted(&options, DeploymentState::Canceled, None, &sending), Refusal::Canceled),
            (accepted(&options, DeploymentState::Running, Some(BlockReason::KillSwitch), &sending), Refusal::SwitchedOff),
            (accepted(&options, DeploymentState::Running, Some(BlockReason::FlagOff), &sending), Refusal::SwitchedOff),
            (accepted(&night, DeploymentState::Running, None, &sending), Refusal::OutsideWindow),
        ];
        for (answer, refusal) in table {
            assert_eq!(answer, Err(refusal));
        }
        for state in [DeploymentState::Paused, DeploymentState::Canceled] {
            assert_eq!(becomes(accepted(&options, state, Some(BlockReason::KillSwitch), &installing)).0, TaskState::Installing);
        }
        let failed = apply_report(
            &options,
            &run(DeploymentState::Canceled),
            None,
            &installing,
            TaskStatus::Failed(ErrorCode::InstallFailed),
            None,
            noon,
        );
        assert_eq!(becomes(failed).0, TaskState::Failed, "no other try after it was called off");
    }

    /// Whatever a device says in whatever order: it is never let through for another attempt, a task that is over
    /// stays over unless the server itself had given up, and the same word twice changes nothing more.
    #[test]
    fn a_task_never_goes_back() {
        let changes = Cell::new(0);
        proptest!(|(words in prop::collection::vec((0_usize..8, prop::option::of(1_u32..4)), 1..20))| {
            let options = Options::conservative(10);
            let mut task = task(TaskState::Sending, None, 2, None);
            for (word, attempt) in words {
                let status = [
                    TaskStatus::InProgress(Stage::Accepted), TaskStatus::InProgress(Stage::Downloading), TaskStatus::InProgress(Stage::Verifying), TaskStatus::InProgress(Stage::Installing),
                    TaskStatus::Succeeded, TaskStatus::Failed(ErrorCode::InstallFailed), TaskStatus::Skipped(ErrorCode::LowBattery),
                    TaskStatus::Failed(ErrorCode::SignerMismatch),
                ][word];
                let before = task.clone();
                if let Ok(ReportEffect::Changed(update)) = apply_report(&options, &run(DeploymentState::Running), None, &task, status, attempt, at(5)) {
                    changes.set(changes.get() + 1);
                    prop_assert!(!before.state.is_finished());
                    if let TaskStatus::InProgress(_) = status {
                        prop_assert!(before.state.is_busy() && attempt.is_none_or(|attempt| attempt == 2));
                        prop_assert!(update.stage.map(|stage| stage as u8) > before.stage.map(|stage| stage as u8) || before.stage.is_none());
                    }
                    (task.state, task.stage, task.error) = (update.state, update.stage, update.error);
                    task.not_before = update.not_before;
                    let again = apply_report(&options, &run(DeploymentState::Running), None, &task, status, attempt, at(5));
                    prop_assert_eq!(again, Ok(ReportEffect::Nothing));
                }
            }
        });
        assert!(changes.get() > 0, "no report changed anything");
    }
}
