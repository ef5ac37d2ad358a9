//! Toasts: short messages about the result of an action that disappear by themselves.

use std::time::{Duration, Instant};

use dioxus::prelude::*;
use domain::bulk::{BulkAction, Decision};
use domain::bulk_target::BulkTarget;
use domain::{DeviceId, ServiceError};
use services::BulkRequest;

use crate::context::{explain, use_session};
use crate::format;
use crate::icon::{Glyph, icon};

/// Display time of a message.
const STAYS: Duration = Duration::from_secs(6);
/// Display time of a message with undo.
const UNDO_STAYS: Duration = Duration::from_secs(15);
/// Most messages at a time; older ones are dropped.
const SHOWN_MAX: usize = 4;

/// Undo action of a message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Undo {
    /// Restores deleted devices.
    Restore(Vec<DeviceId>),
}

#[derive(Clone, PartialEq)]
struct Toast {
    number: u64,
    good: bool,
    text: String,
    undo: Option<Undo>,
    until: Instant,
}

/// Messages of a page.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Toasts {
    shown: Signal<Vec<Toast>>,
    count: Signal<u64>,
}

impl Toasts {
    /// Shows a success.
    pub(crate) fn good(self, text: impl Into<String>) {
        self.show(true, text.into(), None);
    }

    /// Shows a success that can be undone for a moment.
    pub(crate) fn undoable(self, text: impl Into<String>, undo: Undo) {
        self.show(true, text.into(), Some(undo));
    }

    /// Shows the error of a service.
    pub(crate) fn failed(self, error: &ServiceError) {
        self.show(false, explain(error), None);
    }

    /// Shows any other error.
    pub(crate) fn bad(self, text: impl Into<String>) {
        self.show(false, text.into(), None);
    }

    fn show(mut self, good: bool, text: String, undo: Option<Undo>) {
        self.count += 1;
        let stays = if undo.is_some() { UNDO_STAYS } else { STAYS };
        let toast = Toast { number: *self.count.peek(), good, text, undo, until: Instant::now() + stays };
        let mut shown = self.shown.write();
        if shown.len() == SHOWN_MAX {
            shown.remove(0);
        }
        shown.push(toast);
    }
}

/// Provides the messages to all children.
pub(crate) fn use_toasts_provider() -> Toasts {
    let (shown, count) = (use_signal(Vec::new), use_signal(|| 0));
    use_context_provider(|| Toasts { shown, count })
}

/// The messages of the page.
pub(crate) fn use_toasts() -> Toasts {
    use_context()
}

/// Region in which messages appear.
#[component]
pub(crate) fn ToastRegion() -> Element {
    let toasts = use_toasts();
    let session = use_session();
    let mut shown = toasts.shown;
    use_future(move || async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = Instant::now();
            if shown.peek().iter().any(|toast| toast.until <= now) {
                shown.write().retain(|toast| toast.until > now);
            }
        }
    });
    let dismiss = use_callback(move |number: u64| shown.write().retain(|toast| toast.number != number));
    // Here and not where it was done: that page may be gone by now.
    let take_back = use_callback(move |(number, Undo::Restore(ids)): (u64, Undo)| {
        dismiss(number);
        let session = session.clone();
        spawn(async move {
            let request = BulkRequest { target: BulkTarget::Ids(ids), action: BulkAction::Restore(None), dry_run: false };
            match session.call(move |system, principal| async move { system.devices.bulk(&principal, request).await }).await {
                Ok(outcomes) => {
                    let back = outcomes.iter().filter(|outcome| outcome.decision.changes()).count();
                    let refused = outcomes.iter().find_map(|outcome| match &outcome.decision {
                        Decision::Refused(refusal) => Some(refusal.to_string()),
                        _ => None,
                    });
                    if back > 0 {
                        toasts.good(format!("Restored {}.", format::count(back, "device", "devices")));
                    }
                    if let Some(refused) = refused {
                        toasts.bad(format!(
                            "{} not restored: {refused}.",
                            format::count(outcomes.len() - back, "device was", "devices were")
                        ));
                    }
                }
                Err(error) => toasts.failed(&error),
            }
        });
    });
    rsx! {
        div { class: "toasts", role: "status", aria_live: "polite", "data-testid": "toasts",
            for toast in shown() {
                ToastItem { key: "{toast.number}", toast, ondismiss: dismiss, onundo: take_back }
            }
        }
    }
}

#[component]
fn ToastItem(toast: Toast, ondismiss: EventHandler<u64>, onundo: EventHandler<(u64, Undo)>) -> Element {
    let number = toast.number;
    rsx! {
        div { class: if toast.good { "toast good" } else { "toast bad" },
            {icon(if toast.good { Glyph::Check } else { Glyph::Alert })}
            span { "{toast.text}" }
            if let Some(undo) = toast.undo.clone() {
                button { class: "button small", r#type: "button", "data-testid": "undo", onclick: move |_| onundo.call((number, undo.clone())), "Undo" }
            }
            button { class: "icon-button", r#type: "button", aria_label: "Dismiss", onclick: move |_| ondismiss.call(number), {icon(Glyph::Close)} }
        }
    }
}
