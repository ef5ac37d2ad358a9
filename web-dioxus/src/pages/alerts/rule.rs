//! One rule: what it means, what it goes by for whom, and which devices it concerns right now.

use std::time::Duration;

use dioxus::prelude::*;
use domain::DeviceId;
use domain::access::Permission;
use domain::alert::{AlertState, ResolvedRule, Rule, RuleSetting, SubjectKind, ThresholdScope};
use services::{FIRED_DAYS, RuleView};

use super::preview::Preview;
use super::remediation::Remediation;
use super::rule_form::{ResetRule, SetRule};
use super::rules::fired_text;
use super::runbook::Runbook;
use super::{NotAllowed, Tab};
use crate::alerts_url::AlertsUrl;
use crate::components::alert_widgets::{severity_badge, threshold_text};
use crate::components::{EmptyState, Glyph, PageHeader, Problem, RouteLink, Skeleton, icon};
use crate::context::{Session, use_session};
use crate::fleet_search::{alias_of, device_named};
use crate::format;
use crate::navigation::use_title;
use crate::polling::use_polling;
use crate::route::Route;
use crate::toasts::use_toasts;

/// How often the rule is read again.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// How often it is looked which devices it concerns: every look judges the whole fleet.
const PREVIEW_INTERVAL: Duration = Duration::from_secs(15);

#[component]
pub(crate) fn AlertRule(rule: String) -> Element {
    let shown = rule.parse::<Rule>();
    use_title(shown.as_ref().map_or("No such rule", |rule| rule.spec().label));
    if !Tab::Rules.open_to(&use_session().principal) {
        return rsx! { PageHeader { title: "Rule" } NotAllowed {} };
    }
    match shown {
        Ok(rule) => rsx! { for rule in [rule] { One { key: "{rule.as_str()}", rule } } },
        Err(_) => rsx! {
            h1 { class: "visually-hidden", tabindex: "-1", "No such rule" }
            EmptyState { glyph: Glyph::Search, title: "There is no such rule", text: "The address is incomplete, or of another version.",
                RouteLink { to: Route::AlertRules {}, class: "button primary", "Go to the rules" }
            }
        },
    }
}

/// The dialog that is open.
#[derive(Clone, PartialEq)]
enum OpenDialog {
    Set(Option<RuleSetting>),
    Reset(ThresholdScope),
}

/// Devices of a scope in words; the device by its name.
pub(super) fn scope_text(scope: &ThresholdScope, session: &Session) -> String {
    match scope {
        ThresholdScope::Device(id) => format!("device {}", alias_of(session, *id)),
        scope => scope.to_string(),
    }
}

#[component]
fn One(rule: Rule) -> Element {
    let session = use_session();
    let mut dialog = use_signal(|| None::<OpenDialog>);
    let view = use_polling(rule, POLL_INTERVAL, |system, principal, rule| async move { system.alerts.rule(&principal, rule).await });
    let reading = view.read();
    let spec = rule.spec();
    let may = session.may(Permission::ManageAlerts);
    let of_devices = spec.subject == SubjectKind::Device;
    let done = move |()| {
        dialog.set(None);
        view.again();
    };
    rsx! {
        nav { class: "crumbs", aria_label: "Breadcrumb",
            RouteLink { to: Route::Alerts { query: AlertsUrl::default() }, "Alerts" } span { aria_hidden: "true", "/" }
            RouteLink { to: Route::AlertRules {}, "Rules" } span { aria_hidden: "true", "/" } span { class: "truncate", {spec.label} }
        }
        PageHeader { title: spec.label, lead: spec.meaning,
            if may {
                button { class: "button primary", r#type: "button", aria_haspopup: "dialog", "data-testid": "set-rule",
                    onclick: move |_| {
                        // What is not about devices has one setting.
                        let known = view.read().value.and_then(|view| view.settings.iter().find(|setting| setting.scope == ThresholdScope::Global).cloned());
                        dialog.set(Some(OpenDialog::Set(known.filter(|_| !of_devices))));
                    },
                    {icon(Glyph::Edit)} if of_devices { "Add override…" } else { "Change" }
                }
            }
        }
        if let Some(problem) = &reading.problem {
            Problem { text: problem.clone(), onretry: move |()| view.again() }
        }
        match reading.value.as_deref() {
            Some(view) => rsx! {
                Summary { view: view.clone() }
                Settings { view: view.clone(), may, onopen: move |what| dialog.set(Some(what)) }
            },
            None if reading.problem.is_none() => rsx! { section { class: "card", Skeleton {} } },
            None => rsx! {},
        }
        if of_devices {
            ForDevice { rule }
            Concerned { rule }
        }
        if !rule.remedies().is_empty() {
            Remediation { rule }
        }
        Runbook { rule }
        match dialog() {
            None => rsx! {},
            Some(OpenDialog::Set(known)) => rsx! { SetRule { rule, known, ondone: done, onclose: move |()| dialog.set(None) } },
            Some(OpenDialog::Reset(scope)) => rsx! { ResetRule { rule, scope, ondone: done, onclose: move |()| dialog.set(None) } },
        }
    }
}

#[component]
fn Summary(view: RuleView) -> Element {
    let firing = AlertsUrl { rule: Some(view.rule), ..AlertsUrl::of(AlertState::Firing) };
    rsx! {
        section { class: "card", aria_labelledby: "summary-title",
            h2 { id: "summary-title", "All devices" }
            Effective { rule: view.rule, resolved: view.effective.clone() }
            dl { class: "facts wide",
                div { dt { "In the last {FIRED_DAYS} days" } dd { "data-testid": "fired", {fired_text(view.fired)} } }
                div { dt { "Open now" } dd { RouteLink { to: Route::Alerts { query: firing }, {format::number(view.open)} } } }
            }
        }
    }
}

/// What holds, and which scope says so.
#[component]
fn Effective(rule: Rule, resolved: ResolvedRule) -> Element {
    let session = use_session();
    let by = |scope: &ThresholdScope| rsx! { span { class: "muted", " ({scope_text(scope, &session)})" } };
    rsx! {
        dl { class: "facts wide", "data-testid": "effective",
            div { dt { "State" } dd { if resolved.enabled { "On" } else { "Off" } {by(&resolved.enabled_by)} } }
            div { dt { "Severity" } dd { {severity_badge(resolved.severity)} {by(&resolved.severity_by)} } }
            for (threshold, scope) in rule.spec().thresholds.iter().zip(resolved.thresholds_by.iter()) {
                div { key: "{threshold.name}", dt { {threshold.label} } dd { {threshold_text(resolved.thresholds.get(threshold.name), threshold.unit)} {by(scope)} } }
            }
        }
    }
}

/// What a setting says, in words: "on, critical, raise below 10 %".
pub(super) fn setting_text(setting: &RuleSetting) -> String {
    let enabled = setting.enabled.map(|on| if on { "on" } else { "off" }.to_owned());
    let severity = setting.severity.map(|severity| severity.title().to_lowercase());
    // In the order of the rule, however they are stored.
    let values = setting.rule.spec().thresholds.iter().filter_map(|threshold| {
        let (_, value) = setting.values.iter().find(|(name, _)| name == threshold.name)?;
        Some(format!("{} {}", threshold.label.to_lowercase(), threshold_text(*value, threshold.unit)))
    });
    enabled.into_iter().chain(severity).chain(values).collect::<Vec<_>>().join(", ")
}

#[component]
fn Settings(view: RuleView, may: bool, onopen: EventHandler<OpenDialog>) -> Element {
    let session = use_session();
    if view.settings.is_empty() {
        return rsx! {
            section { class: "card", aria_labelledby: "settings-title",
                h2 { id: "settings-title", "Settings" }
                p { class: "muted", "Nothing is set: the defaults hold." }
            }
        };
    }
    rsx! {
        section { class: "card", aria_labelledby: "settings-title",
            h2 { id: "settings-title", "Settings" }
            p { class: "muted card-lead", "The most specific one wins: a device before its tags, tags before groups, groups before all devices." }
            ul { class: "rows",
                for setting in view.settings.iter() {
                    SettingRow { key: "{setting.scope.parts():?}", setting: setting.clone(), scope: scope_text(&setting.scope, &session), may, onopen }
                }
            }
        }
    }
}

#[component]
fn SettingRow(setting: RuleSetting, scope: String, may: bool, onopen: EventHandler<OpenDialog>) -> Element {
    let (changed, reset) = (setting.clone(), setting.scope.clone());
    rsx! {
        li { class: "row-item", "data-testid": "setting-row", "data-scope": setting.scope.parts().0,
            div { class: "row-main",
                div { class: "row-title", span { class: "truncate", "{scope}" } }
                div { class: "row-meta", span { {setting_text(&setting)} } }
            }
            if may {
                div { class: "row-actions",
                    button { class: "button small", r#type: "button", aria_haspopup: "dialog", aria_label: "Change the setting of {scope}", "data-testid": "change-setting", onclick: move |_| onopen.call(OpenDialog::Set(Some(changed.clone()))), "Change" }
                    button { class: "button small danger-quiet", r#type: "button", aria_haspopup: "dialog", aria_label: "Reset the setting of {scope}", "data-testid": "reset-setting", onclick: move |_| onopen.call(OpenDialog::Reset(reset.clone())), "Reset" }
                }
            }
        }
    }
}

/// What holds for a device that somebody names.
#[component]
fn ForDevice(rule: Rule) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut device = use_signal(|| None::<DeviceId>);
    let finder = session.clone();
    let find = use_callback(move |text: String| {
        let (session, text) = (finder.clone(), text.trim().to_owned());
        spawn(async move {
            if text.is_empty() {
                return device.set(None);
            }
            match device_named(&session, text.clone()).await {
                Some(id) => device.set(Some(id)),
                None => toasts.bad(format!("No device has the alias {text}.")),
            }
        });
    });
    rsx! {
        section { class: "card", aria_labelledby: "for-device-title",
            h2 { id: "for-device-title", "For one device" }
            div { class: "card-search",
                input { name: "device", placeholder: "Alias or id", aria_label: "Device, by alias or id", autocomplete: "off", spellcheck: "false", maxlength: "200", "data-testid": "rule-device", onchange: move |event| find.call(event.value()) }
            }
            if let Some(id) = device() {
                for id in [id] { DeviceRule { key: "{id}", rule, id } }
            } else {
                p { class: "muted", "Which setting wins for a device, and why." }
            }
        }
    }
}

#[component]
fn DeviceRule(rule: Rule, id: DeviceId) -> Element {
    let found = use_polling((rule, id), POLL_INTERVAL, |system, principal, (rule, id)| async move {
        let rules = system.alerts.rules_of_device(&principal, id).await?;
        Ok(rules.into_iter().find(|(other, _)| *other == rule).map(|(_, resolved)| resolved))
    });
    let reading = found.read();
    let name = alias_of(&use_session(), id);
    rsx! {
        if let Some(problem) = &reading.problem {
            Problem { text: problem.clone(), onretry: move |()| found.again() }
        }
        match reading.value.as_deref() {
            Some(Some(resolved)) => rsx! { h3 { RouteLink { to: Route::device(id), "{name}" } } Effective { rule, resolved: resolved.clone() } },
            Some(None) => rsx! {},
            None if reading.problem.is_none() => rsx! { Skeleton {} },
            None => rsx! {},
        }
    }
}

/// Devices that the rule concerns right now.
#[component]
fn Concerned(rule: Rule) -> Element {
    let concerned =
        use_polling(rule, PREVIEW_INTERVAL, |system, principal, rule| async move { system.alerts.concerned(&principal, rule).await });
    let reading = concerned.read();
    rsx! {
        section { class: "card", aria_labelledby: "concerned-title", aria_busy: reading.loading.to_string(),
            h2 { id: "concerned-title", "Currently affected devices" }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| concerned.again() }
            }
            match reading.value.as_deref() {
                Some(preview) => rsx! { Preview { preview: preview.clone(), planned: false } },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::alert::Severity;

    #[test]
    fn a_setting_says_only_what_it_sets() {
        let setting = RuleSetting { rule: Rule::LowBattery, scope: ThresholdScope::Global, enabled: None, severity: None, values: vec![] };
        assert_eq!(setting_text(&RuleSetting { values: vec![("raise_below_pct".into(), 10)], ..setting.clone() }), "raise below 10 %");
        let both = vec![("clear_at_pct".into(), 70), ("raise_below_pct".into(), 60)];
        assert_eq!(setting_text(&RuleSetting { values: both, ..setting.clone() }), "raise below 60 %, clear at 70 %");
        let off = RuleSetting { enabled: Some(false), severity: Some(Severity::Critical), ..setting };
        assert_eq!(setting_text(&off), "off, critical");
    }
}
