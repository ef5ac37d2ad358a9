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
        Some(size) => (format!("left empty: {size} here, a twentieth and at most 5"), size.to_string()),
        None => ("left empty: a twentieth, at least 1 and at most 5".to_owned(), "5".to_owned()),
    };
    rsx! {
        fieldset { class: "card option-group",
            legend { "First devices" }
            Check { form, name: field::CANARY, label: "Begin with a few devices", hint: "The others follow once enough of these succeeded. The whole fleet always begins so." }
            if form.on(field::CANARY) {
                div { class: "form-grid",
                    Line { form, name: field::CANARY_SIZE, label: "How many", hint: size_hint, placeholder }
                    Line { form, name: field::CANARY_THRESHOLD, label: "Success, percent", hint: "of those that are done" }
                    Line { form, name: field::CANARY_MIN, label: "Done at least", placeholder: "all of them", hint: "left empty: all of them" }
                    Line { form, name: field::CANARY_TIMEOUT, label: "Time, minutes", hint: "then it is judged, or pauses" }
                }
            }
        }
    }
}

#[component]
fn RateFields(form: Form) -> Element {
    rsx! {
        fieldset { class: "card option-group",
            legend { "Pace and failures" }
            div { class: "form-grid",
                Line { form, name: field::RATE, label: "Installs a minute", hint: "0: no limit" }
                Line { form, name: field::CONCURRENCY, label: "At a time", hint: "devices that install at once" }
                Line { form, name: field::FAILURES, label: "Pause above, percent", hint: "of failures, after the first devices" }
                Line { form, name: field::FAILURES_MIN, label: "Done at least", hint: "before failures are judged" }
                Line { form, name: field::RETRIES, label: "Further tries", hint: "of a device that failed, 0 to 20" }
                Line { form, name: field::BACKOFF, label: "Before the first, s", hint: "doubles with each" }
            }
        }
    }
}

#[component]
fn RequirementFields(form: Form) -> Element {
    rsx! {
        fieldset { class: "card option-group",
            legend { "Only devices that are fit" }
            div { class: "option-checks",
                Check { form, name: field::WIFI, label: "On Wi-Fi or a cable", hint: "and not on a metered network" }
                Check { form, name: field::CHARGING, label: "While charging" }
                Check { form, name: field::DOZE, label: "Exempt from Doze", hint: "Android does not put their agent to sleep" }
            }
            div { class: "form-grid",
                Line { form, name: field::BATTERY, label: "Battery, percent", hint: "at least; 0: any" }
                Line { form, name: field::STORAGE, label: "Free storage, MB", hint: "at least; 0: any" }
                Line { form, name: field::HEARTBEAT, label: "Last heartbeat, s", hint: "at most so old, 30 to 86,400" }
            }
        }
    }
}

#[component]
fn ScheduleFields(form: Form) -> Element {
    rsx! {
        fieldset { class: "card option-group",
            legend { "When" }
            Check { form, name: field::WINDOW, label: "Only in a maintenance window", hint: "By the clock of its time zone; across midnight when the end is earlier." }
            if form.on(field::WINDOW) {
                div { class: "form-grid",
                    Line { form, name: field::WINDOW_START, label: "From", placeholder: "22:00", hint: "HH:MM", number: false }
                    Line { form, name: field::WINDOW_END, label: "Until", placeholder: "05:00", hint: "HH:MM", number: false }
                    Line { form, name: field::WINDOW_TZ, label: "Time zone", placeholder: "Europe/Berlin", hint: "such as Europe/Berlin or UTC", number: false, zone: true }
                }
            }
            div { class: "form-grid",
                Line { form, name: field::DEADLINE, label: "Give up after, hours", hint: "what is not done then is skipped" }
            }
        }
    }
}

#[component]
fn AfterInstallFields(form: Form) -> Element {
    let extras = form.error(field::EXTRAS);
    rsx! {
        fieldset { class: "card option-group",
            legend { "Afterwards" }
            div { class: "field-pair even",
                Line { form, name: field::INTENT, label: "Intent to restart the app", placeholder: "com.example.till.START", hint: "sent once it is installed; empty: none", number: false }
                Field { name: field::EXTRAS, label: "Extras of the intent", hint: "name=value, one on each line", error: extras.clone(),
                    textarea { id: field::EXTRAS, name: field::EXTRAS, rows: "2", maxlength: "9000", spellcheck: "false", aria_describedby: "{field::EXTRAS}-note", aria_invalid: extras.map(|_| "true"),
                        oninput: move |event| form.set(field::EXTRAS, event.value()),
                    }
                }
            }
            Check { form, name: field::ROLLBACK, label: "May be rolled back", hint: "if a version that brings the old one back was uploaded" }
        }
    }
}

/// Field for the rule on devices of older unfinished deployments.
#[component]
pub(super) fn ConflictField(form: Form) -> Element {
    let chosen = form.draft.read().conflict();
    let words = |rule: ConflictRule| match rule {
        ConflictRule::Wait => ("Wait for it", "The older deployment goes first on those devices."),
        ConflictRule::Supersede => ("Take them over", "The older deployment lets them go, unless it is installing there right now."),
    };
    rsx! {
        fieldset { class: "choices", role: "radiogroup",
            legend { "Devices that an older deployment of the package has" }
            for rule in ConflictRule::ALL.iter().copied() {
                label { key: "{rule.as_str()}", class: "choice-row",
                    input { r#type: "radio", name: field::CONFLICT, value: rule.as_str(), checked: chosen == rule, onchange: move |_| form.set(field::CONFLICT, rule.as_str().to_owned()) }
                    span { strong { {words(rule).0} } span { class: "muted", {words(rule).1} } }
                }
            }
        }
    }
}
