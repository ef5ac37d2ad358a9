//! Jittered exponential back-off, never shorter than the server asked for.

use std::time::Duration;

use domain::backoff::lengthened;
use rand::{Rng, RngExt};

/// Upper limit of a requested delay.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(600);

/// Back-off state: consecutive failures and delays.
#[derive(Debug, Clone)]
pub struct Backoff {
    backoff: domain::backoff::Backoff,
    failures: u32,
}

impl Backoff {
    /// Back-off of about `base` after the first failure, up to `cap`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { backoff: domain::backoff::Backoff { first: base, max: cap.max(base) }, failures: 0 }
    }

    /// Resets the state after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Delay before the next attempt after a failure.
    pub fn next<R: Rng>(&mut self, retry_after: Option<Duration>, rng: &mut R) -> Duration {
        self.failures = self.failures.saturating_add(1);
        match retry_after {
            // Never earlier than requested; slightly later, to spread the retries.
            Some(asked) => lengthened(asked.min(RETRY_AFTER_LIMIT), 0.1, rng.random()),
            None => self.backoff.wait(self.failures).mul_f64(rng.random_range(0.5..1.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_start_anew_after_success() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        for full_s in [1, 2, 4, 8, 16, 32, 60, 60] {
            let wait = backoff.next(None, &mut rng);
            let full = Duration::from_secs(full_s);
            assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
        }
        backoff.reset();
        assert!(backoff.next(None, &mut rng) <= Duration::from_secs(1));
    }

    #[test]
    fn the_server_is_never_bothered_earlier_than_it_asked() {
        let mut rng = SmallRng::seed_from_u64(2);
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        for _ in 0..100 {
            let wait = backoff.next(Some(Duration::from_secs(7)), &mut rng);
            assert!(wait >= Duration::from_secs(7) && wait < Duration::from_secs(8), "{wait:?}");
        }
        assert!(backoff.next(Some(Duration::from_secs(1 << 40)), &mut rng) < Duration::from_secs(700));
    }

    #[test]
    fn thousands_of_failures_do_not_overflow() {
        let mut rng = SmallRng::seed_from_u64(3);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        assert!((0..5_000).all(|_| backoff.next(None, &mut rng) <= Duration::from_secs(5)));
    }
}
