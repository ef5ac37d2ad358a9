//! Secrets that are shown once: the browser remembers them while their page is open, so that a lost connection does not lose them.

use dioxus::prelude::*;

/// Secret of the page, told to the script under a name. Another session of the same page gets it back through `onrestore`.
#[component]
pub(crate) fn KeptSecret(name: String, secret: Option<String>, onrestore: EventHandler<String>) -> Element {
    rsx! {
        input {
            r#type: "text", hidden: true, aria_hidden: "true", tabindex: "-1", autocomplete: "off", "data-secret-name": "{name}",
            "data-secret": secret.unwrap_or_default(), oninput: move |event| onrestore.call(event.value()),
        }
    }
}
