//! Times that transactions of the writers took lately: counted by duration, and taken out with each note of the node's health.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Durations below this are told apart by the millisecond, longer ones by a sixteenth.
const EXACT_BELOW_MS: usize = 32;
/// Parts of a power of two.
const PARTS: usize = 16;
/// Longest duration that is told apart, ms.
const LONGEST_MS: usize = 65_535;
/// Durations that are told apart: the powers of two from 2^5 to 2^15 have their parts.
const SLOTS: usize = EXACT_BELOW_MS + 11 * PARTS;

/// Transactions by duration, since they were taken out last; and the longest of them, since that was.
#[derive(Clone)]
pub(crate) struct WriteTimes(Arc<Noted>);

struct Noted {
    counts: [AtomicU32; SLOTS],
    /// ns; 0: there was none.
    longest: AtomicU64,
}

/// The same, of some time.
pub(crate) struct Durations([u32; SLOTS]);

impl Default for WriteTimes {
    fn default() -> Self {
        Self(Arc::new(Noted { counts: std::array::from_fn(|_| AtomicU32::new(0)), longest: AtomicU64::new(0) }))
    }
}

impl WriteTimes {
    /// Counts a transaction that was committed.
    pub(crate) fn note(&self, took: Duration) {
        self.0.counts[slot_of(took)].fetch_add(1, Ordering::Relaxed);
        self.0.longest.fetch_max(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Takes out what was counted.
    pub(crate) fn take(&self) -> Durations {
        Durations(std::array::from_fn(|slot| self.0.counts[slot].swap(0, Ordering::Relaxed)))
    }

    /// Takes out the longest duration; `None`: nothing was counted since.
    pub(crate) fn take_longest(&self) -> Option<Duration> {
        Some(self.0.longest.swap(0, Ordering::Relaxed)).filter(|longest| *longest > 0).map(Duration::from_nanos)
    }
}

/// Always below [`SLOTS`].
fn slot_of(took: Duration) -> usize {
    let ms = usize::try_from(took.as_millis()).unwrap_or(LONGEST_MS).min(LONGEST_MS);
    if ms < EXACT_BELOW_MS {
        return ms;
    }
    let power = ms.ilog2() as usize;
    EXACT_BELOW_MS + (power - 5) * PARTS + (ms >> (power - 4)) % PARTS
}

/// Longest duration of a slot, ms.
fn longest_ms(slot: usize) -> usize {
    let Some(above) = slot.checked_sub(EXACT_BELOW_MS) else { return slot };
    ((PARTS + above % PARTS + 1) << (above / PARTS + 1)) - 1
}

/// Time within which 99 % of the transactions ended, ms, rounded up by a sixteenth at most. Of few, all but one: one alone that takes long tells of
/// itself, not of the database. `None`: there are fewer than two.
pub(crate) fn p99_ms<'a>(times: impl IntoIterator<Item = &'a Durations>) -> Option<i64> {
    let mut counts = [0_u64; SLOTS];
    for times in times {
        counts.iter_mut().zip(times.0).for_each(|(sum, count)| *sum += u64::from(count));
    }
    let all: u64 = counts.iter().sum();
    let within = all.saturating_sub((all / 100).max(1));
    let mut ended = 0;
    let slot = counts.iter().position(|count| {
        ended += count;
        within > 0 && ended >= within
    })?;
    i64::try_from(longest_ms(slot)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The 99th percentile of durations in ms.
    fn p99(durations: impl IntoIterator<Item = u64>) -> Option<i64> {
        let times = WriteTimes::default();
        durations.into_iter().for_each(|ms| times.note(Duration::from_millis(ms)));
        p99_ms(&[times.take()])
    }

    #[test]
    fn a_hundredth_may_take_longer_and_one_alone_says_nothing() {
        assert_eq!((p99([]), p99([700])), (None, None));
        assert_eq!((p99([3, 700]), p99([3, 4, 5, 700])), (Some(3), Some(5)));
        assert_eq!(p99([700, 3, 700]), Some(703));
        let slow = |slow: u64, of: u64| p99((0..of).map(|n| if n < slow { 700 } else { 3 }));
        assert_eq!((slow(1, 100), slow(2, 100), slow(5, 500), slow(6, 500)), (Some(3), Some(703), Some(3), Some(703)));
    }

    #[test]
    fn what_was_taken_out_counts_no_more_and_several_are_put_together() {
        let times = WriteTimes::default();
        let mut taken = Vec::new();
        for ms in [10, 20, 30] {
            times.note(Duration::from_millis(ms));
            taken.push(times.take());
        }
        taken.push(times.take());
        assert_eq!((p99_ms(&taken), p99_ms(&taken[1..]), p99_ms(&taken[2..])), (Some(20), Some(20), None));
    }

    #[test]
    fn the_longest_since_it_was_taken_out_is_told_to_the_nanosecond_and_taken_out_alone() {
        let times = WriteTimes::default();
        assert_eq!(times.take_longest(), None);
        [3, 20, 4].into_iter().for_each(|ms| times.note(Duration::from_millis(ms)));
        assert_eq!((times.take_longest(), times.take_longest()), (Some(Duration::from_millis(20)), None));
        assert_eq!(p99_ms(&[times.take()]), Some(4));
    }

    #[test]
    fn the_longest_are_as_good_as_a_minute() {
        assert_eq!(p99([u64::MAX, u64::MAX, u64::MAX]), Some(65_535));
        assert_eq!(slot_of(Duration::MAX), SLOTS - 1);
    }

    proptest! {
        #[test]
        fn a_duration_is_rounded_up_by_a_sixteenth_at_most(ms in 0_u64..65_536) {
            let shown = longest_ms(slot_of(Duration::from_millis(ms))) as u64;
            prop_assert!(shown >= ms && shown - ms <= ms / 16, "{} as {}", ms, shown);
        }
    }
}
