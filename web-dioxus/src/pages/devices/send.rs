//! Sending a command to many devices: form, preview and creation of the batch.

use std::rc::Rc;

use dioxus::prelude::*;
use domain::DeviceId;
use domain::action::ActionKind;
use domain::bulk_target::BulkTarget;
use domain::command::Path;
use services::{BatchRequest, CommandRequest, Planned};

use crate::components::action_form::{ActionFields, CommandLimits, Draft, ExpiryField, fields_of, use_command_limits};
use crate::components::command_widgets::{action_hint, refused_text};
use crate::components::form::{Field, FormDialog, Submission, TextField, use_submission};
use crate::components::{Dialog, Glyph, Problem, Skeleton, icon};
use crate::context::{explain, use_session};
use crate::format;
use crate::route::Route;
use crate::toasts::use_toasts;

/// Refusals that an answer lists.
const REFUSED_MAX: usize = 100;

/// Stage of the dialog.
#[derive(Clone, PartialEq)]
enum Stage {
    /// Input of action and parameters.
    Compose,
    /// Preview.
    Check(CommandRequest, Option<i32>),
}

/// Number of planned commands by path and refusal.
#[derive(Debug, Default, PartialEq, Eq)]
struct BatchCounts {
    devices: usize,
    offline: usize,
    /// In the order of [`Path::ALL`].
    paths: [usize; 3],
    refused: usize,
}

impl BatchCounts {
    fn of(planned: &[Planned]) -> Self {
        let mut counts = Self::default();
        for one in planned {
            match one.outcome {
                Ok(expected) => {
                    counts.devices += 1;
                    counts.offline += usize::from(!expected.online);
                    for (path, count) in Path::ALL.into_iter().zip(&mut counts.paths) {
                        *count += usize::from(path == expected.path);
                    }
                }
                Err(_) => counts.refused += 1,
            }
        }
        counts
    }
}

fn path_title(path: Path) -> &'static str {
    match path {
        Path::Socket => "Immediately (connected)",
        Path::Push => "Via push",
        Path::Heartbeat => "On next check-in",
    }
}

fn devices(count: usize) -> String {
    format::count(count, "device", "devices")
}

/// The dialogs of one command to these devices.
#[component]
pub(super) fn SendMany(ids: Rc<Vec<DeviceId>>, onclose: EventHandler<()>) -> Element {
    let limits = use_command_limits();
    let submission = use_submission();
    let mut stage = use_signal(|| Stage::Compose);
    let mut draft = use_signal(Draft::default);
    let mut kind = use_signal(|| ActionKind::Ping);
    let count = ids.len();
    match stage() {
        Stage::Compose => rsx! {
            Compose { count, kind: kind(), draft: draft(), limits, submission, onclose,
                onkind: move |chosen| {
                    submission.reset();
                    kind.set(chosen);
                },
                onsubmit: move |(held, request, rate): (Draft, CommandRequest, Option<i32>)| {
                    draft.set(held);
                    stage.set(Stage::Check(request, rate));
                },
            }
        },
        Stage::Check(request, rate) => rsx! {
            Check { ids, request, rate, limits, onclose, onback: move |()| stage.set(Stage::Compose) }
        },
    }
}

#[component]
fn Compose(
    count: usize,
    kind: ActionKind,
    draft: Draft,
    limits: CommandLimits,
    submission: Submission,
    onkind: EventHandler<ActionKind>,
    onsubmit: EventHandler<(Draft, CommandRequest, Option<i32>)>,
    onclose: EventHandler<()>,
) -> Element {
    let session = use_session();
    let kinds: Vec<_> = ActionKind::ALL.into_iter().filter(|kind| session.may(kind.permission())).collect();
    let confirming = use_callback(move |(kind, form): (ActionKind, FormEvent)| {
        if !submission.begin() {
            return;
        }
        let held = Draft::of(&form);
        let read = held.request(kind).and_then(|request| {
            let rate = held.number("rate_per_second")?;
            let rate = rate.map(|rate| domain::invalid::in_range("rate_per_second", rate, 1, limits.rate_max.max(1))).transpose()?;
            Ok((request, rate))
        });
        if let Some((request, rate)) = submission.done(read.map_err(Into::into)) {
            onsubmit.call((held, request, rate));
        }
    });
    rsx! {
        FormDialog { title: "Send a command to {devices(count)}", action: "Check", busy: submission.busy(), focus: submission.focus(), wide: true, onsubmit: move |form| confirming.call((kind, form)), onclose,
            Field { name: "action", hint: action_hint(kind),
                select { id: "action", name: "action", aria_describedby: "action-note",
                    onchange: move |event| onkind.call(ActionKind::parse("action", &event.value()).unwrap_or(ActionKind::Ping)),
                    for choice in kinds {
                        option { key: "{choice.as_str()}", value: choice.as_str(), selected: choice == kind, {choice.spec().title} }
                    }
                }
            }
            // Keyed, so that another action gets fields of its own.
            for kind in [kind] {
                ActionFields { key: "{kind.as_str()}", kind, draft: draft.clone(), packages: vec![], submission }
            }
            div { class: "field-pair even",
                TextField { name: "rate_per_second", value: draft.some("rate_per_second").unwrap_or_default(), placeholder: limits.rate_default.to_string(), hint: "at most {format::number(limits.rate_max.unsigned_abs().into())}; empty: {format::number(limits.rate_default.unsigned_abs().into())}", error: submission.error("rate_per_second") }
                ExpiryField { chosen: draft.some("expires_in_s").unwrap_or_default(), limits, hint: "counted from the last send", submission }
            }
            if let Some(problem) = submission.other_error(&[fields_of(kind), vec!["rate_per_second"]].concat()) {
                p { class: "field-error", role: "alert", "{problem}" }
            }
        }
    }
}

/// Preview with confirmation.
#[component]
fn Check(
    ids: Rc<Vec<DeviceId>>,
    request: CommandRequest,
    rate: Option<i32>,
    limits: CommandLimits,
    onback: EventHandler<()>,
    onclose: EventHandler<()>,
) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let navigator = use_navigator();
    let mut busy = use_signal(|| false);
    let mut again = use_signal(|| 0u32);
    let kind = request.action.kind();
    let batch = BatchRequest { target: BulkTarget::Ids(ids.to_vec()), command: request.clone(), rate_per_second: rate };
    let (asking, confirming) = (session.clone(), batch.clone());
    let preview = use_resource(move || {
        again();
        let (session, batch) = (asking.clone(), confirming.clone());
        async move {
            let planned = session.call(move |system, principal| async move { system.commands.plan(&principal, batch).await }).await;
            planned.map(Rc::new).map_err(|error| explain(&error))
        }
    });
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let (session, batch) = (session.clone(), batch.clone());
        spawn(async move {
            match session.call(move |system, principal| async move { system.commands.send_many(&principal, batch, None).await }).await {
                Ok((made, _)) => {
                    toasts.good(format!("Sending {} to {}.", kind.spec().title, devices(made.batch.devices.unsigned_abs() as usize)));
                    navigator.push(Route::batch(made.batch.id));
                }
                Err(error) => {
                    busy.set(false);
                    toasts.failed(&error);
                    again += 1;
                }
            }
        });
    });
    let counts = match &*preview.read() {
        Some(Ok(planned)) => Some(BatchCounts::of(planned)),
        _ => None,
    };
    let count = counts.as_ref().map_or(0, |counts| counts.devices);
    let danger = kind.asks_first();
    let rate = rate.unwrap_or(limits.rate_default).max(1);
    let lasts_s = count as u64 / u64::from(rate.unsigned_abs());
    rsx! {
        Dialog { title: "{kind.spec().title}: dry run", wide: true, onclose,
            div { class: "dialog-body", "data-testid": "send-check",
                if danger {
                    p { class: "notice warn", {icon(Glyph::Alert)} span { {kind.spec().consequence()} } }
                }
                match &*preview.read() {
                    None => rsx! { Skeleton {} },
                    Some(Err(problem)) => rsx! { Problem { text: problem.clone(), onretry: move |()| again += 1 } },
                    Some(Ok(planned)) => rsx! {
                        Plan { planned: planned.clone() }
                        if lasts_s > 0 {
                            p { "At {format::number(rate.unsigned_abs().into())} commands/s, the last command is sent after {format::duration(lasts_s as i64)}." }
                        }
                    },
                }
            }
            div { class: "dialog-actions",
                button { class: "button quiet back", r#type: "button", disabled: busy(), "data-testid": "send-back", onclick: move |_| onback.call(()), "Back" }
                button { class: "button", r#type: "button", onclick: move |_| onclose.call(()), "Cancel" }
                button {
                    class: if danger { "button danger" } else { "button primary" }, r#type: "button", disabled: busy() || count == 0, "data-testid": "confirm",
                    onclick: move |_| onconfirm.call(()),
                    if busy() { "Sending…" } else { "Send to {devices(count)}" }
                }
            }
        }
    }
}

/// How many, by which path, how many are not heard from; who gets none, and why.
#[component]
fn Plan(planned: Rc<Vec<Planned>>) -> Element {
    let counts = BatchCounts::of(&planned);
    let refused: Vec<_> = planned
        .iter()
        .filter_map(|one| {
            Some((one.id, one.alias.clone().unwrap_or_else(|| one.id.to_string()), refused_text(one.outcome.err()?.as_str())))
        })
        .take(REFUSED_MAX)
        .collect();
    let rest = counts.refused.saturating_sub(refused.len());
    let offline = format::number(counts.offline as u64);
    rsx! {
        div { role: "status",
            ul { class: "tally",
                li { class: "good", "data-testid": "plan-devices", strong { {format::number(counts.devices as u64)} } " to send" }
                li { class: if counts.refused > 0 { "bad" } else { "" }, "data-testid": "plan-refused", strong { {format::number(counts.refused as u64)} } " skipped" }
            }
        }
        dl { class: "plan",
            for (path, count) in Path::ALL.into_iter().zip(counts.paths) {
                div { key: "{path.as_str()}", "data-testid": "plan-{path.as_str()}", dt { {path_title(path)} } dd { {format::number(count as u64)} } }
            }
            div { "data-testid": "plan-offline", dt { "Offline devices among these: sent if back online before the command expires" } dd { "{offline}" } }
        }
        if !refused.is_empty() {
            ul { class: "names refused", tabindex: "0", aria_label: "Skipped devices",
                for (id, name, why) in refused {
                    li { key: "{id}", {icon(Glyph::Alert)} strong { class: "truncate", "{name}" } span { "{why}" } }
                }
                if rest > 0 {
                    li { class: "muted", "and {format::number(rest as u64)} more" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::command::RefusalReason;
    use services::Expected;

    #[test]
    fn every_device_is_counted_once() {
        let one = |n, outcome| Planned { id: DeviceId(uuid::Uuid::from_u128(n)), alias: None, outcome };
        let expected = |path, online| Ok(Expected { path, online });
        let planned = [
            one(1, expected(Path::Socket, true)),
            one(2, expected(Path::Heartbeat, false)),
            one(3, expected(Path::Heartbeat, true)),
            one(4, Err(RefusalReason::TooManyOpen)),
        ];
        assert_eq!(BatchCounts::of(&planned), BatchCounts { devices: 3, offline: 1, paths: [1, 0, 2], refused: 1 });
    }
}
