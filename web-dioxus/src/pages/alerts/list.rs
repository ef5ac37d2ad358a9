//! Alerts one by one, newest first: selected, acknowledged, silenced.

use std::collections::BTreeSet;
use std::time::Duration;

use dioxus::prelude::*;
use domain::AlertId;
use domain::access::Permission;
use domain::alert::{AlertRecord, AlertState};
use services::{AlertCursor, AlertPage};

use super::acknowledge::Acknowledge;
use super::silence::{SilenceAlert, SilencedAlert};
use crate::alerts_url::AlertsUrl;
use crate::components::alert_widgets::{SubjectLink, lasted_text, resolve_text, severity_badge, state_badge};
use crate::components::{EmptyState, Glyph, Pager, Problem, RouteLink, Skeleton, icon, labels, time_ago};
use crate::context::use_session;
use crate::format;
use crate::polling::use_polling;
use crate::route::Route;

/// Alerts of a page, and most that are acknowledged at once.
const PAGE: i64 = 50;
/// How often open alerts are read again.
const OPEN_INTERVAL: Duration = Duration::from_secs(2);
/// How often those that are over are read again.
const HISTORY_INTERVAL: Duration = Duration::from_secs(10);

/// The dialog that is open.
#[derive(Clone, PartialEq)]
enum OpenDialog {
    Acknowledge(Vec<AlertId>, String),
    Silence(SilencedAlert),
}

#[component]
pub(super) fn List(query: AlertsUrl) -> Element {
    let session = use_session();
    let mut before = use_signal(Vec::<AlertCursor>::new);
    let mut selected = use_signal(BTreeSet::<AlertId>::new);
    let mut dialog = use_signal(|| None::<OpenDialog>);
    let after = before.read().last().copied();
    let interval = if query.state.is_open() { OPEN_INTERVAL } else { HISTORY_INTERVAL };
    let list = use_polling((query.clone(), after), interval, |system, principal, (query, after): (AlertsUrl, _)| async move {
        system.alerts.page(&principal, query.filter(), after, PAGE).await
    });
    let reading = list.read();
    let now = session.clock.now();
    let may = session.may(Permission::ManageAlerts) && query.state.is_open();
    let acknowledges = may && query.state == AlertState::Firing;
    let shown: BTreeSet<AlertId> = reading.value.iter().flat_map(|page| page.alerts.iter().map(|alert| alert.id)).collect();
    // What was resolved meanwhile is not selected any more.
    let chosen: Vec<AlertId> = selected.read().intersection(&shown).copied().collect();
    let all = !shown.is_empty() && chosen.len() == shown.len();
    let done = move |()| {
        dialog.set(None);
        selected.write().clear();
        list.again();
    };
    rsx! {
        if let Some(problem) = &reading.problem {
            Problem { text: problem.clone(), onretry: move |()| list.again() }
        }
        match reading.value.as_deref() {
            Some(page) if page.alerts.is_empty() && before.read().is_empty() => rsx! { Nothing { query: query.clone() } },
            Some(AlertPage { alerts, next }) => {
                let next = *next;
                rsx! {
                    if acknowledges {
                        div { class: "alert-bulk", "data-testid": "alert-bulk",
                            label { class: "alert-all",
                                input { r#type: "checkbox", name: "all", checked: all, "data-mixed": (!all && !chosen.is_empty()).to_string(), "data-testid": "select-all",
                                    onchange: {
                                        let shown = shown.clone();
                                        move |event: FormEvent| selected.set(if event.checked() { shown.clone() } else { BTreeSet::new() })
                                    }
                                }
                                if chosen.is_empty() { "Select all on this page" } else { "{chosen.len()} selected" }
                            }
                            if !chosen.is_empty() {
                                button { class: "button small primary", r#type: "button", aria_haspopup: "dialog", "data-testid": "acknowledge-selected",
                                    onclick: {
                                        let chosen = chosen.clone();
                                        let count = format::count(chosen.len(), "alert", "alerts");
                                        move |_| dialog.set(Some(OpenDialog::Acknowledge(chosen.clone(), count.clone())))
                                    },
                                    {icon(Glyph::Check)} "Acknowledge"
                                }
                            }
                        }
                    }
                    ul { class: "rows alert-rows", aria_label: "Alerts", aria_busy: reading.loading.to_string(),
                        for alert in alerts.iter() {
                            Row {
                                key: "{alert.id}", alert: alert.clone(), may,
                                ago: format::relative(now, alert.resolved.as_ref().map_or(alert.opened_at, |(at, _)| *at)),
                                lasted: lasted_text(alert.opened_at, alert.resolved.as_ref().map(|(at, _)| *at), now),
                                selected: acknowledges.then(|| chosen.contains(&alert.id)),
                                onselect: move |(id, on)| {
                                    if on { selected.write().insert(id); } else { selected.write().remove(&id); }
                                },
                                onopen: move |what| dialog.set(Some(what)),
                            }
                        }
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
        match dialog() {
            None => rsx! {},
            Some(OpenDialog::Acknowledge(ids, what)) => rsx! { Acknowledge { ids, what, ondone: done, onclose: move |()| dialog.set(None) } },
            Some(OpenDialog::Silence(alert)) => rsx! { SilenceAlert { alert, ondone: done, onclose: move |()| dialog.set(None) } },
        }
    }
}

#[component]
fn Nothing(query: AlertsUrl) -> Element {
    let cleared = AlertsUrl { by: query.by, ..AlertsUrl::of(query.state) };
    if query.is_filtered() {
        return rsx! {
            EmptyState { glyph: Glyph::Search, title: "No alert matches", text: "Change or clear the filter.",
                RouteLink { to: Route::Alerts { query: cleared }, class: "button", "Clear the filter" }
            }
        };
    }
    match query.state {
        AlertState::Firing => rsx! {
            EmptyState { glyph: Glyph::Check, title: "No open alerts", text: "Nothing needs attention right now. What a rule finds appears here by itself.",
                RouteLink { to: Route::AlertRules {}, class: "button", "See the rules" }
            }
        },
        AlertState::Acknowledged => rsx! {
            EmptyState { glyph: Glyph::User, title: "Nothing acknowledged", text: "Alerts that somebody looks after are listed here until they are resolved." }
        },
        AlertState::Resolved => rsx! {
            EmptyState { glyph: Glyph::Bell, title: "No history yet", text: "Resolved alerts are listed here." }
        },
    }
}

#[component]
fn Row(
    alert: AlertRecord,
    may: bool,
    ago: String,
    lasted: String,
    selected: Option<bool>,
    onselect: EventHandler<(AlertId, bool)>,
    onopen: EventHandler<OpenDialog>,
) -> Element {
    let id = alert.id;
    let rule = alert.key.rule.spec().label;
    let what = format!("{rule}: {}", alert.labels.name);
    let (named, silenced) = (what.clone(), SilencedAlert::of(&alert));
    rsx! {
        li { class: "row-item alert-row severity-{alert.severity.as_str()}", "data-testid": "alert-row", "data-id": "{id}", "data-rule": alert.key.rule.as_str(), "data-state": alert.state.as_str(),
            if let Some(selected) = selected {
                input { r#type: "checkbox", class: "alert-select", name: "alert", checked: selected, aria_label: "Select {what}", "data-testid": "select-alert", onchange: move |event| onselect.call((id, event.checked())) }
            }
            div { class: "row-main",
                div { class: "row-title alert-title",
                    {severity_badge(alert.severity)}
                    RouteLink { to: Route::alert(id), testid: "open-alert", "{rule}" }
                    SubjectLink { subject: alert.key.subject.clone(), name: alert.labels.name.clone() }
                    if alert.state == AlertState::Acknowledged { {state_badge(alert.state)} }
                }
                p { class: "alert-reason", "{alert.reason}" }
                div { class: "row-meta",
                    match &alert.resolved {
                        Some((at, cause)) => rsx! { span { "resolved " {time_ago(*at, &ago)} " after {lasted}, " {resolve_text(*cause)} } },
                        None => rsx! { span { "since " {time_ago(alert.opened_at, &ago)} } },
                    }
                    if let Some(by) = &alert.acknowledged {
                        span { "acknowledged by " strong { "{by.by}" } if !by.note.is_empty() { ": {by.note}" } }
                    }
                    {labels(&alert.labels.groups, 4)}
                }
            }
            if may {
                div { class: "row-actions", role: "group", aria_label: "Actions for {what}",
                    if alert.state == AlertState::Firing {
                        button { class: "button small", r#type: "button", aria_haspopup: "dialog", "data-testid": "acknowledge", onclick: move |_| onopen.call(OpenDialog::Acknowledge(vec![id], named.clone())), "Acknowledge" }
                    }
                    button { class: "button small", r#type: "button", aria_haspopup: "dialog", "data-testid": "silence", onclick: move |_| onopen.call(OpenDialog::Silence(silenced.clone())), "Silence" }
                }
            }
        }
    }
}
