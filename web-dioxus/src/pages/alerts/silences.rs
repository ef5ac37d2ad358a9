//! Silences: those that hold or will, made and ended; maintenance windows below them.

use std::time::Duration;

use dioxus::prelude::*;
use domain::access::Permission;
use domain::alert::Silence;
use services::{SilenceEnd, SilenceRequest};

use super::matcher_form::{Entered, FIELDS, MatcherFields};
use super::silence::{DURATION, DurationField};
use super::windows::Windows;
use super::{Frame, Tab};
use crate::components::alert_widgets::matcher_text;
use crate::components::form::{FormDialog, TextField, text_of, use_submission};
use crate::components::{Confirm, EmptyState, Glyph, LocalTime, Problem, Skeleton, icon, local_time};
use crate::context::use_session;
use crate::fleet_search::alias_of;
use crate::format;
use crate::polling::use_polling;
use crate::toasts::use_toasts;

/// How often the list is read again.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The dialog that is open.
#[derive(Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "one per open page")]
enum OpenDialog {
    Add,
    End(Silence),
}

#[component]
pub(crate) fn AlertSilences() -> Element {
    rsx! { Frame { tab: Tab::Silences, List {} Windows {} } }
}

#[component]
fn List() -> Element {
    let session = use_session();
    let mut dialog = use_signal(|| None::<OpenDialog>);
    let list = use_polling((), POLL_INTERVAL, |system, principal, ()| async move { system.alerts.silences(&principal, false).await });
    let reading = list.read();
    let may = session.may(Permission::ManageAlerts);
    let now = session.clock.now();
    let done = move |()| {
        dialog.set(None);
        list.again();
    };
    rsx! {
        section { class: "card", aria_labelledby: "silences-title", aria_busy: reading.loading.to_string(),
            div { class: "card-head",
                h2 { id: "silences-title", "Silences" }
                if may {
                    button { class: "button primary", r#type: "button", aria_haspopup: "dialog", "data-testid": "add-silence", onclick: move |_| dialog.set(Some(OpenDialog::Add)), {icon(Glyph::Plus)} "New silence" }
                }
            }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match reading.value.as_deref() {
                Some(silences) if silences.is_empty() => rsx! {
                    EmptyState { glyph: Glyph::Bell, title: "No silences", text: "A silence holds back notifications for a while, for example during a renovation. Alerts are recorded all the same." }
                },
                Some(silences) => rsx! {
                    ul { class: "rows",
                        for silence in silences.iter() {
                            Row { key: "{silence.id}", silence: silence.clone(), active: silence.is_active(now), left: format::duration((silence.ends_at - now).num_seconds().max(0)), may, onend: move |silence| dialog.set(Some(OpenDialog::End(silence))) }
                        }
                    }
                },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
        match dialog() {
            None => rsx! {},
            Some(OpenDialog::Add) => rsx! { Add { ondone: done, onclose: move |()| dialog.set(None) } },
            Some(OpenDialog::End(silence)) => rsx! { End { silence, ondone: done, onclose: move |()| dialog.set(None) } },
        }
    }
}

#[component]
fn Row(silence: Silence, active: bool, left: String, may: bool, onend: EventHandler<Silence>) -> Element {
    let session = use_session();
    let words = matcher_text(&silence.matcher, |id| alias_of(&session, id));
    let ended = silence.clone();
    rsx! {
        li { class: "row-item", "data-testid": "silence-row", "data-id": "{silence.id}",
            span { class: "row-icon", {icon(Glyph::Bell)} }
            div { class: "row-main",
                div { class: "row-title wrap",
                    span { "data-testid": "silence-matcher", "{words}" }
                    if !active { span { class: "badge", "Planned" } }
                }
                p { class: "alert-reason", "{silence.reason}" }
                div { class: "row-meta",
                    span { "by " strong { "{silence.author}" } }
                    if !active { span { "from " {local_time(silence.starts_at, LocalTime::Minute)} } }
                    span { "until " {local_time(silence.ends_at, LocalTime::Minute)} if active { ", {left} left" } }
                }
            }
            if may {
                div { class: "row-actions",
                    button { class: "button small danger-quiet", r#type: "button", aria_haspopup: "dialog", aria_label: "End the silence of {words}", "data-testid": "end-silence", onclick: move |_| onend.call(ended.clone()), "End" }
                }
            }
        }
    }
}

#[component]
fn Add(ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    let send = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let session = session.clone();
        spawn(async move {
            let seconds = text_of(&form, "duration_seconds").parse().unwrap_or(DURATION);
            let reason = text_of(&form, "reason").trim().to_owned();
            let outcome = match Entered::of(&form).matcher(&session).await {
                Err(invalid) => Err(invalid.into()),
                Ok(matcher) => {
                    let request = SilenceRequest { matcher, reason, starts_at: None, end: SilenceEnd::AfterSeconds(seconds) };
                    session.call(move |system, principal| async move { system.alerts.add_silence(&principal, request).await }).await
                }
            };
            if submission.done(outcome).is_some() {
                toasts.good(format!("Silenced for {}.", format::duration(seconds)));
                ondone.call(());
            }
        });
    });
    let known: Vec<&str> = FIELDS.into_iter().chain(["reason", "duration_seconds"]).collect();
    rsx! {
        FormDialog { title: "New silence", action: "Silence", wide: true, busy: submission.busy(), focus: submission.focus(), onsubmit: send, onclose,
            p { class: "muted", "An alert is silenced when it meets every criterion that is given." }
            MatcherFields { submission }
            DurationField { error: submission.error("duration_seconds") }
            TextField { name: "reason", label: "Reason", hint: "required; shown with the silence", error: submission.error("reason") }
            if let Some(problem) = submission.other_error(&known) {
                p { class: "field-error", role: "alert", "data-testid": "form-error", "{problem}" }
            }
        }
    }
}

#[component]
fn End(silence: Silence, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let id = silence.id;
    let words = matcher_text(&silence.matcher, |id| alias_of(&session, id));
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let session = session.clone();
        spawn(async move {
            match session.call(move |system, principal| async move { system.alerts.end_silence(&principal, id).await }).await {
                Ok(()) => toasts.good("Ended the silence."),
                Err(error) => toasts.failed(&error),
            }
            ondone.call(());
        });
    });
    rsx! {
        Confirm { title: "End this silence?", action: "End silence", busy: busy(), onconfirm, onclose,
            p { class: "names", "{words}" }
            p { "Alerts that it matches and that still fire are notified right away." }
        }
    }
}
