//! Alerts of a device in the time that its plots show.

use std::time::Duration;

use dioxus::prelude::*;
use domain::alert::{AlertRecord, AlertState};
use domain::{DeviceId, Timestamp};

use super::plots::{shown_time, span};
use crate::alerts_url::AlertsUrl;
use crate::components::alert_widgets::{lasted_text, severity_badge, severity_tone, state_badge};
use crate::components::{Glyph, LocalTime, Problem, RouteLink, Skeleton, icon, local_time, time_ago};
use crate::context::use_session;
use crate::format;
use crate::polling::{Polling, use_polling};
use crate::route::Route;
use crate::url_state::DeviceUrl;

/// How often they are read again.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Most alerts that are listed and marked.
const LISTED_MAX: i64 = 50;

/// Alerts of a device that were open within the time of its plots, the newest first.
pub(super) fn use_alerts(id: DeviceId, query: DeviceUrl) -> Polling<Vec<AlertRecord>> {
    use_polling((id, query), POLL_INTERVAL, |system, principal, (id, query)| async move {
        let (from, to, _) = span(query, system.clock.now());
        system.alerts.of_device(&principal, id, from, to, LISTED_MAX).await
    })
}

#[component]
pub(super) fn Alerts(id: DeviceId, query: DeviceUrl, alerts: Polling<Vec<AlertRecord>>) -> Element {
    let reading = alerts.read();
    let now = use_session().clock.now();
    let history = AlertsUrl { device: Some(id), ..AlertsUrl::of(AlertState::Resolved) };
    rsx! {
        section { class: "card", aria_labelledby: "device-alerts-title", aria_busy: reading.loading.to_string(), "data-testid": "device-alerts",
            div { class: "card-head",
                h2 { id: "device-alerts-title", "Alerts of {shown_time(query)}" }
                RouteLink { to: Route::Alerts { query: history }, class: "button small", testid: "device-alert-history", "All of its alerts" }
            }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| alerts.again() }
            }
            match reading.value.as_deref() {
                Some(list) if list.is_empty() => rsx! { p { class: "muted", "No alerts in this time." } },
                Some(list) => rsx! {
                    ol { class: "timeline",
                        for alert in list.iter() {
                            Row { key: "{alert.id}", alert: alert.clone(), now }
                        }
                    }
                    if list.len() as i64 == LISTED_MAX {
                        p { class: "muted", "Only the newest {LISTED_MAX} are listed and marked on the plots." }
                    }
                },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
    }
}

#[component]
fn Row(alert: AlertRecord, now: Timestamp) -> Element {
    let resolved_at = alert.resolved.map(|(at, _)| at);
    let lasted = lasted_text(alert.opened_at, resolved_at, now);
    let tone = if resolved_at.is_some() { "good" } else { severity_tone(alert.severity) };
    rsx! {
        li { class: "event {tone}", "data-testid": "device-alert", "data-rule": alert.key.rule.as_str(), "data-state": alert.state.as_str(),
            span { class: "event-mark", {icon(if resolved_at.is_some() { Glyph::Check } else { Glyph::Bell })} }
            div { class: "event-body",
                span { class: "alert-title", RouteLink { to: Route::alert(alert.id), {alert.key.rule.spec().label} } {severity_badge(alert.severity)} {state_badge(alert.state)} }
                span { class: "event-change", "{alert.reason}; " if resolved_at.is_some() { "lasted {lasted}" } else { "open for {lasted}" } }
            }
            span { class: "event-time", {time_ago(alert.opened_at, &format::relative(now, alert.opened_at))} span { class: "event-exact", {local_time(alert.opened_at, LocalTime::Minute)} } }
        }
    }
}
