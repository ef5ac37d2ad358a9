//! Forms: fields with errors, form dialogs, and submission state.

use std::sync::atomic::{AtomicU64, Ordering};

use dioxus::html::FormValue;
use dioxus::prelude::*;
use domain::{Invalid, ServiceError};

use crate::components::dialog::Dialog;
use crate::components::{Glyph, icon};
use crate::field_labels::{self, field_name, labeled};
use crate::toasts::{Toasts, use_toasts};

/// Value of a form field; empty when there is no such field.
pub(crate) fn text_of(form: &FormEvent, name: &str) -> String {
    match form.get_first(name) {
        Some(FormValue::Text(text)) => text,
        _ => String::new(),
    }
}

/// Trimmed value of a form field; `None` if empty.
pub(crate) fn some_of(form: &FormEvent, name: &str) -> Option<String> {
    Some(text_of(form, name).trim().to_owned()).filter(|text| !text.is_empty())
}

/// Values of all checked boxes of a name.
pub(crate) fn checked_of(form: &FormEvent, name: &str) -> Vec<String> {
    form.get(name).into_iter().filter_map(|value| if let FormValue::Text(text) = value { Some(text) } else { None }).collect()
}

/// Submission state of a form: whether it is in progress, and its errors.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Submission {
    refused: Signal<Option<Invalid>>,
    attempts: Signal<u32>,
    busy: Signal<bool>,
    toasts: Toasts,
}

impl Submission {
    /// Starts a submission, unless one is in progress.
    pub(crate) fn begin(mut self) -> bool {
        self.attempts += 1;
        !std::mem::replace(&mut *self.busy.write(), true)
    }

    /// Ends a submission. Field errors are shown at the field, others as a message.
    pub(crate) fn done<T>(mut self, outcome: Result<T, ServiceError>) -> Option<T> {
        self.busy.set(false);
        match outcome {
            Ok(value) => {
                self.refused.set(None);
                Some(value)
            }
            Err(ServiceError::Invalid(invalid)) => {
                self.refused.set(Some(invalid));
                None
            }
            Err(error) => {
                self.refused.set(None);
                self.toasts.failed(&error);
                None
            }
        }
    }

    /// Clears the errors when the form is reopened.
    pub(crate) fn reset(mut self) {
        self.busy.set(false);
        self.refused.set(None);
    }

    /// Whether a submission is in progress.
    pub(crate) fn busy(self) -> bool {
        (self.busy)()
    }

    /// Error of a field.
    pub(crate) fn error(self, name: &str) -> Option<String> {
        self.refused.read().as_ref().filter(|invalid| field_name(invalid) == name).map(|invalid| invalid.problem.clone())
    }

    /// Error that belongs to none of these fields, to be shown at the end of the form.
    pub(crate) fn other_error(self, names: &[&str]) -> Option<String> {
        let refused = self.refused.read();
        refused.as_ref().filter(|invalid| !names.contains(&field_name(invalid))).map(labeled)
    }

    /// Focus target for the script; the number makes every attempt a change.
    pub(crate) fn focus(self) -> String {
        self.refused.read().as_ref().map_or_else(String::new, |invalid| format!("{}:{}", field_name(invalid), (self.attempts)()))
    }
}

/// Hook for a submission state.
pub(crate) fn use_submission() -> Submission {
    Submission { refused: use_signal(|| None), attempts: use_signal(|| 0), busy: use_signal(|| false), toasts: use_toasts() }
}

/// Name of the field with the key of a form.
const FORM_KEY: &str = "form-key";

/// Key of a form as it was rendered: what it sends counts once. A second click comes with the key of the first, and is dropped, also when the first has
/// ended and the form is still there.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct FormKey(Signal<u64>);

impl FormKey {
    /// Whether a form was sent as it is rendered now. It gets another key then.
    pub(crate) fn takes(mut self, form: &FormEvent) -> bool {
        let next = key_after(*self.0.peek(), &text_of(form, FORM_KEY));
        next.map(|key| self.0.set(key)).is_some()
    }

    /// The field that holds it.
    pub(crate) fn field(self) -> Element {
        rsx! { input { r#type: "hidden", name: FORM_KEY, value: "{self.0}" } }
    }
}

/// The key of a form after it was sent with this one; `None`: it is not the form as it is rendered now.
fn key_after(current: u64, sent: &str) -> Option<u64> {
    (sent == current.to_string()).then(next_key)
}

/// A key that no other form of this process has.
fn next_key() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Hook for the key of a form.
pub(crate) fn use_form_key() -> FormKey {
    FormKey(use_signal(next_key))
}

/// Field with label and hint or error. Its label is the one that errors name it by, unless a form has another.
#[component]
pub(crate) fn Field(
    name: String,
    label: Option<String>,
    #[props(default)] hint: String,
    error: Option<String>,
    children: Element,
) -> Element {
    let label = label.unwrap_or_else(|| field_labels::label(&name));
    rsx! {
        div { class: if error.is_some() { "field invalid" } else { "field" },
            label { r#for: "{name}", "{label}" }
            {children}
            match &error {
                Some(problem) => rsx! { p { id: "{name}-note", class: "field-error", role: "alert", "data-testid": "error-{name}", {icon(Glyph::Alert)} "{problem}" } },
                None => rsx! { p { id: "{name}-note", class: "field-hint", "{hint}" } },
            }
        }
    }
}

/// Single-line text field.
#[component]
pub(crate) fn TextField(
    name: String,
    label: Option<String>,
    #[props(default)] value: String,
    #[props(default)] hint: String,
    #[props(default)] placeholder: String,
    #[props(default = "text".to_owned())] kind: String,
    #[props(default = "off".to_owned())] autocomplete: String,
    error: Option<String>,
) -> Element {
    rsx! {
        Field { name: name.clone(), label, hint, error: error.clone(),
            input {
                id: "{name}", name: "{name}", r#type: "{kind}", initial_value: "{value}", placeholder: "{placeholder}", autocomplete: "{autocomplete}",
                maxlength: "1000", spellcheck: "false", aria_describedby: "{name}-note", aria_invalid: error.map(|_| "true"),
            }
        }
    }
}

/// Dialog with a form. Enter submits it, Escape closes it.
#[component]
pub(crate) fn FormDialog(
    title: String,
    action: String,
    busy: bool,
    focus: String,
    #[props(default)] wide: bool,
    onsubmit: EventHandler<FormEvent>,
    onclose: EventHandler<()>,
    children: Element,
) -> Element {
    let key = use_form_key();
    let send = move |form: FormEvent| {
        if key.takes(&form) {
            onsubmit.call(form);
        }
    };
    rsx! {
        Dialog { title: title.clone(), wide, onclose,
            form { class: "dialog-form", novalidate: true, "data-draft": title, "data-focus": focus, onsubmit: send,
                {key.field()}
                {children}
                div { class: "dialog-actions",
                    button { class: "button", r#type: "button", onclick: move |_| onclose.call(()), "Cancel" }
                    button { class: "button primary", disabled: busy, "data-testid": "submit", "{action}" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_form_sends_counts_once() {
        let (rendered, other) = (next_key(), next_key());
        assert_eq!(key_after(rendered, ""), None);
        assert_eq!(key_after(rendered, &other.to_string()), None, "of another form");
        let again = key_after(rendered, &rendered.to_string()).unwrap();
        assert_eq!(key_after(again, &rendered.to_string()), None, "the second click of a double click");
        assert!(key_after(again, &again.to_string()).is_some(), "as it is rendered after it");
    }
}
