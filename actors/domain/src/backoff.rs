//! Back-offs and jitter: how long to wait after failures, and how waits of many are spread.
//!
//! Every `draw` is uniform in 0..1.

use std::time::Duration;

/// Exponential back-off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Wait after the first failure.
    pub first: Duration,
    /// Longest wait.
    pub max: Duration,
}

impl Backoff {
    /// Wait after so many failures in a row: none before the first, doubled with each further one.
    pub fn wait(&self, failures: u32) -> Duration {
        match failures.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => self.first.saturating_mul(1 << doublings.min(31)).min(self.max),
        }
    }
}

/// A wait moved by up to this share of it either way: who waits together drifts apart.
pub fn spread(wait: Duration, share: f64, draw: f64) -> Duration {
    wait.mul_f64(1.0 - share + 2.0 * share * draw.clamp(0.0, 1.0))
}

/// A wait lengthened by up to this share of it: for one that somebody asked for, and that is never cut short.
pub fn lengthened(wait: Duration, share: f64, draw: f64) -> Duration {
    wait.mul_f64(1.0 + share * draw.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = Backoff { first: Duration::from_millis(200), max: Duration::from_secs(30) };
        let waits_ms: Vec<_> = (0..10).map(|failures| backoff.wait(failures).as_millis()).collect();
        assert_eq!(waits_ms, [0, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000]);
        assert_eq!(backoff.wait(u32::MAX), Duration::from_secs(30));
        let long = Backoff { first: Duration::MAX, max: Duration::MAX };
        assert_eq!(long.wait(50), Duration::MAX);
    }

    proptest! {
        #[test]
        fn jitter_stays_within_its_share(wait_ms in 0u64..10_000_000, share in 0.0..1.0, draw in 0.0..1.0) {
            let wait = Duration::from_millis(wait_ms);
            let (near, far) = (wait.mul_f64(1.0 - share), wait.mul_f64(1.0 + share));
            let hair = Duration::from_micros(1);
            let spread = spread(wait, share, draw);
            prop_assert!(spread + hair >= near && spread <= far + hair, "{spread:?}");
            let lengthened = lengthened(wait, share, draw);
            prop_assert!(lengthened + hair >= wait && lengthened <= far + hair, "{lengthened:?}");
        }
    }
}
