//! Series of a timeline, from the events of a run.

use std::collections::BTreeMap;

use crate::verdict::event::{Event, LoadWindow, What};
use crate::verdict::markup::number;

pub(super) const SECOND_US: i64 = 1_000_000;
/// Most columns of a plot; seconds are put together to so many.
const COLUMNS_MAX: i64 = 400;
/// Most causes of errors that have a tone of their own.
const CAUSES_MAX: usize = 5;
/// Most series that change by steps: nodes, or rules of alerts.
const SERIES_MAX: usize = 40;
/// Most remarks that are shown.
const NOTES_MAX: usize = 200;
/// Most faults that are drawn.
const FAULTS_MAX: usize = 200;

/// What a timeline draws.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// Its start.
    pub(super) from_us: i64,
    /// Its end.
    pub(super) until_us: i64,
    /// Heartbeats, a column for each few seconds.
    pub(super) columns: Vec<Column>,
    /// Causes of errors, the most frequent first.
    pub(super) causes: Vec<String>,
    /// Faults in the order of their beginning.
    pub(super) faults: Vec<Span>,
    /// Number of shards of each node, by steps.
    pub(super) shards: Vec<Series>,
    /// Number of firing alerts of each rule, by steps.
    pub(super) alerts: Vec<Series>,
    /// Remarks, steps that did not do what they should, and probes that found something else.
    pub(super) notes: Vec<(i64, String)>,
}

/// Heartbeats of a few seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Column {
    /// Start.
    pub(super) at_us: i64,
    /// Acknowledged heartbeats per second.
    pub(super) rate: f64,
    /// Median of the median of its seconds.
    pub(super) p50_ms: Option<f64>,
    /// Worst 99th percentile of its seconds.
    pub(super) p99_ms: Option<f64>,
    /// Failed attempts per second, in the order of the timeline's causes.
    pub(super) errors: Vec<f64>,
}

/// Fault and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) text: String,
    pub(super) from_us: i64,
    /// None when it never ended.
    pub(super) until_us: Option<i64>,
}

/// Number that changes at times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) steps: Vec<(i64, u32)>,
}

impl Timeline {
    /// Timeline of events in the order of their times.
    pub(super) fn of(events: &[Event]) -> Self {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return Self::default() };
        let from_us = first.at_us;
        let until_us = (last.at_us + SECOND_US).max(from_us + SECOND_US);
        let mut timeline = Self { from_us, until_us, ..Self::default() };
        let (mut shards, mut alerts) = (BTreeMap::new(), BTreeMap::new());
        let mut open: BTreeMap<&str, usize> = BTreeMap::new();
        for event in events {
            match &event.what {
                What::FaultBegan { fault, text } if timeline.faults.len() < FAULTS_MAX => {
                    open.insert(fault, timeline.faults.len());
                    timeline.faults.push(Span { text: text.clone(), from_us: event.at_us, until_us: None });
                }
                What::FaultEnded { fault } => {
                    if let Some(place) = open.remove(fault.as_str()) {
                        timeline.faults[place].until_us = Some(event.at_us);
                    }
                }
                What::Shards { node, shards: count } => step(&mut shards, node, event.at_us, *count),
                What::Alerts { rule, firing } => step(&mut alerts, rule, event.at_us, *firing),
                What::Note { text } => timeline.note(event.at_us, text.clone()),
                What::StepEnded { step, problem: Some(problem) } => timeline.note(event.at_us, format!("{step}: {problem}")),
                What::Probe { probe, ok: false, value } => {
                    let found = value.map_or_else(String::new, |value| format!(", but {}", number(value)));
                    timeline.note(event.at_us, format!("the probe {probe} did not find what it should{found}"));
                }
                _ => {}
            }
        }
        timeline.shards = series(shards);
        timeline.alerts = series(alerts);
        timeline.load(events);
        timeline
    }

    fn note(&mut self, at_us: i64, text: String) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push((at_us, text));
        }
    }

    fn load(&mut self, events: &[Event]) {
        let windows: Vec<(i64, &LoadWindow)> = events
            .iter()
            .filter_map(|event| match &event.what {
                What::Load(window) => Some((event.at_us, window)),
                _ => None,
            })
            .collect();
        if windows.is_empty() {
            return;
        }
        let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
        for (cause, n) in windows.iter().flat_map(|(_, window)| &window.errors) {
            *totals.entry(cause).or_default() += u64::from(*n);
        }
        let mut causes: Vec<(&str, u64)> = totals.into_iter().filter(|(cause, _)| *cause != OTHER).collect();
        causes.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        self.causes = causes.iter().take(CAUSES_MAX).map(|(cause, _)| (*cause).to_owned()).collect();
        let known = self.causes.len();
        let is_other = |cause: &String| !self.causes.contains(cause);
        if windows.iter().any(|(_, window)| window.errors.keys().any(is_other)) {
            self.causes.push(OTHER.to_owned());
        }
        let seconds = (self.until_us - self.from_us).div_euclid(SECOND_US) + 1;
        let width_us = seconds.div_euclid(COLUMNS_MAX).max(0) * SECOND_US + SECOND_US;
        let mut groups: BTreeMap<i64, Vec<&LoadWindow>> = BTreeMap::new();
        for (at_us, window) in windows {
            groups.entry((at_us - self.from_us).div_euclid(width_us)).or_default().push(window);
        }
        self.columns = groups
            .into_iter()
            .map(|(place, windows)| {
                let seconds = windows.len().max(1) as f64;
                let ms = |us: u32| f64::from(us) / 1_000.0;
                let mut medians: Vec<u32> = windows.iter().filter_map(|window| window.p50_us).collect();
                medians.sort_unstable();
                let mut errors = vec![0.0; self.causes.len()];
                for (cause, n) in windows.iter().flat_map(|window| &window.errors) {
                    let place = self.causes[..known].iter().position(|known| known == cause).unwrap_or(known);
                    errors[place] += f64::from(*n) / seconds;
                }
                Column {
                    at_us: self.from_us + place * width_us,
                    rate: windows.iter().map(|window| f64::from(window.acknowledged)).sum::<f64>() / seconds,
                    p50_ms: medians.get(medians.len() / 2).copied().map(ms),
                    p99_ms: windows.iter().filter_map(|window| window.p99_us).max().map(ms),
                    errors,
                }
            })
            .collect();
    }

    /// Share of the timeline until a time, 0 to 1.
    pub(super) fn share(&self, at_us: i64) -> f64 {
        let whole = (self.until_us - self.from_us).max(1) as f64;
        ((at_us - self.from_us) as f64 / whole).clamp(0.0, 1.0)
    }

    /// Row of each fault in which it overlaps with no other, and the number of rows.
    pub(super) fn lanes(&self) -> (Vec<usize>, usize) {
        let mut free_from: Vec<i64> = Vec::new();
        let lanes = self.faults.iter().map(|fault| {
            // Faults of a moment have a width on the page.
            let width_us = (self.until_us - self.from_us) / 40;
            let until_us = fault.until_us.unwrap_or(self.until_us).max(fault.from_us + width_us);
            let lane = free_from.iter().position(|free| *free <= fault.from_us).unwrap_or(free_from.len());
            match free_from.get_mut(lane) {
                Some(free) => *free = until_us,
                None => free_from.push(until_us),
            }
            lane
        });
        let lanes: Vec<usize> = lanes.collect();
        let count = lanes.iter().max().map_or(0, |most| most + 1);
        (lanes, count)
    }
}

/// Errors of causes that are not named.
const OTHER: &str = "other";

fn step(series: &mut BTreeMap<String, Vec<(i64, u32)>>, name: &str, at_us: i64, value: u32) {
    if let Some(steps) = series.get_mut(name) {
        steps.push((at_us, value));
    } else if series.len() < SERIES_MAX {
        series.insert(name.to_owned(), vec![(at_us, value)]);
    }
}

fn series(found: BTreeMap<String, Vec<(i64, u32)>>) -> Vec<Series> {
    found.into_iter().map(|(name, steps)| Series { name, steps }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(second: i64, what: What) -> Event {
        Event { at_us: second * SECOND_US, what }
    }

    fn load(second: i64, acknowledged: u32, errors: &[(&str, u32)]) -> Event {
        let errors = errors.iter().map(|(cause, n)| ((*cause).to_owned(), *n)).collect();
        event(second, What::Load(LoadWindow { acknowledged, p50_us: Some(2_000), p99_us: Some(9_000 + second as u32 * 1_000), errors }))
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let timeline = Timeline::of(&[]);
        assert!(timeline.columns.is_empty() && timeline.faults.is_empty());
        assert!((0.0..=1.0).contains(&timeline.share(7)));
    }

    #[test]
    fn a_short_run_has_a_column_a_second_and_a_long_one_few() {
        let short: Vec<Event> = (0..60).map(|second| load(second, 10, &[])).collect();
        assert_eq!(Timeline::of(&short).columns.len(), 60);
        let long: Vec<Event> = (0..36_000).map(|second| load(second, 10, &[("timeout", 2)])).collect();
        let timeline = Timeline::of(&long);
        assert!((200..=COLUMNS_MAX as usize + 1).contains(&timeline.columns.len()), "{}", timeline.columns.len());
        // Means stay means, and the worst stays the worst.
        assert!(timeline.columns.iter().all(|column| (column.rate - 10.0).abs() < 1e-9 && (column.errors[0] - 2.0).abs() < 1e-9));
        assert_eq!(timeline.columns.last().unwrap().p99_ms, Some(36_008.0));
    }

    #[test]
    fn rare_causes_share_a_tone() {
        let causes: Vec<String> = (0..8).map(|n| format!("cause-{n}")).collect();
        let errors: Vec<(&str, u32)> = causes.iter().enumerate().map(|(n, cause)| (cause.as_str(), 100 - n as u32)).collect();
        let timeline = Timeline::of(&[load(0, 1, &errors), load(1, 1, &[("other", 5)])]);
        assert_eq!(timeline.causes.len(), CAUSES_MAX + 1);
        assert_eq!((timeline.causes[0].as_str(), timeline.causes[CAUSES_MAX].as_str()), ("cause-0", OTHER));
        assert!((timeline.columns[0].errors[CAUSES_MAX] - 282.0).abs() < 1e-9, "{:?}", timeline.columns[0]);
        assert!((timeline.columns[1].errors[CAUSES_MAX] - 5.0).abs() < 1e-9);
    }

    #[test]
    fn faults_have_their_times_and_overlapping_ones_rows_of_their_own() {
        let began = |second, fault: &str| event(second, What::FaultBegan { fault: fault.into(), text: format!("text of {fault}") });
        let ended = |second, fault: &str| event(second, What::FaultEnded { fault: fault.into() });
        let events =
            [began(0, "a"), began(50, "b"), ended(60, "a"), began(70, "c"), ended(80, "b"), ended(90, "unknown"), load(100, 1, &[])];
        let timeline = Timeline::of(&events);
        let spans: Vec<(i64, Option<i64>)> =
            timeline.faults.iter().map(|span| (span.from_us / SECOND_US, span.until_us.map(|at_us| at_us / SECOND_US))).collect();
        assert_eq!(spans, [(0, Some(60)), (50, Some(80)), (70, None)]);
        assert_eq!(timeline.lanes(), (vec![0, 1, 0], 2));
    }

    #[test]
    fn what_did_not_go_as_it_should_is_noted() {
        let step = |problem: Option<&str>| What::StepEnded { step: "upgrade".into(), problem: problem.map(str::to_owned) };
        let probe = |ok| What::Probe { probe: "readyz".into(), ok, value: Some(503.0) };
        let events = [
            event(0, What::Note { text: "packets are lost by nftables".into() }),
            event(1, step(None)),
            event(2, step(Some("node-1 was not ready"))),
            event(3, probe(true)),
            event(4, probe(false)),
        ];
        let notes: Vec<String> = Timeline::of(&events).notes.into_iter().map(|(_, text)| text).collect();
        let wanted =
            ["packets are lost by nftables", "upgrade: node-1 was not ready", "the probe readyz did not find what it should, but 503"];
        assert_eq!(notes, wanted);
    }

    #[test]
    fn numbers_change_by_steps() {
        let shards = |second, node: &str, shards| event(second, What::Shards { node: node.into(), shards });
        let timeline = Timeline::of(&[shards(0, "node-1", 256), shards(5, "node-2", 128), shards(5, "node-1", 128)]);
        assert_eq!(timeline.shards.len(), 2);
        assert_eq!(timeline.shards[0], Series { name: "node-1".into(), steps: vec![(0, 256), (5 * SECOND_US, 128)] });
    }
}
