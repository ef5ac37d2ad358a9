//! List of commands with expandable details, and cancellation.

use std::sync::Arc;

use dioxus::prelude::*;
use domain::action::ActionKind;
use domain::command::{CommandOutcome, CommandView};
use domain::{CommandId, Timestamp};

use crate::components::command_widgets::{action_named, json_lines, path_text, progress_text, state_badge};
use crate::components::param_words::{param_words, params_line};
use crate::components::{Confirm, CopyButton, Glyph, LocalTime, RouteLink, icon, local_time, time_ago};
use crate::context::use_session;
use crate::format;
use crate::route::Route;
use crate::toasts::use_toasts;

/// Label at the start of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowLabel {
    /// The action: the list is of one device.
    Action,
    /// The device: the list is of one batch.
    Device,
    /// Both.
    Both,
}

/// Commands with their progress.
#[component]
pub(crate) fn CommandRows(rows: Arc<Vec<CommandView>>, named: RowLabel, label: String, onchange: EventHandler<()>) -> Element {
    let mut confirming = use_signal(|| None::<CommandView>);
    let now = use_session().clock.now();
    rsx! {
        ul { class: "command-rows", aria_label: "{label}",
            for row in rows.iter() {
                Row { key: "{row.id}", row: row.clone(), named, now, oncancel: move |row| confirming.set(Some(row)) }
            }
        }
        if let Some(row) = confirming() {
            Cancel { id: row.id, what: action_named(&row.action), alias: row.alias.clone(), delivered: row.progress.delivered_at.is_some(),
                onclose: move |()| {
                    confirming.set(None);
                    onchange.call(());
                },
            }
        }
    }
}

#[component]
fn Row(row: CommandView, named: RowLabel, now: Timestamp, oncancel: EventHandler<CommandView>) -> Element {
    let progress = &row.progress;
    let (action, params) = (action_named(&row.action), params_line(&row.action, &row.params));
    let at = progress.finished_at.unwrap_or(row.created_at);
    let said = match (&row.message, &row.canceled_by, progress.path) {
        _ if row.held.is_some() => "held: identity conflict".to_owned(),
        (Some(message), ..) => message.clone(),
        (None, Some(by), _) => format!("canceled by {by}"),
        (None, None, Some(path)) => path_text(path).to_owned(),
        (None, None, None) => String::new(),
    };
    rsx! {
        li { class: "command-row", "data-testid": "command-row", "data-state": progress.state.as_str(), "data-id": "{row.id}", "data-action": "{row.action}",
            details {
                summary {
                    span { class: "command-state", {state_badge(progress)} }
                    span { class: "command-what",
                        match named {
                            RowLabel::Action => rsx! { strong { "{action}" } span { class: "muted truncate", "{params}" } },
                            RowLabel::Device => rsx! { strong { class: "truncate", "{row.alias}" } },
                            RowLabel::Both => rsx! { strong { "{action}" } span { class: "muted truncate", "{row.alias}" } },
                        }
                    }
                    span { class: "command-said muted truncate", "{said}" }
                    span { class: "command-when muted", {time_ago(at, &format::relative(now, at))} }
                    span { class: "command-open", {icon(Glyph::ChevronDown)} }
                }
                Details { row: row.clone(), oncancel }
            }
        }
    }
}

#[component]
fn Details(row: CommandView, oncancel: EventHandler<CommandView>) -> Element {
    let session = use_session();
    let progress = row.progress;
    // An unknown action needs the permission that the service requires for it.
    let permission = ActionKind::parse("action", &row.action).map_or(domain::access::Permission::SendCommands, ActionKind::permission);
    let cancelable = progress.state.is_open() && session.may(permission);
    let tries = match (progress.attempts, progress.path) {
        (0, _) => "no attempts yet".to_owned(),
        (count, path) => format!(
            "{}{}",
            format::count(count.unsigned_abs() as usize, "attempt", "attempts"),
            path.map_or_else(String::new, |path| format!(", last {}", path_text(path)))
        ),
    };
    let times = [
        ("Requested at", Some(row.created_at)),
        ("First sent", progress.sent_at),
        ("Delivered", progress.delivered_at),
        ("Completed", progress.finished_at),
        ("Completed (device time)", row.device_finished_at),
        ("Expires", Some(row.expires_at)),
    ];
    let confirming = row.clone();
    let params = param_words(&row.action, &row.params);
    rsx! {
        div { class: "command-details", "data-testid": "command-details",
            dl { class: "facts wide",
                div { dt { "Device" } dd { RouteLink { to: Route::device(row.device_id), "{row.alias}" } } }
                div { dt { "Action" } dd { "{action_named(&row.action)}" } }
                div { dt { "Requested by" } dd { "{row.created_by}" } }
                div { dt { "Delivery" } dd { "{tries}" } }
                for (name, at) in times {
                    if let Some(at) = at {
                        div { key: "{name}", dt { "{name}" } dd { {local_time(at, LocalTime::Minute)} } }
                    }
                }
                if row.held.is_some() {
                    div { dt { "Held" } dd { "data-testid": "command-held", "Identity conflict: two devices report as this one. Decide on the page of the device." } }
                }
                if let Some(by) = &row.canceled_by {
                    div { dt { "Canceled by" } dd { "{by}" } }
                }
                if let Some(ending @ (CommandOutcome::Skipped | CommandOutcome::Timeout)) = progress.ending {
                    div { dt { "Outcome" } dd { "{progress_text(&progress)} " code { class: "muted", "{ending.as_str()}" } } }
                }
                if let Some(message) = &row.message {
                    div { dt { "Device message" } dd { "data-testid": "command-message", "{message}" } }
                }
                if let Some(code) = &row.code {
                    div { dt { "Code" } dd { code { "{code}" } } }
                }
                if let Some(batch) = row.batch_id {
                    div { dt { "Batch" } dd { RouteLink { to: Route::batch(batch), "View batch" } } }
                }
                div { dt { "Command id" } dd { class: "identifier", code { class: "truncate", "{row.id}" } CopyButton { text: row.id.to_string(), label: "Copy the command id" } } }
            }
            if !params.is_empty() {
                h4 { "Parameters" }
                dl { class: "facts wide", "data-testid": "command-params",
                    for words in params {
                        div { key: "{words.label}", dt { "{words.label}" } dd { "{words.value}" } }
                    }
                }
            }
            if let Some(data) = &row.data {
                h4 { "Output" }
                pre { class: "json", tabindex: "0", code { "data-testid": "command-data", {json_lines(data)} } }
            }
            if cancelable {
                button { class: "button small danger-quiet", r#type: "button", aria_haspopup: "dialog", "data-testid": "cancel-command", onclick: move |_| oncancel.call(confirming.clone()), {icon(Glyph::Close)} "Cancel command" }
            }
        }
    }
}

/// Confirmation of a cancellation.
#[component]
pub(crate) fn Cancel(id: CommandId, what: String, alias: String, delivered: bool, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let (named, of) = (what.clone(), alias.clone());
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let (session, named, of) = (session.clone(), named.clone(), of.clone());
        spawn(async move {
            match session.call(move |system, principal| async move { system.commands.cancel(&principal, id).await }).await {
                Ok(_) => toasts.good(format!("“{named}” for {of} is canceled.")),
                Err(error) => toasts.failed(&error),
            }
            onclose.call(());
        });
    });
    rsx! {
        Confirm { title: "Cancel “{what}” for {alias}?", action: "Cancel command", dismiss: "Keep command", busy: busy(), onconfirm, onclose,
            if delivered {
                p { "The device has already received the command and may still run it. Its result is recorded." }
            } else {
                p { "The command is no longer sent. If the device has just received it, the command may still run; its result is recorded." }
            }
        }
    }
}
