//! Widgets and texts of deployments: states, reasons, progress.

use std::time::Duration;

use dioxus::prelude::*;
use domain::deployment::{
    BlockReason, DeploymentEventKind, DeploymentState, ErrorCode, PauseReason, Reason, Stage, TaskEnding, TaskReason, TaskState,
};
use serde_json::Value;
use services::DeploymentDetails;

use crate::filter_text::matching_text;
use crate::format;

/// Poll interval of unfinished deployments.
const OPEN_POLL_INTERVAL: Duration = Duration::from_millis(450);
/// Poll interval of finished deployments.
const FINISHED_POLL_INTERVAL: Duration = Duration::from_secs(3);

/// Interval until the next poll.
pub(crate) fn poll_interval(any_open: bool) -> Duration {
    if any_open { OPEN_POLL_INTERVAL } else { FINISHED_POLL_INTERVAL }
}

/// Count of devices as text.
pub(crate) fn devices(count: usize) -> String {
    format::count(count, "device", "devices")
}

/// Converts a signed count of the database.
pub(crate) fn unsigned(count: i64) -> u64 {
    count.max(0).unsigned_abs()
}

/// Text of the state of a deployment.
pub(crate) fn deployment_state_text(state: DeploymentState) -> &'static str {
    match state {
        DeploymentState::Running => "Running",
        DeploymentState::Paused => "Paused",
        DeploymentState::Canceled => "Canceled",
        DeploymentState::Finished => "Finished",
    }
}

/// Text of a deployment's state, with its outcome, and the colour.
fn outcome(state: DeploymentState, problems: &[TaskEnding]) -> (&'static str, &'static str) {
    match state {
        DeploymentState::Finished if !problems.is_empty() => ("Finished with problems", "warn"),
        DeploymentState::Finished => (deployment_state_text(state), "good"),
        DeploymentState::Running => (deployment_state_text(state), "info"),
        DeploymentState::Paused => (deployment_state_text(state), "warn"),
        DeploymentState::Canceled => (deployment_state_text(state), ""),
    }
}

/// Badge of the state of a deployment.
pub(crate) fn deployment_badge(details: &DeploymentDetails) -> Element {
    let (text, tone) = outcome(details.deployment.state, &details.problems);
    rsx! { span { class: "badge {tone}", "data-testid": "deployment-state", "{text}" } }
}

/// Problems of a finished deployment in words, the most frequent first: "199 skipped: device offline".
pub(crate) fn problem_texts(problems: &[TaskEnding]) -> Vec<String> {
    let text = |problem: &TaskEnding| {
        let state = task_state_text(problem.state).to_lowercase();
        match problem.reason.map(reason_text).filter(|reason| *reason != state) {
            Some(reason) => format!("{} {state}: {reason}", format::number(problem.tasks)),
            None => format!("{} {state}", format::number(problem.tasks)),
        }
    };
    problems.iter().map(text).collect()
}

/// Text of the reason of a pause.
pub(crate) fn pause_text(reason: PauseReason) -> &'static str {
    match reason {
        PauseReason::Person => "Paused manually. No new installs start until the deployment is resumed.",
        PauseReason::CanaryFailed => "Auto-paused: too many canary devices failed. No other device was updated.",
        PauseReason::CanaryTimeout => {
            "Auto-paused: too few canary devices completed within the evaluation timeout. No other device was updated."
        }
        PauseReason::FailureRate => "Auto-paused: the failure rate is above its threshold.",
    }
}

/// Text of the reason why all deployments are blocked.
pub(crate) fn blocked_text(blocked: BlockReason) -> &'static str {
    match blocked {
        BlockReason::FlagOff => "Deployments are disabled on this server. No new installs start until they are enabled.",
        BlockReason::KillSwitch => "Emergency stop: all deployments are stopped. No new installs start until an admin resumes them.",
    }
}

/// Text of the state of a task.
pub(crate) fn task_state_text(state: TaskState) -> &'static str {
    match state {
        TaskState::Queued => "Waiting",
        TaskState::WaitingWindow => "Outside window",
        TaskState::Throttled => "Queued",
        TaskState::Sending => "Sending",
        TaskState::Installing => "Installing",
        TaskState::Confirming => "Confirming",
        TaskState::Succeeded => "Installed",
        TaskState::Failed => "Failed",
        TaskState::Skipped => "Skipped",
        TaskState::Canceled => "Canceled",
    }
}

/// Badge of the state of a task.
pub(crate) fn task_badge(state: TaskState) -> Element {
    let tone = match state {
        TaskState::Sending | TaskState::Installing | TaskState::Confirming => "info",
        TaskState::Succeeded => "good",
        TaskState::Failed => "bad",
        TaskState::Skipped => "warn",
        _ => "",
    };
    rsx! { span { class: "badge {tone}", "data-testid": "task-state", {task_state_text(state)} } }
}

/// Text of the stage of an installation.
pub(crate) fn stage_text(stage: Stage) -> &'static str {
    match stage {
        Stage::Accepted => "accepted",
        Stage::Downloading => "downloading",
        Stage::Verifying => "verifying",
        Stage::Installing => "installing",
    }
}

/// Text of the reason of a task state.
pub(crate) fn reason_text(reason: Reason) -> &'static str {
    match reason {
        Reason::Server(wait) => task_reason_text(wait),
        Reason::Device(code) => error_text(code),
    }
}

fn task_reason_text(wait: TaskReason) -> &'static str {
    match wait {
        TaskReason::Canary => "canary pending",
        TaskReason::Offline => "device offline",
        TaskReason::StaleHeartbeat => "heartbeat too old",
        TaskReason::NotDozeExempt => "not exempt from Doze",
        TaskReason::IdentityConflict => "identity conflict: two devices report as this one",
        TaskReason::Backoff => "waiting to retry",
        TaskReason::NoAnswer => "no acknowledgement",
        TaskReason::OtherDeployment => "queued behind another deployment",
        TaskReason::Rate => "rate limit",
        TaskReason::Concurrency => "concurrency limit",
        TaskReason::Paused => "paused before acceptance",
        TaskReason::AlreadyInstalled => "this or a newer version is installed",
        TaskReason::SeenInHeartbeat => "version seen in a heartbeat, without a report",
        TaskReason::Confirmed => "version confirmed by heartbeat",
        TaskReason::NotInHeartbeat => "reported as installed; heartbeats do not name the app",
        TaskReason::DeviceDeleted => "device deleted",
        TaskReason::SdkTooOld => "Android version too old for the app",
        TaskReason::TargetSdkTooOld => "app made for an Android too old for the device",
        TaskReason::NoMatchingAbi => "app has no code for the device's processor",
        TaskReason::Deadline => "deadline passed",
        TaskReason::Superseded => "superseded by a newer deployment",
        TaskReason::Canceled => "canceled",
    }
}

fn error_text(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::ChecksumMismatch => "checksum mismatch",
        ErrorCode::SignerMismatch => "signer mismatch",
        ErrorCode::NotPermitted => "installation not permitted",
        ErrorCode::LowBattery => "battery too low",
        ErrorCode::NoWifi => "not on Wi-Fi",
        ErrorCode::Metered => "metered network",
        ErrorCode::NotCharging => "not charging",
        ErrorCode::OutsideWindow => "outside the maintenance window",
        ErrorCode::LowStorage => "insufficient storage",
        ErrorCode::InCall => "call in progress",
        ErrorCode::DownloadFailed => "download failed",
        ErrorCode::InstallFailed => "installation rejected by Android",
        ErrorCode::DowngradeRefused => "downgrade rejected: a newer version is installed",
        ErrorCode::Timeout => "timed out",
        ErrorCode::Reverted => "reverted: a heartbeat shows another version",
        ErrorCode::Unconfirmed => "not confirmed by a heartbeat in time",
    }
}

/// Text of a reason, with the values behind it where they are known: "battery too low: battery 10 % < 40 %".
pub(crate) fn reason_detail(reason: Reason, detail: Option<&str>) -> String {
    let text = reason_text(reason);
    detail.map_or_else(|| text.to_owned(), |detail| format!("{text}: {detail}"))
}

/// Text of an event by name; the name itself for an event of a later build.
pub(crate) fn event_text(kind: &str) -> String {
    // One of a later build has a name and no words yet.
    let Some(known) = DeploymentEventKind::parse(kind) else { return kind.replace('_', " ") };
    let text = match known {
        DeploymentEventKind::Created => "Created",
        DeploymentEventKind::Paused => "Paused",
        DeploymentEventKind::Resumed => "Resumed",
        DeploymentEventKind::Canceled => "Canceled",
        DeploymentEventKind::Superseded => "Superseded by a newer deployment",
        DeploymentEventKind::TaskFailed => "Installation failed",
        DeploymentEventKind::TaskSkipped => "task skipped",
        DeploymentEventKind::TaskRetried => "task retried",
        DeploymentEventKind::TaskReverted => "Version reverted after installation",
        DeploymentEventKind::GateOpened => "Canary passed, rollout started",
        DeploymentEventKind::Finished => "Finished",
    };
    text.to_owned()
}

/// Text of the detail of an event, with reasons spelled out.
pub(crate) fn event_detail(detail: &str) -> String {
    let pause = PauseReason::parse(detail).map(pause_text);
    pause.or_else(|| Reason::parse(detail).map(reason_text)).map_or_else(|| detail.to_owned(), str::to_owned)
}

/// Text of the target of a deployment.
pub(crate) fn target_text(target: &str) -> String {
    let Ok(Value::Object(target)) = serde_json::from_str(target) else { return String::new() };
    let names = |value: &Value| {
        let names: Vec<_> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        names.join(", ")
    };
    if target.len() > 1 {
        // Of a selection: named devices, and what they have to match.
        let one = |(kind, value): (&String, &Value)| target_text(&serde_json::json!({ kind: value }).to_string());
        return target.iter().map(one).collect::<Vec<_>>().join(" and ");
    }
    match target.iter().next() {
        Some((kind, value)) => match kind.as_str() {
            "fleet" => "all devices".into(),
            "ids" => format!("{} selected", devices(value.as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX))),
            "tags" => format!("devices tagged {}", names(value)),
            "groups" => format!("devices in {}", names(value)),
            _ => matching_text(value),
        },
        None => String::new(),
    }
}

/// Number of unfinished tasks.
pub(crate) fn open(details: &DeploymentDetails) -> u64 {
    counted(details).filter(|(state, _)| !state.is_finished()).map(|(_, count)| count).sum()
}

/// Number of tasks by state, without empty states.
pub(crate) fn counted(details: &DeploymentDetails) -> impl Iterator<Item = (TaskState, u64)> {
    TaskState::ALL.iter().map(|state| (*state, unsigned(details.count(*state)))).filter(|(_, count)| *count > 0)
}

/// Number of devices that have the version, of all, as text: "42 of 200 installed, 21 %".
pub(crate) fn installed_text(details: &DeploymentDetails) -> String {
    let all: u64 = counted(details).map(|(_, count)| count).sum();
    let installed = unsigned(details.count(TaskState::Succeeded));
    format!("{} of {} installed, {}", format::number(installed), format::number(all), format::share(installed, all))
}

/// Number of tasks and percentage by state, without empty states; the percentages add up.
fn with_shares(counted: Vec<(TaskState, u64)>) -> Vec<(TaskState, u64, String)> {
    let shares = format::shares(&counted.iter().map(|(_, count)| *count).collect::<Vec<_>>());
    counted.into_iter().zip(shares).map(|((state, count), share)| (state, count, share)).collect()
}

/// Progress bar of a deployment, with a segment per state.
pub(crate) fn deployment_bar(details: &DeploymentDetails) -> Element {
    let all: u64 = counted(details).map(|(_, count)| count).sum();
    let mut parts: Vec<_> = counted(details).map(|(state, count)| (state, count as f64 * 100.0 / all.max(1) as f64)).collect();
    // In reading order: finished, in progress, waiting.
    parts.sort_by_key(|(state, _)| (!state.is_finished(), !state.is_busy()));
    let said: Vec<_> =
        counted(details).map(|(state, count)| format!("{} {}", format::number(count), task_state_text(state).to_lowercase())).collect();
    let said = if said.is_empty() { "no devices".to_owned() } else { said.join(", ") };
    rsx! {
        div { class: "batch-bar", role: "img", aria_label: "{said}",
            for (state, width) in parts {
                span { key: "{state.as_str()}", class: "task-{state.as_str()}", style: "width:{width:.3}%" }
            }
        }
    }
}

/// Counts of a deployment as text.
pub(crate) fn deployment_counts(details: &DeploymentDetails) -> Element {
    rsx! {
        span { class: "batch-counts",
            for (state, count, share) in with_shares(counted(details).collect()) {
                span { key: "{state.as_str()}", "data-state": state.as_str(), span { class: "state-mark task-{state.as_str()}", aria_hidden: "true" } "{format::number(count)} {task_state_text(state).to_lowercase()}, {share}" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_reads_as_words() {
        assert_eq!(target_text(r#"{"fleet":true}"#), "all devices");
        assert_eq!(target_text(r#"{"ids":1200}"#), "1,200 devices selected");
        assert_eq!(target_text(r#"{"tags":["till","ground floor"]}"#), "devices tagged till, ground floor");
        assert_eq!(target_text(r#"{"filter":{"battery_below":"20","tag":"till"}}"#), "all devices with battery below 20 %, tag till");
        assert_eq!(target_text(r#"{"ids":2,"tags":["till"]}"#), "2 devices selected and devices tagged till");
        assert_eq!([target_text("{}"), target_text("nonsense")], ["", ""]);
    }

    #[test]
    fn outcomes_are_told_apart_in_word_colour_and_percentage() {
        let parts =
            with_shares(vec![(TaskState::Succeeded, 42), (TaskState::Failed, 1), (TaskState::Skipped, 1), (TaskState::Canceled, 156)]);
        let texts: Vec<_> = parts.iter().map(|(state, count, share)| format!("{count} {} {share}", task_state_text(*state))).collect();
        assert_eq!(texts, ["42 Installed 21 %", "1 Failed 1 %", "1 Skipped <1 %", "156 Canceled 78 %"]);
        let skipped = TaskEnding { state: TaskState::Skipped, reason: Some(TaskReason::SdkTooOld.into()), tasks: 1199 };
        let canceled = TaskEnding { state: TaskState::Canceled, reason: Some(TaskReason::Canceled.into()), tasks: 1 };
        assert_eq!(outcome(DeploymentState::Finished, &[]), ("Finished", "good"));
        assert_eq!(outcome(DeploymentState::Finished, &[skipped]), ("Finished with problems", "warn"));
        assert_eq!(outcome(DeploymentState::Canceled, &[canceled]), ("Canceled", ""));
        assert_eq!(problem_texts(&[skipped, canceled]), ["1,199 skipped: Android version too old for the app", "1 canceled"]);
    }

    #[test]
    fn reasons_and_events_have_words_of_their_own() {
        let waits = TaskReason::ALL.iter().copied().map(Reason::from);
        let mut words: Vec<_> = waits.chain(ErrorCode::ALL.iter().copied().map(Reason::from)).map(reason_text).collect();
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count, "two reasons read the same");
        assert_eq!(event_detail("canary_failed"), pause_text(PauseReason::CanaryFailed));
        assert_eq!(event_detail("low_storage"), "insufficient storage");
        assert_eq!([event_detail("till-1"), event_text("of_later")], ["till-1", "of later"]);
    }
}
