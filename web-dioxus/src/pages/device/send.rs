//! Sending commands to a device, with their live results.

use std::rc::Rc;

use dioxus::prelude::*;
use domain::ServiceError;
use domain::action::ActionKind;
use domain::command::CommandView;
use domain::{CommandId, DeviceId};
use services::CommandRequest;

use crate::components::action_form::{ActionFields, CommandLimits, Draft, ExpiryField, expiry_choices, fields_of, use_command_limits};
use crate::components::command_rows::Cancel;
use crate::components::command_widgets::{action_glyph, action_hint, action_named, poll_interval, progress_text, steps};
use crate::components::form::{FormDialog, use_submission};
use crate::components::param_words::params_line;
use crate::components::{Confirm, Glyph, icon};
use crate::context::use_session;
use crate::field_labels::labeled;
use crate::format;
use crate::polling::use_paced_polling;
use crate::toasts::use_toasts;

/// Commands whose outcome is shown at a time; older ones are in the list below.
const SHOWN_MAX: usize = 4;

/// Step between a button and its command.
#[derive(Clone, PartialEq)]
enum Stage {
    /// Input of parameters.
    Fields(ActionKind),
    /// Confirmation.
    ConfirmSend(CommandRequest),
}

/// Buttons of all actions that the person may use, and the outcomes of those that were used.
/// `packages`: apps that the device is known to have.
#[component]
pub(super) fn Send(id: DeviceId, alias: String, online: bool, packages: Vec<String>, onsent: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    let limits = use_command_limits();
    let mut stage = use_signal(|| None::<Stage>);
    let mut draft = use_signal(Draft::default);
    let mut expires = use_signal(String::new);
    let mut sent = use_signal(Vec::<CommandId>::new);
    let kinds: Vec<_> = ActionKind::ALL.into_iter().filter(|kind| session.may(kind.permission())).collect();
    let send = use_callback(move |request: CommandRequest| {
        if !submission.begin() {
            return;
        }
        let session = session.clone();
        spawn(async move {
            let kind = request.action.kind();
            let made =
                session.call(move |system, principal| async move { system.commands.send(&principal, id, request, None).await }).await;
            let invalid = if let Err(ServiceError::Invalid(invalid)) = &made { Some(invalid.clone()) } else { None };
            match (submission.done(made), invalid) {
                (Some((row, _)), _) => {
                    stage.set(None);
                    sent.with_mut(|sent| {
                        sent.insert(0, row.id);
                        sent.truncate(SHOWN_MAX);
                    });
                    onsent.call(());
                }
                // The field is to blame, so it is shown.
                (None, Some(_)) if !kind.spec().params.is_empty() => stage.set(Some(Stage::Fields(kind))),
                (None, invalid) => {
                    if let Some(invalid) = invalid {
                        toasts.bad(labeled(&invalid));
                    }
                    stage.set(None);
                }
            }
        });
    });
    let chosen = move |kind: ActionKind| {
        submission.reset();
        let fields = Draft::with(&[("expires_in_s", expires.peek().as_str())]);
        if !kind.spec().params.is_empty() {
            draft.set(fields);
            stage.set(Some(Stage::Fields(kind)));
        } else {
            match fields.request(kind) {
                Ok(request) if kind.asks_first() => stage.set(Some(Stage::ConfirmSend(request))),
                Ok(request) => send.call(request),
                Err(invalid) => toasts.bad(labeled(&invalid)),
            }
        }
    };
    let filled = use_callback(move |(kind, form): (ActionKind, FormEvent)| {
        draft.set(Draft::of(&form));
        match draft.peek().request(kind) {
            Ok(request) if kind.asks_first() => {
                submission.reset();
                stage.set(Some(Stage::ConfirmSend(request)));
            }
            Ok(request) => send.call(request),
            Err(invalid) => {
                if submission.begin() {
                    let _ = submission.done::<()>(Err(invalid.into()));
                }
            }
        }
    });
    if kinds.is_empty() {
        return rsx! {};
    }
    rsx! {
        section { class: "card actions-panel", aria_labelledby: "actions-title", "data-testid": "actions",
            div { class: "card-head",
                h2 { id: "actions-title", "Actions" }
                label { class: "inline-field", "Expires after"
                    select { class: "choice", name: "expires", "data-testid": "expires", onchange: move |event| expires.set(event.value()),
                        for (value, text) in expiry_choices(&limits) {
                            option { key: "{value}", value: "{value}", selected: value == expires(), "{text}" }
                        }
                    }
                }
            }
            if !online {
                p { class: "notice", {icon(Glyph::Alert)} "Device offline. Commands are queued until they expire." }
            }
            div { class: "action-buttons", role: "group", aria_label: "Actions",
                for kind in kinds {
                    button {
                        key: "{kind.as_str()}", class: if kind.asks_first() { "button danger-quiet" } else { "button" }, r#type: "button", title: action_hint(kind),
                        aria_haspopup: (!kind.spec().params.is_empty() || kind.asks_first()).then_some("dialog"), "data-testid": "action-{kind.as_str()}",
                        onclick: { let mut chosen = chosen; move |_| chosen(kind) },
                        {icon(action_glyph(kind))} {kind.spec().title}
                        if !kind.spec().params.is_empty() { "…" }
                    }
                }
            }
            Outcomes { sent: sent(), ondismiss: move |id| sent.with_mut(|sent| sent.retain(|known| *known != id)) }
        }
        match stage() {
            None => rsx! {},
            Some(Stage::Fields(kind)) => rsx! {
                Fields { kind, alias: alias.clone(), draft: draft(), packages: packages.clone(), limits, submission, onfilled: move |form| filled.call((kind, form)), onclose: move |()| stage.set(None) }
            },
            Some(Stage::ConfirmSend(request)) => rsx! {
                ConfirmSend { request: request.clone(), alias: alias.clone(), draft: draft(), limits, busy: submission.busy(), onconfirm: move |()| send.call(request.clone()), onclose: move |()| stage.set(None) }
            },
        }
    }
}

#[component]
fn Fields(
    kind: ActionKind,
    alias: String,
    draft: Draft,
    packages: Vec<String>,
    limits: CommandLimits,
    submission: crate::components::form::Submission,
    onfilled: EventHandler<FormEvent>,
    onclose: EventHandler<()>,
) -> Element {
    let action = if kind.asks_first() { "Continue" } else { "Send" };
    rsx! {
        FormDialog { title: "{kind.spec().title} on {alias}", action, busy: submission.busy(), focus: submission.focus(), onsubmit: onfilled, onclose,
            p { class: "muted", {action_hint(kind)} }
            ActionFields { kind, draft: draft.clone(), packages, submission }
            ExpiryField { chosen: draft.some("expires_in_s").unwrap_or_default(), limits, hint: "expires unrun if not delivered by then", submission }
            if let Some(problem) = submission.other_error(&fields_of(kind)) {
                p { class: "field-error", role: "alert", "{problem}" }
            }
        }
    }
}

/// Confirmation with the device and the consequence.
#[component]
fn ConfirmSend(
    request: CommandRequest,
    alias: String,
    draft: Draft,
    limits: CommandLimits,
    busy: bool,
    onconfirm: EventHandler<()>,
    onclose: EventHandler<()>,
) -> Element {
    let kind = request.action.kind();
    let title = kind.spec().question(&alias, |name| draft.some(kind.spec().param(name).map_or("", |spec| spec.field)).unwrap_or_default());
    let lasts = request.expires_in_s.unwrap_or(limits.expires_default_s);
    rsx! {
        Confirm { title, action: kind.spec().title, busy, onconfirm, onclose,
            p { strong { "{alias}" } ": " {kind.spec().consequence()} }
            if lasts > 0 {
                p { "If the device is offline, the command runs when it is back online within {format::duration(lasts)}." }
            }
        }
    }
}

/// Live results of the commands sent from this page.
#[component]
fn Outcomes(sent: Vec<CommandId>, ondismiss: EventHandler<CommandId>) -> Element {
    let rows = use_paced_polling(
        sent.clone(),
        |rows: &Vec<CommandView>| poll_interval(rows.iter().any(|row| row.progress.state.is_open())),
        |system, principal, sent: Vec<CommandId>| async move {
            let mut rows = Vec::new();
            for id in sent {
                rows.push(system.commands.one(&principal, id).await?);
            }
            Ok(rows)
        },
    );
    let mut canceling = use_signal(|| None::<CommandView>);
    if sent.is_empty() {
        return rsx! {};
    }
    let reading = rows.read();
    let shown: Rc<Vec<CommandView>> = reading.value.unwrap_or_default();
    rsx! {
        ul { class: "outcomes", aria_label: "Outcomes", aria_live: "polite",
            for row in shown.iter().filter(|row| sent.contains(&row.id)).cloned() {
                Outcome { key: "{row.id}", row, ondismiss, oncancel: move |row| canceling.set(Some(row)) }
            }
        }
        if let Some(problem) = reading.problem {
            p { class: "field-error", role: "alert", "{problem}" }
        }
        if let Some(row) = canceling() {
            Cancel { id: row.id, what: action_named(&row.action), alias: row.alias.clone(), delivered: row.progress.delivered_at.is_some(),
                onclose: move |()| {
                    canceling.set(None);
                    rows.again();
                },
            }
        }
    }
}

#[component]
fn Outcome(row: CommandView, ondismiss: EventHandler<CommandId>, oncancel: EventHandler<CommandView>) -> Element {
    let (id, progress, confirming) = (row.id, row.progress, row.clone());
    let params = params_line(&row.action, &row.params);
    let took = progress.finished_at.map(|at| match (at - row.created_at).num_milliseconds().max(0) {
        ms @ ..950 => format!("{ms} ms"),
        ms @ ..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        ms => format::duration(ms / 1000),
    });
    rsx! {
        li { class: "outcome", "data-testid": "outcome", "data-state": progress.state.as_str(), "data-action": "{row.action}",
            div { class: "outcome-head",
                strong { "{action_named(&row.action)}" }
                if !params.is_empty() { span { class: "muted truncate", "{params}" } }
                span { class: "visually-hidden", {progress_text(&progress)} }
                if let Some(took) = took { span { class: "muted", "after {took}" } }
                if progress.state.is_open() {
                    button { class: "button small danger-quiet", r#type: "button", aria_haspopup: "dialog", "data-testid": "outcome-cancel", onclick: move |_| oncancel.call(confirming.clone()), "Cancel" }
                } else {
                    button { class: "icon-button", r#type: "button", aria_label: "Dismiss", onclick: move |_| ondismiss.call(id), {icon(Glyph::Close)} }
                }
            }
            {steps(&progress)}
            if let Some(message) = &row.message {
                p { class: "outcome-message", "data-testid": "outcome-message", "{message}" }
            }
        }
    }
}
