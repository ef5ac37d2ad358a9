//! Form of a channel: the fields of its kind, as they are declared once for API, command line and page.

use std::collections::BTreeMap;

use dioxus::prelude::*;
use domain::notification::{Channel, ChannelKind};
use services::{ChannelField, ChannelInput, ChannelRequest, ChannelValues, channel_fields};

use crate::components::form::{Field, FormDialog, Submission, TextField, checked_of, text_of, use_submission};
use crate::context::use_session;
use crate::toasts::use_toasts;

/// Name of the box that removes an optional secret.
fn remove_box(field: &ChannelField) -> String {
    format!("remove.{}", field.name)
}

/// Values of the fields of a kind. A secret that is left empty stays as it is, unless its box says to remove it.
fn values(kind: ChannelKind, changes: bool, text: impl Fn(&str) -> String, removed: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for field in channel_fields(kind) {
        let value = text(field.name).trim().to_owned();
        if !value.is_empty() {
            values.insert(field.name.to_owned(), value);
        } else if field.secret && changes && removed(&remove_box(field)) {
            values.insert(field.name.to_owned(), String::new());
        }
    }
    values
}

/// `known`: the channel that is changed.
#[component]
pub(super) fn ChannelForm(known: Option<Channel>, ondone: EventHandler<()>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    let mut kind = use_signal(|| known.as_ref().map_or(ChannelKind::Discord, |channel| channel.kind));
    let id = known.as_ref().map(|channel| channel.id);
    let send = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let session = session.clone();
        spawn(async move {
            let kind = kind();
            let fields = values(kind, id.is_some(), |name| text_of(&form, name), |name| !checked_of(&form, name).is_empty());
            let name = text_of(&form, "name").trim().to_owned();
            let request = ChannelRequest {
                name: name.clone(),
                kind,
                fields: ChannelValues(fields),
                enabled: !checked_of(&form, "enabled").is_empty(),
            };
            let outcome = session
                .call(move |system, principal| async move {
                    match id {
                        Some(id) => system.alerts.change_channel(&principal, id, request).await,
                        None => system.alerts.add_channel(&principal, request).await,
                    }
                })
                .await;
            if submission.done(outcome).is_some() {
                toasts.good(if id.is_some() {
                    format!("Changed {name}.")
                } else {
                    format!("Created {name}. Test it, and add a route that sends alerts to it.")
                });
                ondone.call(());
            }
        });
    });
    let (title, action) = match &known {
        Some(channel) => (format!("Change {}", channel.name), "Save"),
        None => ("New channel".to_owned(), "Create channel"),
    };
    let held = known.clone();
    let of_kind = channel_fields(kind());
    let names: Vec<&str> = of_kind.iter().map(|field| field.name).chain(["name", "kind"]).collect();
    rsx! {
        FormDialog { title, action, busy: submission.busy(), focus: submission.focus(), onsubmit: send, onclose,
            if id.is_none() {
                Field { name: "kind", label: "Kind", error: submission.error("kind"),
                    select { id: "kind", name: "kind", aria_describedby: "kind-note", "data-testid": "channel-kind", onchange: move |event| if let Ok(chosen) = event.value().parse() { kind.set(chosen) },
                        for one in ChannelKind::ALL {
                            option { key: "{one.as_str()}", value: one.as_str(), selected: one == kind(), {one.title()} }
                        }
                    }
                }
            }
            TextField { name: "name", label: "Name", value: held.as_ref().map(|channel| channel.name.clone()).unwrap_or_default(), hint: "unique among the channels", error: submission.error("name") }
            for field in of_kind.iter() {
                KindField { key: "{kind().as_str()}-{field.name}", field: *field, channel: held.clone(), submission }
            }
            label { class: "choice-row",
                input { r#type: "checkbox", name: "enabled", initial_checked: held.as_ref().is_none_or(|channel| channel.enabled) }
                span { strong { "On" } span { class: "muted", "off: nothing is sent to it" } }
            }
            if let Some(problem) = submission.other_error(&names) {
                p { class: "field-error", role: "alert", "data-testid": "form-error", "{problem}" }
            }
        }
    }
}

/// A field of the kind.
#[component]
fn KindField(field: ChannelField, channel: Option<Channel>, submission: Submission) -> Element {
    let error = submission.error(field.name);
    let held = channel.as_ref().and_then(|channel| channel.settings.get(field.name).cloned()).unwrap_or_default();
    let changes = channel.is_some();
    let label = if field.required { field.label.to_owned() } else { format!("{} (optional)", field.label) };
    let hint = if field.secret && changes { format!("{}; empty: stays as it is", field.help) } else { field.help.to_owned() };
    if let ChannelInput::Choice(choices) = field.input {
        return rsx! {
            Field { name: field.name, label, hint, error: error.clone(),
                select { id: field.name, name: field.name, aria_describedby: "{field.name}-note", aria_invalid: error.map(|_| "true"),
                    if !field.required { option { value: "", initial_selected: held.is_empty(), "Default" } }
                    for choice in choices.iter() {
                        option { key: "{choice}", value: *choice, initial_selected: held == *choice, {*choice} }
                    }
                }
            }
        };
    }
    // What is secret stays out of the browser's storage, as a password does.
    let kind = match field.input {
        _ if field.secret => "password",
        ChannelInput::Url => "url",
        _ => "text",
    };
    rsx! {
        TextField { name: field.name, label, value: held, kind, hint, autocomplete: if field.secret { "new-password" } else { "off" }, placeholder: if field.secret && changes { "••••••••" } else { "" }, error }
        if field.secret && changes && !field.required {
            label { class: "choice-row",
                input { r#type: "checkbox", name: remove_box(&field), value: "on" }
                span { "Remove: {field.label}" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(changes: bool, given: &[(&str, &str)], removed: &[&str]) -> Vec<(String, String)> {
        let text = |name: &str| given.iter().find(|(field, _)| *field == name).map(|(_, value)| (*value).to_owned()).unwrap_or_default();
        values(ChannelKind::Webhook, changes, text, |name| removed.contains(&name)).into_iter().collect()
    }

    #[test]
    fn a_secret_that_is_left_empty_stays_unless_it_is_removed() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(entered(false, &[("url", " https://a.example/x ")], &[]), [pair("url", "https://a.example/x")]);
        assert!(entered(true, &[], &[]).is_empty());
        assert_eq!(entered(true, &[], &["remove.secret"]), [pair("secret", "")]);
        assert_eq!(entered(true, &[("secret", "new one, long enough")], &["remove.secret"]), [pair("secret", "new one, long enough")]);
        assert!(entered(false, &[], &["remove.secret"]).is_empty(), "there is none yet");
    }
}
