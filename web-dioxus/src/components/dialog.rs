//! Modal dialogs. The glue opens them with `showModal`, so focus stays inside and Escape closes them.

use dioxus::prelude::*;

/// A dialog that is open for as long as it is rendered.
#[component]
pub(crate) fn Dialog(title: String, #[props(default)] wide: bool, onclose: EventHandler<()>, children: Element) -> Element {
    rsx! {
        dialog { "data-modal": "1", class: if wide { "dialog wide" } else { "dialog" }, aria_labelledby: "dialog-title", oncancel: move |_| onclose.call(()),
            h2 { id: "dialog-title", "{title}" }
            {children}
        }
    }
}

/// Confirmation dialog. `mild`: the action is easily undone; `dismiss` is the label of the cancel button.
#[component]
pub(crate) fn Confirm(
    title: String,
    action: String,
    #[props(default)] busy: bool,
    #[props(default)] mild: bool,
    #[props(default = "Cancel".to_owned())] dismiss: String,
    onconfirm: EventHandler<()>,
    onclose: EventHandler<()>,
    children: Element,
) -> Element {
    rsx! {
        Dialog { title, onclose,
            div { class: "dialog-body", {children} }
            div { class: "dialog-actions",
                button { class: "button", r#type: "button", onclick: move |_| onclose.call(()), "{dismiss}" }
                button {
                    class: if mild { "button primary" } else { "button danger" }, r#type: "button", disabled: busy, "data-testid": "confirm",
                    onclick: move |_| onconfirm.call(()),
                    "{action}"
                }
            }
        }
    }
}
