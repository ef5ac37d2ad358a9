//! The table itself: of ten thousand rows only those around the visible ones exist.

use std::rc::Rc;

use dioxus::prelude::*;
use domain::alert::RuleSet;
use domain::device::{AppStatus, Connectivity, DevicePolicy, DeviceView, IdentityStatus};
use domain::query::{DeviceFilter, Sort, SortKey};
use domain::{DeviceId, Timestamp};

use super::DevicesState;

use crate::components::alert_widgets::alert_mark;
use crate::components::{Glyph, app_badge, battery_bar, icon, identity_mark, labels, status_dot, time_ago, unknown};
use crate::context::use_session;
use crate::format;
use crate::route::Route;
use crate::sampling::{LIVE, use_fleet};
use crate::selection::Selection;

/// Height of a row; the style sheet has the same.
const ROW_PX: usize = 40;
/// Rows that exist. With fewer, fast scrolling shows blanks before they arrive.
const WINDOW_ROWS: usize = 240;
/// The window moves in steps, so that a little scrolling moves nothing.
const STEP_ROWS: usize = 20;
/// Rows that are visible at a time on a large screen.
const VISIBLE_ROWS: usize = 40;

/// Content of a row.
#[derive(Clone, PartialEq)]
struct RowData {
    index: usize,
    id: DeviceId,
    alias: String,
    connectivity: Connectivity,
    identity: IdentityStatus,
    model: Option<String>,
    version: Option<String>,
    battery: Option<i16>,
    charging: Option<bool>,
    low: bool,
    network: Option<&'static str>,
    app: AppStatus,
    tags: Vec<String>,
    alerts: RuleSet,
    selected: bool,
    seen: Option<(Timestamp, String)>,
}

impl RowData {
    fn new(index: usize, view: &DeviceView, policy: &DevicePolicy, selection: &Selection, now: Timestamp) -> Self {
        let telemetry = view.last.as_ref().map(|last| &last.telemetry);
        Self {
            index,
            id: view.identity.id,
            alias: view.identity.alias.clone(),
            connectivity: view.connectivity,
            identity: view.identity_status(),
            model: view.model().map(str::to_owned),
            version: view.app_version().map(str::to_owned),
            battery: view.battery_pct(),
            charging: telemetry.and_then(|telemetry| telemetry.charging),
            low: view.battery_pct().is_some_and(|pct| pct < policy.low_battery_pct),
            network: telemetry.and_then(format::network),
            app: view.app_status,
            tags: view.identity.tags.clone(),
            alerts: view.open_alerts,
            selected: selection.contains(view),
            seen: view.last_seen_at.map(|at| (at, format::relative(now, at))),
        }
    }
}

/// The first row that exists when `scrolled_px` of `rows` rows are scrolled away.
fn window_start(scrolled_px: f64, rows: usize) -> usize {
    // A browser may report what lies outside while it bounces.
    let top = (scrolled_px.max(0.0) / ROW_PX as f64) as usize;
    let start = top.saturating_sub((WINDOW_ROWS - VISIBLE_ROWS) / 2) / STEP_ROWS * STEP_ROWS;
    start.min(rows.saturating_sub(WINDOW_ROWS).next_multiple_of(STEP_ROWS))
}

/// State of the box that selects all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeaderBox {
    None,
    Some,
    All,
}

impl HeaderBox {
    /// The box over `shown` devices that match `filter`.
    fn of(selection: &Selection, filter: &DeviceFilter, shown: usize) -> Self {
        match selection {
            _ if selection.is_empty() => Self::None,
            Selection::Matching { filter: selected, except } if **selected == *filter && except.is_empty() => Self::All,
            Selection::Devices(ids) if filter.conditions().next().is_none() && ids.len() >= shown => Self::All,
            _ => Self::Some,
        }
    }
}

#[component]
pub(super) fn DevicesTable(state: DevicesState, selects: bool) -> Element {
    let session = use_session();
    let mut scrolled = use_signal(|| 0usize);
    let tick = use_fleet(LIVE, |fleet, now| (fleet.revision(), now.timestamp()));
    let (fleet, policy, clock) = (session.fleet.clone(), session.policy, session.clock.clone());
    let rows = use_memo(move || {
        tick();
        let now = clock.now();
        let order = state.order.read();
        let url = state.url.read();
        let ids: &[DeviceId] = order.as_ref().map_or(&[], |order| order);
        let start = scrolled().min(window_start(f64::MAX, ids.len()));
        let end = (start + WINDOW_ROWS).min(ids.len());
        // A device that left since the order was made leaves a gap until the next one.
        let rows = (start..end).filter_map(|index| Some(RowData::new(index, &fleet.device(ids[index])?, &policy, &url.selected, now)));
        rows.map(Rc::new).collect::<Vec<_>>()
    });
    let count = state.order.read().as_ref().map_or(0, |order| order.len());
    let url = state.url.read();
    let header = HeaderBox::of(&url.selected, &url.filter, count);
    let navigator = use_navigator();
    let open = use_callback(move |id: DeviceId| {
        navigator.push(Route::device(id));
    });
    let select = use_callback(move |(id, on)| state.select(id, on));
    // Whatever is shown now begins at the top.
    let shown = format!("{:?} {:?}", url.filter, url.sort);
    rsx! {
        div {
            class: if selects { "table-scroll" } else { "table-scroll no-select" },
            role: "table", aria_label: "Devices", aria_rowcount: "{count + 1}", tabindex: "0",
            "data-testid": "devices-table", "data-scroll-kept": "1", "data-scroll-top": shown,
            onscroll: move |event| {
                let start = window_start(event.scroll_top(), state.order.peek().as_ref().map_or(0, |order| order.len()));
                if start != *scrolled.peek() {
                    scrolled.set(start);
                }
            },
            div { class: "table-head", role: "row", aria_rowindex: "1",
                if selects {
                    span { role: "columnheader", "data-col": "select",
                        // Only the script can show a box as mixed.
                        input { r#type: "checkbox", aria_label: if header == HeaderBox::None { "Select all that match" } else { "Clear the selection" }, checked: header == HeaderBox::All, "data-mixed": (header == HeaderBox::Some).to_string(), "data-testid": "select-all", onchange: move |_| state.select_all() }
                    }
                }
                Header { state, column: "status", title: "Status", key_: None }
                Header { state, column: "alias", title: "Alias", key_: Some(SortKey::Alias) }
                Header { state, column: "model", title: "Model", key_: None }
                Header { state, column: "version", title: "Version", key_: None }
                Header { state, column: "battery", title: "Battery", key_: Some(SortKey::BATTERY) }
                Header { state, column: "network", title: "Network", key_: None }
                Header { state, column: "app", title: "App", key_: None }
                Header { state, column: "tags", title: "Tags", key_: None }
                Header { state, column: "seen", title: "Last seen", key_: Some(SortKey::LastSeen) }
            }
            div { class: "table-body", role: "rowgroup", style: "height:{count * ROW_PX}px",
                for row in rows() {
                    Row { key: "{row.id}", row, selects, open, select }
                }
            }
        }
    }
}

/// The head of a column; where the order can follow it, a button.
#[component]
fn Header(state: DevicesState, column: String, title: String, key_: Option<SortKey>) -> Element {
    let sort = state.url.read().sort;
    let descending = key_.filter(|key| *key == sort.key).map(|_| sort.descending);
    let aria_sort = descending.map(|descending| if descending { "descending" } else { "ascending" });
    rsx! {
        span { role: "columnheader", "data-col": "{column}", aria_sort,
            match key_ {
                None => rsx! { "{title}" },
                Some(key) => rsx! {
                    button { class: "sort", r#type: "button", "data-testid": "sort-{column}",
                        onclick: move |_| {
                            // The first click shows what one looks for first: the newest, the emptiest, the first.
                            let descending = descending.map_or(matches!(key, SortKey::LastSeen | SortKey::Enrolled), |descending| !descending);
                            state.sort(Sort { key, descending });
                        },
                        "{title}"
                        if let Some(descending) = descending {
                            {icon(if descending { Glyph::ChevronDown } else { Glyph::ChevronUp })}
                        }
                    }
                },
            }
        }
    }
}

#[component]
fn Row(row: Rc<RowData>, selects: bool, open: Callback<DeviceId>, select: Callback<(DeviceId, bool)>) -> Element {
    let (id, selected) = (row.id, row.selected);
    let text = |text: Option<&str>| text.map_or_else(unknown, |text| rsx! { "{text}" });
    rsx! {
        div {
            class: if selected { "table-row selected" } else { "table-row" },
            role: "row", aria_rowindex: "{row.index + 2}", aria_selected: selects.then_some(selected.to_string()),
            style: "top:{row.index * ROW_PX}px", "data-id": "{id}",
            if selects {
                span { role: "cell", "data-col": "select",
                    input { r#type: "checkbox", aria_label: "Select {row.alias}", checked: selected, onchange: move |event| select.call((id, event.checked())) }
                }
            }
            span { role: "cell", "data-col": "status", {status_dot(row.connectivity)} {identity_mark(row.identity)} {alert_mark(row.alerts)} }
            // The alias is alone in its cell, so that its text is the alias.
            span { role: "cell", "data-col": "alias",
                a {
                    class: "row-link truncate", href: Route::device(id).to_string(), "data-spa": "1",
                    onclick: move |event: MouseEvent| {
                        if event.modifiers().is_empty() && event.trigger_button() == Some(dioxus::html::input_data::MouseButton::Primary) {
                            open.call(id);
                        }
                    },
                    "{row.alias}"
                }
            }
            span { role: "cell", "data-col": "model", class: "truncate", {text(row.model.as_deref())} }
            span { role: "cell", "data-col": "version", class: "truncate", {text(row.version.as_deref())} }
            span { role: "cell", "data-col": "battery", {battery_bar(row.battery, row.charging, row.low)} }
            span { role: "cell", "data-col": "network", {text(row.network)} }
            span { role: "cell", "data-col": "app", {app_badge(row.app)} }
            span { role: "cell", "data-col": "tags", {labels(&row.tags, 2)} }
            span { role: "cell", "data-col": "seen",
                match &row.seen {
                    Some((at, text)) => time_ago(*at, text),
                    None => unknown(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_box_of_all_is_mixed_while_some_are_selected() {
        let (all, tagged) = (DeviceFilter::default(), DeviceFilter { tag: Some("till".into()), ..DeviceFilter::default() });
        let device = |n: u128| DeviceId(uuid::Uuid::from_u128(n));
        let devices = |count: u128| {
            let mut selection = Selection::default();
            assert!((0..count).all(|n| selection.set(device(n), true)));
            selection
        };
        assert_eq!(HeaderBox::of(&Selection::default(), &all, 0), HeaderBox::None);
        assert_eq!(HeaderBox::of(&devices(2), &all, 3), HeaderBox::Some);
        assert_eq!(HeaderBox::of(&devices(3), &all, 3), HeaderBox::All);
        let mut matching = Selection::matching(tagged.clone());
        assert_eq!(HeaderBox::of(&matching, &tagged, 9), HeaderBox::All);
        assert_eq!(HeaderBox::of(&matching, &all, 9), HeaderBox::Some, "of another filter");
        assert!(matching.set(device(1), false));
        assert_eq!(HeaderBox::of(&matching, &tagged, 9), HeaderBox::Some);
    }

    #[test]
    fn the_window_surrounds_what_is_visible() {
        for rows in [0, 1, 100, WINDOW_ROWS, 241, 999, 10_000] {
            for scrolled in 0..rows {
                let start = window_start((scrolled * ROW_PX) as f64, rows);
                assert!(start <= scrolled, "{rows} {scrolled}");
                let end = (start + WINDOW_ROWS).min(rows);
                assert!(end >= (scrolled + VISIBLE_ROWS).min(rows), "{rows} {scrolled}");
                assert_eq!(start % STEP_ROWS, 0);
            }
        }
        assert_eq!(window_start(-50.0, 10_000), 0);
        assert_eq!(window_start(f64::MAX, 10_000), 9_760);
        assert_eq!(window_start(f64::NAN, 10_000), 0);
    }
}
