//! Schedules of reports: made, removed.

use std::time::Duration;

use dioxus::prelude::*;
use domain::Invalid;
use domain::notification::{Channel, DigestTime};
use domain::report::PeriodKind;
use services::{ReportScheduleRequest, ReportScheduleView};

use crate::components::form::{Field, FormDialog, TextField, text_of, use_submission};
use crate::components::{Confirm, Glyph, Problem, RouteLink, Skeleton, icon, time_ago};
use crate::context::use_session;
use crate::format;
use crate::polling::use_polling;
use crate::route::Route;
use crate::toasts::use_toasts;

/// How often the list is read again.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// The dialog that is open.
#[derive(Clone, PartialEq)]
enum OpenDialog {
    Add,
    Remove(ReportScheduleView, String),
}

/// A schedule in words: "Weekly, all devices, Mondays at 07:00, UTC".
fn words(view: &ReportScheduleView) -> String {
    let (at, tz) = view.schedule.at.parts();
    let when = match view.schedule.kind {
        PeriodKind::Daily => "every day",
        PeriodKind::Weekly => "Mondays",
    };
    let group = view.schedule.group.as_ref().map_or_else(|| "all devices".to_owned(), |group| format!("group {group}"));
    format!("{}, {group}, {when} at {at}, {tz}", view.schedule.kind.title())
}

/// Reads the fields of the form.
fn request(text: impl Fn(&str) -> String) -> Result<ReportScheduleRequest, Invalid> {
    let trimmed = |name: &str| text(name).trim().to_owned();
    let own_name = |refused: Invalid| Invalid::new(refused.field.trim_start_matches("digest.").to_owned(), refused.problem);
    Ok(ReportScheduleRequest {
        channel: trimmed("channel_id").parse().map_err(|_| Invalid::new("channel_id", "missing: choose a channel"))?,
        kind: PeriodKind::parse("period", &trimmed("period"))?,
        group: Some(trimmed("group")).filter(|group| !group.is_empty()),
        at: DigestTime::parse(&trimmed("at"), &trimmed("tz")).map_err(own_name)?,
    })
}

#[component]
pub(super) fn Schedules() -> Element {
    let session = use_session();
    let now = session.clock.now();
    let mut dialog = use_signal(|| None::<OpenDialog>);
    let list = use_polling((), POLL_INTERVAL, |system, principal, ()| async move {
        Ok((system.reports.schedules(&principal).await?, system.alerts.channels(&principal).await?))
    });
    let reading = list.read();
    let channels = reading.value.as_deref().map(|(_, channels)| channels.clone()).unwrap_or_default();
    let done = move |()| {
        dialog.set(None);
        list.again();
    };
    rsx! {
        section { class: "card report-schedules", aria_labelledby: "schedules-title", aria_busy: reading.loading.to_string(),
            div { class: "card-head",
                h2 { id: "schedules-title", "Sent to people" }
                if !channels.is_empty() {
                    button { class: "button small", r#type: "button", aria_haspopup: "dialog", "data-testid": "add-schedule", onclick: move |_| dialog.set(Some(OpenDialog::Add)), {icon(Glyph::Plus)} "New schedule" }
                }
            }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match reading.value.as_deref() {
                Some((views, channels)) if views.is_empty() => rsx! {
                    p { class: "muted", "Reports can be sent to a channel after each day or week: by mail with a table, elsewhere as a summary." }
                    if channels.is_empty() {
                        RouteLink { to: Route::AlertChannels {}, class: "button small", "Create a channel first" }
                    }
                },
                Some((views, channels)) => rsx! {
                    ul { class: "rows",
                        for view in views.iter() {
                            Row { key: "{view.schedule.id}", view: view.clone(), channel: channels.iter().find(|channel| channel.id == view.schedule.channel).cloned(), now, onremove: move |(view, words)| dialog.set(Some(OpenDialog::Remove(view, words))) }
                        }
                    }
                },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
        match dialog() {
            None => rsx! {},
            Some(OpenDialog::Add) => rsx! { Add { channels, ondone: done, onclose: move |()| dialog.set(None) } },
            Some(OpenDialog::Remove(view, words)) => rsx! { Remove { view, words, ondone: done, onclose: move |()| dialog.set(None) } },
        }
    }
}

#[component]
fn Row(
    view: ReportScheduleView,
    channel: Option<Channel>,
    now: domain::Timestamp,
    onremove: EventHandler<(ReportScheduleView, String)>,
) -> Element {
    let words = words(&view);
    let name = channel.as_ref().map_or_else(|| view.schedule.channel.to_string(), |channel| channel.name.clone());
    let is_off = channel.as_ref().is_some_and(|channel| !channel.enabled);
    let (removed, told) = (view.clone(), format!("{words}, to {name}"));
    rsx! {
        li { class: "row-item", "data-testid": "schedule-row", "data-id": "{view.schedule.id}",
            span { class: "row-icon", {icon(Glyph::Send)} }
            div { class: "row-main",
                div { class: "row-title wrap", span { "{words}" } }
                div { class: "row-meta",
                    span { "to " RouteLink { to: Route::alert_channel(view.schedule.channel), "{name}" } if is_off { " (off)" } }
                    match view.sent {
                        Some((period, at)) => rsx! { span { "{period} sent " {time_ago(at, &format::relative(now, at))} } },
                        None => rsx! { span { "nothing sent yet" } },
                    }
                    span { "by " strong { "{view.created_by}" } }
                }
            }
            div { class: "row-actions",
                button { class: "button small danger-quiet", r#type: "button", aria_haspopup: "dialog", aria_label: "Remove: {told}", "data-testid": "remove-schedule", onclick: move |_| onremove.call((removed.clone(), told.clone())), "Remove" }
            }
        }
    }
}

#[component]
fn Add(channels: Vec<Channel>, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    let send = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let session = session.clone();
        spawn(async move {
            let outcome = match request(|name| text_of(&form, name)) {
                Err(invalid) => Err(invalid.into()),
                Ok(request) => {
                    session.call(move |system, principal| async move { system.reports.schedule(&principal, request).await }).await
                }
            };
            if submission.done(outcome).is_some() {
                toasts.good("Created the schedule. The next report is sent at its time.");
                ondone.call(());
            }
        });
    });
    rsx! {
        FormDialog { title: "New schedule", action: "Create schedule", busy: submission.busy(), focus: submission.focus(), onsubmit: send, onclose,
            Field { name: "channel_id", label: "To channel", error: submission.error("channel_id"),
                select { id: "channel_id", name: "channel_id", aria_describedby: "channel_id-note",
                    for channel in channels.iter() {
                        option { key: "{channel.id}", value: "{channel.id}", "{channel.name} ({channel.kind.title()})" }
                    }
                }
            }
            Field { name: "period", label: "Period", error: submission.error("period"),
                select { id: "period", name: "period", aria_describedby: "period-note",
                    for kind in PeriodKind::ALL {
                        option { key: "{kind.as_str()}", value: kind.as_str(), if kind == PeriodKind::Weekly { "Weekly, on Mondays" } else { "Daily" } }
                    }
                }
            }
            TextField { name: "group", label: "Group", hint: "empty: all devices", error: submission.error("group") }
            div { class: "field-pair even",
                Field { name: "at", label: "At", error: submission.error("at"),
                    input { id: "at", name: "at", r#type: "time", initial_value: "07:00", aria_describedby: "at-note" }
                }
                Field { name: "tz", label: "Time zone", hint: "as in Europe/Berlin", error: submission.error("tz"),
                    input { id: "tz", name: "tz", r#type: "text", "data-zone": "1", autocomplete: "off", spellcheck: "false", maxlength: "100", aria_describedby: "tz-note" }
                }
            }
            if let Some(problem) = submission.other_error(&["channel_id", "period", "group", "at", "tz"]) {
                p { class: "field-error", role: "alert", "data-testid": "form-error", "{problem}" }
            }
        }
    }
}

#[component]
fn Remove(view: ReportScheduleView, words: String, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let id = view.schedule.id;
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let session = session.clone();
        spawn(async move {
            match session.call(move |system, principal| async move { system.reports.unschedule(&principal, id).await }).await {
                Ok(()) => toasts.good("Removed the schedule."),
                Err(error) => toasts.failed(&error),
            }
            ondone.call(());
        });
    });
    rsx! {
        Confirm { title: "Remove this schedule?", action: "Remove", busy: busy(), onconfirm, onclose,
            p { class: "names", "{words}" }
            p { "No further reports are sent by it." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(fields: &[(&str, &str)]) -> Result<ReportScheduleRequest, Invalid> {
        let known =
            [("channel_id", "00000000-0000-0000-0000-000000000007"), ("period", "weekly"), ("at", "07:00"), ("tz", "Europe/Berlin")];
        let text = |name: &str| fields.iter().chain(&known).find(|(field, _)| *field == name).map(|(_, value)| (*value).to_owned());
        request(|name| text(name).unwrap_or_default())
    }

    #[test]
    fn a_schedule_is_of_all_devices_unless_a_group_is_named() {
        let all = filled(&[]).unwrap();
        assert_eq!((all.kind, all.group, all.at.parts()), (PeriodKind::Weekly, None, ("07:00".to_owned(), "Europe/Berlin")));
        assert_eq!(filled(&[("group", " north ")]).unwrap().group.as_deref(), Some("north"));
    }

    #[test]
    fn nonsense_is_named_by_its_field() {
        for (field, value) in [("channel_id", "x"), ("period", "hourly"), ("at", "soon"), ("tz", "Mars")] {
            assert_eq!(filled(&[(field, value)]).unwrap_err().field, field);
        }
    }
}
