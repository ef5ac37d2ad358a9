//! Accessible form of chart data: cursor texts and a short table.

use std::collections::BTreeMap;

use domain::Timestamp;
use serde_json::{Value, json};

use super::path::{Sample, Window};
use super::scale::Scale;

/// Most rows of a table.
const ROWS_MAX: i64 = 24;

/// Series for the cursor: name and samples.
pub(crate) struct CursorSeries<'a> {
    pub(crate) name: &'a str,
    pub(crate) samples: &'a [Sample],
}

/// Text of a sample: value and range.
pub(crate) fn words(sample: &Sample, scale: &Scale) -> String {
    let (low, high, value) = (scale.format(sample.low), scale.format(sample.high), scale.format(sample.value));
    if low == high { value } else { format!("{value} ({low} to {high})") }
}

/// Data with which the browser moves a cursor by itself: times in seconds, relative heights, and texts. `chart.js` knows the
/// format.
pub(crate) fn cursor_data(series: &[CursorSeries<'_>], window: &Window, scale: &Scale) -> String {
    let mut points: BTreeMap<Timestamp, Vec<Option<&Sample>>> = BTreeMap::new();
    for (at, read) in series.iter().enumerate() {
        for sample in read.samples {
            points.entry(sample.at).or_insert_with(|| vec![None; series.len()])[at] = Some(sample);
        }
    }
    let points: Vec<Value> = points
        .into_iter()
        .map(|(at, samples)| {
            let up = samples.iter().map(|sample| sample.map(|sample| (scale.up(sample.value) * 1000.0).round() / 1000.0));
            let words = samples.iter().map(|sample| sample.map(|sample| words(sample, scale)));
            json!([at.timestamp(), up.collect::<Vec<_>>(), words.collect::<Vec<_>>()])
        })
        .collect();
    frame_data(window, series.iter().map(|read| read.name).collect(), points)
}

/// Cursor data of a chart without heights.
pub(crate) fn frame_data(window: &Window, names: Vec<&str>, points: Vec<Value>) -> String {
    json!({
        "from": window.from.timestamp(), "to": window.to.timestamp(), "gap": window.gap.num_seconds(),
        "names": names, "points": points,
    })
    .to_string()
}

/// Table rows of a plot: mean and extremes for parts of the window.
pub(crate) fn rows(samples: &[Sample], window: &Window) -> Vec<Sample> {
    let span = (window.to - window.from).num_seconds().max(1);
    // Whole steps, so that no sample is torn.
    let steps = (span / window.step.num_seconds().max(1)).max(1);
    let length = window.step * i32::try_from((steps + ROWS_MAX - 1) / ROWS_MAX).unwrap_or(i32::MAX);
    let part = |sample: &Sample| (sample.at - window.from).num_seconds() / length.num_seconds().max(1);
    samples
        .chunk_by(|a, b| part(a) == part(b))
        .map(|run| Sample {
            at: run[0].at,
            low: run.iter().map(|sample| sample.low).fold(f64::INFINITY, f64::min),
            value: run.iter().map(|sample| sample.value).sum::<f64>() / run.len() as f64,
            high: run.iter().map(|sample| sample.high).fold(f64::NEG_INFINITY, f64::max),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    fn at(minute: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_000_000 + minute * 60, 0).unwrap()
    }

    #[test]
    fn the_cursor_reads_all_series_at_a_time() {
        let window = Window { from: at(0), to: at(60), step: TimeDelta::minutes(5), gap: TimeDelta::minutes(8) };
        let (a, b) = ([Sample::exact(at(0), 50.0), Sample::exact(at(5), 51.0)], [Sample { at: at(5), low: 1.0, value: 2.0, high: 3.0 }]);
        let series = [CursorSeries { name: "a", samples: &a }, CursorSeries { name: "b", samples: &b }];
        let data: Value = serde_json::from_str(&cursor_data(&series, &window, &Scale::percent())).unwrap();
        assert_eq!(data["names"], json!(["a", "b"]));
        assert_eq!(data["points"][0], json!([at(0).timestamp(), [0.5, null], ["50 %", null]]));
        assert_eq!(data["points"][1][2], json!(["51 %", "2 % (1 % to 3 %)"]));
        assert_eq!(data["gap"], 480);
    }

    #[test]
    fn a_table_is_short_and_keeps_the_extremes() {
        let window = Window { from: at(0), to: at(24 * 60), step: TimeDelta::minutes(5), gap: TimeDelta::minutes(8) };
        let samples: Vec<_> = (0..288).map(|n| Sample::exact(at(n * 5), n as f64)).collect();
        let rows = rows(&samples, &window);
        assert_eq!(rows.len(), 24);
        assert_eq!((rows[0].low, rows[0].value, rows[0].high), (0.0, 5.5, 11.0));
        assert_eq!(super::rows(&[], &window), []);
    }
}
