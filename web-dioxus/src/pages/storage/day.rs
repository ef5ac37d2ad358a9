//! One day: its archive, the times of its steps, what is due of it, and what went wrong.

use std::time::Duration;

use chrono::NaiveDate;
use dioxus::prelude::*;
use domain::Timestamp;
use domain::partition::{ArchiveRecord, DayPlan, PartitionRecord};

use super::days::DayActions;
use super::words;
use super::work::StartKind;
use crate::components::{CopyButton, Glyph, LocalTime, Problem, RouteLink, Skeleton, icon, local_time};
use crate::format;
use crate::polling::use_paced_polling;
use crate::route::Route;
use crate::storage_url::StorageUrl;

/// Poll interval of a day that something is done with.
const WORKING_INTERVAL: Duration = Duration::from_secs(2);
/// Poll interval otherwise.
const CALM_INTERVAL: Duration = Duration::from_secs(5);

/// A day, its plan, and the time of reading.
type Details = ((PartitionRecord, Option<DayPlan>), Timestamp);

/// How soon a day is read again.
fn interval_for(((record, _), _): &Details) -> Duration {
    if record.progress.is_some() { WORKING_INTERVAL } else { CALM_INTERVAL }
}

#[component]
pub(super) fn Day(day: NaiveDate, query: StorageUrl, manages: bool, onstart: EventHandler<(StartKind, NaiveDate)>) -> Element {
    let details = use_paced_polling(day, interval_for, |system, principal, day| async move {
        let details = system.storage.day(&principal, day).await?;
        Ok((details, system.clock.now()))
    });
    let reading = details.read();
    rsx! {
        section { class: "card", aria_labelledby: "day-title", "data-testid": "day", "data-day": "{day}",
            div { class: "card-head",
                h2 { id: "day-title", "{day}" }
                RouteLink { to: Route::Storage { query: StorageUrl { day: None, ..query } }, class: "button quiet small", testid: "close-day", "Close" }
            }
            if let Some(problem) = &reading.problem {
                Problem { text: problem.clone(), onretry: move |()| details.again() }
            }
            match reading.value.as_deref() {
                Some(((record, plan), now)) if record.day == day => rsx! {
                    Facts { record: record.clone() }
                    Due { plan: plan.clone() }
                    if let Some(error) = &record.last_error {
                        div { class: "notice bad", {icon(Glyph::Alert)} span { "{error} " Tries { attempts: record.attempts, at: record.failed_at } } }
                    }
                    if let Some(archive) = &record.archive { ArchiveFacts { archive: archive.clone() } }
                    if manages {
                        div { class: "row-actions", role: "group", aria_label: "Actions for {day}",
                            DayActions { record: record.clone(), now: *now, onstart }
                        }
                    }
                },
                _ if reading.problem.is_none() => rsx! { Skeleton {} },
                _ => rsx! {},
            }
        }
    }
}

#[component]
fn Tries(attempts: u32, at: Option<Timestamp>) -> Element {
    let tries = format::count(attempts as usize, "attempt", "attempts");
    rsx! {
        "After {tries}"
        if let Some(at) = at { ", last " {local_time(at, LocalTime::Minute)} }
        "."
    }
}

#[component]
fn Facts(record: PartitionRecord) -> Element {
    let times = [
        ("Table made", record.created_at),
        ("Frozen and analyzed", record.analyzed_at),
        ("Archived", record.archived_at),
        ("Verified", record.verified_at),
        ("Dropped", record.dropped_at),
        ("Restored", record.restored_at),
        ("Kept until", record.restored_until),
    ];
    rsx! {
        p { span { class: "badge {words::badge(record.state)}", "data-testid": "day-state", {words::state(record.state)} } " " {words::meaning(record.state)} }
        dl { class: "facts",
            div { dt { "Rows" } dd { {words::rows(words::rows_of(&record))} } }
            div { dt { "In the database" } dd { {words::bytes(record.bytes)} } }
            for (label, at) in times.into_iter().filter_map(|(label, at)| Some((label, at?))) {
                div { key: "{label}", dt { "{label}" } dd { {local_time(at, LocalTime::Minute)} } }
            }
        }
        if let Some(progress) = &record.progress {
            label { class: "work-progress",
                span { "{progress.step}" }
                if progress.of > 0 {
                    progress { max: "{progress.of}", value: "{progress.done}" }
                } else {
                    progress {}
                }
            }
        }
    }
}

#[component]
fn ArchiveFacts(archive: ArchiveRecord) -> Element {
    let per_row =
        domain::storage::bytes_per_row(i64::try_from(archive.bytes).unwrap_or(i64::MAX), i64::try_from(archive.rows).unwrap_or(i64::MAX));
    rsx! {
        h3 { "Archive" }
        dl { class: "facts",
            div { dt { "File" } dd { class: "wrap", "{archive.url}" } }
            div { dt { "Size" } dd { {domain::quantity::bytes(archive.bytes)} if let Some(each) = per_row { span { class: "muted", ", {each:.1} B a row" } } } }
            div { dt { "Rows" } dd { {format::number(archive.rows)} } }
            if let (Some(first), Some(last)) = (archive.first_at, archive.last_at) {
                div { dt { "Heartbeats" } dd { {local_time(first, LocalTime::Minute)} " to " {local_time(last, LocalTime::Minute)} } }
            }
            div { dt { "SHA-256 of the file" } dd { class: "digest", code { "{archive.sha256}" } CopyButton { text: archive.sha256.clone(), label: "Copy the digest of the file" } } }
            div { dt { "SHA-256 of the rows" } dd { class: "digest", code { "{archive.rows_sha256}" } CopyButton { text: archive.rows_sha256.clone(), label: "Copy the digest of the rows" } } }
            div { dt { "Schema" } dd { "version {archive.schema_version}" } }
        }
    }
}

#[component]
fn Due(plan: Option<DayPlan>) -> Element {
    let Some(plan) = plan else { return rsx! {} };
    rsx! {
        if !plan.steps.is_empty() {
            h3 { "Due now" }
            ol { class: "due", "data-testid": "due",
                for step in plan.steps.iter() {
                    li { key: "{step.action.as_str()}", strong { {words::action(step.action)} } span { class: "muted", ": {step.cause}" } }
                }
            }
        }
        if let Some(then) = &plan.then {
            p { class: "muted", "data-testid": "then", {format::sentence(&then.to_string())} }
        }
    }
}
