//! Ends of tasks and attempts that need no start: what heartbeats show, silence, the deadline.

use super::super::confirmation::{Confirmation, confirmation};
use super::super::readiness::{DeviceSnapshot, InstalledVersion, unmet};
use super::super::window::{MaintenanceWindow, time_text};
use super::super::{DeploymentState, ErrorCode, Reason, Task, TaskReason, TaskState};
use super::{PlanInput, TaskChange};
use crate::Timestamp;

/// Change of a task that needs no start, because it has finished, or its attempt has; and the values behind its reason.
pub(super) fn settle(input: &PlanInput<'_>, task: &Task, snapshot: Option<&DeviceSnapshot>) -> Option<(TaskChange, Option<String>)> {
    let plain = |change| Some((change, None));
    let over = |state, reason: TaskReason| plain(TaskChange::Finish(state, reason.into()));
    let PlanInput { run, now, .. } = input;
    if task.state == TaskState::Succeeded {
        return snapshot.and_then(|snapshot| reverted(input, task, snapshot));
    }
    if task.state.is_finished() {
        return None;
    }
    if task.state == TaskState::Confirming {
        return confirm(input, task, snapshot);
    }
    if let Some(snapshot) = snapshot {
        if let Some(code) = snapshot.installed.code().filter(|installed| *installed >= run.version_code) {
            if task.attempts == 0 {
                let detail = format!("version code {code}, {} to install", run.version_code);
                return Some((TaskChange::Finish(TaskState::Skipped, TaskReason::AlreadyInstalled.into()), Some(detail)));
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
            let silent = *now >= last + input.silent_within;
            silent.then(|| (attempt_over(input, task, ErrorCode::Timeout, ErrorCode::Timeout.into()), None))
        }
        _ if canceled => over(TaskState::Canceled, TaskReason::Canceled),
        TaskState::Sending if run.state == DeploymentState::Paused || input.blocked.is_some() => {
            plain(TaskChange::Retry(TaskReason::Paused.into(), None))
        }
        TaskState::Sending => {
            let late = task.started_at.is_none_or(|at| *now >= at + input.accept_within);
            late.then(|| (attempt_over(input, task, ErrorCode::Timeout, TaskReason::NoAnswer.into()), None))
        }
        _ if *now >= run.expires_at => Some(expired(input, snapshot)),
        _ => None,
    }
}

/// Change of a task whose device has reported success, as its heartbeats tell.
fn confirm(input: &PlanInput<'_>, task: &Task, snapshot: Option<&DeviceSnapshot>) -> Option<(TaskChange, Option<String>)> {
    let finish = |state, reason: Reason, detail| Some((TaskChange::Finish(state, reason), detail));
    match confirmation(task, input.run.version_code, snapshot, input.confirm_within, input.now) {
        Confirmation::Confirmed => finish(TaskState::Succeeded, TaskReason::Confirmed.into(), None),
        Confirmation::NotNamed => finish(TaskState::Succeeded, TaskReason::NotInHeartbeat.into(), None),
        Confirmation::Reverted(installed) => {
            finish(TaskState::Failed, ErrorCode::Reverted.into(), Some(contradiction(installed, input.run.version_code)))
        }
        Confirmation::Pending(_) if snapshot.is_some_and(|snapshot| snapshot.deleted) => {
            finish(TaskState::Skipped, TaskReason::DeviceDeleted.into(), None)
        }
        Confirmation::Pending(_) => None,
        Confirmation::Unconfirmed => {
            let last = snapshot.and_then(|snapshot| snapshot.heartbeat_at).map(time_text);
            let last = last.map_or_else(|| "no heartbeat".to_owned(), |at| format!("last heartbeat {at}"));
            let detail = format!("{last}, one within {} s of the report required", input.confirm_within.num_seconds());
            finish(TaskState::Failed, ErrorCode::Unconfirmed.into(), Some(detail))
        }
    }
}

/// Failure of a task that has succeeded, when a heartbeat shows soon after that its version is gone.
fn reverted(input: &PlanInput<'_>, task: &Task, snapshot: &DeviceSnapshot) -> Option<(TaskChange, Option<String>)> {
    match confirmation(task, input.run.version_code, Some(snapshot), input.confirm_within, input.now) {
        Confirmation::Reverted(installed) => {
            let detail = contradiction(installed, input.run.version_code);
            Some((TaskChange::Finish(TaskState::Failed, ErrorCode::Reverted.into()), Some(detail)))
        }
        _ => None,
    }
}

fn contradiction(installed: InstalledVersion, version_code: i64) -> String {
    match installed.code() {
        Some(code) => format!("heartbeat shows version code {code}, {version_code} was installed"),
        None => format!("heartbeat shows that the app is not installed, version code {version_code} was"),
    }
}

/// End of a task that still waits at the deadline: for what its device lacks, if it lacks something.
fn expired(input: &PlanInput<'_>, snapshot: Option<&DeviceSnapshot>) -> (TaskChange, Option<String>) {
    let skipped = |reason: Reason, detail| (TaskChange::Finish(TaskState::Skipped, reason), detail);
    if let Some(unmet) = unmet(input.options, &snapshot.copied().unwrap_or_default(), input.now).next() {
        return skipped(unmet.reason(), Some(unmet.to_string()));
    }
    match input.options.window.as_ref().filter(|window| !window.is_open(input.now)) {
        Some(window) => skipped(ErrorCode::OutsideWindow.into(), Some(outside(window, input.now))),
        None => skipped(TaskReason::Deadline.into(), None),
    }
}

pub(super) fn outside(window: &MaintenanceWindow, now: Timestamp) -> String {
    let when = if window.is_over(now) { "is over" } else { "is closed" };
    format!("maintenance window {window} {when}")
}

fn attempt_over(input: &PlanInput<'_>, task: &Task, error: ErrorCode, reason: Reason) -> TaskChange {
    TaskChange::after_failure(input.options, input.run.state, task.attempts, error, reason, input.now)
}
