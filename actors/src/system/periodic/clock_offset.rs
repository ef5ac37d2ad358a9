//! The clock offset: a reconciler that compares this node's clock with the database's.
//!
//! Leases need no agreement of clocks: the database judges them. Buckets of heartbeats, expiries of commands and tokens, and the
//! times that people read are those of the clock of the node that answers.

use std::time::Duration;

use chrono::TimeDelta;
use domain::{ServiceError, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use prometheus::Gauge;
use store::Store;
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::reconcile::{Reconcile, Reconciler, Run};

/// Time between two measurements.
const INTERVAL: Duration = Duration::from_secs(60);

/// The reconciler of every node that measures the offset and warns when it exceeds `max`.
pub(super) fn reconciler(store: &Store, metrics: &Metrics, max: TimeDelta) -> Reconciler {
    let work = ClockOffset { store: store.clone(), seconds: metrics.clock_offset_seconds.clone(), max };
    Reconciler::per_node("clock_offset", INTERVAL, work).at_start()
}

struct ClockOffset {
    store: Store,
    seconds: Gauge,
    max: TimeDelta,
}

impl Reconcile for ClockOffset {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let sent = Instant::now();
            let database = self.store.database_clock().await?;
            let measured = Measurement::new(run.now, database, sent.elapsed());
            self.seconds.set(measured.offset.as_seconds_f64());
            if measured.exceeds(self.max) {
                let (offset_ms, uncertainty_ms) = (measured.offset.num_milliseconds(), measured.uncertainty.num_milliseconds());
                let (setting, max_ms) = ("cluster.clock_offset_max_ms", self.max.num_milliseconds());
                tracing::warn!(event = "clock.offset_exceeded", offset_ms, uncertainty_ms, setting, max_ms);
            }
            Ok(0)
        }
        .boxed()
    }
}

/// The result of one measurement.
#[derive(Debug, PartialEq, Eq)]
struct Measurement {
    /// How far this node's clock is ahead of the database's.
    offset: TimeDelta,
    /// Half the round trip: the database may have read its clock at either end of it.
    uncertainty: TimeDelta,
}

impl Measurement {
    /// From this node's clock when the statement was sent, the database's answer, and the time between.
    fn new(sent_at: Timestamp, database: Timestamp, round_trip: Duration) -> Self {
        let uncertainty = TimeDelta::from_std(round_trip / 2).unwrap_or(TimeDelta::MAX);
        Self { offset: sent_at - database + uncertainty, uncertainty }
    }

    /// Whether the offset is more than `max`, however the round trip was divided.
    fn exceeds(&self, max: TimeDelta) -> bool {
        self.offset.abs() - self.uncertainty > max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: TimeDelta = TimeDelta::seconds(2);

    fn measured(ahead_ms: i64, round_trip_ms: u64) -> Measurement {
        let sent_at = Timestamp::UNIX_EPOCH;
        // As by a database that reads its clock half-way.
        let database = sent_at + TimeDelta::milliseconds(round_trip_ms as i64 / 2 - ahead_ms);
        Measurement::new(sent_at, database, Duration::from_millis(round_trip_ms))
    }

    #[test]
    fn half_the_round_trip_is_subtracted() {
        for ahead_ms in [-5_000, -1, 0, 1, 5_000] {
            for round_trip_ms in [0, 10, 800] {
                let it = measured(ahead_ms, round_trip_ms);
                assert_eq!(it.offset, TimeDelta::milliseconds(ahead_ms));
                assert_eq!(it.uncertainty, TimeDelta::milliseconds(round_trip_ms as i64 / 2));
            }
        }
    }

    #[test]
    fn a_clock_exceeds_the_limit_in_either_direction() {
        for (ahead_ms, exceeds) in [(2_000, false), (2_001, true), (-2_000, false), (-2_001, true)] {
            assert_eq!(measured(ahead_ms, 0).exceeds(MAX), exceeds, "{ahead_ms}");
        }
    }

    #[test]
    fn a_slow_answer_is_no_offset() {
        assert!(!measured(2_400, 1_000).exceeds(MAX));
        assert!(measured(2_600, 1_000).exceeds(MAX));
    }
}
