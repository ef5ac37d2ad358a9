//! One batch, live: how far it got, by which paths, who got nothing and why, and each device.

use std::sync::Arc;

use dioxus::prelude::*;
use domain::CommandBatchId;
use domain::access::Permission;
use domain::action::ActionKind;
use domain::command::{CommandCursor, CommandQuery, CommandState, CommandView, Path};
use serde_json::Value;
use services::BatchDetails;

use super::NotAllowed;
use crate::commands_url::{BatchUrl, CommandsUrl};
use crate::components::command_rows::{CommandRows, RowLabel};
use crate::components::command_widgets::{action_named, batch_bar, path_text, poll_interval, refused_text, state_text, succeeded_text};
use crate::components::param_words::params_line;
use crate::components::{Confirm, EmptyState, Glyph, Pager, Problem, RouteLink, Skeleton, icon, time_ago};
use crate::context::use_session;
use crate::filter_text::matching_text;
use crate::format;
use crate::navigation::use_title;
use crate::polling::use_paced_polling;
use crate::route::Route;
use crate::toasts::use_toasts;

/// Commands of a page.
const PAGE: i64 = 50;

#[component]
pub(crate) fn CommandBatch(id: String, query: BatchUrl) -> Element {
    let session = use_session();
    if !session.may(Permission::ViewCommands) {
        return rsx! { NotAllowed {} };
    }
    match id.parse::<CommandBatchId>() {
        // Keyed, so that another batch gets a page of its own.
        Ok(id) => rsx! { for id in [id] { LiveBatch { key: "{id}", id, query } } },
        Err(_) => rsx! { NoSuchBatch {} },
    }
}

#[component]
fn NoSuchBatch() -> Element {
    use_title("No such batch");
    rsx! {
        h1 { class: "visually-hidden", tabindex: "-1", "No such batch" }
        EmptyState { glyph: Glyph::Search, title: "There is no such batch", text: "The batch may have been removed after its retention period, or the address is incomplete.",
            RouteLink { to: Route::Commands { query: CommandsUrl::default() }, class: "button primary", "Go to the commands" }
        }
    }
}

#[component]
fn LiveBatch(id: CommandBatchId, query: BatchUrl) -> Element {
    let batch = use_paced_polling(
        id,
        |details: &Option<BatchDetails>| poll_interval(details.as_ref().is_some_and(|details| details.open() > 0)),
        |system, principal, id| async move {
            match system.commands.batch(&principal, id).await {
                Ok(details) => Ok(Some(details)),
                Err(domain::ServiceError::NotFound(_)) => Ok(None),
                Err(error) => Err(error),
            }
        },
    );
    let reading = batch.read();
    match reading.value.as_deref() {
        Some(None) => rsx! { NoSuchBatch {} },
        Some(Some(details)) => rsx! {
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| batch.again() }
            }
            Page { details: details.clone(), query, onchange: move |()| batch.again() }
        },
        None => rsx! {
            h1 { tabindex: "-1", "Batch" }
            match &reading.problem {
                Some(problem) => rsx! { Problem { text: problem.clone(), onretry: move |()| batch.again() } },
                None => rsx! { section { class: "card", Skeleton {} } },
            }
        },
    }
}

/// Text about the action of a batch.
fn target_text(target: &str) -> String {
    let Ok(Value::Object(target)) = serde_json::from_str(target) else { return String::new() };
    if let Some(count) = target.get("ids").and_then(Value::as_u64) {
        return format!("{} selected", format::count(usize::try_from(count).unwrap_or(usize::MAX), "device", "devices"));
    }
    // Earlier builds wrote the fleet as an empty filter.
    matching_text(target.get("filter").unwrap_or(&Value::Null))
}

/// Devices that got nothing: id, name and why.
fn refused_of(refused: &str) -> Vec<(String, String, String)> {
    let Ok(Value::Array(refused)) = serde_json::from_str(refused) else { return vec![] };
    let text = |one: &Value, name: &str| one.get(name).and_then(Value::as_str).map(str::to_owned);
    let each = refused.iter().map(|one| {
        let id = text(one, "id").unwrap_or_default();
        let name = text(one, "alias").unwrap_or_else(|| id.clone());
        (id, name, refused_text(&text(one, "reason").unwrap_or_default()))
    });
    each.collect()
}

#[component]
fn Page(details: BatchDetails, query: BatchUrl, onchange: EventHandler<()>) -> Element {
    let session = use_session();
    let mut canceling = use_signal(|| false);
    let batch = &details.batch;
    let action = action_named(&batch.action);
    let devices = format::count(batch.devices.unsigned_abs() as usize, "device", "devices");
    let title = format!("{action} to {devices}");
    use_title(&title);
    let now = session.clock.now();
    let (id, open) = (batch.id, details.open());
    let permission = ActionKind::parse("action", &batch.action).map_or(Permission::SendCommands, ActionKind::permission);
    let params = params_line(&batch.action, &batch.params);
    rsx! {
        nav { class: "crumbs", aria_label: "Breadcrumb", RouteLink { to: Route::Commands { query: CommandsUrl::default() }, "Commands" } span { aria_hidden: "true", "/" } span { class: "truncate", "{title}" } }
        header { class: "page-header",
            div {
                h1 { tabindex: "-1", "data-testid": "batch-title", "{title}" }
                p { class: "lead batch-lead",
                    if !params.is_empty() { span { "{params}" } }
                    span { "{batch.created_by}, " {time_ago(batch.created_at, &format::relative(now, batch.created_at))} }
                    span { "{target_text(&batch.target)}" }
                    span { "{format::number(batch.rate_per_second.unsigned_abs().into())} commands/s" }
                    if open > 0 {
                        span { "expires " {time_ago(batch.expires_at, &format::relative(now, batch.expires_at))} }
                    }
                }
            }
            div { class: "page-actions",
                a { class: "button", href: "/export/command-batches/{id}.csv", download: "commands.csv", "data-testid": "batch-csv", {icon(Glyph::Download)} "CSV" }
                if open > 0 && session.may(permission) {
                    button { class: "button danger-quiet", r#type: "button", aria_haspopup: "dialog", "data-testid": "cancel-batch", onclick: move |_| canceling.set(true), {icon(Glyph::Close)} "Cancel pending" }
                }
            }
        }
        section { class: "card", aria_labelledby: "progress-title", "data-testid": "batch-progress", "data-open": "{open}",
            div { class: "card-head",
                h2 { id: "progress-title", "Progress" }
                span { class: "batch-percent", role: "status", "data-testid": "batch-percent",
                    if batch.canceled_at.is_some() { "Canceled, " } "{succeeded_text(&details)}"
                }
            }
            {batch_bar(&details)}
            ul { class: "batch-states",
                for state in CommandState::ALL {
                    li { key: "{state.as_str()}", "data-testid": "count-{state.as_str()}",
                        RouteLink { to: Route::CommandBatch { id: id.to_string(), query: BatchUrl { state: Some(state).filter(|_| query.state != Some(state)) } }, current: query.state == Some(state),
                            span { class: "state-mark state-{state.as_str()}", aria_hidden: "true" }
                            span { {state_text(state)} }
                            strong { {format::number(details.count(state).max(0).unsigned_abs())} }
                        }
                    }
                }
            }
            p { class: "muted batch-paths", "data-testid": "batch-paths",
                for path in Path::ALL {
                    span { key: "{path.as_str()}", "{format::number(details.paths.get(&path).copied().unwrap_or_default().max(0).unsigned_abs())} {path_text(path)}" }
                }
            }
        }
        RefusedDevices { refused: batch.refused.clone(), count: batch.refused_count }
        // Keyed, so that another state begins at its first page.
        for (key, query) in [(query.to_string(), query)] {
            Items { key: "{key}", id, query, onchange }
        }
        if canceling() {
            Cancel { id, open, onclose: move |()| {
                canceling.set(false);
                onchange.call(());
            } }
        }
    }
}

#[component]
fn RefusedDevices(refused: String, count: i32) -> Element {
    if count <= 0 {
        return rsx! {};
    }
    let named = refused_of(&refused);
    let rest = (count.unsigned_abs() as usize).saturating_sub(named.len());
    rsx! {
        section { class: "card", aria_labelledby: "refused-title", "data-testid": "batch-refused",
            h2 { id: "refused-title", "{format::count(count.unsigned_abs() as usize, \"device\", \"devices\")} skipped" }
            ul { class: "names refused", tabindex: "0", aria_label: "Skipped devices",
                for (id, name, why) in named {
                    li { key: "{id}", {icon(Glyph::Alert)} strong { class: "truncate", "{name}" } span { "{why}" } }
                }
                if rest > 0 {
                    li { class: "muted", "and {format::number(rest as u64)} more" }
                }
            }
        }
    }
}

/// Each device of the batch.
#[component]
fn Items(id: CommandBatchId, query: BatchUrl, onchange: EventHandler<()>) -> Element {
    let navigator = use_navigator();
    let mut before = use_signal(Vec::<CommandCursor>::new);
    let after = before.read().last().copied();
    let list = use_paced_polling(
        (id, query, after),
        |(rows, _): &(Arc<Vec<CommandView>>, _)| poll_interval(rows.iter().any(|row| row.progress.state.is_open())),
        |system, principal, (id, query, after): (_, BatchUrl, _)| async move {
            let query = CommandQuery { batch: Some(id), state: query.state, ..CommandQuery::default() };
            let (rows, next) = system.commands.list(&principal, &query, after, Some(PAGE)).await?;
            Ok((Arc::new(rows), next))
        },
    );
    let reading = list.read();
    rsx! {
        section { class: "card", aria_labelledby: "items-title", aria_busy: reading.loading.to_string(), "data-testid": "batch-items",
            div { class: "card-head",
                h2 { id: "items-title", "Devices" }
                select { class: if query.state.is_some() { "choice chosen" } else { "choice" }, name: "state", aria_label: "State",
                    onchange: move |event| {
                        navigator.push(Route::CommandBatch { id: id.to_string(), query: BatchUrl { state: CommandState::parse(&event.value()) } });
                    },
                    option { value: "", selected: query.state.is_none(), "State: any" }
                    for state in CommandState::ALL {
                        option { key: "{state.as_str()}", value: state.as_str(), selected: query.state == Some(state), {state_text(state)} }
                    }
                }
            }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match reading.value.as_deref() {
                Some((rows, _)) if rows.is_empty() && before.read().is_empty() => rsx! {
                    p { class: "muted", if query.state.is_some() { "No commands in this state." } else { "No commands were created." } }
                },
                Some((rows, next)) => {
                    let next = *next;
                    rsx! {
                        CommandRows { rows: rows.clone(), named: RowLabel::Device, label: "Devices of this batch",
                            onchange: move |()| {
                                list.again();
                                onchange.call(());
                            },
                        }
                        Pager { page: before.read().len(), more: next.is_some(),
                            onnewer: move |()| { before.write().pop(); },
                            onolder: move |()| before.write().extend(next),
                        }
                    }
                },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
    }
}

#[component]
fn Cancel(id: CommandBatchId, open: i64, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let session = session.clone();
        spawn(async move {
            match session.call(move |system, principal| async move { system.commands.cancel_batch(&principal, id).await }).await {
                Ok(details) => {
                    let canceled = details.count(CommandState::Canceled).max(0).unsigned_abs() as usize;
                    toasts.good(format!("{} canceled.", format::count(canceled, "command is", "commands are")));
                }
                Err(error) => toasts.failed(&error),
            }
            onclose.call(());
        });
    });
    rsx! {
        Confirm { title: "Cancel pending commands of this batch?", action: "Cancel pending", dismiss: "Keep running", busy: busy(), onconfirm, onclose,
            p { "{format::count(open.max(0).unsigned_abs() as usize, \"command is\", \"commands are\")} pending. Pending commands are no longer sent; devices that have already received theirs may still run it." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_reads_as_words() {
        assert_eq!(target_text(r#"{"ids":1200}"#), "1,200 devices selected");
        assert_eq!(target_text(r#"{"filter":{"battery_below":"20","tag":"till"}}"#), "all devices with battery below 20 %, tag till");
        assert_eq!([r#"{"filter":{}}"#, r#"{"fleet":true}"#].map(target_text), ["all devices", "all devices"]);
    }

    #[test]
    fn refused_devices_have_a_name_and_a_reason() {
        let stored = r#"[{"id":"7","alias":"till-1","reason":"deleted"},{"id":"8","alias":null,"reason":"not_found"}]"#;
        let text = |parts: [&str; 3]| (parts[0].to_owned(), parts[1].to_owned(), parts[2].to_owned());
        assert_eq!(refused_of(stored), [text(["7", "till-1", "device deleted"]), text(["8", "8", "device not found"])]);
        assert!(refused_of("nonsense").is_empty());
    }
}
