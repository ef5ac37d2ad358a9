//! The days drawn: a bar for each, as high as what it takes, in the colour of its state. The list of days below says the same in words.

use chrono::NaiveDate;
use dioxus::prelude::*;
use domain::partition::{PartitionRecord, PartitionState};

use super::{Shared, words};
use crate::components::{EmptyState, Glyph, RouteLink};
use crate::format;
use crate::route::Route;
use crate::storage_url::StorageUrl;

/// Height of the highest bar, percent.
const HEIGHT: f64 = 100.0;
/// Height of the lowest, so that an empty day is seen.
const LOWEST: f64 = 6.0;

/// A bar of a day.
#[derive(Debug, Clone, PartialEq)]
struct Bar {
    day: NaiveDate,
    state: PartitionState,
    x: usize,
    height: f64,
    said: String,
}

/// What a day takes in the database or, where its table is gone, in the archive.
fn weight(record: &PartitionRecord) -> u64 {
    let archived = record.archive.as_ref().map_or(0, |archive| archive.bytes);
    if record.state == PartitionState::Dropped { archived } else { record.bytes.unwrap_or(archived) }
}

/// The bars of these days, which are in the order of time. Days of which nothing is known are gaps.
fn bars(records: &[PartitionRecord]) -> Vec<Bar> {
    let Some(first) = records.first().map(|record| record.day) else { return vec![] };
    let most = records.iter().map(weight).max().unwrap_or_default().max(1);
    let bar = |record: &PartitionRecord| {
        let part = weight(record) as f64 / most as f64;
        let said = format!(
            "{}: {}, {} rows, {}",
            record.day,
            words::state(record.state),
            words::rows(words::rows_of(record)),
            domain::quantity::bytes(weight(record))
        );
        let x = usize::try_from((record.day - first).num_days()).unwrap_or_default();
        Bar { day: record.day, state: record.state, x, height: LOWEST + part * (HEIGHT - LOWEST), said }
    };
    records.iter().map(bar).collect()
}

/// A state with the number of its days.
fn legend(state: PartitionState, days: usize) -> String {
    format!("{}: {}", words::state(state), format::count(days, "day", "days"))
}

/// The bar of a day, which leads to it by a click; by keys the list of days does.
#[component]
fn DayBar(bar: Bar, current: bool, ahead: bool, query: StorageUrl) -> Element {
    let navigator = use_navigator();
    let Bar { day, state, x, height, said } = bar;
    let class = match (current, ahead) {
        (true, _) => "day-bar current",
        (false, true) => "day-bar ahead",
        (false, false) => "day-bar",
    };
    rsx! {
        span {
            class: "{class} tone-{words::tone(state)}", title: "{said}", "data-day": "{day}", "data-state": state.as_str(),
            style: "grid-column:{x + 1};height:{height:.1}%",
            onclick: move |_| { navigator.push(Route::Storage { query: StorageUrl { day: Some(day), ..query } }); },
        }
    }
}

#[component]
pub(super) fn Timeline(shown: Shared, query: StorageUrl) -> Element {
    let Shared(overview) = shown;
    let bars = bars(&overview.partitions);
    let width = bars.last().map_or(1, |bar| bar.x + 1);
    let (first, last) = (bars.first().map(|bar| bar.day), bars.last().map(|bar| bar.day));
    let today = overview.at.date_naive();
    let said = match (first, last) {
        (Some(first), Some(last)) => format!("Days from {first} to {last} by state and size; the list of days below has the same in words"),
        _ => String::new(),
    };
    rsx! {
        section { class: "card", aria_labelledby: "timeline-title",
            div { class: "card-head",
                h2 { id: "timeline-title", "Days" }
                span { class: "muted", "Size of each day, by state" }
            }
            if bars.is_empty() {
                EmptyState { glyph: Glyph::Chart, title: "No days yet", text: "The partition manager records days with its first run." }
            } else {
                div { class: "days-drawn", role: "img", aria_label: "{said}", "data-testid": "timeline", style: "--days:{width}",
                    for bar in bars.iter() {
                        DayBar { key: "{bar.day}", bar: bar.clone(), current: query.day == Some(bar.day), ahead: bar.day > today, query }
                    }
                }
                div { class: "days-axis", aria_hidden: "true",
                    if let Some(first) = first { span { "{first}" } }
                    if let Some(last) = last { span { "{last}" } }
                }
                ul { class: "legend", "data-testid": "state-counts",
                    for count in overview.counts.iter() {
                        li { key: "{count.state.as_str()}",
                            RouteLink { to: Route::Storage { query: StorageUrl { state: Some(count.state), ..StorageUrl::default() } }, current: query.state == Some(count.state), testid: "state-{count.state.as_str()}",
                                span { class: "chart-key tone-{words::tone(count.state)}", aria_hidden: "true" }
                                {legend(count.state, count.days)}
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::partition::ArchiveRecord;

    fn record(day: u32, state: PartitionState, bytes: u64, archived: Option<u64>) -> PartitionRecord {
        let archive = |bytes| ArchiveRecord {
            url: String::new(),
            sha256: String::new(),
            rows_sha256: String::new(),
            rows: 10,
            bytes,
            first_at: None,
            last_at: None,
            schema_version: 1,
        };
        PartitionRecord {
            bytes: Some(bytes),
            archive: archived.map(archive),
            ..PartitionRecord::new(NaiveDate::from_ymd_opt(2026, 11, day).unwrap(), state)
        }
    }

    #[test]
    fn bars_stand_where_their_day_is_and_are_as_high_as_it_is_large() {
        let drawn = bars(&[
            record(1, PartitionState::Dropped, 999, Some(100)),
            record(3, PartitionState::Verified, 1000, Some(100)),
            record(4, PartitionState::Open, 0, None),
        ]);
        assert_eq!(drawn.iter().map(|bar| bar.x).collect::<Vec<_>>(), [0, 2, 3], "a day that is not known is a gap");
        let heights: Vec<_> = drawn.iter().map(|bar| bar.height.round() as i64).collect();
        assert_eq!(heights, [15, 100, 6], "a dropped day is as large as its archive, and an empty one is seen");
        assert!(drawn[0].said.starts_with("2026-11-01: In the archive only, 10 rows"), "{}", drawn[0].said);
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert!(bars(&[]).is_empty());
        assert_eq!(bars(&[record(1, PartitionState::Open, 0, None)])[0].height, LOWEST);
    }
}
