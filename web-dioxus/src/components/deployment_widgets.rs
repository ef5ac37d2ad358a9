//! Widgets and texts of deployments: states, reasons, progress.

use std::time::Duration;

use actors::services::DeploymentDetails;
use dioxus::prelude::*;
use domain::deployment::{Blocked, DeploymentState, ErrorCode, PauseReason, Reason, Stage, TaskState, Wait};
use serde_json::Value;

use crate::format;

/// Poll interval of unfinished deployments.
const OPEN_REREAD: Duration = Duration::from_millis(450);
/// Poll interval of finished deployments.
const OVER_REREAD: Duration = Duration::from_secs(3);

/// Interval until the next poll.
pub(crate) fn poll_interval(any_open: bool) -> Duration {
    if any_open { OPEN_REREAD } else { OVER_REREAD }
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

/// Badge of the state of a deployment.
pub(crate) fn deployment_badge(state: DeploymentState) -> Element {
    let tone = match state {
        DeploymentState::Running => "info",
        DeploymentState::Paused => "warn",
        DeploymentState::Canceled => "",
        DeploymentState::Finished => "good",
    };
    rsx! { span { class: "badge {tone}", "data-testid": "deployment-state", {deployment_state_text(state)} } }
}

/// Text of the reason of a pause.
pub(crate) fn pause_text(reason: PauseReason) -> &'static str {
    match reason {
        PauseReason::Person => "Somebody paused it. Nothing starts until it is resumed.",
        PauseReason::CanaryFailed => "Too many of its first devices failed, so it paused by itself. The others were not touched.",
        PauseReason::CanaryTimeout => {
            "Too few of its first devices were done in time, so it paused by itself. The others were not touched."
        }
        PauseReason::FailureRate => "Too many devices failed, so it paused by itself.",
    }
}

/// Text of the reason why all deployments are blocked.
pub(crate) fn blocked_text(blocked: Blocked) -> &'static str {
    match blocked {
        Blocked::FlagOff => "Deployments are turned off on this server. Nothing starts until they are turned on.",
        Blocked::KillSwitch => "All deployments were stopped. Nothing starts until somebody lets them go on.",
    }
}

/// Text of the state of a task.
pub(crate) fn task_state_text(state: TaskState) -> &'static str {
    match state {
        TaskState::Queued => "Waiting",
        TaskState::WaitingWindow => "Window closed",
        TaskState::Throttled => "In line",
        TaskState::Sending => "Sending",
        TaskState::Installing => "Installing",
        TaskState::Succeeded => "Succeeded",
        TaskState::Failed => "Failed",
        TaskState::Skipped => "Skipped",
        TaskState::Canceled => "Canceled",
    }
}

/// Badge of the state of a task.
pub(crate) fn task_badge(state: TaskState) -> Element {
    let tone = match state {
        TaskState::Sending | TaskState::Installing => "info",
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
        Stage::Accepted => "taken",
        Stage::Downloading => "downloading",
        Stage::Verifying => "verifying the file",
        Stage::Installing => "installing",
    }
}

/// Text of the reason of a task state.
pub(crate) fn reason_text(reason: Reason) -> &'static str {
    match reason {
        Reason::Server(wait) => wait_text(wait),
        Reason::Device(code) => error_text(code),
    }
}

fn wait_text(wait: Wait) -> &'static str {
    match wait {
        Wait::Canary => "the first devices come first",
        Wait::Offline => "not heard from",
        Wait::StaleHeartbeat => "its last heartbeat is too old",
        Wait::NotDozeExempt => "Doze may put its agent to sleep",
        Wait::Backoff => "failed, is tried again later",
        Wait::NoAnswer => "has not said that it takes it",
        Wait::OtherDeployment => "another deployment has it",
        Wait::Rate => "enough started this minute",
        Wait::Concurrency => "enough are at it",
        Wait::Paused => "paused before it took it",
        Wait::AlreadyInstalled => "has this version or a newer one",
        Wait::SeenInHeartbeat => "its heartbeat shows the version",
        Wait::DeviceDeleted => "the device was deleted",
        Wait::SdkTooOld => "its Android is too old for the app",
        Wait::Deadline => "the deployment's time was over",
        Wait::Superseded => "a newer deployment took it over",
        Wait::Canceled => "called off",
    }
}

fn error_text(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::ChecksumMismatch => "the file that arrived is not the one that was announced",
        ErrorCode::SignerMismatch => "the file is signed by somebody else",
        ErrorCode::NotPermitted => "Android does not let the agent install",
        ErrorCode::LowBattery => "its battery is too low",
        ErrorCode::NoWifi => "it is not on Wi-Fi",
        ErrorCode::Metered => "its network is metered",
        ErrorCode::NotCharging => "it does not charge",
        ErrorCode::OutsideWindow => "the maintenance window is closed",
        ErrorCode::LowStorage => "too little free storage",
        ErrorCode::InCall => "somebody is in a call on it",
        ErrorCode::DownloadFailed => "the file could not be fetched",
        ErrorCode::InstallFailed => "Android refused the installation",
        ErrorCode::DowngradeRefused => "a newer version is installed, and Android does not go back",
        ErrorCode::Timeout => "it took too long",
    }
}

/// Text of an event by name; the name itself for an event of a later build.
pub(crate) fn event_text(kind: &str) -> String {
    let known = match kind {
        "created" => "Created",
        "paused" => "Paused",
        "resumed" => "Resumed",
        "canceled" => "Canceled",
        "superseded" => "Devices went to a newer deployment",
        "task_failed" => "A device failed",
        "gate_opened" => "The first devices are good: the others follow",
        "finished" => "Finished",
        other => return other.replace('_', " "),
    };
    known.to_owned()
}

/// Text of the detail of an event, with reasons spelled out.
pub(crate) fn event_detail(detail: &str) -> String {
    let pause = PauseReason::of_name(detail).map(pause_text);
    pause.or_else(|| Reason::of_name(detail).map(reason_text)).map_or_else(|| detail.to_owned(), str::to_owned)
}

/// Text of the target of a deployment.
pub(crate) fn target_text(target: &str) -> String {
    let Ok(Value::Object(target)) = serde_json::from_str(target) else { return String::new() };
    let names = |value: &Value| {
        let names: Vec<_> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        names.join(", ")
    };
    match target.iter().next() {
        Some((kind, value)) => match kind.as_str() {
            "fleet" => "the whole fleet".into(),
            "ids" => format!("{} chosen", devices(value.as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX))),
            "tags" => format!("all tagged {}", names(value)),
            "groups" => format!("all in {}", names(value)),
            _ => {
                let conditions = value.as_object().into_iter().flatten();
                let said: Vec<_> = conditions
                    .map(|(name, value)| {
                        format!("{} {}", name.replace('_', " "), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                    })
                    .collect();
                if said.is_empty() { "all devices".into() } else { format!("all devices with {}", said.join(", ")) }
            }
        },
        None => String::new(),
    }
}

/// Number of unfinished tasks.
pub(crate) fn open(details: &DeploymentDetails) -> u64 {
    counted(details).filter(|(state, _)| !state.is_over()).map(|(_, count)| count).sum()
}

/// Number of tasks by state, without empty states.
pub(crate) fn counted(details: &DeploymentDetails) -> impl Iterator<Item = (TaskState, u64)> {
    TaskState::ALL.iter().map(|state| (*state, unsigned(details.count(*state)))).filter(|(_, count)| *count > 0)
}

/// Share of finished tasks in percent, rounded down, so that 100 means all.
pub(crate) fn percent_finished(details: &DeploymentDetails) -> u64 {
    let all: u64 = counted(details).map(|(_, count)| count).sum();
    (all.saturating_sub(open(details)) * 100).checked_div(all).unwrap_or(100)
}

/// Progress bar of a deployment, with a segment per state.
pub(crate) fn deployment_bar(details: &DeploymentDetails) -> Element {
    let all: u64 = counted(details).map(|(_, count)| count).sum();
    let mut parts: Vec<_> = counted(details).map(|(state, count)| (state, count as f64 * 100.0 / all.max(1) as f64)).collect();
    // In reading order: finished, in progress, waiting.
    parts.sort_by_key(|(state, _)| (!state.is_over(), !state.is_busy()));
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
            for (state, count) in counted(details) {
                span { key: "{state.as_str()}", "data-state": state.as_str(), span { class: "state-mark task-{state.as_str()}", aria_hidden: "true" } "{format::number(count)} {task_state_text(state).to_lowercase()}" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_reads_as_words() {
        assert_eq!(target_text(r#"{"fleet":true}"#), "the whole fleet");
        assert_eq!(target_text(r#"{"ids":1200}"#), "1,200 devices chosen");
        assert_eq!(target_text(r#"{"tags":["till","ground floor"]}"#), "all tagged till, ground floor");
        assert_eq!(target_text(r#"{"filter":{"battery_below":"20","tag":"till"}}"#), "all devices with battery below 20, tag till");
        assert_eq!([target_text("{}"), target_text("nonsense")], ["", ""]);
    }

    #[test]
    fn reasons_and_events_have_words_of_their_own() {
        let waits = Wait::ALL.iter().copied().map(Reason::from);
        let mut words: Vec<_> = waits.chain(ErrorCode::ALL.iter().copied().map(Reason::from)).map(reason_text).collect();
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count, "two reasons read the same");
        assert_eq!(event_detail("canary_failed"), pause_text(PauseReason::CanaryFailed));
        assert_eq!(event_detail("low_storage"), "too little free storage");
        assert_eq!([event_detail("till-1"), event_text("of_later")], ["till-1", "of later"]);
    }
}
