//! Slows down guessing: a leaky bucket of recent failures per key.

use chrono::TimeDelta;

use crate::Timestamp;

/// How many failures are tolerated, and how fast they are forgotten.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FailureLimit {
    /// Failures in a row before further attempts are refused.
    pub burst: u32,
    /// Failures forgotten per minute.
    pub forgiven_per_minute: u32,
}

/// The recent failures of one key; starts empty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Failures {
    level: f64,
    at: Timestamp,
}

impl Failures {
    /// No failures, as of `now`.
    pub fn none(now: Timestamp) -> Self {
        Self { level: 0.0, at: now }
    }

    /// Seconds until the next attempt is allowed; `None` when it is allowed now.
    pub fn wait_s(&self, limit: FailureLimit, now: Timestamp) -> Option<u32> {
        let over = self.level_at(limit, now) - f64::from(limit.burst) + 1.0;
        // A hair less, so that rounding does not add a second.
        (over > 1e-9).then(|| (over * 60.0 / f64::from(limit.forgiven_per_minute.max(1)) - 1e-6).ceil() as u32)
    }

    /// Failures not yet forgotten at `now`, begun ones included.
    pub fn recent(&self, limit: FailureLimit, now: Timestamp) -> u32 {
        (self.level_at(limit, now) - 1e-9).ceil().max(0.0) as u32
    }

    /// With one more failure, at `now`.
    #[must_use]
    pub fn with_failure(self, limit: FailureLimit, now: Timestamp) -> Self {
        Self { level: self.level_at(limit, now) + 1.0, at: now }
    }

    /// Level without the failure that was counted for an attempt which then succeeded.
    #[must_use]
    pub fn forgiven_once(self, limit: FailureLimit, now: Timestamp) -> Self {
        Self { level: (self.level_at(limit, now) - 1.0).max(0.0), at: now }
    }

    fn level_at(&self, limit: FailureLimit, now: Timestamp) -> f64 {
        let minutes = (now - self.at).max(TimeDelta::zero()).as_seconds_f64() / 60.0;
        (self.level - minutes * f64::from(limit.forgiven_per_minute)).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: FailureLimit = FailureLimit { burst: 3, forgiven_per_minute: 6 };

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
    }

    #[test]
    fn refuses_after_the_burst_and_forgives_with_time() {
        let mut failures = Failures::none(at(0));
        for _ in 0..3 {
            assert_eq!(failures.wait_s(LIMIT, at(0)), None);
            failures = failures.with_failure(LIMIT, at(0));
        }
        assert_eq!([0, 5, 10, 60].map(|second| failures.recent(LIMIT, at(second))), [3, 3, 2, 0]);
        assert_eq!(failures.wait_s(LIMIT, at(0)), Some(10));
        assert_eq!(failures.wait_s(LIMIT, at(4)), Some(6));
        assert_eq!(failures.wait_s(LIMIT, at(10)), None);
    }

    #[test]
    fn a_success_takes_back_what_its_attempt_counted() {
        let failures = Failures::none(at(0)).with_failure(LIMIT, at(0)).with_failure(LIMIT, at(0));
        let failures = failures.with_failure(LIMIT, at(0)).forgiven_once(LIMIT, at(0));
        assert_eq!(failures.wait_s(LIMIT, at(0)), None);
        assert_eq!(Failures::none(at(0)).forgiven_once(LIMIT, at(0)), Failures::none(at(0)));
    }

    #[test]
    fn a_clock_that_steps_back_forgives_nothing_and_breaks_nothing() {
        let mut failures = Failures::none(at(100));
        for _ in 0..3 {
            failures = failures.with_failure(LIMIT, at(100));
        }
        assert_eq!(failures.wait_s(LIMIT, at(0)), Some(10));
    }
}
