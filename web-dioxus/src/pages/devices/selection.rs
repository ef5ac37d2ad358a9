//! What can be done with the selected devices, all at once.

use actors::ServiceError;
use dioxus::prelude::*;
use domain::DeviceId;

use super::DevicesState;
use crate::components::{Confirm, Glyph, icon};
use crate::context::{explain, use_session};
use crate::format;

/// Aliases that a question names.
const NAMED_MAX: usize = 5;

#[derive(Clone, Copy, PartialEq)]
enum Action {
    Revoke,
    Delete,
}

/// How an action on several devices went.
struct Outcome {
    done: usize,
    failed: usize,
    first_error: Option<ServiceError>,
}

#[component]
pub(super) fn SelectionBar(state: DevicesState) -> Element {
    let session = use_session();
    let mut asked = use_signal(|| None::<Action>);
    let mut busy = use_signal(|| false);
    let selected = state.url.read().selected.clone();
    let fleet = session.fleet.clone();
    let confirmed = use_callback(move |action: Action| {
        if busy() {
            return;
        }
        busy.set(true);
        let session = session.clone();
        spawn(async move {
            let ids = state.url.peek().selected.clone();
            let outcome = session
                .call(move |system, principal| async move {
                    let mut outcome = Outcome { done: 0, failed: 0, first_error: None };
                    for id in ids {
                        let result = match action {
                            Action::Revoke => system.devices.revoke(&principal, id).await,
                            Action::Delete => system.devices.delete(&principal, id).await,
                        };
                        match result {
                            Ok(()) => outcome.done += 1,
                            Err(error) => {
                                outcome.failed += 1;
                                outcome.first_error.get_or_insert(error);
                            }
                        }
                    }
                    Ok(outcome)
                })
                .await;
            busy.set(false);
            asked.set(None);
            match outcome {
                Err(error) => state.toasts.failed(&error),
                Ok(outcome) => {
                    let verb = match action {
                        Action::Revoke => "Revoked the credentials of",
                        Action::Delete => "Deleted",
                    };
                    if outcome.done > 0 {
                        state.toasts.good(format!("{verb} {}.", format::count(outcome.done, "device", "devices")));
                    }
                    if let Some(error) = outcome.first_error {
                        let failed = format::count(outcome.failed, "device", "devices");
                        state.toasts.bad(format!("{failed} failed: {}", explain(&error)));
                    }
                    state.adjust(|url| url.selected.clear());
                }
            }
        });
    });
    if selected.is_empty() {
        return rsx! {};
    }
    let count = format::count(selected.len(), "device", "devices");
    rsx! {
        div { class: "selection-bar", role: "region", aria_label: "Selection", "data-testid": "selection-bar",
            strong { "{format::number(selected.len() as u64)} selected" }
            button { class: "button", r#type: "button", aria_haspopup: "dialog", onclick: move |_| asked.set(Some(Action::Revoke)), {icon(Glyph::Key)} "Revoke credentials" }
            button { class: "button danger-quiet", r#type: "button", aria_haspopup: "dialog", onclick: move |_| asked.set(Some(Action::Delete)), {icon(Glyph::Trash)} "Delete" }
            button { class: "button quiet", r#type: "button", onclick: move |_| state.adjust(|url| url.selected.clear()), "Clear selection" }
        }
        match asked() {
            None => rsx! {},
            Some(Action::Revoke) => rsx! {
                Confirm { title: "Revoke the credentials of {count}?", action: "Revoke credentials", busy: busy(),
                    onconfirm: move |()| confirmed(Action::Revoke), onclose: move |()| asked.set(None),
                    p { "Their tokens and sessions stop working at once. They stay in the list, but cannot report until they are enrolled again." }
                    {names(&fleet, &selected)}
                }
            },
            Some(Action::Delete) => rsx! {
                Confirm { title: "Delete {count}?", action: "Delete {count}", busy: busy(),
                    onconfirm: move |()| confirmed(Action::Delete), onclose: move |()| asked.set(None),
                    p { "They leave the fleet, and their agents are told to stop. To bring one back it has to be enrolled again." }
                    {names(&fleet, &selected)}
                }
            },
        }
    }
}

/// The first few of the devices by name.
fn names(fleet: &actors::fleet_view::FleetView, ids: &[DeviceId]) -> Element {
    let named = fleet.devices(&ids[..ids.len().min(NAMED_MAX)]);
    let rest = ids.len().saturating_sub(named.len());
    rsx! {
        ul { class: "names",
            for view in named.iter() {
                li { key: "{view.identity.id}", class: "truncate", "{view.identity.alias}" }
            }
            if rest > 0 {
                li { class: "muted", "and {rest} more" }
            }
        }
    }
}
