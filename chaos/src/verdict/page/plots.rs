//! Plots of a timeline as SVG within HTML. Shapes are stretched to the width of the page, labels are text beside them, so that a phone shows
//! both well; each plot has its numbers in a table.

use std::fmt::Write as _;

use super::timeline::{Column, SECOND_US, Series, Timeline};
use crate::verdict::markup::{elapsed, escaped, number, put};

/// Width and height of the coordinates that are stretched.
const WIDTH: f64 = 1_000.0;
const HEIGHT: f64 = 100.0;
/// Most rows of a table below a plot.
const ROWS_MAX: usize = 60;
/// Number of tones of series.
const TONES: usize = 8;

/// All plots of a timeline; `marks_us` are the times of counterexamples.
pub(super) fn plots(timeline: &Timeline, marks_us: &[i64]) -> String {
    let mut out = String::new();
    faults(&mut out, timeline, marks_us);
    if !timeline.columns.is_empty() {
        throughput(&mut out, timeline, marks_us);
        latency(&mut out, timeline, marks_us);
        errors(&mut out, timeline, marks_us);
    }
    if !timeline.shards.is_empty() {
        shards(&mut out, timeline, marks_us);
    }
    alerts(&mut out, timeline, marks_us);
    notes(&mut out, timeline);
    out
}

/// Lane of the faults, with their names.
fn faults(out: &mut String, timeline: &Timeline, marks_us: &[i64]) {
    let (lanes, rows) = timeline.lanes();
    put!(out, "<figure class=\"plot\"><figcaption>Faults</figcaption>");
    if timeline.faults.is_empty() {
        put!(out, "<p class=\"quiet\">No fault was injected.</p></figure>\n");
        return;
    }
    put!(out, "<div class=\"frame\"><div class=\"lane\" style=\"height:{}px\" aria-hidden=\"true\">", rows * 26 + 2);
    for (place, (fault, lane)) in timeline.faults.iter().zip(&lanes).enumerate() {
        let (from, until) = (timeline.share(fault.from_us), timeline.share(fault.until_us.unwrap_or(timeline.until_us)));
        let (left, width) = (from * 100.0, ((until - from) * 100.0).max(0.4));
        let top = lane * 26 + 2;
        put!(
            out,
            "<span class=\"fault\" style=\"left:{left:.2}%;width:{width:.2}%;top:{top}px\" title=\"{text}\"><b>{number}</b> {text}</span>",
            text = escaped(&fault.text),
            number = place + 1
        );
    }
    for mark in marks_us {
        put!(out, "<i class=\"mark\" style=\"left:{:.2}%\"></i>", timeline.share(*mark) * 100.0);
    }
    put!(out, "</div></div>");
    let rows = timeline.faults.iter().enumerate().map(|(place, fault)| {
        let lasted = fault.until_us.map_or_else(|| "to the end".to_owned(), |until_us| seconds(until_us - fault.from_us));
        let until = fault.until_us.map_or_else(|| "never healed".to_owned(), |at_us| elapsed(at_us - timeline.from_us, true));
        vec![(place + 1).to_string(), fault.text.clone(), elapsed(fault.from_us - timeline.from_us, true), until, lasted]
    });
    table(out, "Faults", &["No.", "Fault", "Began", "Healed", "Lasted"], rows.collect(), true);
    put!(out, "</figure>\n");
}

fn throughput(out: &mut String, timeline: &Timeline, marks_us: &[i64]) {
    let top = round_up(timeline.columns.iter().map(|column| column.rate).fold(0.0, f64::max));
    let rates: Vec<f64> = timeline.columns.iter().map(|column| column.rate).collect();
    let (least, most) = extremes(&rates);
    let label = format!("Acknowledged heartbeats per second, from {} to {}", number(least), number(most));
    begin(out, timeline, "Acknowledged heartbeats per second", &Legend::default(), top, "", &label);
    bands(out, timeline);
    let points: Vec<(f64, Option<f64>)> = timeline.columns.iter().map(|column| (column_x(timeline, column), Some(column.rate))).collect();
    area(out, &points, top, 0);
    line(out, &points, top, "t0");
    marks(out, timeline, marks_us);
    end(out, timeline);
    let rows = thinned(timeline).into_iter().map(|column| vec![at(timeline, column.at_us), number(column.rate)]);
    table(out, "Acknowledged heartbeats per second", &["Time", "Per second"], rows.collect(), false);
    put!(out, "</figure>\n");
}

fn latency(out: &mut String, timeline: &Timeline, marks_us: &[i64]) {
    let worst = timeline.columns.iter().filter_map(|column| column.p99_ms).fold(0.0, f64::max);
    let top = round_up(worst);
    let label = format!("Time from sending to the acknowledgement in milliseconds: median and 99th percentile, at most {}", number(worst));
    let legend = Legend { key: "line", entries: vec![("t0", "median"), ("t1", "99th percentile")] };
    begin(out, timeline, "Time to the acknowledgement", &legend, top, " ms", &label);
    bands(out, timeline);
    let points = |value: fn(&Column) -> Option<f64>| -> Vec<(f64, Option<f64>)> {
        timeline.columns.iter().map(|column| (column_x(timeline, column), value(column))).collect()
    };
    line(out, &points(|column| column.p99_ms), top, "t1");
    line(out, &points(|column| column.p50_ms), top, "t0");
    marks(out, timeline, marks_us);
    end(out, timeline);
    let ms = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), number);
    let rows = thinned(timeline).into_iter().map(|column| vec![at(timeline, column.at_us), ms(column.p50_ms), ms(column.p99_ms)]);
    table(out, "Time to the acknowledgement", &["Time", "Median, ms", "99th percentile, ms"], rows.collect(), false);
    put!(out, "</figure>\n");
}

fn errors(out: &mut String, timeline: &Timeline, marks_us: &[i64]) {
    if timeline.causes.is_empty() {
        put!(
            out,
            "<figure class=\"plot\"><figcaption>Failed attempts per second</figcaption><p class=\"quiet\">No attempt failed.</p></figure>\n"
        );
        return;
    }
    let total = |column: &Column| column.errors.iter().sum::<f64>();
    let worst = timeline.columns.iter().map(total).fold(0.0, f64::max);
    let top = round_up(worst);
    let label = format!("Failed attempts per second by cause, at most {}", number(worst));
    let tones: Vec<String> = (0..timeline.causes.len()).map(|place| format!("t{}", (place + 2) % TONES)).collect();
    let entries = tones.iter().map(String::as_str).zip(timeline.causes.iter().map(String::as_str)).collect();
    let legend = Legend { key: "block", entries };
    begin(out, timeline, "Failed attempts per second", &legend, top, "", &label);
    bands(out, timeline);
    let width =
        timeline.columns.windows(2).map(|pair| column_x(timeline, &pair[1]) - column_x(timeline, &pair[0])).fold(WIDTH, f64::min).max(1.0);
    for (place, tone) in tones.iter().enumerate() {
        let mut path = String::new();
        for column in timeline.columns.iter().filter(|column| column.errors[place] > 0.0) {
            let below: f64 = column.errors[..place].iter().sum();
            let (x, y, height) = (column_x(timeline, column), y(below + column.errors[place], top), column.errors[place] / top * HEIGHT);
            put!(path, "M{x:.1} {y:.2}h{width:.1}v{height:.2}h-{width:.1}z");
        }
        put!(out, "<path class=\"bar {tone}\" d=\"{path}\"/>");
    }
    marks(out, timeline, marks_us);
    end(out, timeline);
    let heads: Vec<&str> = std::iter::once("Time").chain(timeline.causes.iter().map(String::as_str)).collect();
    let rows = thinned(timeline).into_iter().filter(|column| total(column) > 0.0);
    let rows = rows.map(|column| std::iter::once(at(timeline, column.at_us)).chain(column.errors.iter().map(|n| number(*n))).collect());
    table(out, "Failed attempts per second", &heads, rows.collect(), false);
    put!(out, "</figure>\n");
}

fn shards(out: &mut String, timeline: &Timeline, marks_us: &[i64]) {
    let most = timeline.shards.iter().flat_map(|series| &series.steps).map(|(_, shards)| *shards).max().unwrap_or(0);
    let top = round_up(f64::from(most));
    let tones: Vec<String> = (0..timeline.shards.len()).map(|place| format!("t{}", place % TONES)).collect();
    let entries = tones.iter().map(String::as_str).zip(timeline.shards.iter().map(|series| series.name.as_str())).collect();
    let legend = Legend { key: "line", entries };
    let label = format!("Shards of {} nodes, at most {most} on one", timeline.shards.len());
    begin(out, timeline, "Shards of each node", &legend, top, "", &label);
    bands(out, timeline);
    for (series, tone) in timeline.shards.iter().zip(&tones) {
        line(out, &staircase(timeline, series), top, tone);
    }
    marks(out, timeline, marks_us);
    end(out, timeline);
    table(out, "Shards of each node", &["Time", "Node", "Shards"], changes(timeline, &timeline.shards), false);
    put!(out, "</figure>\n");
}

/// A strip for each rule: dark where alerts are firing.
fn alerts(out: &mut String, timeline: &Timeline, marks_us: &[i64]) {
    put!(out, "<figure class=\"plot\"><figcaption>Firing alerts</figcaption>");
    if timeline.alerts.iter().all(|series| series.steps.iter().all(|(_, firing)| *firing == 0)) {
        put!(out, "<p class=\"quiet\">No alert was firing.</p></figure>\n");
        return;
    }
    for series in &timeline.alerts {
        let most = series.steps.iter().map(|(_, firing)| *firing).max().unwrap_or(0).max(1);
        let (name, label) = (escaped(&series.name), escaped(&format!("{}: at most {most} firing", series.name)));
        put!(
            out,
            "<div class=\"strip\"><span>{name}</span><svg viewBox=\"0 0 {WIDTH} 10\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{label}\">"
        );
        for (from_us, until_us, firing) in periods(timeline, series).filter(|(.., firing)| *firing > 0) {
            let (from, until) = (x(timeline, from_us), x(timeline, until_us));
            let opacity = 0.35 + 0.65 * f64::from(firing) / f64::from(most);
            put!(
                out,
                "<rect class=\"firing\" x=\"{from:.1}\" y=\"0\" width=\"{:.1}\" height=\"10\" opacity=\"{opacity:.2}\"/>",
                (until - from).max(2.0)
            );
        }
        for mark in marks_us {
            put!(out, "<path class=\"mark\" d=\"M{0:.1} 0V10\"/>", x(timeline, *mark));
        }
        put!(out, "</svg></div>");
    }
    table(out, "Firing alerts", &["Time", "Rule", "Firing"], changes(timeline, &timeline.alerts), false);
    put!(out, "</figure>\n");
}

fn notes(out: &mut String, timeline: &Timeline) {
    if timeline.notes.is_empty() {
        return;
    }
    put!(out, "<figure class=\"plot\"><figcaption>Remarks</figcaption>");
    let rows = timeline.notes.iter().map(|(at_us, text)| vec![elapsed(at_us - timeline.from_us, true), text.clone()]);
    table(out, "Remarks", &["Time", "Remark"], rows.collect(), true);
    put!(out, "</figure>\n");
}

/// Periods of one value each.
fn periods<'a>(timeline: &'a Timeline, series: &'a Series) -> impl Iterator<Item = (i64, i64, u32)> + 'a {
    series.steps.iter().enumerate().map(|(place, (at_us, value))| {
        let until_us = series.steps.get(place + 1).map_or(timeline.until_us, |(next_us, _)| *next_us);
        (*at_us, until_us, *value)
    })
}

fn staircase(timeline: &Timeline, series: &Series) -> Vec<(f64, Option<f64>)> {
    let both_ends = |(from_us, until_us, value): (i64, i64, u32)| {
        [(x(timeline, from_us), Some(f64::from(value))), (x(timeline, until_us), Some(f64::from(value)))]
    };
    periods(timeline, series).flat_map(both_ends).collect()
}

fn changes(timeline: &Timeline, all: &[Series]) -> Vec<Vec<String>> {
    let mut rows: Vec<(i64, &str, u32)> =
        all.iter().flat_map(|series| series.steps.iter().map(|(at_us, value)| (*at_us, series.name.as_str(), *value))).collect();
    rows.sort_unstable();
    rows.into_iter().map(|(at_us, name, value)| vec![at(timeline, at_us), name.to_owned(), value.to_string()]).collect()
}

/// Tones of a plot's series and their names; what a key looks like.
#[derive(Default)]
struct Legend<'a> {
    key: &'static str,
    entries: Vec<(&'a str, &'a str)>,
}

/// Begins a plot: caption, legend, axis, and the drawing.
fn begin(out: &mut String, timeline: &Timeline, caption: &str, legend: &Legend<'_>, top: f64, unit: &str, label: &str) {
    put!(out, "<figure class=\"plot\"><figcaption>{caption}</figcaption>");
    if !legend.entries.is_empty() {
        put!(out, "<ul class=\"legend\">");
        for (tone, name) in &legend.entries {
            put!(
                out,
                "<li><svg class=\"key\" viewBox=\"0 0 16 8\" aria-hidden=\"true\"><path class=\"{} {tone}\" d=\"M0 4H16\"/></svg>{}</li>",
                legend.key,
                escaped(name)
            );
        }
        put!(out, "</ul>");
    }
    put!(out, "<div class=\"frame\"><div class=\"y\" aria-hidden=\"true\">");
    for share in [0.0, 0.5, 1.0] {
        put!(out, "<span style=\"bottom:{:.0}%\">{}{unit}</span>", share * 100.0, number(top * share));
    }
    put!(
        out,
        "</div><svg class=\"drawing\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">",
        escaped(label)
    );
    put!(out, "<path class=\"grid\" d=\"M0 0H{WIDTH}M0 50H{WIDTH}M0 100H{WIDTH}");
    for tick_us in ticks(timeline) {
        put!(out, "M{:.1} 0V100", x(timeline, timeline.from_us + tick_us));
    }
    put!(out, "\"/>");
}

/// Ends a drawing: the axis of time.
fn end(out: &mut String, timeline: &Timeline) {
    put!(out, "</svg><div class=\"x\" aria-hidden=\"true\">");
    for tick_us in ticks(timeline) {
        put!(out, "<span style=\"left:{:.2}%\">{}</span>", timeline.share(timeline.from_us + tick_us) * 100.0, elapsed(tick_us, false));
    }
    put!(out, "</div></div>");
}

fn bands(out: &mut String, timeline: &Timeline) {
    for fault in &timeline.faults {
        let (from, until) = (x(timeline, fault.from_us), x(timeline, fault.until_us.unwrap_or(timeline.until_us)));
        put!(out, "<rect class=\"band\" x=\"{from:.1}\" y=\"0\" width=\"{:.1}\" height=\"100\"/>", (until - from).max(2.0));
    }
}

fn marks(out: &mut String, timeline: &Timeline, marks_us: &[i64]) {
    for mark in marks_us {
        put!(out, "<path class=\"mark\" d=\"M{:.1} 0V100\"/>", x(timeline, *mark));
    }
}

/// Line through points; it is interrupted where there is no value.
fn line(out: &mut String, points: &[(f64, Option<f64>)], top: f64, tone: &str) {
    let (mut path, mut is_on) = (String::new(), false);
    for (at, value) in points {
        if let Some(value) = value {
            put!(path, "{}{at:.1} {:.2}", if is_on { 'L' } else { 'M' }, y(*value, top));
        }
        is_on = value.is_some();
    }
    put!(out, "<path class=\"line {tone}\" d=\"{path}\"/>");
}

fn area(out: &mut String, points: &[(f64, Option<f64>)], top: f64, tone: usize) {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
    let mut path = format!("M{:.1} {HEIGHT}", first.0);
    for (at, value) in points {
        put!(path, "L{at:.1} {:.2}", y(value.unwrap_or(0.0), top));
    }
    put!(out, "<path class=\"area t{tone}\" d=\"{path}L{:.1} {HEIGHT}z\"/>", last.0);
}

/// Table of what a plot shows, folded away unless `open`.
fn table(out: &mut String, caption: &str, heads: &[&str], rows: Vec<Vec<String>>, open: bool) {
    let count = rows.len();
    put!(
        out,
        "<details{}><summary>{caption} as a table</summary><div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{caption} as a table\"><table><thead><tr>",
        if open { " open" } else { "" }
    );
    heads.iter().for_each(|head| put!(out, "<th scope=\"col\">{}</th>", escaped(head)));
    put!(out, "</tr></thead><tbody>");
    for row in rows.iter().take(ROWS_MAX * 4) {
        put!(out, "<tr>");
        row.iter().for_each(|cell| put!(out, "<td>{}</td>", escaped(cell)));
        put!(out, "</tr>");
    }
    put!(out, "</tbody></table></div>");
    if count > ROWS_MAX * 4 {
        put!(out, "<p class=\"quiet\">and {} more, in events.jsonl</p>", count - ROWS_MAX * 4);
    }
    put!(out, "</details>");
}

/// Columns for a table: the worst of each few, so that no spike is left out.
fn thinned(timeline: &Timeline) -> Vec<&Column> {
    let group = timeline.columns.len().div_ceil(ROWS_MAX).max(1);
    let badness = |column: &Column| (column.errors.iter().sum::<f64>(), column.p99_ms.unwrap_or(f64::INFINITY), -column.rate);
    let worst = |columns: &'_ [Column]| {
        let mut place = 0;
        for (candidate, column) in columns.iter().enumerate() {
            if badness(column) > badness(&columns[place]) {
                place = candidate;
            }
        }
        place
    };
    timeline.columns.chunks(group).map(|columns| &columns[worst(columns)]).collect()
}

fn extremes(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    (if least.is_finite() { least } else { 0.0 }, values.iter().copied().fold(0.0, f64::max))
}

fn at(timeline: &Timeline, at_us: i64) -> String {
    elapsed(at_us - timeline.from_us, false)
}

fn seconds(us: i64) -> String {
    format!("{} s", number((us as f64 / SECOND_US as f64 * 10.0).round() / 10.0))
}

fn x(timeline: &Timeline, at_us: i64) -> f64 {
    timeline.share(at_us) * WIDTH
}

fn column_x(timeline: &Timeline, column: &Column) -> f64 {
    x(timeline, column.at_us)
}

fn y(value: f64, top: f64) -> f64 {
    (HEIGHT - value / top * HEIGHT).clamp(0.0, HEIGHT)
}

/// The next of few round numbers, at least 1.
fn round_up(value: f64) -> f64 {
    let mut power = 1.0;
    while power * 10.0 < value {
        power *= 10.0;
    }
    [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0].into_iter().map(|step| step * power).find(|top| *top >= value).unwrap_or(1.0)
}

/// Times after the start that the axis names: at most five, evenly.
fn ticks(timeline: &Timeline) -> Vec<i64> {
    const STEPS_S: [i64; 14] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1_800, 3_600, 14_400, 86_400];
    let whole_s = (timeline.until_us - timeline.from_us) / SECOND_US;
    let step_s = STEPS_S.into_iter().find(|step| whole_s / step <= 5).unwrap_or(whole_s / 5 + 1);
    (0..=whole_s / step_s).map(|n| n * step_s * SECOND_US).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_round_number() {
        for (value, top) in [(0.0, 1.0), (1.0, 1.0), (1.1, 1.5), (4.1, 5.0), (51.0, 60.0), (213.0, 250.0), (20_000.0, 20_000.0)] {
            assert!((round_up(value) - top).abs() < 1e-9, "{value}: {}", round_up(value));
        }
        assert!(round_up(f64::from(u32::MAX)) >= f64::from(u32::MAX));
    }

    #[test]
    fn an_axis_has_few_even_ticks() {
        for whole_s in [1, 7, 59, 90, 600, 7_200, 400_000, 9_000_000] {
            let ticks = ticks(&Timeline { from_us: 5, until_us: 5 + whole_s * SECOND_US, ..Timeline::default() });
            assert!((1..=6).contains(&ticks.len()) && ticks[0] == 0, "{whole_s}: {ticks:?}");
            assert!(ticks.windows(3).all(|three| three[1] - three[0] == three[2] - three[1]), "{ticks:?}");
        }
    }

    #[test]
    fn a_line_has_a_gap_where_nothing_was_measured() {
        let mut out = String::new();
        line(&mut out, &[(0.0, Some(0.0)), (1.0, Some(10.0)), (2.0, None), (3.0, Some(5.0))], 10.0, "t0");
        assert_eq!(out, "<path class=\"line t0\" d=\"M0.0 100.00L1.0 0.00M3.0 50.00\"/>");
    }

    #[test]
    fn a_table_of_few_rows_has_the_worst_of_each_few_seconds() {
        let column = |n: i64| Column {
            at_us: n,
            rate: 10.0,
            p50_ms: Some(1.0),
            p99_ms: Some(if n == 333 { 99.0 } else { 2.0 }),
            errors: Vec::new(),
        };
        let timeline = Timeline { columns: (0..400).map(column).collect(), ..Timeline::default() };
        let rows = thinned(&timeline);
        assert!(rows.len() <= ROWS_MAX && rows.iter().any(|column| column.at_us == 333), "{}", rows.len());
    }
}
