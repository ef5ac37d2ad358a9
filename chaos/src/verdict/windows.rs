//! Heartbeats by second: what a timeline draws and a steady state is measured by.

use std::collections::BTreeMap;

use super::event::{Event, LoadWindow, What};
use crate::oracle::History;

const SECOND_US: i64 = 1_000_000;
/// Most causes of errors that one second names; the others are `other`.
const CAUSES_MAX: usize = 3;
/// Longest name of a cause in bytes.
const CAUSE_BYTES_MAX: usize = 20;
/// Most seconds that are kept; what is older is given up.
const SECONDS_MAX: usize = 7 * 86_400;

/// Answers and failures by the second in which they came.
#[derive(Debug, Default)]
pub struct LoadWindows {
    seconds: BTreeMap<i64, Second>,
}

#[derive(Debug, Default)]
struct Second {
    latencies_us: Vec<u32>,
    errors: BTreeMap<String, u32>,
}

impl LoadWindows {
    /// Windows of a whole history.
    pub fn of(history: &History) -> Self {
        let mut windows = Self::default();
        for ack in &history.acks {
            windows.acknowledged(ack.sent_us, ack.answered_us);
        }
        for failure in &history.failures {
            windows.failed(failure.answered_us, history.names.text(failure.error));
        }
        windows
    }

    /// Adds an acknowledged heartbeat.
    pub fn acknowledged(&mut self, sent_us: i64, answered_us: i64) {
        let latency_us = u32::try_from(answered_us.saturating_sub(sent_us).max(0)).unwrap_or(u32::MAX);
        self.second(answered_us).latencies_us.push(latency_us);
    }

    /// Adds a failed attempt.
    pub fn failed(&mut self, answered_us: i64, cause: &str) {
        let cause: String = cause.chars().filter(char::is_ascii).take(CAUSE_BYTES_MAX).collect();
        *self.second(answered_us).errors.entry(cause).or_default() += 1;
    }

    fn second(&mut self, at_us: i64) -> &mut Second {
        while self.seconds.len() > SECONDS_MAX {
            self.seconds.pop_first();
        }
        self.seconds.entry(at_us.div_euclid(SECOND_US)).or_default()
    }

    /// Takes the seconds that ended before a time, as events, the oldest first; seconds in which nothing came between others are zero.
    pub fn take_before(&mut self, at_us: i64) -> Vec<Event> {
        let later = self.seconds.split_off(&at_us.div_euclid(SECOND_US));
        let mut done = std::mem::replace(&mut self.seconds, later);
        let (Some(first), Some(last)) = (done.keys().next().copied(), done.keys().next_back().copied()) else { return Vec::new() };
        // A clock that jumped may leave a gap of years.
        let last = last.min(first.saturating_add(SECONDS_MAX as i64));
        (first..=last)
            .map(|second| {
                let window = done.remove(&second).unwrap_or_default().window();
                Event { at_us: second * SECOND_US, what: What::Load(window) }
            })
            .collect()
    }

    /// Everything that is left, as events.
    pub fn take_all(&mut self) -> Vec<Event> {
        self.take_before(i64::MAX)
    }
}

impl Second {
    fn window(mut self) -> LoadWindow {
        self.latencies_us.sort_unstable();
        let percentile = |pct: usize| {
            let count = self.latencies_us.len();
            // Nearest rank.
            let rank = (count * pct).div_ceil(100).max(1);
            self.latencies_us.get(rank - 1).copied()
        };
        let (p50_us, p99_us) = (percentile(50), percentile(99));
        let acknowledged = u32::try_from(self.latencies_us.len()).unwrap_or(u32::MAX);
        let mut causes: Vec<(String, u32)> = std::mem::take(&mut self.errors).into_iter().collect();
        causes.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        let mut errors = BTreeMap::new();
        for (place, (cause, n)) in causes.into_iter().enumerate() {
            *errors.entry(if place < CAUSES_MAX { cause } else { "other".to_owned() }).or_default() += n;
        }
        LoadWindow { acknowledged, p50_us, p99_us, errors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(events: Vec<Event>) -> Vec<(i64, LoadWindow)> {
        let load = |event: Event| match event.what {
            What::Load(window) => (event.at_us, window),
            what => panic!("{what:?}"),
        };
        events.into_iter().map(load).collect()
    }

    #[test]
    fn a_second_has_its_count_its_percentiles_and_its_errors() {
        let mut load = LoadWindows::default();
        for ms in 1..=100 {
            load.acknowledged(10 * SECOND_US, 10 * SECOND_US + ms * 1_000);
        }
        load.failed(10 * SECOND_US + 5, "timeout");
        load.failed(10 * SECOND_US + 6, "timeout");
        let found = windows(load.take_all());
        let errors = BTreeMap::from([("timeout".to_owned(), 2)]);
        let want = LoadWindow { acknowledged: 100, p50_us: Some(50_000), p99_us: Some(99_000), errors };
        assert_eq!(found, [(10 * SECOND_US, want)]);
        assert!(load.take_all().is_empty());
    }

    #[test]
    fn silent_seconds_are_zero_and_a_second_that_goes_on_is_left() {
        let mut load = LoadWindows::default();
        for second in [3, 6, 7] {
            load.acknowledged(second * SECOND_US, second * SECOND_US + 1);
        }
        let counts: Vec<(i64, u32)> = windows(load.take_before(7 * SECOND_US + 999))
            .into_iter()
            .map(|(at_us, window)| (at_us / SECOND_US, window.acknowledged))
            .collect();
        assert_eq!(counts, [(3, 1), (4, 0), (5, 0), (6, 1)]);
        assert_eq!(windows(load.take_all())[0].0, 7 * SECOND_US);
    }

    #[test]
    fn one_answer_is_every_percentile_of_its_second() {
        let mut load = LoadWindows::default();
        load.acknowledged(0, 7);
        let window = &windows(load.take_all())[0].1;
        assert_eq!((window.p50_us, window.p99_us), (Some(7), Some(7)));
    }

    #[test]
    fn rare_causes_are_counted_together() {
        let mut load = LoadWindows::default();
        for (cause, n) in [("a", 5), ("b", 4), ("c", 3), ("d", 2), ("e", 1)] {
            (0..n).for_each(|_| load.failed(0, cause));
        }
        let window = &windows(load.take_all())[0].1;
        let want = [("a", 5), ("b", 4), ("c", 3), ("other", 3)].map(|(cause, n)| (cause.to_owned(), n));
        assert_eq!(window.errors, BTreeMap::from(want));
        assert_eq!(window.failed(), 15);
    }

    #[test]
    fn a_history_gives_its_windows() {
        let mut history = History::default();
        for line in [
            r#"{"device_id":"d1","bucket_at":"2026-11-21T15:36:10Z","what":"heartbeat","sent_at":"2026-11-21T15:36:17.000001Z","answered_at":"2026-11-21T15:36:17.002001Z","server":"http://n1"}"#,
            r#"{"device_id":"d1","what":"failure","sent_at":"2026-11-21T15:36:17Z","answered_at":"2026-11-21T15:36:18Z","server":"http://n2","error":"http_503"}"#,
        ] {
            history.read_line(line).unwrap();
        }
        let found = windows(LoadWindows::of(&history).take_all());
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].1.acknowledged, found[0].1.p50_us, found[1].1.failed()), (1, Some(2_000), 1));
    }
}
