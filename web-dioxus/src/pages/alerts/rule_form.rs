//! Setting a rule for a scope: entered, previewed, saved; and reset.

use dioxus::prelude::*;
use domain::Invalid;
use domain::alert::{Rule, RuleSetting, Severity, SubjectKind, ThresholdScope, ThresholdSpec};
use services::{RulePreview, RuleRequest};

use super::preview::Preview;
use super::rule::{scope_text, setting_text};
use crate::components::alert_widgets::{threshold_text, unit_text};
use crate::components::form::{Field, FormDialog, Submission, TextField, text_of, use_submission};
use crate::components::{Confirm, Dialog};
use crate::context::{Session, use_session};
use crate::fleet_search::{alias_of, device_named};
use crate::toasts::use_toasts;

/// Where the dialog is.
#[derive(Clone, PartialEq)]
enum Step {
    /// The form, with these values at first.
    Edit(Option<RuleSetting>),
    /// What the setting would mean.
    Preview(RuleSetting, RulePreview),
}

/// Fields of the form that are no thresholds.
#[derive(Debug, Default)]
struct Entered {
    kind: String,
    value: String,
    enabled: String,
    severity: String,
    thresholds: Vec<(&'static str, String)>,
}

impl Entered {
    fn of(form: &FormEvent, rule: Rule) -> Self {
        let thresholds = rule.spec().thresholds.iter().map(|threshold| (threshold.name, text_of(form, &field(threshold))));
        let text = |name: &str| text_of(form, name).trim().to_owned();
        Self {
            kind: text("scope"),
            value: text("scope.value"),
            enabled: text("enabled"),
            severity: text("severity"),
            thresholds: thresholds.collect(),
        }
    }

    /// The setting; a device is still to be found.
    fn setting(&self, rule: Rule, scope: ThresholdScope) -> Result<RuleSetting, Invalid> {
        let mut values = Vec::new();
        for (name, text) in &self.thresholds {
            let text = text.trim();
            if text.is_empty() {
                continue;
            }
            let value = text.parse::<i64>().map_err(|_| Invalid::new(format!("thresholds.{name}"), "not a whole number"))?;
            values.push(((*name).to_owned(), value));
        }
        let enabled = match self.enabled.as_str() {
            "on" => Some(true),
            "off" => Some(false),
            _ => None,
        };
        Ok(RuleSetting { rule, scope, enabled, severity: self.severity.parse().ok(), values })
    }

    async fn scope(&self, session: &Session) -> Result<ThresholdScope, Invalid> {
        let named = || match self.value.is_empty() {
            true => Err(Invalid::new("scope.value", "missing: which one?")),
            false => Ok(self.value.clone()),
        };
        match self.kind.as_str() {
            "group" => named().map(ThresholdScope::Group),
            "tag" => named().map(ThresholdScope::Tag),
            "device" => {
                let found = device_named(session, named()?).await;
                found.map(ThresholdScope::Device).ok_or_else(|| Invalid::new("scope.value", "no device has this alias"))
            }
            _ => Ok(ThresholdScope::Global),
        }
    }
}

/// Name of the field of a threshold, as errors name it.
fn field(threshold: &ThresholdSpec) -> String {
    format!("thresholds.{}", threshold.name)
}

fn request(setting: &RuleSetting) -> RuleRequest {
    let RuleSetting { scope, enabled, severity, values, .. } = setting.clone();
    RuleRequest { scope, enabled, severity, values }
}

/// `known`: the setting that is changed.
#[component]
pub(super) fn SetRule(rule: Rule, known: Option<RuleSetting>, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    let changes = known.is_some();
    let mut step = use_signal(|| Step::Edit(known));
    let label = rule.spec().label;
    let of_page = session.clone();
    let save = use_callback(move |setting: RuleSetting| {
        let session = of_page.clone();
        spawn(async move {
            let scope = scope_text(&setting.scope, &session);
            let asked = request(&setting);
            let outcome = session.call(move |system, principal| async move { system.alerts.set_rule(&principal, rule, asked).await }).await;
            let refused = outcome.is_err();
            if submission.done(outcome).is_some() {
                toasts.good(format!("Set {label} for {scope}."));
                ondone.call(());
            } else if refused {
                // The fields say what is wrong.
                step.set(Step::Edit(Some(setting)));
            }
        });
    });
    let of_form = session.clone();
    let look = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let session = of_form.clone();
        spawn(async move {
            let entered = Entered::of(&form, rule);
            let setting = match entered.scope(&session).await.and_then(|scope| entered.setting(rule, scope)) {
                Ok(setting) => setting,
                Err(invalid) => {
                    submission.done::<()>(Err(invalid.into()));
                    return;
                }
            };
            if rule.spec().subject != SubjectKind::Device {
                save.call(setting);
                return;
            }
            let asked = request(&setting);
            let outcome = session.call(move |system, principal| async move { system.alerts.preview(&principal, rule, asked).await }).await;
            if let Some(preview) = submission.done(outcome) {
                step.set(Step::Preview(setting, preview));
            }
        });
    });
    match step() {
        Step::Edit(known) => rsx! { Edit { rule, known, changes, submission, onsubmit: look, onclose } },
        Step::Preview(setting, preview) => {
            let (back, saved) = (setting.clone(), setting.clone());
            rsx! {
                Dialog { title: "Set {label} for {scope_text(&setting.scope, &session)}?", wide: true, onclose,
                    div { class: "dialog-body",
                        p { class: "names", {setting_text(&setting)} }
                        Preview { preview, planned: true }
                    }
                    div { class: "dialog-actions",
                        button { class: "button back", r#type: "button", onclick: move |_| step.set(Step::Edit(Some(back.clone()))), "Back" }
                        button { class: "button", r#type: "button", onclick: move |_| onclose.call(()), "Cancel" }
                        button { class: "button primary", r#type: "button", disabled: submission.busy(), "data-testid": "save-rule",
                            onclick: move |_| {
                                if submission.begin() {
                                    save.call(saved.clone());
                                }
                            },
                            "Save"
                        }
                    }
                }
            }
        }
    }
}

#[component]
fn Edit(
    rule: Rule,
    known: Option<RuleSetting>,
    changes: bool,
    submission: Submission,
    onsubmit: EventHandler<FormEvent>,
    onclose: EventHandler<()>,
) -> Element {
    let session = use_session();
    let spec = rule.spec();
    let of_devices = spec.subject == SubjectKind::Device;
    let (kind, value) = match known.as_ref().map(|setting| &setting.scope) {
        Some(ThresholdScope::Device(id)) => ("device", alias_of(&session, *id)),
        Some(scope) => scope.parts(),
        None => ("global", String::new()),
    };
    let (enabled, severity) = known.as_ref().map_or((None, None), |setting| (setting.enabled, setting.severity));
    let held = |name: &str| {
        let values = known.iter().flat_map(|setting| &setting.values);
        values.filter(|(other, _)| other == name).map(|(_, value)| value.to_string()).next().unwrap_or_default()
    };
    let thresholds: Vec<_> = spec.thresholds.iter().map(|threshold| (threshold, field(threshold), held(threshold.name))).collect();
    let fields: Vec<String> = thresholds.iter().map(|(_, field, _)| field.clone()).chain(["scope.value".to_owned()]).collect();
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    rsx! {
        FormDialog { title: format!("{} {}", if changes { "Change" } else { "Set" }, spec.label), action: if of_devices { "Preview" } else { "Save" }, wide: true, busy: submission.busy(), focus: submission.focus(), onsubmit, onclose,
            if of_devices {
                div { class: "field-pair even",
                    Field { name: "scope", label: "For",
                        select { id: "scope", name: "scope", aria_describedby: "scope-note",
                            for (name, title) in [("global", "All devices"), ("group", "A group"), ("tag", "A tag"), ("device", "One device")] {
                                option { key: "{name}", value: name, initial_selected: name == kind, {title} }
                            }
                        }
                    }
                    TextField { name: "scope.value", label: "Which", value, hint: "group, tag, or alias of the device", error: submission.error("scope.value") }
                }
            }
            div { class: "field-pair even",
                Field { name: "enabled", label: "State",
                    select { id: "enabled", name: "enabled", aria_describedby: "enabled-note",
                        for (name, title, on) in [("", "Inherit", None), ("on", "On", Some(true)), ("off", "Off", Some(false))] {
                            option { key: "{title}", value: name, initial_selected: on == enabled, {title} }
                        }
                    }
                }
                Field { name: "severity", label: "Severity",
                    select { id: "severity", name: "severity", aria_describedby: "severity-note",
                        option { value: "", initial_selected: severity.is_none(), "Inherit" }
                        for one in Severity::ALL {
                            option { key: "{one.as_str()}", value: one.as_str(), initial_selected: severity == Some(one), {one.title()} }
                        }
                    }
                }
            }
            for (threshold, name, value) in thresholds {
                TextField { key: "{name}", name: name.clone(), label: label_of(threshold), value, hint: hint_of(threshold), error: submission.error(&name) }
            }
            if let Some(problem) = submission.other_error(&fields) {
                p { class: "field-error", role: "alert", "data-testid": "form-error", "{problem}" }
            }
            p { class: "muted", if of_devices { "What is not set here comes from the next less specific setting." } else { "What is not set here keeps its default." } }
        }
    }
}

fn label_of(threshold: &ThresholdSpec) -> String {
    match unit_text(threshold.unit) {
        "" => threshold.label.to_owned(),
        unit => format!("{} ({unit})", threshold.label),
    }
}

fn hint_of(threshold: &ThresholdSpec) -> String {
    format!("{} to {}; default {}", threshold.min, threshold.max, threshold_text(threshold.default, threshold.unit))
}

#[component]
pub(super) fn ResetRule(rule: Rule, scope: ThresholdScope, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let (label, text, meant) = (rule.spec().label, scope_text(&scope, &session), scope.clone());
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let (session, scope) = (session.clone(), meant.clone());
        spawn(async move {
            match session.call(move |system, principal| async move { system.alerts.reset_rule(&principal, rule, &scope).await }).await {
                Ok(_) => toasts.good("Reset the setting."),
                Err(error) => toasts.failed(&error),
            }
            ondone.call(());
        });
    });
    rsx! {
        Confirm { title: "Reset {label} for {text}?", action: "Reset", busy: busy(), onconfirm, onclose,
            p { "The next less specific setting holds again. Alerts may be raised or resolved by that." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_empty_is_not_set_and_nonsense_is_named() {
        let entered = |thresholds: &[(&'static str, &str)]| Entered {
            enabled: "off".into(),
            severity: String::new(),
            thresholds: thresholds.iter().map(|(name, text)| (*name, (*text).to_owned())).collect(),
            ..Entered::default()
        };
        let setting =
            entered(&[("raise_below_pct", " 10 "), ("clear_at_pct", "")]).setting(Rule::LowBattery, ThresholdScope::Global).unwrap();
        assert_eq!((setting.enabled, setting.severity, setting.values), (Some(false), None, vec![("raise_below_pct".to_owned(), 10)]));
        let refused = entered(&[("raise_below_pct", "ten")]).setting(Rule::LowBattery, ThresholdScope::Global).unwrap_err();
        assert_eq!(refused.to_string(), "thresholds.raise_below_pct: not a whole number");
    }

    #[test]
    fn a_threshold_says_its_unit_and_limits() {
        let threshold = &Rule::DeviceOffline.spec().thresholds[0];
        assert_eq!((label_of(threshold), hint_of(threshold)), ("Offline after (s)".to_owned(), "60 to 604800; default 12 min".to_owned()));
    }
}
