//! Hourly aggregates of devices: computed once their day is over, and again when heartbeats came late.

use std::collections::HashSet;

use chrono::{Days, NaiveDate, NaiveTime};
use domain::history::{first_open_day, first_unsettled_day};
use domain::partition::day_of;
use domain::{DeviceId, ServiceError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::{Store, StoreError};

use crate::reconcile::{Reconcile, Run};

/// Devices whose hours are aggregated in one transaction: a day of one that reports every 10 s takes 45 ms.
const DEVICES_MAX: i64 = 50;
/// Notes about late heartbeats that are processed in one transaction.
const NOTES_MAX: i64 = 100;

/// The reconciler of hourly aggregates.
pub(super) struct Hours {
    pub(super) store: Store,
    pub(super) offline_after_s: i32,
    /// Last device that was aggregated of a day that is not done: a run that is given up is not for nothing.
    pub(super) resume: Option<(NaiveDate, DeviceId)>,
}

impl Reconcile for Hours {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let mut aggregated = self.aggregate_days(run).await? + self.close_days(run).await?;
            while run.may_go_on() {
                let late = self.store.reaggregate_hours(NOTES_MAX, self.offline_after_s).await?;
                if late == 0 {
                    break;
                }
                aggregated += late as u64;
            }
            Ok(aggregated)
        }
        .boxed()
    }
}

impl Hours {
    /// Aggregates the days that are over and have heartbeats, the newest first: people look at those. Answers how many.
    async fn aggregate_days(&mut self, run: &Run) -> Result<u64, StoreError> {
        let unsettled = first_unsettled_day(run.now);
        let mut over: Vec<_> =
            self.store.partitions().await?.iter().filter_map(|table| day_of(table)).filter(|day| *day < unsettled).collect();
        let Some((first, last)) = over.iter().min().copied().zip(over.iter().max().copied()) else { return Ok(0) };
        let aggregated = self.store.aggregated_days(first, last).await?;
        over.retain(|day| !aggregated.contains(day));
        over.sort_unstable_by(|a, b| b.cmp(a));
        let mut days = 0;
        for day in over {
            if !self.aggregate_day(day, run).await? {
                break;
            }
            self.store.note_aggregated_day(day).await?;
            days += 1;
        }
        Ok(days)
    }

    /// Aggregates days once more that no heartbeat can come for any more. One that came late through a node
    /// of an earlier build left no note. Answers how many.
    async fn close_days(&mut self, run: &Run) -> Result<u64, StoreError> {
        let kept: HashSet<_> = self.store.partitions().await?.iter().filter_map(|table| day_of(table)).collect();
        let mut days = 0;
        for day in self.store.unclosed_days(first_open_day(run.now)).await? {
            // Of a day whose heartbeats are removed the aggregates are all there is.
            if kept.contains(&day) && !self.aggregate_day(day, run).await? {
                break;
            }
            self.store.close_day(day).await?;
            days += 1;
        }
        Ok(days)
    }

    /// Aggregates a day for every device. `false`: another node runs this by now.
    async fn aggregate_day(&mut self, day: NaiveDate, run: &Run) -> Result<bool, StoreError> {
        let started = tokio::time::Instant::now();
        let mut after = self.resume.filter(|(resumed, _)| *resumed == day).map(|(_, device)| device);
        let mut devices = 0;
        let ended = (day + Days::new(1)).and_time(NaiveTime::MIN).and_utc();
        loop {
            if !run.may_go_on() {
                return Ok(false);
            }
            let ids = self.store.devices_to_aggregate(after, ended, DEVICES_MAX).await?;
            let Some(last) = ids.last() else { break };
            after = Some(*last);
            devices += ids.len();
            self.store.aggregate_hours(&ids, day, self.offline_after_s).await?;
            self.resume = Some((day, *last));
        }
        self.resume = None;
        tracing::info!(event = "history.day_aggregated", %day, devices, duration_ms = started.elapsed().as_millis() as u64);
        Ok(true)
    }
}
