//! Form fields of the deployment options, grouped by topic and validated while typed.

use dioxus::prelude::*;
use domain::deployment::{CanaryOptions, ConflictRule};

use super::draft::{Draft, Problems, field};
use crate::components::form::Field;
use crate::components::{Glyph, icon};

/// State of the form: draft and problems.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Form {
    /// Draft.
    pub(super) draft: Signal<Draft>,
    /// Problems by field.
    pub(super) problems: Memo<Problems>,
}

impl Form {
    fn set(mut self, name: &'static str, value: String) {
        self.draft.write().set(name, value);
    }

    pub(super) fn error(self, name: &str) -> Option<String> {
        self.problems.read().get(name).cloned()
    }

    pub(super) fn on(self, name: &str) -> bool {
        self.draft.read().on(name)
    }
}

/// Single-line field, usually for a number.
#[component]
pub(super) fn Line(
    form: Form,
    name: &'static str,
    label: String,
    #[props(default)] hint: String,
    #[props(default)] placeholder: String,
    #[props(default = true)] number: bool,
    #[props(default = "text".to_owned())] kind: String,
    #[props(default)] zone: bool,
    list: Option<String>,
) -> Element {
    let held = use_hook(|| form.draft.peek().get(name).to_owned());
    let error = form.error(name);
    rsx! {
        Field { name, label, hint, error: error.clone(),
            input {
                id: name, name, r#type: "{kind}", initial_value: "{held}", placeholder: "{placeholder}", autocomplete: "off", maxlength: "1000", spellcheck: "false",
                inputmode: number.then_some("numeric"), list, "data-zone": zone.then_some("1"), aria_describedby: "{name}-note", aria_invalid: error.map(|_| "true"),
                oninput: move |event| form.set(name, event.value()),
            }
        }
    }
}

/// Checkbox.
#[component]
pub(super) fn Check(form: Form, name: &'static str, label: String, #[props(default)] hint: String) -> Element {
    let error = form.error(name);
    rsx! {
        div { class: if error.is_some() { "field invalid" } else { "field" },
            label { class: "choice-row",
                input { r#type: "checkbox", id: name, name, checked: form.on(name), aria_describedby: "{name}-note",
                    onchange: move |event| form.set(name, if event.checked() { "on".to_owned() } else { String::new() }),
                }
                span { strong { "{label}" } if !hint.is_empty() { span { class: "muted", "{hint}" } } }
            }
            if let Some(problem) = &error {
                p { id: "{name}-note", class: "field-error", role: "alert", "data-testid": "error-{name}", {icon(Glyph::Alert)} "{problem}" }
            }
        }
    }
}

/// Fields of all options.
#[component]
pub(super) fn OptionFields(form: Form, devices: Option<usize>) -> Element {
    rsx! {
        CanaryFields { form, devices }
        RateFields { form }
        RequirementFields { form }
        ScheduleFields { form }
        AfterInstallFields { form }
    }
}

#[component]
fn CanaryFields(form: Form, devices: Option<usize>) -> Element {
    let size = devices.filter(|count| *count > 0).map(|count| CanaryOptions::careful(count).size);
    let (size_hint, placeholder) = match size {
        Some(size) => (format!("empty: {size} for this target (5 %, at most 5)"), size.to_string()),
        None => ("empty: 5 % of the target, at least 1 and at most 5".to_owned(), "5".to_owned()),
    };
    rsx! {
        fieldset { class: "card option-group",
            legend { "Canary" }
            Check { form, name: field::CANARY, label: "Start with a canary", hint: "The rollout continues once enough canary devices succeeded. A deployment to all devices always starts with a canary." }
            if form.on(field::CANARY) {
                div { class: "form-grid",
                    Line { form, name: field::CANARY_SIZE, label: "Canary size", hint: size_hint, placeholder }
                    Line { form, name: field::CANARY_THRESHOLD, label: "Success threshold (%)", hint: "of the completed canary devices" }
                    Line { form, name: field::CANARY_MIN, label: "Minimum completed", placeholder: "all", hint: "canary devices; empty: all" }
                    Line { form, name: field::CANARY_TIMEOUT, label: "Evaluation timeout (min)", hint: "then the canary is evaluated, or the deployment pauses" }
                }
            }
        }
    }
}

#[component]
fn RateFields(form: Form) -> Element {
    rsx! {
        fieldset { class: "card option-group",
            legend { "Rate and failure handling" }
            div { class: "form-grid",
                Line { form, name: field::RATE, label: "Max installs/min", hint: "0: no limit" }
                Line { form, name: field::CONCURRENCY, label: "Max concurrent", hint: "devices installing at the same time" }
                Line { form, name: field::FAILURES, label: "Auto-pause at failure rate (%)", hint: "pauses the rollout when exceeded" }
                Line { form, name: field::FAILURES_MIN, label: "Minimum completed", hint: "before the failure rate is evaluated" }
                Line { form, name: field::RETRIES, label: "Retries", hint: "per device, 0 to 20" }
                Line { form, name: field::BACKOFF, label: "Retry delay (s)", hint: "doubles with each retry" }
            }
        }
    }
}

#[component]
fn RequirementFields(form: Form) -> Element {
    rsx! {
        fieldset { class: "card option-group",
            legend { "Device requirements" }
            div { class: "option-checks",
                Check { form, name: field::WIFI, label: "Wi-Fi or Ethernet", hint: "unmetered networks only" }
                Check { form, name: field::CHARGING, label: "Charging" }
                Check { form, name: field::DOZE, label: "Exempt from Doze", hint: "battery optimization is off for the agent" }
            }
            div { class: "form-grid",
                Line { form, name: field::BATTERY, label: "Minimum battery (%)", hint: "0: any" }
                Line { form, name: field::STORAGE, label: "Minimum free storage (MB)", hint: "0: any" }
                Line { form, name: field::HEARTBEAT, label: "Max heartbeat age (s)", hint: "30 to 86,400" }
            }
        }
    }
}

#[component]
fn ScheduleFields(form: Form) -> Element {
    rsx! {
        fieldset { class: "card option-group",
            legend { "Schedule" }
            Check { form, name: field::WINDOW, label: "Only in a maintenance window", hint: "In the window's time zone; an end before the start is on the next day." }
            if form.on(field::WINDOW) {
                div { class: "form-grid",
                    Line { form, name: field::WINDOW_START, label: "Window start", placeholder: "22:00", hint: "HH:MM", number: false }
                    Line { form, name: field::WINDOW_END, label: "Window end", placeholder: "05:00", hint: "HH:MM", number: false }
                    Line { form, name: field::WINDOW_TZ, label: "Time zone", placeholder: "Europe/Berlin", hint: "such as Europe/Berlin or UTC", number: false, zone: true }
                }
            }
            div { class: "form-grid",
                Line { form, name: field::DEADLINE, label: "Deadline (h)", hint: "remaining devices are skipped then" }
            }
        }
    }
}

#[component]
fn AfterInstallFields(form: Form) -> Element {
    let extras = form.error(field::EXTRAS);
    rsx! {
        fieldset { class: "card option-group",
            legend { "After install" }
            div { class: "field-pair even",
                Line { form, name: field::INTENT, label: "Restart intent", placeholder: "com.example.till.START", hint: "action, sent after the installation; empty: none", number: false }
                Field { name: field::EXTRAS, label: "Intent extras", hint: "name=value, one per line", error: extras.clone(),
                    textarea { id: field::EXTRAS, name: field::EXTRAS, rows: "2", maxlength: "9000", spellcheck: "false", aria_describedby: "{field::EXTRAS}-note", aria_invalid: extras.map(|_| "true"),
                        oninput: move |event| form.set(field::EXTRAS, event.value()),
                    }
                }
            }
            Check { form, name: field::ROLLBACK, label: "Allow rollback", hint: "requires an uploaded rollback build of the previous version" }
        }
    }
}

/// Field for the rule on devices of older unfinished deployments.
#[component]
pub(super) fn ConflictField(form: Form) -> Element {
    let chosen = form.draft.read().conflict();
    let words = |rule: ConflictRule| match rule {
        ConflictRule::Wait => ("Queue behind older", "The older deployment finishes first on those devices."),
        ConflictRule::Supersede => ("Supersede older", "Those devices leave the older deployment, unless an install is in progress."),
    };
    rsx! {
        fieldset { class: "choices", role: "radiogroup",
            legend { "Devices in an older deployment of the package" }
            for rule in ConflictRule::ALL {
                label { key: "{rule.as_str()}", class: "choice-row",
                    input { r#type: "radio", name: field::CONFLICT, value: rule.as_str(), checked: chosen == rule, onchange: move |_| form.set(field::CONFLICT, rule.as_str().to_owned()) }
                    span { strong { {words(rule).0} } span { class: "muted", {words(rule).1} } }
                }
            }
        }
    }
}
