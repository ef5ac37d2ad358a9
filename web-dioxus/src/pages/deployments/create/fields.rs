//! Form fields of the deployment options, grouped by topic and validated while typed.

use dioxus::prelude::*;
use domain::deployment::{CanaryOptions, ConflictRule, OptionGroup, OptionSpec, option_specs};
use domain::param::{ParamKind, ParamSpec};

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
        OptionGroupFields { form, group: OptionGroup::Rate }
        OptionGroupFields { form, group: OptionGroup::Requirements }
        OptionGroupFields { form, group: OptionGroup::Schedule, WindowFields { form } }
        OptionGroupFields { form, group: OptionGroup::AfterInstall, IntentFields { form } }
    }
}

/// The options of a topic that consist of one value: boxes to check, then numbers. `children`: fields of the others.
#[component]
fn OptionGroupFields(form: Form, group: OptionGroup, #[props(default)] children: Element) -> Element {
    let of_group = option_specs().filter(|spec| spec.group == group && !is_part(spec));
    let (flags, others): (Vec<_>, Vec<_>) = of_group.map(|spec| spec.param).partition(|param| param.kind == ParamKind::Flag);
    let (choices, numbers): (Vec<_>, Vec<_>) = others.into_iter().partition(|param| matches!(param.kind, ParamKind::Choice(_)));
    rsx! {
        fieldset { class: "card option-group",
            legend { {group.title()} }
            {children}
            if !flags.is_empty() {
                div { class: "option-checks",
                    for param in flags { Check { key: "{param.name}", form, name: param.field, label: param.label, hint: param.hint } }
                }
            }
            if !numbers.is_empty() {
                div { class: "form-grid",
                    for param in numbers { OptionLine { key: "{param.name}", form, param } }
                    for param in choices { OptionChoice { key: "{param.name}", form, param } }
                }
            }
        }
    }
}

/// Whether a spec is one of several values that are set together.
fn is_part(spec: &OptionSpec) -> bool {
    ["canary.", "window.", "restart_intent."].iter().any(|part| spec.param.name.starts_with(part))
}

/// The specs of an option of several values.
fn parts(prefix: &'static str) -> impl Iterator<Item = ParamSpec> {
    option_specs().map(|spec| spec.param).filter(move |param| param.name.starts_with(prefix))
}

#[component]
fn OptionLine(form: Form, param: ParamSpec) -> Element {
    let number = matches!(param.kind, ParamKind::Integer { .. });
    let zone = param.name == "window.tz";
    rsx! { Line { form, name: param.field, label: param.form_label(), hint: param.form_hint(), placeholder: param.example, number, zone } }
}

/// Field of an option that is one of several names.
#[component]
fn OptionChoice(form: Form, param: ParamSpec) -> Element {
    let ParamKind::Choice(choices) = param.kind else { return rsx! {} };
    let (name, error) = (param.field, form.error(param.field));
    let held = use_hook(|| form.draft.peek().get(name).to_owned());
    rsx! {
        Field { name, label: param.label, hint: param.hint, error: error.clone(),
            select { id: name, name, aria_describedby: "{name}-note", aria_invalid: error.map(|_| "true"),
                onchange: move |event| form.set(name, event.value()),
                for (choice, label) in choices {
                    option { key: "{choice}", value: *choice, selected: *choice == held, "{label}" }
                }
            }
        }
    }
}

#[component]
fn CanaryFields(form: Form, devices: Option<usize>) -> Element {
    let conservative = devices.filter(|count| *count > 0).map(|count| CanaryOptions::conservative(count).size);
    rsx! {
        fieldset { class: "card option-group",
            legend { {OptionGroup::Canary.title()} }
            Check { form, name: field::CANARY, label: "Start with a canary", hint: "The rollout continues once enough canary devices succeeded. A deployment to all devices always starts with a canary." }
            if form.on(field::CANARY) {
                div { class: "form-grid",
                    for param in parts("canary.") {
                        match conservative.filter(|_| param.field == field::CANARY_SIZE) {
                            Some(size) => rsx! { Line { form, name: param.field, label: param.label, hint: "empty: {size} for this target (5 %, at most 5)", placeholder: size.to_string() } },
                            None => rsx! { OptionLine { form, param } },
                        }
                    }
                }
            }
        }
    }
}

#[component]
fn WindowFields(form: Form) -> Element {
    rsx! {
        Check { form, name: field::WINDOW, label: "Only in a maintenance window", hint: "Hours of every day in the window's time zone, an end before the start being on the next day; or one period." }
        if form.on(field::WINDOW) {
            div { class: "form-grid",
                for param in parts("window.") { OptionLine { key: "{param.name}", form, param } }
            }
        }
    }
}

#[component]
fn IntentFields(form: Form) -> Element {
    rsx! {
        div { class: "field-pair even",
            for param in parts("restart_intent.") {
                match param.kind {
                    ParamKind::Texts { .. } => rsx! { LinesField { form, param } },
                    _ => rsx! { OptionLine { form, param } },
                }
            }
        }
    }
}

/// Field of several lines.
#[component]
fn LinesField(form: Form, param: ParamSpec) -> Element {
    let (name, error) = (param.field, form.error(param.field));
    rsx! {
        Field { name, label: param.label, hint: param.hint, error: error.clone(),
            textarea { id: name, name, rows: "2", maxlength: "9000", spellcheck: "false", aria_describedby: "{name}-note", aria_invalid: error.map(|_| "true"),
                oninput: move |event| form.set(name, event.value()),
            }
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
