//! Filters of the devices: a search field and a choice for each property.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use dioxus::prelude::*;
use domain::query::{FILTER_TEXT_MAX_CHARS, FilterKey, FilterKind, FilterValue};

use super::DevicesState;
use crate::components::{Glyph, icon};
use crate::context::use_session;
use crate::fleet_watch::Digest;
use crate::format;
use crate::sampling::ticks;
use crate::url_state;

/// How often the values to choose from are looked at.
const CHOICES_INTERVAL: std::time::Duration = std::time::Duration::from_secs(10);
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
                if choices.peek().values != new.values {
                    choices.set(new);
                }
            }
        }
    });
    let url = state.url.read();
    let filter = &url.filter;
    let choices = choices.read();
    let fields = FilterKey::ALL.iter().map(|key| {
        let (key, spec) = (*key, key.spec());
        let chosen = filter.value(key).map(|value| value.to_string());
        let values = match &spec.kind {
            FilterKind::Search => {
                return rsx! {
                    SearchField { key: "{spec.name}", filter: key, text: chosen.unwrap_or_default(), onsearch: move |text: String| state.adjust(|url| url_state::set_text(&mut url.filter, key, &text)) }
                };
            }
            FilterKind::Choice { choices } => choices().into_iter().map(|(name, title)| (name.to_owned(), title.to_owned())).collect(),
            FilterKind::Exact { .. } => named(choices.values.get(&key).map_or(&[], Vec::as_slice), chosen.as_ref()),
            FilterKind::Below { offered, unit, .. } => limits(offered, unit, filter.value(key)),
        };
        rsx! {
            Choice {
                key: "{spec.name}", name: spec.url_name, label: spec.label, chosen, values,
                onchoose: move |value: String| state.go(|url| url_state::set_text(&mut url.filter, key, &value)),
            }
        }
    });
    rsx! {
        div { class: "filters", role: "search", aria_label: "Filter the devices",
            {fields}
            if url.conditions() > 0 {
                button { class: "button quiet", r#type: "button", "data-testid": "clear-filters", onclick: move |_| state.go(|url| url.filter = Default::default()),
                    {icon(Glyph::Close)} "Clear"
                }
            }
        }
    }
}

/// Limits to choose from, in order; the chosen one is always among them.
fn limits(offered: &[i64], unit: &str, chosen: Option<FilterValue>) -> Vec<(String, String)> {
    let chosen = chosen.and_then(|value| match value {
        FilterValue::Number(number) => Some(number),
        FilterValue::Text(_) => None,
    });
    let all: BTreeSet<i64> = offered.iter().copied().chain(chosen).collect();
    all.into_iter().map(|limit| (limit.to_string(), format!("Below {} {unit}", format::number(limit.unsigned_abs())))).collect()
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
            name: "{name}", aria_label: "{label}", title: "{label}", disabled: nothing,
            onchange: move |event| onchoose.call(event.value()),
            option { value: "", selected: chosen.is_none(), "{label}" }
            for (value, text) in values {
                option { key: "{value}", value: "{value}", selected: chosen.as_ref() == Some(&value), "{text}" }
            }
        }
    }
}

/// The search field. It holds what is typed; only a change that did not come
/// from typing puts a new field in its place.
#[component]
fn SearchField(filter: FilterKey, text: String, onsearch: EventHandler<String>) -> Element {
    let spec = filter.spec();
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
                    r#type: "search", name: spec.url_name, "data-search": "1", "data-debounce-ms": "200", initial_value: "{text}",
                    placeholder: spec.label, aria_label: spec.label, title: "Press / to search",
                    autocomplete: "off", spellcheck: "false", maxlength: FILTER_TEXT_MAX_CHARS as i64,
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
        let offered = |chosen: Option<i64>| limits(&[500, 2000], "MB", chosen.map(FilterValue::Number));
        let below = |limit: &str, text: &str| (limit.to_owned(), text.to_owned());
        assert_eq!(offered(Some(500)), [below("500", "Below 500 MB"), below("2000", "Below 2,000 MB")]);
        assert_eq!(offered(Some(700))[1], below("700", "Below 700 MB"));
    }
}
