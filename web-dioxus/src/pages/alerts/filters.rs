//! Filters of the alerts: rule, severity, group, device.

use dioxus::prelude::*;
use domain::alert::{Rule, Severity};
use domain::query::FilterKey;

use crate::alerts_url::AlertsUrl;
use crate::components::{Glyph, icon};
use crate::context::use_session;
use crate::fleet_search::{alias_of, device_named};
use crate::route::Route;
use crate::toasts::use_toasts;

#[component]
pub(super) fn Filters(query: AlertsUrl) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let navigator = use_navigator();
    let go = use_callback(move |query: AlertsUrl| {
        navigator.push(Route::Alerts { query });
    });
    let device = query.device.map(|id| alias_of(&session, id)).unwrap_or_default();
    let mut tries = use_signal(|| 0u32);
    let known = query.clone();
    let watch = session.watch.clone();
    let groups = use_resource(move || {
        let watch = watch.clone();
        async move { watch.digest().await.values.get(&FilterKey::Group).cloned().unwrap_or_default() }
    });
    let by_device = use_callback(move |text: String| {
        let (session, known) = (session.clone(), known.clone());
        let text = text.trim().to_owned();
        spawn(async move {
            if text.is_empty() {
                return go.call(AlertsUrl { device: None, ..known });
            }
            match device_named(&session, text.clone()).await {
                Some(id) => go.call(AlertsUrl { device: Some(id), ..known }),
                None => {
                    toasts.bad(format!("No device has the alias {text}."));
                    tries += 1;
                }
            }
        });
    });
    let mut groups = groups.read().clone().unwrap_or_default();
    if let Some(group) = query.group.as_ref().filter(|group| !groups.contains(group)) {
        groups.insert(0, group.clone());
    }
    let chosen = |on: bool| if on { "choice chosen" } else { "choice" };
    let (of_rule, of_severity, of_group) = (query.clone(), query.clone(), query.clone());
    let cleared = AlertsUrl { by: query.by, ..AlertsUrl::of(query.state) };
    rsx! {
        div { class: "command-filters", role: "search", aria_label: "Filter the alerts",
            select { class: chosen(query.rule.is_some()), name: "rule", aria_label: "Rule",
                onchange: move |event| go.call(AlertsUrl { rule: event.value().parse().ok(), ..of_rule.clone() }),
                option { value: "", selected: query.rule.is_none(), "Rule: any" }
                for rule in Rule::ALL {
                    option { key: "{rule.as_str()}", value: rule.as_str(), selected: query.rule == Some(rule), {rule.spec().label} }
                }
            }
            select { class: chosen(query.severity.is_some()), name: "severity", aria_label: "Minimum severity",
                onchange: move |event| go.call(AlertsUrl { severity: event.value().parse().ok(), ..of_severity.clone() }),
                option { value: "", selected: query.severity.is_none(), "Severity: any" }
                for severity in [Severity::Warning, Severity::Critical] {
                    option { key: "{severity.as_str()}", value: severity.as_str(), selected: query.severity == Some(severity), {severity_choice(severity)} }
                }
            }
            if query.by.is_none() {
                select { class: chosen(query.group.is_some()), name: "group", aria_label: "Group",
                    onchange: move |event| go.call(AlertsUrl { group: Some(event.value()).filter(|group| !group.is_empty()), ..of_group.clone() }),
                    option { value: "", selected: query.group.is_none(), "Group: any" }
                    for group in groups {
                        option { key: "{group}", value: "{group}", selected: query.group.as_deref() == Some(&group), "{group}" }
                    }
                }
                // Keyed, so that the field shows what the address says.
                for (key, value) in [(format!("{}-{device}", tries()), device)] {
                    input { key: "{key}", name: "device", initial_value: "{value}", placeholder: "Device: alias or id", aria_label: "Device, by alias or id", autocomplete: "off", spellcheck: "false", maxlength: "200", onchange: move |event| by_device.call(event.value()) }
                }
            }
            if query.is_filtered() {
                button { class: "button quiet", r#type: "button", "data-testid": "clear-filters", onclick: move |_| go.call(cleared.clone()), {icon(Glyph::Close)} "Clear" }
            }
        }
    }
}

fn severity_choice(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "Info and above",
        Severity::Warning => "Warning and above",
        Severity::Critical => "Critical only",
    }
}
