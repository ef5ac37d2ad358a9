//! A link to another page of the dashboard: an ordinary address that is followed without loading anything.

use dioxus::html::input_data::MouseButton;
use dioxus::prelude::*;

use crate::route::Route;

/// A link within the dashboard.
#[component]
pub(crate) fn RouteLink(
    to: Route,
    #[props(default)] class: String,
    #[props(default)] current: bool,
    #[props(default)] testid: Option<String>,
    children: Element,
) -> Element {
    let navigator = use_navigator();
    rsx! {
        a {
            href: to.to_string(),
            class: (!class.is_empty()).then_some(class),
            "data-spa": "1",
            "data-testid": testid,
            aria_current: current.then_some("page"),
            onclick: move |event: MouseEvent| {
                // Anything but a plain click is the browser's: a new tab, a new window.
                if event.modifiers().is_empty() && event.trigger_button() == Some(MouseButton::Primary) {
                    navigator.push(to.clone());
                }
            },
            {children}
        }
    }
}
