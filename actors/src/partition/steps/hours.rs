//! Hours of a day, which outlive its heartbeats.

use chrono::{NaiveDate, NaiveTime, TimeDelta};

use crate::partition::Manager;
use crate::partition::report::PartitionError;

/// Devices whose hours are aggregated in one transaction.
const DEVICES_MAX: i64 = 50;

impl Manager {
    /// Aggregates the hours of a day that is about to be dropped, if nobody has: they outlive its heartbeats.
    pub(super) async fn close_hours(&self, day: NaiveDate) -> Result<(), PartitionError> {
        let is_aggregated = self.store.aggregated_days(day, day).await?.contains(&day);
        if is_aggregated && !self.store.unclosed_days(day + TimeDelta::days(1)).await?.contains(&day) {
            return Ok(());
        }
        self.aggregate_hours(day).await?;
        if !is_aggregated {
            self.store.note_aggregated_day(day).await?;
        }
        Ok(self.store.close_day(day).await?)
    }

    pub(super) async fn aggregate_hours(&self, day: NaiveDate) -> Result<(), PartitionError> {
        let ended = (day + TimeDelta::days(1)).and_time(NaiveTime::MIN).and_utc();
        let mut after = None;
        loop {
            let ids = self.store.devices_to_aggregate(after, ended, DEVICES_MAX).await?;
            let Some(last) = ids.last() else { break };
            self.store.aggregate_hours(&ids, day, self.settings.offline_after_s).await?;
            after = Some(*last);
        }
        Ok(())
    }
}
