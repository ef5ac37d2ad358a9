//! All devices in one table: filtered, sorted, selected, live.

mod bulk;
mod deleted;
mod filters;
mod import;
mod saved;
mod selection;
mod send;
mod table;

use std::rc::Rc;
use std::time::{Duration, Instant};

use dioxus::prelude::*;
use dioxus::router::Navigator;
use domain::DeviceId;
use domain::access::Permission;
use domain::query::Sort;

use crate::components::{EmptyState, Glyph, PageHeader, RouteLink, icon};
use crate::context::use_session;
use crate::format;
use crate::navigation::use_title;
use crate::route::Route;
use crate::sampling::{CALM, LIVE, use_fleet};
use crate::selection::{SELECTED_MAX, Selection};
use crate::toasts::{Toasts, use_toasts};
use crate::url_state::{DevicesUrl, EnrollmentUrl};

pub(crate) use deleted::DeletedDevices;
use filters::Filters;
pub(crate) use import::ImportDevices;
use saved::SavedFilters;
use selection::SelectionBar;
use table::DevicesTable;

/// How often the order is made anew while the fleet changes.
const ORDER_INTERVAL: Duration = Duration::from_secs(2);
/// Making the order takes at most this share of a core: one part in so many.
const ORDER_COST_RATIO: u32 = 20;

/// The devices that match, in order; `None` before the first look.
type Order = Option<Rc<Vec<DeviceId>>>;

/// State that the parts of the page share. The address is the one truth about
/// filter, order and selection; a change of it is a change of address.
#[derive(Clone, Copy)]
struct DevicesState {
    url: Memo<DevicesUrl>,
    order: Signal<Order>,
    navigator: Navigator,
    toasts: Toasts,
}

impl PartialEq for DevicesState {
    fn eq(&self, other: &Self) -> bool {
        // The other two are the same for the whole of an open page.
        self.url == other.url && self.order == other.order
    }
}

impl DevicesState {
    /// Shows something else, as a step that "back" takes back.
    fn go(self, change: impl FnOnce(&mut DevicesUrl)) {
        if let Some(query) = self.changed(change) {
            self.navigator.push(Route::Devices { query });
        }
    }

    /// Shows something a little different, which "back" does not need to know.
    fn adjust(self, change: impl FnOnce(&mut DevicesUrl)) {
        if let Some(query) = self.changed(change) {
            self.navigator.replace(Route::Devices { query });
        }
    }

    fn changed(self, change: impl FnOnce(&mut DevicesUrl)) -> Option<DevicesUrl> {
        let before = self.url.peek().clone();
        let mut query = before.clone();
        change(&mut query);
        (query != before).then_some(query)
    }

    /// Selects a device, or no longer.
    fn select(self, id: DeviceId, on: bool) {
        self.adjust(|url| {
            if !url.selected.set(id, on) {
                self.toasts.bad(format!("At most {SELECTED_MAX} devices can be selected individually. Filter, and select all."));
            }
        });
    }

    /// Selects all that is shown, and what comes to match later; or nothing when something is selected.
    fn select_all(self) {
        self.adjust(|url| {
            url.selected = if url.selected.is_empty() { Selection::matching(url.filter.clone()) } else { Selection::default() };
        });
    }

    fn sort(self, sort: Sort) {
        self.go(|url| url.sort = sort);
    }
}

#[component]
pub(crate) fn Devices(query: DevicesUrl) -> Element {
    use_title("Devices");
    let session = use_session();
    let url = use_memo(use_reactive((&query,), |(query,)| query));
    let order = use_order(url);
    let state = DevicesState { url, order, navigator: use_navigator(), toasts: use_toasts() };
    let total = use_fleet(CALM, |fleet, _| fleet.stats().borrow().devices as usize);
    let (manages, sends) = (session.may(Permission::ManageDevices), session.may(Permission::SendCommands));
    let selects = manages || sends;
    let matching = order.read().as_ref().map(|order| order.len());
    let count = match matching {
        None => "Loading…".to_owned(),
        // The two are counted at different moments.
        Some(matching) if url.read().conditions() == 0 => format::count(matching, "device", "devices"),
        Some(matching) => format!("{} of {}", format::number(matching as u64), format::count(total().max(matching), "device", "devices")),
    };
    rsx! {
        div { class: "devices",
            PageHeader { title: "Devices",
                p { class: "lead", role: "status", "data-testid": "device-count", "{count}" }
                SavedFilters { state }
                More { state, manages }
            }
            Filters { state }
            match matching {
                None => rsx! { Skeleton {} },
                Some(0) if url.read().conditions() > 0 => rsx! {
                    EmptyState { glyph: Glyph::Search, title: "No device matches", text: "Change or clear the filter.",
                        button { class: "button primary", r#type: "button", "data-testid": "clear-filters", onclick: move |_| state.go(|url| url.filter = Default::default()), "Clear filter" }
                    }
                },
                Some(0) => rsx! {
                    EmptyState { glyph: Glyph::Device, title: "No devices yet", text: "Devices appear here as soon as they enroll.",
                        if session.may(Permission::ManageEnrollment) {
                            RouteLink { to: Route::Enrollment { query: EnrollmentUrl::default() }, class: "button primary", "Enroll the first device" }
                        }
                    }
                },
                Some(_) => rsx! { DevicesTable { state, selects } },
            }
            if selects {
                SelectionBar { state, manages, sends }
            }
        }
    }
}

/// Further actions on the list.
#[component]
fn More(state: DevicesState, manages: bool) -> Element {
    let url = state.url.read();
    let shown = DevicesUrl { filter: url.filter.clone(), ..DevicesUrl::default() };
    let export = Route::Devices { query: shown }.to_string().replace("/devices", "/export/devices.csv");
    rsx! {
        details { class: "more-menu", "data-menu": "1",
            summary { class: "button", aria_label: "More", "data-testid": "more", {icon(Glyph::More)} }
            div { class: "menu",
                a { class: "menu-item", href: export, download: "devices.csv", "data-testid": "export", {icon(Glyph::Download)}
                    if url.conditions() > 0 { "Export these as CSV" } else { "Export as CSV" }
                }
                if manages {
                    RouteLink { to: Route::ImportDevices {}, class: "menu-item", testid: "import", {icon(Glyph::Upload)} "Import from CSV" }
                }
                RouteLink { to: Route::DeletedDevices {}, class: "menu-item", testid: "deleted", {icon(Glyph::Trash)} "Deleted devices" }
            }
        }
    }
}

/// The order of the devices: at once when filter or sort change, and now and then while the fleet does.
fn use_order(url: Memo<DevicesUrl>) -> Signal<Order> {
    let session = use_session();
    let toasts = use_toasts();
    let mut order = use_signal(|| None::<Rc<Vec<DeviceId>>>);
    let wanted = use_memo(move || {
        let url = url.read();
        (url.filter.clone(), url.sort)
    });
    use_resource(move || {
        let (filter, sort) = wanted();
        let fleet = session.fleet.clone();
        async move {
            loop {
                let (revision, began) = (fleet.revision(), Instant::now());
                let (looked_at, filter) = (fleet.clone(), filter.clone());
                // Off the pages' threads: sorting a hundred thousand devices takes a while.
                match tokio::task::spawn_blocking(move || looked_at.order(&filter, sort)).await {
                    Ok(new) if order.peek().as_deref() != Some(&new) => order.set(Some(Rc::new(new))),
                    Ok(_) => {}
                    Err(_) => toasts.bad("Listing the devices failed. See the server log."),
                }
                tokio::time::sleep(ORDER_INTERVAL.max(began.elapsed() * ORDER_COST_RATIO)).await;
                while fleet.revision() == revision {
                    tokio::time::sleep(LIVE).await;
                }
            }
        }
    });
    order
}

#[component]
fn Skeleton() -> Element {
    rsx! {
        div { class: "table-scroll skeleton", aria_busy: "true", aria_label: "Loading the devices",
            for n in 0..12 {
                div { key: "{n}", class: "skeleton-row", span {} span {} span {} }
            }
        }
    }
}
