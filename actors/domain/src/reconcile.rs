//! When a reconciler runs again, and the outcome of its last run.

use std::time::Duration;

use crate::Timestamp;
use crate::backoff::{Backoff, spread};

/// Spread of a wait around its length, in percent either side: nodes that started together drift apart.
pub const JITTER_PCT: u32 = 10;

/// State of one reconciler at one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReconcilerStatus {
    /// Name, the same at every node.
    pub name: String,
    /// Whether one node runs it for the whole cluster; otherwise every node runs its own.
    pub per_cluster: bool,
    /// Runs that ended since the node started.
    pub runs: u64,
    /// Failed runs since the last one that succeeded.
    pub failures_in_a_row: u32,
    /// Start of the last run.
    pub last_run_at: Option<Timestamp>,
    /// Length of the last run, ms.
    pub duration_ms: u64,
    /// Things that the last run changed.
    pub changed: u64,
    /// Reason of the last run's failure; `None` after a success.
    pub last_error: Option<String>,
    /// Start of the run that is under way, if one is.
    pub running_since: Option<Timestamp>,
}

impl ReconcilerStatus {
    /// Start of the newest run, whether it has ended or not.
    pub fn newest_run_at(&self) -> Option<Timestamp> {
        self.running_since.max(self.last_run_at)
    }
}

/// The wait before the lock of one that runs once per cluster is tried again: another node's run is about to end. Never longer than
/// the interval.
pub fn wait_for_lock(interval: Duration) -> Duration {
    interval.min(Duration::from_secs(1))
}

/// Doublings of the interval at most: what runs every second must not wait for minutes once its cause of failure is gone.
const DOUBLINGS_MAX: u32 = 2;

/// The wait before the next run: the interval, doubled with the first two failures in a row, at most `backoff_max` (never less than
/// the interval), moved by up to ±10 %.
///
/// `draw` is uniform in 0..1.
pub fn wait_before_next_run(interval: Duration, failures_in_a_row: u32, backoff_max: Duration, draw: f64) -> Duration {
    let backoff = Backoff { first: interval, max: backoff_max.max(interval) };
    spread(backoff.wait(1 + failures_in_a_row.min(DOUBLINGS_MAX)), f64::from(JITTER_PCT) / 100.0, draw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_wait_doubles_with_each_failure_up_to_its_limit() {
        for (interval_s, failures, wait_s) in
            [(5, 0, 5), (5, 1, 10), (5, 2, 20), (5, 60, 20), (100, 1, 200), (100, 2, 300), (3600, 0, 3600), (3600, 4, 3600)]
        {
            let wait = wait_before_next_run(interval_s * SECOND, failures, 300 * SECOND, 0.5);
            assert!(wait.abs_diff(wait_s * SECOND) < Duration::from_millis(1), "{interval_s} s after {failures}: {wait:?}");
        }
    }

    proptest! {
        #[test]
        fn the_wait_stays_within_its_limits(interval_ms in 1u64..10_000_000, failures: u32, max_ms in 0u64..10_000_000, draw in 0.0..1.0) {
            let (interval, max) = (Duration::from_millis(interval_ms), Duration::from_millis(max_ms));
            let wait = wait_before_next_run(interval, failures, max, draw);
            prop_assert!(wait >= interval.mul_f64(0.89) && wait <= interval.max(max).mul_f64(1.11));
        }
    }
}
