//! Filters of a list of commands: state, action, device, requester.

use dioxus::prelude::*;
use domain::action::ActionKind;
use domain::command::CommandState;

use crate::commands_url::CommandsUrl;
use crate::components::command_widgets::state_text;
use crate::components::{Glyph, icon};
use crate::context::use_session;
use crate::fleet_search::{alias_of, device_named};
use crate::route::Route;
use crate::toasts::use_toasts;

fn some(text: String) -> Option<String> {
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[component]
pub(super) fn Filters(query: CommandsUrl) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let navigator = use_navigator();
    let known = query.clone();
    let go = use_callback(move |query: CommandsUrl| {
        navigator.push(Route::Commands { query });
    });
    let device = query.device.map(|id| alias_of(&session, id)).unwrap_or_default();
    let mut tries = use_signal(|| 0u32);
    let by_device = use_callback(move |text: String| {
        let (session, known) = (session.clone(), known.clone());
        spawn(async move {
            match some(text) {
                None => go.call(CommandsUrl { device: None, ..known }),
                Some(text) => match device_named(&session, text.clone()).await {
                    Some(id) => go.call(CommandsUrl { device: Some(id), ..known }),
                    None => {
                        toasts.bad(format!("No device has the alias {text}."));
                        tries += 1;
                    }
                },
            }
        });
    });
    let (of_state, of_action, of_by, cleared) = (query.clone(), query.clone(), query.clone(), CommandsUrl::of(query.view));
    rsx! {
        div { class: "command-filters", role: "search", aria_label: "Filter the commands",
            select { class: if query.state.is_some() { "choice chosen" } else { "choice" }, name: "state", aria_label: "State",
                onchange: move |event| go.call(CommandsUrl { state: CommandState::parse(&event.value()), ..of_state.clone() }),
                option { value: "", selected: query.state.is_none(), "State: any" }
                for state in CommandState::ALL {
                    option { key: "{state.as_str()}", value: state.as_str(), selected: query.state == Some(state), {state_text(state)} }
                }
            }
            select { class: if query.action.is_some() { "choice chosen" } else { "choice" }, name: "action", aria_label: "Action",
                onchange: move |event| go.call(CommandsUrl { action: ActionKind::parse("action", &event.value()).ok(), ..of_action.clone() }),
                option { value: "", selected: query.action.is_none(), "Action: any" }
                for kind in ActionKind::ALL {
                    option { key: "{kind.as_str()}", value: kind.as_str(), selected: query.action == Some(kind), {kind.spec().title} }
                }
            }
            // Keyed, so that a field shows what the address says.
            for (key, value) in [(format!("{}-{device}", tries()), device)] {
                input { key: "{key}", name: "device", initial_value: "{value}", placeholder: "Device: alias or id", aria_label: "Device, by alias or id", autocomplete: "off", spellcheck: "false", maxlength: "200", onchange: move |event| by_device.call(event.value()) }
            }
            for value in [query.by.clone().unwrap_or_default()] {
                input { key: "{value}", name: "by", initial_value: "{value}", placeholder: "Requested by", aria_label: "Requested by", autocomplete: "off", spellcheck: "false", maxlength: "200",
                    onchange: {
                        let known = of_by.clone();
                        move |event: FormEvent| go.call(CommandsUrl { by: some(event.value()), ..known.clone() })
                    }
                }
            }
            if query.is_filtered() {
                button { class: "button quiet", r#type: "button", "data-testid": "clear-filters", onclick: move |_| go.call(cleared.clone()), {icon(Glyph::Close)} "Clear" }
            }
        }
    }
}
