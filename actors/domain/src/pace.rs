//! Pace of background work that goes through many rows beside heartbeats: how long it rests behind each piece.

use std::time::Duration;

/// Most by which a rest grows because heartbeats wait.
const SLOWER_MAX: f64 = 16.0;
/// Part of the time that a piece took for which work rests in any case, however slow that makes it: one of so many.
const REST_AT_LEAST: u32 = 4;

/// Limits of the pace of background work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Share of the time in which a piece is worked on, percent. 100: at full speed, whoever waits.
    pub share_pct: u8,
    /// Duration of a heartbeat's transaction up to which that share holds; beyond it rests grow in proportion.
    pub unhurried: Duration,
    /// Longest rest.
    pub rest_max: Duration,
    /// Rows per second that no rest makes fewer of, so that a day's rows are done within the hour.
    pub rows_per_second_min: u64,
}

impl Pace {
    /// Work without a rest.
    pub const FULL_SPEED: Self = Self { share_pct: 100, unhurried: Duration::ZERO, rest_max: Duration::ZERO, rows_per_second_min: 0 };

    /// Rest behind a piece of so many rows that took so long, while the longest transaction of heartbeats took as long as `waited`; `None`: there was
    /// none, or nobody knows.
    pub fn rest(&self, took: Duration, rows: u64, waited: Option<Duration>) -> Duration {
        let share = u32::from(self.share_pct.clamp(1, 100));
        let in_proportion = took.saturating_mul(100 - share) / share;
        let slower = match waited {
            Some(waited) if waited > self.unhurried && !self.unhurried.is_zero() => {
                (waited.as_secs_f64() / self.unhurried.as_secs_f64()).min(SLOWER_MAX)
            }
            _ => 1.0,
        };
        // No overflow: a piece takes less than an hour, and the shares and factors are bounded.
        let wanted = in_proportion.min(self.rest_max.saturating_mul(2)).mul_f64(slower).min(self.rest_max);
        wanted.min(self.spare(took, rows))
    }

    /// Rest that leaves time for the least rows per second.
    fn spare(&self, took: Duration, rows: u64) -> Duration {
        if self.rows_per_second_min == 0 {
            return Duration::MAX;
        }
        let ms = rows.saturating_mul(1000) / self.rows_per_second_min;
        Duration::from_millis(ms).saturating_sub(took).max(took / REST_AT_LEAST)
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self { share_pct: 20, unhurried: Duration::from_millis(5), rest_max: Duration::from_secs(2), rows_per_second_min: 20_000 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_rest_follows_the_time_that_was_taken_and_the_wait_of_heartbeats_up_to_its_limits() {
        let pace = Pace { share_pct: 20, unhurried: ms(5), rest_max: ms(2000), rows_per_second_min: 0 };
        let floor = Pace { rows_per_second_min: 20_000, ..pace };
        for (pace, took, rows, waited, rest) in [
            // A fifth of the time.
            (pace, 10, 1000, None, 40),
            (pace, 0, 1000, Some(700), 0),
            // Heartbeats wait no longer than they may, twice as long, ever longer.
            (pace, 10, 1000, Some(5), 40),
            (pace, 10, 1000, Some(10), 80),
            (pace, 10, 1000, Some(5000), 640),
            (pace, 700, 1000, None, 2000),
            (pace, 3_000_000, 1000, Some(5000), 2000),
            // 1,000 rows may take 50 ms.
            (floor, 10, 1000, None, 40),
            (floor, 10, 1000, Some(10), 40),
            (floor, 30, 1000, None, 20),
            // A database that cannot keep up gets some rest all the same.
            (floor, 80, 1000, Some(5000), 20),
            (Pace { share_pct: 100, ..pace }, 700, 1000, Some(5000), 0),
            (Pace { share_pct: 0, ..pace }, 1, 1000, None, 99),
            (Pace::FULL_SPEED, 700, 1000, Some(5000), 0),
        ] {
            assert_eq!(pace.rest(ms(took), rows, waited.map(ms)), ms(rest), "{pace:?} {took} {rows} {waited:?}");
        }
    }

    proptest! {
        #[test]
        fn a_rest_is_within_its_limits_and_no_shorter_for_heartbeats_that_wait_longer(
            took in 0_u64..3_600_000, rows in 0_u64..100_000, waited in 0_u64..100_000, longer in 0_u64..100_000, share in 0_u8..=100,
        ) {
            let pace = Pace { share_pct: share, ..Pace::default() };
            let rest = pace.rest(ms(took), rows, Some(ms(waited)));
            prop_assert!(rest <= pace.rest_max);
            prop_assert!(rest <= pace.rest(ms(took), rows, Some(ms(waited + longer))));
            let all = (ms(took) + rest).as_secs_f64();
            let fastest = ms(took).as_secs_f64() * 1.25;
            prop_assert!(all <= (rows as f64 / 20_000.0).max(fastest) + 0.001, "{all} s for {rows} rows");
        }
    }
}
