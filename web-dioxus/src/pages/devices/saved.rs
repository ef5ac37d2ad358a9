//! Saved filters: selection, saving, sharing and deletion.

use std::rc::Rc;
use std::time::Duration;

use dioxus::prelude::*;
use domain::SavedFilterId;
use domain::query::DeviceFilter;
use domain::saved_filter::SavedFilter;
use services::FilterRequest;

use super::DevicesState;
use crate::components::form::{FormDialog, TextField, text_of, use_submission};
use crate::components::{Confirm, Glyph, Problem, RouteLink, icon};
use crate::context::use_session;
use crate::polling::{Polling, use_polling};
use crate::route::Route;
use crate::toasts::use_toasts;
use crate::url_state::DevicesUrl;

/// How often the list is read again: others share filters too.
const POLL_INTERVAL: Duration = Duration::from_secs(30);

/// The dialog that is open.
#[derive(Clone, PartialEq)]
enum OpenDialog {
    Save,
    DeleteFilter(Rc<SavedFilter>),
}

/// Menu of the saved filters.
#[component]
pub(super) fn SavedFilters(state: DevicesState) -> Element {
    let session = use_session();
    let list = use_polling((), POLL_INTERVAL, |system, principal, ()| async move { system.filters.list(&principal).await });
    let mut dialog = use_signal(|| None::<OpenDialog>);
    let own = session.principal.user_id();
    let reading = list.read();
    let url = state.url.read();
    let current = reading.value.as_ref().and_then(|filters| filters.iter().find(|filter| filter.filter == url.filter));
    let (current_id, current_name) = (current.map(|filter| filter.id), current.map(|filter| filter.name.clone()));
    let shown = current_name.unwrap_or_else(|| "Saved filters".to_owned());
    let link = |filter: &SavedFilter| {
        let query = DevicesUrl { filter: filter.filter.clone(), sort: url.sort, selected: url.selected.clone() };
        Route::Devices { query }
    };
    rsx! {
        details { class: "saved", "data-menu": "1",
            summary { class: if current_id.is_some() { "button chosen" } else { "button" }, "data-testid": "saved-filters", {icon(Glyph::Save)} span { class: "truncate", "{shown}" } }
            div { class: "menu saved-menu",
                if let Some(problem) = &reading.problem {
                    Problem { text: problem.clone(), onretry: move |()| list.again() }
                }
                match &reading.value {
                    Some(filters) if filters.is_empty() => rsx! { p { class: "muted menu-note", "Save frequently used filters here, and share them." } },
                    Some(filters) => rsx! {
                        ul {
                            for filter in filters.iter() {
                                SavedItem { key: "{filter.id}", filter: filter.clone(), to: link(filter), own: Some(filter.owner) == own, current: current_id == Some(filter.id), ondelete: move |filter| dialog.set(Some(OpenDialog::DeleteFilter(Rc::new(filter)))) }
                            }
                        }
                    },
                    None => rsx! {},
                }
                if url.conditions() > 0 && current_id.is_none() {
                    button { class: "menu-item", r#type: "button", aria_haspopup: "dialog", "data-testid": "keep-filter", onclick: move |_| dialog.set(Some(OpenDialog::Save)), {icon(Glyph::Plus)} "Save filter…" }
                }
            }
        }
        match dialog() {
            None => rsx! {},
            Some(OpenDialog::Save) => rsx! { SaveFilter { filter: url.filter.clone(), list, onclose: move |()| dialog.set(None) } },
            Some(OpenDialog::DeleteFilter(filter)) => rsx! { DeleteFilter { id: filter.id, name: filter.name.clone(), shared: filter.shared, list, onclose: move |()| dialog.set(None) } },
        }
    }
}

#[component]
fn SavedItem(filter: SavedFilter, to: Route, own: bool, current: bool, ondelete: EventHandler<SavedFilter>) -> Element {
    let forgotten = filter.clone();
    rsx! {
        li { class: "saved-item", "data-testid": "saved-filter",
            RouteLink { to, current, class: "menu-item",
                span { class: "truncate", "{filter.name}" }
                if !own {
                    span { class: "muted", "by {filter.owner_name}" }
                } else if filter.shared {
                    span { class: "badge", "Shared" }
                }
            }
            if own {
                button { class: "icon-button", r#type: "button", aria_haspopup: "dialog", aria_label: "Delete {filter.name}", onclick: move |_| ondelete.call(forgotten.clone()), {icon(Glyph::Trash)} }
            }
        }
    }
}

#[component]
fn SaveFilter(filter: DeviceFilter, list: Polling<Vec<SavedFilter>>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let submission = use_submission();
    let send = use_callback(move |form: FormEvent| {
        if !submission.begin() {
            return;
        }
        let session = session.clone();
        let request = FilterRequest { name: text_of(&form, "name"), filter: filter.clone(), shared: !text_of(&form, "shared").is_empty() };
        spawn(async move {
            let outcome = session.call(move |system, principal| async move { system.filters.create(&principal, request).await }).await;
            if let Some(filter) = submission.done(outcome) {
                toasts.good(format!("Saved the filter {}.", filter.name));
                list.again();
                onclose.call(());
            }
        });
    });
    rsx! {
        FormDialog { title: "Save filter", action: "Save", busy: submission.busy(), focus: submission.focus(), onsubmit: send, onclose,
            TextField { name: "name", placeholder: "Tills with a low battery", error: submission.error("name") }
            label { class: "choice-row",
                input { r#type: "checkbox", name: "shared", value: "yes" }
                span { strong { "Share" } span { class: "muted", "Visible to all users; only you can change it." } }
            }
        }
    }
}

#[component]
fn DeleteFilter(id: SavedFilterId, name: String, shared: bool, list: Polling<Vec<SavedFilter>>, onclose: EventHandler<()>) -> Element {
    let session = use_session();
    let toasts = use_toasts();
    let mut busy = use_signal(|| false);
    let called = name.clone();
    let onconfirm = use_callback(move |()| {
        if busy() {
            return;
        }
        busy.set(true);
        let (session, called) = (session.clone(), called.clone());
        spawn(async move {
            match session.call(move |system, principal| async move { system.filters.delete(&principal, id).await }).await {
                Ok(()) => toasts.good(format!("Deleted the filter {called}.")),
                Err(error) => toasts.failed(&error),
            }
            list.again();
            onclose.call(());
        });
    });
    rsx! {
        Confirm { title: "Delete the filter {name}?", action: "Delete", busy: busy(), onconfirm, onclose,
            if shared {
                p { "The filter is deleted for all users. Devices are not affected." }
            } else {
                p { "Devices are not affected." }
            }
        }
    }
}
