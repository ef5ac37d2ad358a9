//! Rate limit of a deployment: how many installations may start now.

use chrono::TimeDelta;

use crate::Timestamp;

/// Period of the rate.
pub(super) const MINUTE: TimeDelta = TimeDelta::seconds(60);
/// Within this, at most a sixth of a minute's starts: they do not all come in its first second.
const PART: TimeDelta = TimeDelta::seconds(10);

/// Most starts of one reconcile of a deployment without other limits, `since` being the time from the last one: so many that the
/// heartbeats are not crowded out by ten thousand devices that all report at once. At least one, at most a second's worth.
pub fn portion(per_second: u32, since: TimeDelta) -> usize {
    let second = TimeDelta::seconds(1);
    let ms = since.clamp(TimeDelta::zero(), second).num_milliseconds().unsigned_abs();
    usize::try_from(u64::from(per_second) * ms / 1_000).unwrap_or(usize::MAX).max(1)
}

/// Number of starts that the rate allows at `now`, and when it allows more.
///
/// `starts` are those of the last minute, oldest first. The answer keeps every 60 seconds at `rate_per_minute` and every
/// 10 seconds at a sixth of it, rounded up; 0 means that the rate has no limit.
pub fn allowance(rate_per_minute: u32, starts: &[Timestamp], now: Timestamp) -> (usize, Option<Timestamp>) {
    if rate_per_minute == 0 {
        return (usize::MAX, None);
    }
    let rate = rate_per_minute as usize;
    let (of_minute, minute_at) = left(rate, MINUTE, starts, now);
    let (of_part, part_at) = left(rate.div_ceil(6), PART, starts, now);
    if of_minute <= of_part { (of_minute, minute_at) } else { (of_part, part_at) }
}

/// Number of starts left in the period that ends now, and when its oldest start leaves it.
fn left(most: usize, window: TimeDelta, starts: &[Timestamp], now: Timestamp) -> (usize, Option<Timestamp>) {
    let first = starts.partition_point(|at| *at <= now - window);
    let within = &starts[first..];
    (most.saturating_sub(within.len()), within.first().map(|oldest| *oldest + window))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: i64) -> Timestamp {
        chrono::DateTime::from_timestamp_millis(1_795_000_000_000 + ms).unwrap()
    }

    #[test]
    fn ten_a_minute_are_two_in_ten_seconds() {
        assert_eq!(allowance(10, &[], at(0)).0, 2);
        assert_eq!(allowance(10, &[at(0), at(0)], at(5_000)), (0, Some(at(10_000))));
        assert_eq!(allowance(10, &[at(0), at(0)], at(10_000)).0, 2);
        let full: Vec<_> = (0..10).map(|n| at(n * 1_000)).collect();
        assert_eq!(allowance(10, &full, at(30_000)), (0, Some(at(60_000))));
        assert_eq!(allowance(10, &full, at(60_000)).0, 1, "one has left the minute");
        assert_eq!(allowance(0, &full, at(0)).0, usize::MAX);
        assert_eq!(allowance(1, &[at(0)], at(59_999)), (0, Some(at(60_000))));
    }

    #[test]
    fn a_look_starts_its_share_of_a_second() {
        let started = [100, 250, 1_000, 60_000, 1, 0, -5].map(|ms| portion(500, TimeDelta::milliseconds(ms)));
        assert_eq!(started, [50, 125, 500, 500, 1, 1, 1]);
    }

    proptest! {
        /// Whoever starts all that is allowed, whenever, never has more than the rate in any minute.
        #[test]
        fn no_minute_sees_more(rate in 1_u32..700, steps in prop::collection::vec(1_i64..20_000, 1..60)) {
            let (mut now, mut starts) = (0, Vec::new());
            for step in steps {
                now += step;
                let recent: Vec<_> = starts.iter().copied().filter(|start| *start > at(now) - MINUTE).collect();
                let (allowed, again) = allowance(rate, &recent, at(now));
                prop_assert!(allowed > 0 || again.is_some_and(|again| again > at(now)));
                starts.extend(std::iter::repeat_n(at(now), allowed));
            }
            for (n, start) in starts.iter().enumerate() {
                let within = starts[n..].iter().take_while(|other| **other < *start + MINUTE).count();
                prop_assert!(within <= rate as usize, "{within} in the minute from {start}");
            }
        }
    }
}
