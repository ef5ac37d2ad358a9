//! Form for creating tokens.

use std::rc::Rc;
use std::sync::Arc;

use dioxus::html::FormValue;
use dioxus::prelude::*;
use domain::access::Principal;
use domain::enrollment::{BATCH_MAX, TokenRequest};
use domain::text::label_list;
use domain::{Invalid, ServiceError};
use services::System;

use super::CreatedTokens;
use crate::components::form::{Field, use_form_key};
use crate::components::{Glyph, icon};
use crate::context::use_session;
use crate::field_labels::{self, field_name};
use crate::format;
use crate::toasts::use_toasts;

/// Expiry choices; the empty one is the default of the server.
const LIVES: [(&str, &str); 5] = [("", "Default"), ("3600", "1 hour"), ("86400", "1 day"), ("604800", "7 days"), ("2592000", "30 days")];

/// Token request of the form.
fn request(value: impl Fn(&str) -> String) -> Result<TokenRequest, Invalid> {
    let text = |name| Some(value(name).trim().to_owned()).filter(|text| !text.is_empty());
    let number = |name: &str, field: &str| match text_of(&value, name) {
        None => Ok(None),
        Some(text) => text.parse::<i64>().map(Some).map_err(|_| Invalid::new(field, "must be a whole number")),
    };
    let list = |name| label_list(&value(name));
    Ok(TokenRequest {
        count: number("count", "count")?,
        expires_in_s: number("expires", "expires_in_seconds")?,
        alias: text("alias"),
        alias_pattern: text("alias_pattern"),
        start_number: number("start_number", "start_number")?,
        tags: list("tags"),
        groups: list("groups"),
    })
}

fn text_of(value: &impl Fn(&str) -> String, name: &str) -> Option<String> {
    Some(value(name).trim().to_owned()).filter(|text| !text.is_empty())
}

/// Form field of an error.
fn field_of(invalid: &Invalid) -> &str {
    match field_name(invalid) {
        "expires_in_seconds" => "expires",
        field => field,
    }
}

#[component]
pub(super) fn CreateForm(made: Signal<Option<CreatedTokens>>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut refused = use_signal(|| None::<Invalid>);
    let mut attempts = use_signal(|| 0u32);
    let mut busy = use_signal(|| false);
    let key = use_form_key();
    let create = use_callback(move |event: FormEvent| {
        if !key.takes(&event) || busy() {
            return;
        }
        attempts += 1;
        let session = session.clone();
        spawn(async move {
            let value = |name: &str| match event.get_first(name) {
                Some(FormValue::Text(text)) => text,
                _ => String::new(),
            };
            let request = match request(value) {
                Ok(request) => request,
                Err(invalid) => return refused.set(Some(invalid)),
            };
            busy.set(true);
            let field = if request.alias_pattern.is_some() { "alias_pattern" } else { "alias" };
            let create = move |system: Arc<System>, principal: Principal| async move {
                let alias = request.alias.clone();
                let tokens = system.enrollment.create(&principal, request).await?;
                let alike = alias.and_then(|alias| system.devices.alias_warning(&principal, &alias, None));
                // They are made: what cannot be looked up costs nothing but the warning.
                let shared = system.enrollment.shared_alias_warning(&principal, &tokens).await.unwrap_or_default();
                Ok::<_, ServiceError>((tokens, alike.into_iter().chain(shared).collect::<Vec<_>>()))
            };
            let outcome = session.call(create).await;
            busy.set(false);
            match outcome {
                Ok((tokens, warnings)) => {
                    refused.set(None);
                    warnings.into_iter().for_each(|warning| toasts.bad(format!("Check the alias: {warning}.")));
                    toasts.good(format!("Created {}.", format::count(tokens.len(), "token", "tokens")));
                    made.set(Some(CreatedTokens(Rc::new(tokens))));
                }
                Err(ServiceError::Invalid(invalid)) => refused.set(Some(invalid)),
                // The field is to blame for it.
                Err(error @ ServiceError::AliasHeld(_)) => refused.set(Some(Invalid::new(field, error.to_string()))),
                Err(error) => {
                    refused.set(None);
                    toasts.failed(&error);
                }
            }
        });
    });
    let refusal = refused.read();
    let error = |name: &str| refusal.as_ref().filter(|invalid| field_of(invalid) == name).map(|invalid| invalid.problem.clone());
    // The glue moves the focus to the field; the number makes every attempt a change.
    let focus = refusal.as_ref().map(|invalid| format!("{}:{}", field_of(invalid), attempts));
    rsx! {
        section { class: "card", aria_labelledby: "create-title",
            h2 { id: "create-title", "Create tokens" }
            form { class: "form-grid", novalidate: true, "data-draft": "tokens", "data-focus": focus.unwrap_or_default(), onsubmit: move |event: FormEvent| create(event),
                {key.field()}
                Field { name: "count", hint: "1 to {BATCH_MAX}", error: error("count"),
                    input { id: "count", name: "count", r#type: "number", min: "1", max: "{BATCH_MAX}", initial_value: "1", inputmode: "numeric", aria_describedby: "count-note", aria_invalid: error("count").map(|_| "true") }
                }
                Field { name: "expires", label: field_labels::label("expires_in_seconds"), hint: "applies to unused tokens", error: error("expires"),
                    select { id: "expires", name: "expires", aria_describedby: "expires-note",
                        for (value, text) in LIVES {
                            option { key: "{value}", value, "{text}" }
                        }
                    }
                }
                Field { name: "alias", hint: "for a single device; empty: the device's own alias", error: error("alias"),
                    input { id: "alias", name: "alias", initial_value: "", autocomplete: "off", maxlength: "400", placeholder: "front-desk", aria_describedby: "alias-note", aria_invalid: error("alias").map(|_| "true") }
                }
                Field { name: "alias_pattern", hint: "for several devices; {{n}} is replaced by the number", error: error("alias_pattern"),
                    input { id: "alias_pattern", name: "alias_pattern", initial_value: "", autocomplete: "off", maxlength: "400", placeholder: "shop-{{n}}", aria_describedby: "alias_pattern-note", aria_invalid: error("alias_pattern").map(|_| "true") }
                }
                Field { name: "start_number", hint: "of the pattern", error: error("start_number"),
                    input { id: "start_number", name: "start_number", r#type: "number", min: "0", initial_value: "1", inputmode: "numeric", aria_describedby: "start_number-note", aria_invalid: error("start_number").map(|_| "true") }
                }
                Field { name: "tags", hint: "separated by commas", error: error("tags"),
                    input { id: "tags", name: "tags", initial_value: "", autocomplete: "off", placeholder: "till, ground-floor", aria_describedby: "tags-note", aria_invalid: error("tags").map(|_| "true") }
                }
                Field { name: "groups", hint: "separated by commas", error: error("groups"),
                    input { id: "groups", name: "groups", initial_value: "", autocomplete: "off", placeholder: "berlin", aria_describedby: "groups-note", aria_invalid: error("groups").map(|_| "true") }
                }
                div { class: "form-actions",
                    button { class: "button primary", disabled: busy(), "data-testid": "create-tokens", {icon(Glyph::Key)} "Create tokens" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(fields: &[(&str, &str)]) -> Result<TokenRequest, Invalid> {
        request(|name| fields.iter().find(|(field, _)| *field == name).map_or_else(String::new, |(_, value)| (*value).to_owned()))
    }

    #[test]
    fn empty_fields_leave_the_choice_to_the_server() {
        let request = filled(&[("alias", "  "), ("tags", " , ,")]).unwrap();
        assert!(request.count.is_none() && request.alias.is_none() && request.tags.is_empty() && request.expires_in_s.is_none());
    }

    #[test]
    fn lists_are_separated_by_commas() {
        assert_eq!(filled(&[("groups", "berlin, ground floor ,")]).unwrap().groups, ["berlin", "ground floor"]);
    }

    #[test]
    fn what_is_no_number_names_its_field() {
        let invalid = filled(&[("count", "many")]).unwrap_err();
        assert_eq!(field_of(&invalid), "count");
        assert_eq!(field_of(&filled(&[("expires", "x")]).unwrap_err()), "expires");
        assert_eq!(field_of(&Invalid::new("tags[3]", "")), "tags");
    }
}
