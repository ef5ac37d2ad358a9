//! The list of days, in pages, with what can be done with each.

use std::time::Duration;

use chrono::NaiveDate;
use dioxus::prelude::*;
use domain::Timestamp;
use domain::partition::{PartitionRecord, PartitionState, settles_at};
use services::PartitionPage;

use super::words;
use super::work::StartKind;
use crate::components::{EmptyState, Glyph, Problem, RouteLink, Skeleton, time_ago, unknown};
use crate::format;
use crate::polling::use_polling;
use crate::route::Route;
use crate::storage_url::StorageUrl;

/// Days on a page.
const PAGE_DAYS: i64 = 31;
/// Poll interval of the list.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// What can be done with a day as it is.
pub(super) fn startable(record: &PartitionRecord, now: Timestamp) -> Vec<StartKind> {
    let is_gone = matches!(record.state, PartitionState::Dropped | PartitionState::Lost);
    let mut kinds = Vec::new();
    if !is_gone && record.state != PartitionState::Restoring && now >= settles_at(record.day) {
        kinds.push(StartKind::Archive);
    }
    if record.archive.is_some() {
        kinds.push(StartKind::Verify);
        if is_gone || record.state == PartitionState::Restoring {
            kinds.push(StartKind::Restore);
        }
        if record.state == PartitionState::Restored {
            kinds.push(StartKind::Forget);
        }
    }
    kinds
}

/// Buttons of what can be done with a day.
#[component]
pub(super) fn DayActions(record: PartitionRecord, now: Timestamp, onstart: EventHandler<(StartKind, NaiveDate)>) -> Element {
    let day = record.day;
    rsx! {
        for kind in startable(&record, now) {
            button { key: "{kind.name()}", class: "button small", r#type: "button", aria_haspopup: "dialog", "data-testid": "{kind.name()}", aria_label: "{kind.title()} {day}",
                onclick: move |_| onstart.call((kind, day)),
                "{kind.title()}"
            }
        }
    }
}

#[component]
pub(super) fn Days(query: StorageUrl, manages: bool, onstart: EventHandler<(StartKind, NaiveDate)>) -> Element {
    let StorageUrl { state, before, .. } = query;
    let page = use_polling((state, before), POLL_INTERVAL, |system, principal, (state, before)| async move {
        let states: Vec<PartitionState> = state.into_iter().collect();
        let page = system.storage.partitions(&principal, &states, before, PAGE_DAYS).await?;
        Ok((page, system.clock.now()))
    });
    let reading = page.read();
    let title = state.map_or_else(|| "List of days".to_owned(), |state| format!("Days: {}", words::state(state)));
    let at = move |before| Route::Storage { query: StorageUrl { before, day: None, ..query } };
    rsx! {
        section { class: "card", aria_labelledby: "days-title", aria_busy: reading.loading.to_string(),
            div { class: "card-head",
                h2 { id: "days-title", "{title}" }
                if state.is_some() {
                    RouteLink { to: Route::Storage { query: StorageUrl::default() }, testid: "all-days", "All days" }
                }
            }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| page.again() }
            }
            match reading.value.as_deref() {
                Some((page, _)) if page.partitions.is_empty() => rsx! {
                    EmptyState { glyph: Glyph::List, title: "No such days", text: "Days appear here once the partition manager has recorded them." }
                },
                Some((page, now)) => rsx! {
                    Table { page: page.clone(), now: *now, query, manages, onstart }
                    if before.is_some() || page.next.is_some() {
                        nav { class: "pager", aria_label: "Pages",
                            if before.is_some() { RouteLink { to: at(None), class: "button small", testid: "newest", "Newest" } }
                            if let Some(next) = page.next { RouteLink { to: at(Some(next)), class: "button small", testid: "older", "Older" } }
                        }
                    }
                },
                None if reading.problem.is_none() => rsx! { Skeleton {} },
                None => rsx! {},
            }
        }
    }
}

#[component]
fn Table(page: PartitionPage, now: Timestamp, query: StorageUrl, manages: bool, onstart: EventHandler<(StartKind, NaiveDate)>) -> Element {
    rsx! {
        div { class: "scroll-x", tabindex: "0", role: "region", aria_label: "Table of days",
            table { class: "plain nodes days",
                thead { tr {
                    th { scope: "col", "Day" } th { scope: "col", "State" } th { scope: "col", class: "number", "Rows" }
                    th { scope: "col", class: "number", "In the database" } th { scope: "col", class: "number", "In the archive" }
                    th { scope: "col", "Verified" }
                    if manages { th { scope: "col", span { class: "visually-hidden", "Actions" } } }
                } }
                tbody {
                    for record in page.partitions.iter() {
                        DayRow { key: "{record.day}", record: record.clone(), now, query, manages, onstart }
                    }
                }
            }
        }
    }
}

#[component]
fn DayRow(
    record: PartitionRecord,
    now: Timestamp,
    query: StorageUrl,
    manages: bool,
    onstart: EventHandler<(StartKind, NaiveDate)>,
) -> Element {
    let (day, state) = (record.day, record.state);
    let in_database = if matches!(state, PartitionState::Dropped | PartitionState::Lost) { None } else { record.bytes };
    rsx! {
        tr { "data-testid": "day-row", "data-day": "{day}", "data-state": state.as_str(),
            td { "data-label": "Day", RouteLink { to: Route::Storage { query: StorageUrl { day: Some(day), ..query } }, current: query.day == Some(day), testid: "day-link", "{day}" } }
            td { "data-label": "State", span { class: "badge {words::badge(state)}", title: words::meaning(state), {words::state(state)} }
                if record.last_error.is_some() { span { class: "badge bad", "Failed" } }
                if let Some(progress) = &record.progress { span { class: "muted", " {progress.step}" } }
            }
            td { class: "number", "data-label": "Rows", {words::rows(words::rows_of(&record))} }
            td { class: "number", "data-label": "In the database", {words::bytes(in_database)} }
            td { class: "number", "data-label": "In the archive", {words::bytes(record.archive.as_ref().map(|archive| archive.bytes))} }
            td { "data-label": "Verified", match record.verified_at {
                Some(at) => rsx! { {time_ago(at, &format::relative(now, at))} },
                None => unknown(),
            } }
            if manages {
                td { class: "row-action days-actions", DayActions { record: record.clone(), now, onstart } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use domain::partition::ArchiveRecord;

    #[test]
    fn only_what_is_possible_is_offered() {
        use PartitionState::{Dropped, Lost, Open, Restored, Restoring, Verified};
        use StartKind::{Archive, Forget, Restore, Verify};
        let day = NaiveDate::from_ymd_opt(2026, 9, 1).unwrap();
        let over = settles_at(day);
        let archive = ArchiveRecord {
            url: String::new(),
            sha256: String::new(),
            rows_sha256: String::new(),
            rows: 1,
            bytes: 1,
            first_at: None,
            last_at: None,
            schema_version: 1,
        };
        let offered = |state, archived: bool, now| {
            startable(&PartitionRecord { archive: archived.then(|| archive.clone()), ..PartitionRecord::new(day, state) }, now)
        };
        assert_eq!(offered(Open, false, over - TimeDelta::seconds(1)), []);
        assert_eq!(offered(PartitionState::Settled, false, over), [Archive]);
        assert_eq!(offered(Verified, true, over), [Archive, Verify]);
        assert_eq!(offered(Dropped, true, over), [Verify, Restore]);
        assert_eq!(offered(Restoring, true, over), [Verify, Restore]);
        assert_eq!(offered(Restored, true, over), [Archive, Verify, Forget]);
        assert_eq!(offered(Lost, false, over), []);
    }
}
