//! Routes from alerts to channels: made, changed, removed.

use std::time::Duration;

use dioxus::prelude::*;
use domain::notification::{Channel, Route as AlertRoute};

use super::route_form::RouteForm;
use super::{Frame, Tab};
use crate::components::{Confirm, EmptyState, Glyph, Problem, RouteLink, Skeleton, icon};
use crate::context::use_session;
use crate::polling::use_polling;
use crate::route::Route;
use crate::toasts::use_toasts;

/// How often the list is read again.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// The dialog that is open.
#[derive(Clone, PartialEq)]
enum OpenDialog {
    Edit(Option<AlertRoute>),
    Remove(AlertRoute, String),
}

#[component]
pub(crate) fn AlertRoutes() -> Element {
    rsx! { Frame { tab: Tab::Routes, List {} } }
}

#[component]
fn List() -> Element {
    let mut dialog = use_signal(|| None::<OpenDialog>);
    let list = use_polling((), POLL_INTERVAL, |system, principal, ()| async move {
        Ok((system.alerts.routes(&principal).await?, system.alerts.channels(&principal).await?))
    });
    let reading = list.read();
    let channels = reading.value.as_deref().map(|(_, channels)| channels.clone()).unwrap_or_default();
    let done = move |()| {
        dialog.set(None);
        list.again();
    };
    rsx! {
        section { class: "card", aria_labelledby: "routes-title", aria_busy: reading.loading.to_string(),
            div { class: "card-head",
                h2 { id: "routes-title", "Routes" }
                if !channels.is_empty() {
                    button { class: "button primary", r#type: "button", aria_haspopup: "dialog", "data-testid": "add-route", onclick: move |_| dialog.set(Some(OpenDialog::Edit(None))), {icon(Glyph::Plus)} "New route" }
                }
            }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| list.again() }
            }
            match reading.value.as_deref() {
                Some((routes, channels)) if routes.is_empty() => rsx! {
                    EmptyState { glyph: Glyph::Send, title: "No routes yet", text: "A route leads alerts to a channel, by severity, rule, group and time of day. Without one nobody is notified.",
                        if channels.is_empty() {
                            RouteLink { to: Route::AlertChannels {}, class: "button primary", "Create a channel first" }
                        } else {
                            button { class: "button primary", r#type: "button", aria_haspopup: "dialog", onclick: move |_| dialog.set(Some(OpenDialog::Edit(None))), "New route" }
                        }
                    }
                },
                Some((routes, channels)) => rsx! {
                    ul { class: "rows",
                        for route in routes.iter() {
                            Row { key: "{route.id}", route: route.clone(), channel: channels.iter().find(|channel| channel.id == route.channel).cloned(), onopen: move |what| dialog.set(Some(what)) }
                        }
                    }
                },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
        match dialog() {
            None => rsx! {},
            Some(OpenDialog::Edit(known)) => rsx! { RouteForm { known, channels, ondone: done, onclose: move |()| dialog.set(None) } },
            Some(OpenDialog::Remove(route, words)) => rsx! { Remove { route, words, ondone: done, onclose: move |()| dialog.set(None) } },
        }
    }
}

/// The alerts that a route takes, in words: "Critical only, Device offline or Low battery, group north".
fn takes_text(route: &AlertRoute) -> String {
    use domain::alert::Severity;
    let severity = match route.min_severity {
        Severity::Info => "Every severity",
        Severity::Warning => "Warning and above",
        Severity::Critical => "Critical only",
    };
    let rules = (!route.rules.is_empty()).then(|| route.rules.iter().map(|rule| rule.spec().label).collect::<Vec<_>>().join(" or "));
    let groups = (!route.groups.is_empty()).then(|| format!("group {}", route.groups.join(" or ")));
    [Some(severity.to_owned()), rules, groups].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// When a route leads there: at once, as an escalation, within hours, or as a digest.
fn when_text(route: &AlertRoute) -> String {
    if let Some(digest) = &route.digest {
        let (at, tz) = digest.parts();
        return format!("daily digest at {at}, {tz}");
    }
    let level = match route.level {
        0 => "at once".to_owned(),
        level => format!("escalation level {level}: when nobody acknowledges"),
    };
    match route.hours.as_ref().and_then(|hours| hours.daily()) {
        Some(hours) => format!("{level}, {}-{} {}", hours.start(), hours.end(), hours.tz()),
        None => level,
    }
}

#[component]
fn Row(route: AlertRoute, channel: Option<Channel>, onopen: EventHandler<OpenDialog>) -> Element {
    let words = takes_text(&route);
    let name = channel.as_ref().map_or_else(|| route.channel.to_string(), |channel| channel.name.clone());
    let (changed, removed, told) = (route.clone(), route.clone(), format!("{words} to {name}"));
    rsx! {
        li { class: "row-item", "data-testid": "route-row", "data-id": "{route.id}",
            span { class: "row-icon", {icon(Glyph::Network)} }
            div { class: "row-main",
                div { class: "row-title wrap", span { "{words}" } }
                div { class: "row-meta",
                    span { "to " RouteLink { to: Route::alert_channel(route.channel), "{name}" } }
                    span { "data-testid": "route-when", {when_text(&route)} }
                    if channel.as_ref().is_some_and(|channel| !channel.enabled) { span { class: "badge bad", "Channel off" } }
                }
            }
            div { class: "row-actions", role: "group", aria_label: "Actions for {told}",
                button { class: "button small", r#type: "button", aria_haspopup: "dialog", "data-testid": "change-route", onclick: move |_| onopen.call(OpenDialog::Edit(Some(changed.clone()))), "Change" }
                button { class: "button small danger-quiet", r#type: "button", aria_haspopup: "dialog", "data-testid": "remove-route", onclick: move |_| onopen.call(OpenDialog::Remove(removed.clone(), told.clone())), "Remove" }
            }
        }
    }
}

#[component]
fn Remove(route: AlertRoute, words: String, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let id = route.id;
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let session = session.clone();
        spawn(async move {
            match session.call(move |system, principal| async move { system.alerts.remove_route(&principal, id).await }).await {
                Ok(()) => toasts.good("Removed the route."),
                Err(error) => toasts.failed(&error),
            }
            ondone.call(());
        });
    });
    rsx! {
        Confirm { title: "Remove this route?", action: "Remove route", busy: busy(), onconfirm, onclose,
            p { class: "names", "{words}" }
            p { "Alerts that no other route takes are notified to nobody. Resolves still go to whoever was notified of the raise." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::alert::{Rule, Severity};
    use domain::deployment::MaintenanceWindow;
    use domain::notification::DigestTime;

    #[test]
    fn a_route_reads_as_what_it_takes_and_when() {
        let route = AlertRoute {
            id: domain::RouteId(uuid::Uuid::nil()),
            channel: domain::ChannelId(uuid::Uuid::nil()),
            min_severity: Severity::Warning,
            rules: vec![Rule::DeviceOffline],
            groups: vec!["north".into(), "south".into()],
            hours: Some(MaintenanceWindow::parse("08:00", "18:00", "Europe/Berlin").unwrap()),
            level: 0,
            digest: None,
        };
        assert_eq!(takes_text(&route), "Warning and above, Device offline, group north or south");
        assert_eq!(when_text(&route), "at once, 08:00-18:00 Europe/Berlin");
        let escalation = AlertRoute { level: 1, hours: None, ..route.clone() };
        assert_eq!(when_text(&escalation), "escalation level 1: when nobody acknowledges");
        let digest = AlertRoute { digest: DigestTime::parse("07:30", "UTC").ok(), hours: None, ..route };
        assert_eq!(when_text(&digest), "daily digest at 07:30, UTC");
    }
}
