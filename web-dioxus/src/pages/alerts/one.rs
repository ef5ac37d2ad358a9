//! One alert: what it is about, what happened to it, and who was notified.

use std::time::Duration;

use dioxus::prelude::*;
use domain::access::Permission;
use domain::alert::{AlertRecord, AlertState, TransitionKind};
use domain::notification::Suppression;
use domain::{AlertId, ServiceError, Timestamp};
use services::{AlertDetails, AlertStep, Delivery};

use super::acknowledge::Acknowledge;
use super::silence::{SilenceAlert, SilencedAlert};
use super::{NotAllowed, Tab};
use crate::alerts_url::AlertsUrl;
use crate::components::alert_widgets::{
    SubjectLink, lasted_text, resolve_text, rule_link, severity_badge, state_badge, suppression_text, transition_mark, transition_text,
};
use crate::components::{EmptyState, Glyph, LocalTime, PageHeader, Problem, RouteLink, Skeleton, icon, labels, local_time, time_ago};
use crate::context::use_session;
use crate::format;
use crate::navigation::use_title;
use crate::polling::use_polling;
use crate::route::Route;

/// How often the alert is read again.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

#[component]
pub(crate) fn Alert(id: String) -> Element {
    if !Tab::Alerts.open_to(&use_session().principal) {
        return rsx! { PageHeader { title: "Alert" } NotAllowed {} };
    }
    match id.parse::<AlertId>() {
        // Keyed, so that another alert gets a page of its own.
        Ok(id) => rsx! { for id in [id] { Live { key: "{id}", id } } },
        Err(_) => rsx! { NoSuchAlert {} },
    }
}

#[component]
fn NoSuchAlert() -> Element {
    use_title("No such alert");
    rsx! {
        h1 { class: "visually-hidden", tabindex: "-1", "No such alert" }
        EmptyState { glyph: Glyph::Search, title: "There is no such alert", text: "The address is incomplete, or the alert is older than the history.",
            RouteLink { to: Route::Alerts { query: AlertsUrl::default() }, class: "button primary", "Go to the alerts" }
        }
    }
}

#[component]
fn Live(id: AlertId) -> Element {
    let alert = use_polling(id, POLL_INTERVAL, |system, principal, id| async move {
        match system.alerts.one(&principal, id).await {
            Ok(details) => Ok(Some(details)),
            Err(ServiceError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    });
    let reading = alert.read();
    match reading.value.as_deref() {
        Some(None) => rsx! { NoSuchAlert {} },
        Some(Some(details)) => rsx! {
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| alert.again() }
            }
            Page { details: details.clone(), onchange: move |()| alert.again() }
        },
        None => rsx! {
            PageHeader { title: "Alert" }
            match &reading.problem {
                Some(problem) => rsx! { Problem { text: problem.clone(), onretry: move |()| alert.again() } },
                None => rsx! { section { class: "card", Skeleton {} } },
            }
        },
    }
}

/// The dialog that is open.
#[derive(Clone, Copy, PartialEq)]
enum OpenDialog {
    Acknowledge,
    Silence,
}

#[component]
fn Page(details: AlertDetails, onchange: EventHandler<()>) -> Element {
    let session = use_session();
    let mut dialog = use_signal(|| None::<OpenDialog>);
    let alert = &details.alert;
    let title = format!("{}: {}", alert.key.rule.spec().label, alert.labels.name);
    use_title(&title);
    let now = session.clock.now();
    let may = session.may(Permission::ManageAlerts) && alert.state.is_open();
    let done = move |()| {
        dialog.set(None);
        onchange.call(());
    };
    rsx! {
        nav { class: "crumbs", aria_label: "Breadcrumb", RouteLink { to: Route::Alerts { query: AlertsUrl::default() }, "Alerts" } span { aria_hidden: "true", "/" } span { class: "truncate", "{title}" } }
        header { class: "page-header",
            div {
                h1 { tabindex: "-1", "data-testid": "alert-title", "{title}" }
                p { class: "lead alert-lead", {severity_badge(alert.severity)} {state_badge(alert.state)} span { "{alert.reason}" } }
            }
            div { class: "page-actions",
                if may && alert.state == AlertState::Firing {
                    button { class: "button primary", r#type: "button", aria_haspopup: "dialog", "data-testid": "acknowledge", onclick: move |_| dialog.set(Some(OpenDialog::Acknowledge)), {icon(Glyph::Check)} "Acknowledge" }
                }
                if may {
                    button { class: "button", r#type: "button", aria_haspopup: "dialog", "data-testid": "silence", onclick: move |_| dialog.set(Some(OpenDialog::Silence)), {icon(Glyph::Bell)} "Silence" }
                }
            }
        }
        Facts { alert: alert.clone(), now }
        History { entries: details.history.clone(), deliveries: details.deliveries.clone(), held: details.held, now }
        match dialog() {
            None => rsx! {},
            Some(OpenDialog::Acknowledge) => rsx! { Acknowledge { ids: vec![alert.id], what: title, ondone: done, onclose: move |()| dialog.set(None) } },
            Some(OpenDialog::Silence) => rsx! { SilenceAlert { alert: SilencedAlert::of(alert), ondone: done, onclose: move |()| dialog.set(None) } },
        }
    }
}

#[component]
fn Facts(alert: AlertRecord, now: Timestamp) -> Element {
    let resolved_at = alert.resolved.as_ref().map(|(at, _)| *at);
    rsx! {
        section { class: "card", aria_labelledby: "facts-title",
            h2 { id: "facts-title", "Details" }
            dl { class: "facts wide",
                div { dt { "About" } dd { SubjectLink { subject: alert.key.subject.clone(), name: alert.labels.name.clone() } } }
                div { dt { "Rule" } dd { {rule_link(alert.key.rule)} } }
                div { dt { "Since" } dd { {local_time(alert.opened_at, LocalTime::Minute)} } }
                div { dt { if resolved_at.is_some() { "Lasted" } else { "Open for" } } dd { {lasted_text(alert.opened_at, resolved_at, now)} } }
                if let Some((at, cause)) = &alert.resolved {
                    div { dt { "Resolved" } dd { {local_time(*at, LocalTime::Minute)} ", {resolve_text(*cause)}" } }
                }
                if let Some(by) = &alert.acknowledged {
                    div { dt { "Acknowledged" } dd { "data-testid": "acknowledged-by", "by {by.by}, " {time_ago(by.at, &format::relative(now, by.at))} if !by.note.is_empty() { ": {by.note}" } } }
                }
                if !alert.labels.groups.is_empty() {
                    div { dt { "Groups" } dd { {labels(&alert.labels.groups, 16)} } }
                }
                if !alert.labels.tags.is_empty() {
                    div { dt { "Tags" } dd { {labels(&alert.labels.tags, 16)} } }
                }
            }
        }
    }
}

#[component]
fn History(entries: Vec<AlertStep>, deliveries: Vec<Delivery>, held: Option<Suppression>, now: Timestamp) -> Element {
    rsx! {
        section { class: "card", aria_labelledby: "history-title",
            h2 { id: "history-title", "History" }
            if let Some(cause) = held {
                div { class: "notice warn", "data-testid": "held", {icon(Glyph::Pause)} span { "Notification held: {suppression_text(cause)}." } }
            }
            ol { class: "timeline", "data-testid": "alert-history",
                for entry in entries.iter() {
                    Entry { key: "{entry.revision}", entry: entry.clone(), deliveries: deliveries.iter().filter(|one| entry.notification.iter().chain(&entry.further).any(|said| *said == one.notification)).cloned().collect::<Vec<_>>(), ago: format::relative(now, entry.at) }
                }
            }
        }
    }
}

/// Whether people were notified of a change.
fn notified_text(entry: &AlertStep) -> Option<String> {
    match (entry.suppressed_by, entry.notification, entry.settled_at) {
        (Some(cause), _, _) => Some(format!("Not notified: {}", suppression_text(cause))),
        (None, Some(_), _) => None,
        (None, None, None) if matches!(entry.kind, TransitionKind::Raised | TransitionKind::Resolved) => {
            Some("Notification is being decided".into())
        }
        (None, None, _) => None,
    }
}

#[component]
fn Entry(entry: AlertStep, deliveries: Vec<Delivery>, ago: String) -> Element {
    let (glyph, tone) = transition_mark(entry.kind);
    rsx! {
        li { class: "event {tone}", "data-testid": "alert-entry", "data-kind": entry.kind.as_str(),
            span { class: "event-mark", {icon(glyph)} }
            div { class: "event-body",
                span { {transition_text(entry.kind)} if let Some(actor) = &entry.actor { span { class: "muted", " by {actor}" } } }
                if let Some(detail) = entry.detail.as_ref().filter(|detail| !detail.is_empty()) {
                    span { class: "event-change", "{detail}" }
                }
                if let Some(text) = notified_text(&entry) {
                    span { class: "event-change", "data-testid": "not-notified", "{text}" }
                }
                for delivery in deliveries.iter() {
                    span { key: "{delivery.notification}-{delivery.channel}", class: "event-change", "data-testid": "alert-delivery", {delivery_text(delivery)} }
                }
            }
            span { class: "event-time", {time_ago(entry.at, &ago)} span { class: "event-exact", {local_time(entry.at, LocalTime::Minute)} } }
        }
    }
}

/// How far the message got on its way to a channel.
fn delivery_text(delivery: &Delivery) -> String {
    let answer = delivery.last_answer.as_deref().filter(|answer| !answer.is_empty());
    let attempts = format::count(delivery.attempts as usize, "attempt", "attempts");
    match (delivery.state.as_str(), answer) {
        ("delivered", _) => format!("Delivered to {}", delivery.channel_name),
        ("queued", Some(answer)) => format!("Not yet delivered to {} after {attempts}: {answer}", delivery.channel_name),
        ("queued", None) => format!("On its way to {}", delivery.channel_name),
        (_, answer) => {
            format!(
                "Given up for {} after {attempts}{}",
                delivery.channel_name,
                answer.map(|answer| format!(": {answer}")).unwrap_or_default()
            )
        }
    }
}
