//! What narrows the devices down: a search field and a choice for each property.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use dioxus::prelude::*;
use domain::device::{AppStatus, Connectivity};

use super::DevicesState;
use crate::components::device_widgets::{app_text, connectivity_text};
use crate::components::{Glyph, icon};
use crate::context::use_session;
use crate::fleet_watch::Digest;
use crate::sampling::ticks;
use crate::url_state;

/// How often the values to choose from are looked at.
const CHOICES_INTERVAL: std::time::Duration = std::time::Duration::from_secs(10);
/// Charges to choose from.
const BATTERY_LIMITS: [i16; 4] = [10, 20, 50, 80];

#[component]
pub(super) fn Filters(state: DevicesState) -> Element {
    let session = use_session();
    let mut choices = use_signal(|| Arc::new(Digest::default()));
    use_future(move || {
        let watch = session.watch.clone();
        async move {
            let mut ticks = ticks(CHOICES_INTERVAL);
            loop {
                ticks.tick().await;
                let new = watch.digest().await;
                // What needs attention is in there too, and changes more often than what can be chosen.
                let same = {
                    let known = choices.peek();
                    known.tags == new.tags && known.groups == new.groups && known.versions == new.versions && known.models == new.models
                };
                if !same {
                    choices.set(new);
                }
            }
        }
    });
    let url = state.url.read();
    let filter = &url.filter;
    let choices = choices.read();
    let statuses = [Connectivity::Online, Connectivity::Offline, Connectivity::NeverSeen]
        .map(|status| (status.as_str().to_owned(), connectivity_text(status).to_owned()));
    let app_states = AppStatus::ALL.map(|status| (status.as_str().to_owned(), app_text(status).to_owned()));
    let mut limits = BATTERY_LIMITS.to_vec();
    limits.extend(filter.battery_below.filter(|limit| !BATTERY_LIMITS.contains(limit)));
    limits.sort_unstable();
    let limits: Vec<_> = limits.iter().map(|limit| (limit.to_string(), format!("Below {limit} %"))).collect();
    rsx! {
        div { class: "filters", role: "search", aria_label: "Filter the devices",
            SearchField { text: filter.text.clone().unwrap_or_default(), onsearch: move |text: String| state.adjust(|url| url.filter.text = some(text)) }
            Choice {
                name: "status", label: "Status", chosen: filter.connectivity.map(|status| status.as_str().to_owned()), values: statuses.to_vec(),
                onchoose: move |value: String| state.go(|url| url.filter.connectivity = url_state::connectivity(&value)),
            }
            Choice {
                name: "battery_below", label: "Battery", chosen: filter.battery_below.map(|limit| limit.to_string()), values: limits,
                onchoose: move |value: String| state.go(|url| url.filter.battery_below = value.parse().ok()),
            }
            Choice {
                name: "app", label: "App", chosen: filter.app_status.map(|status| status.as_str().to_owned()), values: app_states.to_vec(),
                onchoose: move |value: String| state.go(|url| url.filter.app_status = url_state::app_status(&value)),
            }
            Choice {
                name: "tag", label: "Tag", chosen: filter.tag.clone(), values: named(&choices.tags, filter.tag.as_ref()),
                onchoose: move |value: String| state.go(|url| url.filter.tag = some(value)),
            }
            Choice {
                name: "group", label: "Group", chosen: filter.group.clone(), values: named(&choices.groups, filter.group.as_ref()),
                onchoose: move |value: String| state.go(|url| url.filter.group = some(value)),
            }
            Choice {
                name: "version", label: "Version", chosen: filter.app_version.clone(), values: named(&choices.versions, filter.app_version.as_ref()),
                onchoose: move |value: String| state.go(|url| url.filter.app_version = some(value)),
            }
            Choice {
                name: "model", label: "Model", chosen: filter.model.clone(), values: named(&choices.models, filter.model.as_ref()),
                onchoose: move |value: String| state.go(|url| url.filter.model = some(value)),
            }
            if url.conditions() > 0 {
                button { class: "button quiet", r#type: "button", "data-testid": "clear-filters", onclick: move |_| state.go(|url| url.filter = Default::default()),
                    {icon(Glyph::Close)} "Clear"
                }
            }
        }
    }
}

fn some(value: String) -> Option<String> {
    Some(value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Values under their own name; what is chosen is always among them.
fn named(values: &[String], chosen: Option<&String>) -> Vec<(String, String)> {
    let missing = chosen.filter(|chosen| !values.contains(chosen));
    missing.into_iter().chain(values).map(|value| (value.clone(), value.clone())).collect()
}

/// One property to choose a value of.
#[component]
fn Choice(name: String, label: String, chosen: Option<String>, values: Vec<(String, String)>, onchoose: EventHandler<String>) -> Element {
    let nothing = values.is_empty();
    rsx! {
        select {
            class: if chosen.is_some() { "choice chosen" } else { "choice" },
            name: "{name}", aria_label: "{label}", disabled: nothing,
            onchange: move |event| onchoose.call(event.value()),
            option { value: "", selected: chosen.is_none(), "{label}: any" }
            for (value, text) in values {
                option { key: "{value}", value: "{value}", selected: chosen.as_ref() == Some(&value), "{text}" }
            }
        }
    }
}

/// The search field. It holds what is typed; only a change that did not come
/// from typing puts a new field in its place.
#[component]
fn SearchField(text: String, onsearch: EventHandler<String>) -> Element {
    struct Typed {
        text: String,
        generation: u64,
    }
    let typed = use_hook(|| Rc::new(RefCell::new(Typed { text: text.clone(), generation: 0 })));
    let generation = {
        let mut typed = typed.borrow_mut();
        if typed.text.trim() != text {
            typed.text.clone_from(&text);
            typed.generation += 1;
        }
        typed.generation
    };
    rsx! {
        div { class: "search",
            {icon(Glyph::Search)}
            for generation in [generation] {
                input {
                    key: "{generation}",
                    r#type: "search", name: "q", "data-search": "1", "data-debounce-ms": "200", initial_value: "{text}",
                    placeholder: "Search alias, model or id", aria_label: "Search alias, model or id", title: "Press / to search",
                    autocomplete: "off", spellcheck: "false", maxlength: "200",
                    oninput: {
                        let typed = typed.clone();
                        move |event: FormEvent| {
                            typed.borrow_mut().text = event.value();
                            onsearch.call(event.value());
                        }
                    },
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_chosen_can_be_seen_even_when_no_device_has_it() {
        let values = ["a".to_owned(), "b".to_owned()];
        let shown = |chosen: Option<&str>| {
            named(&values, chosen.map(str::to_owned).as_ref()).into_iter().map(|(value, _)| value).collect::<Vec<_>>()
        };
        assert_eq!(shown(None), ["a", "b"]);
        assert_eq!(shown(Some("b")), ["a", "b"]);
        assert_eq!(shown(Some("z")), ["z", "a", "b"]);
    }
}
