//! Short messages that say how an action went and go away by themselves.

use std::time::{Duration, Instant};

use actors::ServiceError;
use dioxus::prelude::*;

use crate::components::icon::{Glyph, icon};
use crate::context::explain;

/// How long a message stays.
const STAYS: Duration = Duration::from_secs(6);
/// Most messages at a time; older ones make room.
const SHOWN_MAX: usize = 4;

#[derive(Clone, PartialEq)]
struct Toast {
    number: u64,
    good: bool,
    text: String,
    until: Instant,
}

/// The messages of a page.
#[derive(Clone, Copy)]
pub(crate) struct Toasts {
    shown: Signal<Vec<Toast>>,
    count: Signal<u64>,
}

impl Toasts {
    /// Something worked.
    pub(crate) fn good(self, text: impl Into<String>) {
        self.show(true, text.into());
    }

    /// Something was refused or failed.
    pub(crate) fn failed(self, error: &ServiceError) {
        self.show(false, explain(error));
    }

    /// Something went wrong that no service said.
    pub(crate) fn bad(self, text: impl Into<String>) {
        self.show(false, text.into());
    }

    fn show(mut self, good: bool, text: String) {
        self.count += 1;
        let toast = Toast { number: *self.count.peek(), good, text, until: Instant::now() + STAYS };
        let mut shown = self.shown.write();
        if shown.len() == SHOWN_MAX {
            shown.remove(0);
        }
        shown.push(toast);
    }
}

/// Makes the messages available to everything below.
pub(crate) fn use_toasts_provider() -> Toasts {
    let (shown, count) = (use_signal(Vec::new), use_signal(|| 0));
    use_context_provider(|| Toasts { shown, count })
}

/// The messages of the page.
pub(crate) fn use_toasts() -> Toasts {
    use_context()
}

/// Where messages appear.
#[component]
pub(crate) fn ToastRegion() -> Element {
    let mut shown = use_toasts().shown;
    use_future(move || async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = Instant::now();
            if shown.peek().iter().any(|toast| toast.until <= now) {
                shown.write().retain(|toast| toast.until > now);
            }
        }
    });
    rsx! {
        div { class: "toasts", role: "status", aria_live: "polite", "data-testid": "toasts",
            for toast in shown() {
                div { key: "{toast.number}", class: if toast.good { "toast good" } else { "toast bad" },
                    {icon(if toast.good { Glyph::Check } else { Glyph::Alert })}
                    span { "{toast.text}" }
                    button {
                        class: "icon-button", r#type: "button", aria_label: "Dismiss",
                        onclick: move |_| shown.write().retain(|other| other.number != toast.number),
                        {icon(Glyph::Close)}
                    }
                }
            }
        }
    }
}
