//! Sizes now, growth a day, and the day on which the disk is full.

use chrono::NaiveDate;
use dioxus::prelude::*;
use domain::storage::{Forecast, Growth};
use domain::{Timestamp, quantity};
use services::StorageOverview;

use super::Shared;
use crate::format;

/// A figure with its label and what it is about.
#[derive(Debug, Clone, PartialEq)]
struct Tile {
    testid: &'static str,
    label: &'static str,
    value: String,
    hint: String,
    tone: &'static str,
}

/// Bytes of a heartbeat: whole ones, unless they are few.
fn each(bytes: Option<f64>) -> String {
    match bytes {
        None => format::UNKNOWN.to_owned(),
        Some(bytes) if bytes < 99.95 => format!("{bytes:.1} B"),
        Some(bytes) => format!("{bytes:.0} B"),
    }
}

/// Growth a day, with its sign.
fn growth(growth: Option<Growth>) -> (String, String) {
    match growth {
        None => (format::UNKNOWN.to_owned(), "after a day of samples".to_owned()),
        Some(growth) => {
            let sign = if growth.bytes_per_day < 0.0 { "−" } else { "+" };
            let over = quantity::duration(growth.over.num_seconds());
            (format!("{sign}{}", quantity::bytes(growth.bytes_per_day.abs() as u64)), format!("a day, over {over}"))
        }
    }
}

/// The forecast: what is said, what about it, and its colour.
fn forecast(forecast: Forecast, now: Timestamp) -> (String, String, &'static str) {
    let said = |value: &str, hint: &str| (value.to_owned(), hint.to_owned(), "quiet");
    match forecast {
        Forecast::TooLittleData => said(format::UNKNOWN, "after a day of samples"),
        Forecast::UnknownDisk => said(format::UNKNOWN, "the database's disk is another machine's"),
        Forecast::NotGrowing => said("Not soon", "nothing grows at the moment"),
        Forecast::Distant => said("Not soon", "more than ten years away at this rate"),
        Forecast::FullAt(at) => {
            let (day, left): (NaiveDate, i64) = (at.date_naive(), (at - now).num_days());
            let tone = if left < 14 {
                "bad"
            } else if left < 60 {
                "warn"
            } else {
                "good"
            };
            let left = if left < 1 {
                "within a day".to_owned()
            } else {
                format!("in {} at this rate", format::count(left as usize, "day", "days"))
            };
            (day.to_string(), left, tone)
        }
    }
}

fn tiles(overview: &StorageOverview) -> Vec<Tile> {
    let sizes = &overview.sizes;
    let bytes = |bytes: i64| format::bytes(bytes);
    let rows = |rows: i64| format!("about {} rows", format::number(rows.max(0).unsigned_abs()));
    let (growing, over) = growth(overview.growth);
    let (full, left, tone) = forecast(overview.forecast, overview.at);
    let free = overview.sample.and_then(|sample| sample.disk_free_bytes);
    vec![
        Tile {
            testid: "size-database",
            label: "Database",
            value: bytes(sizes.database_bytes),
            hint: free.map_or_else(String::new, |free| format!("{} free on its disk", bytes(free))),
            tone: "",
        },
        Tile {
            testid: "size-heartbeats",
            label: "Heartbeats",
            value: bytes(sizes.heartbeats_bytes),
            hint: format!("{}, {} each", rows(sizes.heartbeats_rows), each(sizes.bytes_per_heartbeat)),
            tone: "",
        },
        Tile {
            testid: "size-archive",
            label: "Archive",
            value: bytes(sizes.archive_bytes),
            hint: format!("{} rows, {} each", format::number(sizes.archive_rows.max(0).unsigned_abs()), each(sizes.bytes_per_archived)),
            tone: "",
        },
        Tile { testid: "growth", label: "Growth", value: growing, hint: over, tone: "" },
        Tile { testid: "disk-full", label: "Disk full", value: full, hint: left, tone },
    ]
}

#[component]
pub(super) fn SizeTiles(shown: Shared) -> Element {
    let Shared(overview) = shown;
    rsx! {
        section { class: "stats", aria_label: "Sizes",
            for tile in tiles(&overview) {
                div { key: "{tile.testid}", class: "stat {tile.tone}", "data-testid": tile.testid,
                    span { class: "stat-label", if !tile.tone.is_empty() { span { class: "stat-mark" } } "{tile.label}" }
                    span { class: "stat-value storage-value", "{tile.value}" }
                    span { class: "stat-hint", "{tile.hint}" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    #[test]
    fn a_disk_that_is_full_soon_stands_out() {
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        let shown = |days| forecast(Forecast::FullAt(now + TimeDelta::days(days)), now);
        assert_eq!(shown(5), ("2026-12-05".into(), "in 5 days at this rate".into(), "bad"));
        assert_eq!([shown(0).1.as_str(), shown(1).1.as_str()], ["within a day", "in 1 day at this rate"]);
        assert_eq!([shown(30).2, shown(90).2], ["warn", "good"]);
        assert_eq!(forecast(Forecast::TooLittleData, now).2, "quiet");
    }

    #[test]
    fn growth_has_a_sign() {
        let of = |bytes_per_day| growth(Some(Growth { bytes_per_day, disk_bytes_per_day: 0.0, over: TimeDelta::days(3) })).0;
        assert!(of(2048.0).starts_with('+') && of(-2048.0).starts_with('−'));
        assert_eq!(growth(None).0, format::UNKNOWN);
    }

    #[test]
    fn a_heartbeat_has_a_decimal_while_it_is_small() {
        assert_eq!([each(None), each(Some(8.25)), each(Some(112.4))], [format::UNKNOWN.to_owned(), "8.2 B".into(), "112 B".into()]);
    }
}
