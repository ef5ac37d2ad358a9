//! Maintenance windows: recurring hours without notifications.

use std::time::Duration;

use dioxus::prelude::*;
use domain::access::Permission;
use domain::alert::AlertWindow;
use services::WindowRequest;

use super::matcher_form::{Entered, FIELDS, MatcherFields};
use crate::components::alert_widgets::{WEEKDAYS, matcher_text, weekdays_text};
use crate::components::form::{Field, FormDialog, Submission, TextField, checked_of, text_of, use_submission};
use crate::components::{Confirm, EmptyState, Glyph, LocalTime, Problem, Skeleton, icon, local_time};
use crate::context::use_session;
use crate::fleet_search::alias_of;
use crate::polling::use_polling;
use crate::toasts::use_toasts;

/// How often the list is read again.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// The dialog that is open.
#[derive(Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "one per open page")]
enum OpenDialog {
    Add,
    Remove(AlertWindow),
}

#[component]
pub(super) fn Windows() -> Element {
    let session = use_session();
    let mut dialog = use_signal(|| None::<OpenDialog>);
    let list = use_polling((), POLL_INTERVAL, |system, principal, ()| async move { system.alerts.windows(&principal).await });
    let reading = list.read();
    let may = session.may(Permission::ManageAlerts);
    let now = session.clock.now();
    let done = move |()| {
        dialog.set(None);
        list.again();
    };
    rsx! {
        section { class: "card", aria_labelledby: "windows-title", aria_busy: reading.loading.to_string(),
            div { class: "card-head",
                h2 { id: "windows-title", "Maintenance windows" }
                if may {
                    button { class: "button", r#type: "button", aria_haspopup: "dialog", "data-testid": "add-window", onclick: move |_| dialog.set(Some(OpenDialog::Add)), {icon(Glyph::Plus)} "New window" }
                }
            }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match reading.value.as_deref() {
                Some(windows) if windows.is_empty() => rsx! {
                    EmptyState { glyph: Glyph::Settings, title: "No maintenance windows", text: "A window holds back notifications and remediation at the same hours again and again, for example while shops are closed." }
                },
                Some(windows) => rsx! {
                    ul { class: "rows",
                        for window in windows.iter() {
                            Row { key: "{window.id}", window: window.clone(), open: window.is_active(now), may, onremove: move |window| dialog.set(Some(OpenDialog::Remove(window))) }
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
            Some(OpenDialog::Remove(window)) => rsx! { Remove { window, ondone: done, onclose: move |()| dialog.set(None) } },
        }
    }
}

/// When a window is open: "every day 22:00-06:00, Europe/Berlin".
fn hours_text(window: &AlertWindow) -> String {
    let hours = window.hours.daily().map(|hours| format!(" {}-{}, {}", hours.start(), hours.end(), hours.tz())).unwrap_or_default();
    format!("{}{hours}", weekdays_text(&window.weekdays))
}

#[component]
fn Row(window: AlertWindow, open: bool, may: bool, onremove: EventHandler<AlertWindow>) -> Element {
    let session = use_session();
    let words = matcher_text(&window.matcher, |id| alias_of(&session, id));
    let removed = window.clone();
    rsx! {
        li { class: "row-item", "data-testid": "window-row", "data-id": "{window.id}",
            span { class: "row-icon", {icon(Glyph::Settings)} }
            div { class: "row-main",
                div { class: "row-title wrap",
                    span { "{words}" }
                    if open { span { class: "badge info", "Open now" } }
                }
                p { class: "alert-reason", "{window.reason}" }
                div { class: "row-meta",
                    span { "data-testid": "window-hours", {hours_text(&window)} }
                    span { "by " strong { "{window.author}" } }
                    if let Some(end) = window.ends_at { span { "until " {local_time(end, LocalTime::Minute)} } }
                }
            }
            if may {
                div { class: "row-actions",
                    button { class: "button small danger-quiet", r#type: "button", aria_haspopup: "dialog", aria_label: "Remove the window of {words}", "data-testid": "remove-window", onclick: move |_| onremove.call(removed.clone()), "Remove" }
                }
            }
        }
    }
}

/// Fields of hours of a day in a time zone. `prefix` is that of their names.
#[component]
pub(super) fn HoursFields(
    submission: Submission,
    #[props(default)] prefix: String,
    #[props(default)] start: String,
    #[props(default)] end: String,
    #[props(default)] tz: String,
    #[props(default)] hint: String,
) -> Element {
    let field = |name: &str| format!("{prefix}{name}");
    rsx! {
        div { class: "hours-fields",
            for (name, label, value, hint) in [("start", "From", start, String::new()), ("end", "To", end, hint)] {
                Field { key: "{name}", name: field(name), label, hint, error: submission.error(&field(name)),
                    input { id: field(name), name: field(name), r#type: "time", initial_value: "{value}", aria_describedby: "{prefix}{name}-note", aria_invalid: submission.error(&field(name)).map(|_| "true") }
                }
            }
            Field { name: field("tz"), label: "Time zone", hint: "as in Europe/Berlin", error: submission.error(&field("tz")),
                input { id: field("tz"), name: field("tz"), r#type: "text", initial_value: "{tz}", "data-zone": "1", autocomplete: "off", spellcheck: "false", maxlength: "100", aria_describedby: "{prefix}tz-note", aria_invalid: submission.error(&field("tz")).map(|_| "true") }
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
            let text = |name: &str| text_of(&form, name).trim().to_owned();
            let (reason, start, end, tz) = (text("reason"), text("start"), text("end"), text("tz"));
            let weekdays = checked_of(&form, "weekdays");
            let outcome = match Entered::of(&form).matcher(&session).await {
                Err(invalid) => Err(invalid.into()),
                Ok(matcher) => {
                    let request = WindowRequest { matcher, reason, weekdays, start, end, tz, ends_at: None };
                    session.call(move |system, principal| async move { system.alerts.add_window(&principal, request).await }).await
                }
            };
            if submission.done(outcome).is_some() {
                toasts.good("Created the maintenance window.");
                ondone.call(());
            }
        });
    });
    let known: Vec<&str> = FIELDS.into_iter().chain(["reason", "start", "end", "tz", "weekdays"]).collect();
    rsx! {
        FormDialog { title: "New maintenance window", action: "Create window", wide: true, busy: submission.busy(), focus: submission.focus(), onsubmit: send, onclose,
            MatcherFields { submission }
            fieldset { class: "choices inline",
                legend { "Weekdays" }
                for day in WEEKDAYS {
                    label { key: "{day}", class: "choice-row",
                        input { r#type: "checkbox", name: "weekdays", value: day.to_string().to_lowercase(), initial_checked: true }
                        span { "{day}" }
                    }
                }
                if let Some(problem) = submission.error("weekdays") {
                    p { class: "field-error", role: "alert", {icon(Glyph::Alert)} "{problem}" }
                }
            }
            HoursFields { submission, hint: "an end before the start is on the next day" }
            TextField { name: "reason", label: "Reason", hint: "required; shown with the window", error: submission.error("reason") }
            if let Some(problem) = submission.other_error(&known) {
                p { class: "field-error", role: "alert", "data-testid": "form-error", "{problem}" }
            }
        }
    }
}

#[component]
fn Remove(window: AlertWindow, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let id = window.id;
    let words = matcher_text(&window.matcher, |id| alias_of(&session, id));
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let session = session.clone();
        spawn(async move {
            match session.call(move |system, principal| async move { system.alerts.remove_window(&principal, id).await }).await {
                Ok(()) => toasts.good("Removed the maintenance window."),
                Err(error) => toasts.failed(&error),
            }
            ondone.call(());
        });
    });
    rsx! {
        Confirm { title: "Remove this maintenance window?", action: "Remove window", busy: busy(), onconfirm, onclose,
            p { class: "names", "{words}: {hours_text(&window)}" }
            p { "Alerts that it holds back and that still fire are notified right away." }
        }
    }
}
