//! Widgets and texts of commands: titles, states, progress of batches.

use std::time::Duration;

use dioxus::prelude::*;
use domain::action::ActionKind;
use domain::command::{CommandOutcome, CommandState, Path, Progress, RefusalReason};
use serde_json::Value;
use services::BatchDetails;

use crate::components::{Glyph, icon};
use crate::format;

/// Poll interval of unfinished commands.
const OPEN_POLL_INTERVAL: Duration = Duration::from_millis(400);
/// Poll interval of finished commands.
const FINISHED_POLL_INTERVAL: Duration = Duration::from_secs(3);

/// Interval until the next poll.
pub(crate) fn poll_interval(any_open: bool) -> Duration {
    if any_open { OPEN_POLL_INTERVAL } else { FINISHED_POLL_INTERVAL }
}

/// Title of an action by name; the name itself for an action of a later build.
pub(crate) fn action_named(name: &str) -> String {
    domain::action::title(name).map_or_else(|| crate::field_labels::words(name), str::to_owned)
}

/// Description of an action, with what it requires of the agent.
pub(crate) fn action_hint(kind: ActionKind) -> String {
    let spec = kind.spec();
    if spec.device_owner { format!("{} Requires device owner.", spec.description) } else { spec.description.to_owned() }
}

/// Icon of an action.
pub(crate) fn action_glyph(kind: ActionKind) -> Glyph {
    match kind {
        ActionKind::Ping => Glyph::Chart,
        ActionKind::Ring => Glyph::Bell,
        ActionKind::Reboot => Glyph::Power,
        ActionKind::LaunchApp => Glyph::Play,
        ActionKind::RestartApp => Glyph::Restore,
        ActionKind::ClearAppData => Glyph::Trash,
        ActionKind::Wake | ActionKind::SetBrightness => Glyph::Sun,
        ActionKind::Lock => Glyph::Lock,
        ActionKind::SetMonitoredApp => Glyph::Package,
        ActionKind::WifiConnect => Glyph::Network,
        ActionKind::Exec => Glyph::Terminal,
        ActionKind::Update => Glyph::Download,
        ActionKind::RotateKey => Glyph::Key,
        ActionKind::Sync => Glyph::Refresh,
    }
}

/// Text of a state.
pub(crate) fn state_text(state: CommandState) -> &'static str {
    match state {
        CommandState::Queued => "Queued",
        CommandState::Sent => "Sent",
        CommandState::Delivered => "Delivered",
        CommandState::Succeeded => "Succeeded",
        CommandState::Failed => "Failed",
        CommandState::Expired => "Expired",
        CommandState::Canceled => "Canceled",
    }
}

/// Text of the progress of a command, including how it failed.
pub(crate) fn progress_text(progress: &Progress) -> &'static str {
    match progress.ending {
        Some(CommandOutcome::Skipped) => "Skipped",
        Some(CommandOutcome::Timeout) => "Timed out",
        _ => state_text(progress.state),
    }
}

/// Badge of the state of a command.
pub(crate) fn state_badge(progress: &Progress) -> Element {
    let tone = match progress.state {
        CommandState::Queued => "",
        CommandState::Sent | CommandState::Delivered => "info",
        CommandState::Succeeded => "good",
        CommandState::Failed => "bad",
        CommandState::Expired => "warn",
        CommandState::Canceled => "",
    };
    rsx! { span { class: "badge {tone}", "data-testid": "command-state", {progress_text(progress)} } }
}

/// Text of a path.
pub(crate) fn path_text(path: Path) -> &'static str {
    match path {
        Path::Socket => "via socket",
        Path::Push => "via push",
        Path::Heartbeat => "on check-in",
    }
}

/// Text of the reason why a device gets no command, by its name in the API.
pub(crate) fn refused_text(reason: &str) -> String {
    let known = RefusalReason::ALL.into_iter().find(|known| known.as_str() == reason);
    match known {
        Some(RefusalReason::NotFound) => "device not found".into(),
        Some(RefusalReason::Deleted) => "device deleted".into(),
        Some(RefusalReason::TooManyOpen) => "too many pending commands".into(),
        None => reason.replace('_', " "),
    }
}

/// JSON on several lines.
pub(crate) fn json_lines(text: &str) -> String {
    serde_json::from_str::<Value>(text).and_then(|value| serde_json::to_string_pretty(&value)).unwrap_or_else(|_| text.to_owned())
}

/// Number of commands of a batch by state, without empty states.
fn counted(details: &BatchDetails) -> impl Iterator<Item = (CommandState, u64)> {
    CommandState::ALL.into_iter().map(|state| (state, details.count(state).max(0).unsigned_abs())).filter(|(_, count)| *count > 0)
}

/// Number of commands that succeeded, of all, as text: "3 of 4 succeeded, 75 %".
pub(crate) fn succeeded_text(details: &BatchDetails) -> String {
    let all: u64 = counted(details).map(|(_, count)| count).sum();
    let succeeded = details.count(CommandState::Succeeded).max(0).unsigned_abs();
    format!("{} of {} succeeded, {}", format::number(succeeded), format::number(all), format::share(succeeded, all))
}

/// Steps of a command in the order of a progress bar: finished, delivered, sent, waiting.
fn bar_order(state: CommandState) -> u8 {
    match state {
        CommandState::Succeeded => 0,
        CommandState::Failed => 1,
        CommandState::Expired => 2,
        CommandState::Canceled => 3,
        CommandState::Delivered => 4,
        CommandState::Sent => 5,
        CommandState::Queued => 6,
    }
}

/// Progress bar of a batch, with a segment per state.
pub(crate) fn batch_bar(details: &BatchDetails) -> Element {
    let all: u64 = counted(details).map(|(_, count)| count).sum();
    let mut parts: Vec<_> = counted(details).map(|(state, count)| (state, count as f64 * 100.0 / all.max(1) as f64)).collect();
    parts.sort_by_key(|(state, _)| bar_order(*state));
    let said = counted(details)
        .map(|(state, count)| format!("{} {}", format::number(count), state_text(state).to_lowercase()))
        .collect::<Vec<_>>();
    let said = if said.is_empty() { "no commands".to_owned() } else { said.join(", ") };
    rsx! {
        div { class: "batch-bar", role: "img", aria_label: "{said}",
            for (state, width) in parts {
                span { key: "{state.as_str()}", class: "state-{state.as_str()}", style: "width:{width:.3}%" }
            }
        }
    }
}

/// Counts of a batch as text.
pub(crate) fn batch_counts(details: &BatchDetails) -> Element {
    let shares = format::shares(&counted(details).map(|(_, count)| count).collect::<Vec<_>>());
    rsx! {
        span { class: "batch-counts",
            for ((state, count), share) in counted(details).zip(shares) {
                span { key: "{state.as_str()}", "data-state": state.as_str(), span { class: "state-mark state-{state.as_str()}", aria_hidden: "true" } "{format::number(count)} {state_text(state).to_lowercase()}, {share}" }
            }
        }
    }
}

/// Progress steps of a command.
pub(crate) fn steps(progress: &Progress) -> Element {
    let path = progress.path.map_or("", path_text);
    let last = match progress.state {
        state if state.is_open() => ("Completed", "", false),
        CommandState::Succeeded => ("Succeeded", "good", true),
        CommandState::Failed => (progress_text(progress), "bad", true),
        CommandState::Expired => ("Expired", "warn", true),
        _ => ("Canceled", "off", true),
    };
    let sent = if path.is_empty() { "Sent".to_owned() } else { format!("Sent {path}") };
    let steps = [
        ("Queued".to_owned(), "", true),
        (sent, "", progress.sent_at.is_some()),
        ("Delivered".to_owned(), "", progress.delivered_at.is_some()),
        (last.0.to_owned(), last.1, last.2),
    ];
    rsx! {
        ol { class: "way",
            for (text, tone, reached) in steps {
                li { key: "{text}", class: if reached { "way-step reached {tone}" } else { "way-step" },
                    span { class: "way-mark", if reached { {icon(if matches!(tone, "bad" | "warn" | "off") { Glyph::Close } else { Glyph::Check })} } }
                    "{text}"
                    if !reached { span { class: "visually-hidden", " (not yet)" } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_progress_bar_fills_in_the_order_of_the_steps() {
        let mut states = CommandState::ALL.to_vec();
        states.sort_by_key(|state| bar_order(*state));
        assert_eq!((states.first(), states.last()), (Some(&CommandState::Succeeded), Some(&CommandState::Queued)));
        let finished = states.iter().take_while(|state| !state.is_open()).count();
        assert!(states[finished..].iter().all(|state| state.is_open()), "{states:?}");
    }

    #[test]
    fn every_action_and_refusal_has_words() {
        for kind in ActionKind::ALL {
            assert!(action_hint(kind).ends_with('.'), "{kind:?}");
            assert_eq!(action_named(kind.as_str()), kind.spec().title);
        }
        assert_eq!([action_named("deploy_apk"), action_named("of_later")], ["Install app", "Of later"]);
        assert_eq!(refused_text("too_many_open"), "too many pending commands");
        assert_eq!(refused_text("quite_new"), "quite new");
    }
}
