//! Where the rows of each day are: hours and heartbeats in the database, or the archive.

use std::collections::{BTreeSet, HashSet};

use chrono::{Days, NaiveDate, NaiveTime, TimeDelta};
use domain::history::{HOUR_S, HistoryPlan};
use domain::partition::day_of;
use domain::{ServiceError, Timestamp};

use super::HistoryService;

/// Days that were read from the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchivedDays {
    /// The first.
    pub first: NaiveDate,
    /// The last.
    pub last: NaiveDate,
    /// How many.
    pub days: i64,
}

/// A span of time that is read at once.
pub(super) type Run = (Timestamp, Timestamp);

/// Sources of the days of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sources {
    /// Days whose heartbeats are in the archive and not in the database.
    pub(super) archived: BTreeSet<NaiveDate>,
    /// Days whose hours are aggregated, and still there.
    aggregated: HashSet<NaiveDate>,
}

pub(super) fn midnight(day: NaiveDate) -> Timestamp {
    day.and_time(NaiveTime::MIN).and_utc()
}

/// The days of a span, whose end is not part of it.
pub(super) fn days_of(from: Timestamp, to: Timestamp) -> impl Iterator<Item = NaiveDate> {
    let last = (to - TimeDelta::microseconds(1)).date_naive();
    from.date_naive().iter_days().take_while(move |day| *day <= last)
}

/// Time before the first point in which heartbeats are looked at as well: what keeps a device online at first. Whole slots.
pub(super) fn margin(offline_after: TimeDelta, slot_s: i64) -> TimeDelta {
    let slot_s = slot_s.max(1);
    TimeDelta::seconds(slot_s * ((offline_after.num_seconds().min(86_400) + slot_s - 1) / slot_s))
}

/// Days that follow one another as spans within `from` and `to`.
fn runs(days: impl Iterator<Item = NaiveDate>, from: Timestamp, to: Timestamp) -> Vec<Run> {
    let days: Vec<_> = days.collect();
    let spans = days.chunk_by(|a, b| *b == *a + Days::new(1));
    spans
        .map(|run| (midnight(run[0]).max(from), midnight(run[run.len() - 1] + Days::new(1)).min(to)))
        .filter(|(from, to)| from < to)
        .collect()
}

impl ArchivedDays {
    /// The days of these spans from the one on in which the first point is.
    pub(super) fn of(runs: &[Run], from: Timestamp) -> Option<Self> {
        let days: BTreeSet<_> =
            runs.iter().flat_map(|(begin, end)| days_of(*begin, *end)).filter(|day| *day >= from.date_naive()).collect();
        Some(Self { first: *days.first()?, last: *days.last()?, days: i64::try_from(days.len()).unwrap_or(i64::MAX) })
    }
}

impl Sources {
    /// Whether the hours of this day are taken.
    pub(super) fn has_hours(&self, day: NaiveDate) -> bool {
        self.aggregated.contains(&day)
    }

    /// Spans whose heartbeats are read from the database, of a plan by hours.
    pub(super) fn heartbeat_runs(&self, plan: &HistoryPlan, from: Timestamp) -> Vec<Run> {
        runs(days_of(from, plan.to).filter(|day| !self.aggregated.contains(day) && !self.archived.contains(day)), from, plan.to)
    }

    /// Spans that are read from the archive.
    pub(super) fn archive_runs(&self, plan: &HistoryPlan, from: Timestamp) -> Vec<Run> {
        let is_read = |day: &NaiveDate| self.archived.contains(day) && !(plan.from_aggregates && self.aggregated.contains(day));
        runs(days_of(from, plan.to).filter(is_read), from, plan.to)
    }
}

impl HistoryService {
    /// Where the days of a plan are, and the plan itself: one of heartbeats that neither database nor archive has is plotted by the hour.
    pub(super) async fn sources(&self, plan: HistoryPlan, now: Timestamp) -> Result<(HistoryPlan, Sources), ServiceError> {
        // As early as the coarsest plan that may become of it.
        let slot_s = plan.slot_s().max(HOUR_S);
        let from = plan.from - margin(self.policy.offline_after, slot_s) - TimeDelta::seconds(plan.step_s.max(HOUR_S));
        let archived = self.archived_days(from, plan.to).await?;
        let mut aggregated: HashSet<NaiveDate> =
            self.store.for_reading().aggregated_days(from.date_naive(), plan.to.date_naive()).await?.into_iter().collect();
        if !plan.from_aggregates {
            if aggregated.is_empty() {
                return Ok((plan, Sources { archived, aggregated }));
            }
            let tables = self.days_in_database().await?;
            let by_hours_alone = |day: NaiveDate| aggregated.contains(&day) && !tables.contains(&day) && !archived.contains(&day);
            if !days_of(plan.from, plan.to).any(by_hours_alone) {
                return Ok((plan, Sources { archived, aggregated }));
            }
        }
        // Hours are removed before their day is forgotten: what the archive has is more than what is left of them.
        let hours_begin = (now - self.hours_kept).date_naive();
        aggregated.retain(|day| *day > hours_begin || !archived.contains(day));
        let step_s = if plan.from_aggregates { plan.step_s } else { (plan.step_s + HOUR_S - 1) / HOUR_S * HOUR_S };
        let from = plan.from - TimeDelta::seconds(plan.from.timestamp().rem_euclid(step_s));
        Ok((HistoryPlan { from, step_s, from_aggregates: true, ..plan }, Sources { archived, aggregated }))
    }

    async fn days_in_database(&self) -> Result<HashSet<NaiveDate>, ServiceError> {
        Ok(self.store.partitions().await?.iter().filter_map(|table| day_of(table)).collect())
    }

    /// Days of a span that the archive has and the database has not.
    pub(super) async fn archived_days(&self, from: Timestamp, to: Timestamp) -> Result<BTreeSet<NaiveDate>, ServiceError> {
        let tables = self.days_in_database().await?;
        let missing: BTreeSet<_> = days_of(from, to).filter(|day| !tables.contains(day)).collect();
        if missing.is_empty() {
            return Ok(missing);
        }
        let records = self.store.partition_records().await?.into_iter();
        Ok(records.filter(|record| record.archive.is_some() && missing.contains(&record.day)).map(|record| record.day).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 8, day).unwrap()
    }

    fn at(day_of_month: u32, hour: i64) -> Timestamp {
        midnight(day(day_of_month)) + TimeDelta::hours(hour)
    }

    fn plan(from: Timestamp, to: Timestamp, from_aggregates: bool) -> HistoryPlan {
        HistoryPlan { from, to, step_s: HOUR_S, from_aggregates }
    }

    fn sources(archived: &[u32], aggregated: &[u32]) -> Sources {
        Sources { archived: archived.iter().map(|n| day(*n)).collect(), aggregated: aggregated.iter().map(|n| day(*n)).collect() }
    }

    #[test]
    fn each_day_is_read_once_where_it_is() {
        let sources = sources(&[1, 2, 3], &[2]);
        let by_hour = plan(at(1, 12), at(5, 0), true);
        assert_eq!(sources.archive_runs(&by_hour, at(1, 12)), [(at(1, 12), at(2, 0)), (at(3, 0), at(4, 0))]);
        assert_eq!(sources.heartbeat_runs(&by_hour, at(1, 12)), [(at(4, 0), at(5, 0))]);
        assert!(sources.has_hours(day(2)) && !sources.has_hours(day(1)));
        let exact = plan(at(2, 6), at(4, 6), false);
        assert_eq!(sources.archive_runs(&exact, at(2, 6)), [(at(2, 6), at(4, 0))], "rows are more than hours");
    }

    #[test]
    fn the_days_that_are_told_are_those_of_points() {
        let runs = [(at(1, 23), at(2, 0)), (at(2, 0), at(3, 0)), (at(5, 0), at(5, 6))];
        assert_eq!(ArchivedDays::of(&runs, at(2, 0)), Some(ArchivedDays { first: day(2), last: day(5), days: 2 }));
        assert_eq!(ArchivedDays::of(&runs[..1], at(2, 0)), None, "only for whether the device was online");
        assert_eq!(ArchivedDays::of(&[], at(2, 0)), None);
    }

    #[test]
    fn the_end_of_a_span_is_no_part_of_it() {
        assert_eq!(days_of(at(1, 12), at(2, 0)).collect::<Vec<_>>(), [day(1)]);
        assert_eq!(days_of(at(1, 12), at(2, 1)).count(), 2);
        assert_eq!(margin(TimeDelta::seconds(720), 300), TimeDelta::seconds(900));
    }
}
