//! How often each rule has fired: counted by the hour, so that each reading scans the last hours alone.

use std::collections::{BTreeMap, HashMap};

use chrono::{DurationRound, TimeDelta};
use domain::Timestamp;
use domain::alert::Rule;
use store::{Store, StoreError};
use tokio::sync::Mutex;

/// Age of an hour's end from which on it is not counted again: what was raised before is recorded by then.
const FINAL_AFTER: TimeDelta = TimeDelta::hours(2);
/// How long an answer is good when many were raised in the last hours.
const FRESH_FOR: TimeDelta = TimeDelta::seconds(10);
/// Alerts of the last hours that are many.
const MANY: u64 = 10_000;

/// Counts of the last days, as far as they are known.
#[derive(Default)]
pub(super) struct RaisedCounts(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    hours: BTreeMap<(Timestamp, Rule), u64>,
    /// Begin of the first hour that is counted again.
    open_from: Option<Timestamp>,
    /// Until when nothing is counted again.
    fresh_until: Option<Timestamp>,
}

impl RaisedCounts {
    /// How often each rule has fired in the last `days`, to the hour. Whoever asks meanwhile waits for the same answer.
    pub(super) async fn get(&self, store: &Store, days: i64, now: Timestamp) -> Result<HashMap<Rule, u64>, StoreError> {
        let mut counted = self.0.lock().await;
        let since = hour(now - TimeDelta::days(days));
        if !counted.fresh_until.is_some_and(|until| (until - FRESH_FOR..until).contains(&now)) {
            let from = counted.open_from.filter(|from| (since..=now).contains(from)).unwrap_or(since);
            let raised = store.alerts_raised(from, now).await?;
            counted.take(from, raised, since, now);
        }
        Ok(counted.totals())
    }
}

impl Counted {
    /// Takes what was raised from this hour on.
    fn take(&mut self, from: Timestamp, raised: Vec<(Rule, Timestamp, u64)>, since: Timestamp, now: Timestamp) {
        self.hours.retain(|(hour, _), _| (since..from).contains(hour));
        let alerts: u64 = raised.iter().filter(|(_, at, _)| *at >= hour(now - FINAL_AFTER)).map(|(_, _, count)| *count).sum();
        self.fresh_until = (alerts >= MANY).then_some(now + FRESH_FOR);
        self.hours.extend(raised.into_iter().map(|(rule, hour, count)| ((hour, rule), count)));
        self.open_from = Some(hour(now - FINAL_AFTER));
    }

    fn totals(&self) -> HashMap<Rule, u64> {
        let mut totals = HashMap::new();
        for ((_, rule), count) in &self.hours {
            *totals.entry(*rule).or_default() += count;
        }
        totals
    }
}

/// Begin of the hour of a time.
fn hour(at: Timestamp) -> Timestamp {
    at.duration_trunc(TimeDelta::hours(1)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-11-{text}:00Z").parse().unwrap()
    }

    #[test]
    fn hours_that_are_over_are_kept_and_the_last_ones_counted_again() {
        let (first, rule) = (at("30T09:20"), Rule::DeviceOffline);
        let since = at("01T09:00");
        let mut counted = Counted::default();
        counted.take(since, vec![(rule, at("30T06:00"), 5), (rule, at("30T09:00"), 1), (Rule::AppDown, since, 2)], since, first);
        assert_eq!(counted.totals(), HashMap::from([(rule, 6), (Rule::AppDown, 2)]));
        let again = counted.open_from.unwrap();
        assert_eq!(again, at("30T07:00"), "what was raised at 07:10 may still be recorded");
        // An hour later: the first hour of the days before is over.
        let since = at("01T10:00");
        counted.take(again, vec![(rule, at("30T07:00"), 1), (rule, at("30T09:00"), 4)], since, at("30T10:20"));
        assert_eq!(counted.totals(), HashMap::from([(rule, 10)]));
        assert_eq!(counted.fresh_until, None, "few are counted with each question");
        counted.take(again, vec![(rule, at("30T09:00"), MANY)], since, at("30T10:30"));
        assert!(counted.fresh_until.is_some());
    }

    #[test]
    fn an_hour_begins_where_it_is_full() {
        assert_eq!(hour(at("30T09:59")), at("30T09:00"));
        assert_eq!(hour(at("30T09:00")), at("30T09:00"));
    }
}
