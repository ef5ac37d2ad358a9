//! Remembers failed attempts per key, so that guessing slows down.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clock::Clock;
use domain::ServiceError;
use domain::access::Origin;
use domain::throttle::{FailureLimit, Failures};
use moka::sync::Cache;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Failed attempts by key, a bounded number of keys.
pub(crate) struct FailureThrottle {
    clock: Clock,
    keys: Cache<String, Arc<Key>>,
    limit: FailureLimit,
    /// Setting of the limit's burst.
    setting: &'static str,
    patience: Duration,
}

struct Key {
    state: Mutex<State>,
    /// An attempt was checked, or given up.
    ended: Notify,
}

struct State {
    failures: Failures,
    /// Attempts that are being checked.
    in_flight: u32,
}

impl Key {
    fn state(&self) -> MutexGuard<'_, State> {
        // The counters are whole after every statement, so a poisoned lock guards good data.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Attempt that is being checked; neither failed nor succeeded until it is said to have failed.
#[must_use]
pub(crate) struct AttemptInFlight {
    clock: Clock,
    limit: FailureLimit,
    key: Arc<Key>,
    /// Failures of its key lately, before it.
    pub(crate) recent_failures: u32,
}

impl AttemptInFlight {
    /// Counts it as failed.
    pub(crate) fn failed(self) {
        let mut state = self.key.state();
        state.failures = state.failures.with_failure(self.limit, self.clock.now());
    }
}

impl Drop for AttemptInFlight {
    fn drop(&mut self) {
        self.key.state().in_flight -= 1;
        self.key.ended.notify_one();
    }
}

impl FailureThrottle {
    /// Attempts beyond the limit, whose burst `setting` sets, wait for those that are being checked, `patience` at most.
    pub(crate) fn new(clock: Clock, limit: FailureLimit, setting: &'static str, keys_max: u64, patience: Duration) -> Self {
        // Whatever was not touched for an hour has long been forgiven.
        let keys = Cache::builder().max_capacity(keys_max).time_to_idle(Duration::from_secs(3600)).build();
        Self { clock, keys, limit, setting, patience }
    }

    fn key(&self, key: &str) -> Arc<Key> {
        self.keys.get_with_by_ref(key, || {
            let state = State { failures: Failures::none(self.clock.now()), in_flight: 0 };
            Arc::new(Key { state: Mutex::new(state), ended: Notify::new() })
        })
    }

    /// Lets an attempt go on unless `key` failed too often lately. Those that are being checked might all be wrong, so that no more of
    /// them run side by side than may still fail; the next waits for one of them.
    ///
    /// # Errors
    /// Throttled; overloaded when those before it took too long.
    pub(crate) async fn attempt(&self, key: &str) -> Result<AttemptInFlight, ServiceError> {
        let (key, until) = (self.key(key), Instant::now() + self.patience);
        loop {
            let mut ended = std::pin::pin!(key.ended.notified());
            ended.as_mut().enable();
            {
                let (mut state, now) = (key.state(), self.clock.now());
                if let Some(retry_after_s) = state.failures.wait_s(self.limit, now) {
                    // Whoever waits as well is to know it, too.
                    key.ended.notify_waiters();
                    return Err(ServiceError::Throttled { retry_after_s });
                }
                let recent_failures = state.failures.recent(self.limit, now);
                if recent_failures.saturating_add(state.in_flight) < self.limit.burst.max(1) {
                    state.in_flight += 1;
                    return Ok(AttemptInFlight { clock: self.clock.clone(), limit: self.limit, key: Arc::clone(&key), recent_failures });
                }
            }
            timeout_at(until, ended).await.map_err(|_| ServiceError::Overloaded(self.setting))?;
        }
    }

    /// Counts a failure of `key` that cost nothing to find out.
    ///
    /// # Errors
    /// Throttled: it failed too often lately, and this time counts no more.
    pub(crate) fn failure(&self, key: &str) -> Result<(), ServiceError> {
        let key = self.key(key);
        let (mut state, now) = (key.state(), self.clock.now());
        match state.failures.wait_s(self.limit, now) {
            Some(retry_after_s) => Err(ServiceError::Throttled { retry_after_s }),
            None => {
                state.failures = state.failures.with_failure(self.limit, now);
                Ok(())
            }
        }
    }
}

/// Address of a request; requests without a known address share one.
pub(super) fn address_of(origin: &Origin) -> IpAddr {
    origin.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(burst: u32) -> FailureThrottle {
        let limit = FailureLimit { burst, forgiven_per_minute: 1 };
        FailureThrottle::new(Clock::system(), limit, "tests.burst", 100, Duration::from_secs(10))
    }

    #[tokio::test(start_paused = true)]
    async fn right_attempts_wait_for_each_other_and_are_never_refused() {
        let throttle = Arc::new(throttle(3));
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let throttle = Arc::clone(&throttle);
            all.spawn(async move {
                let attempt = throttle.attempt("a").await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
                drop(attempt);
                Ok::<(), ServiceError>(())
            });
        }
        while let Some(ended) = all.join_next().await {
            ended.unwrap().unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_attempts_side_by_side_are_no_more_than_one_after_the_other() {
        let throttle = Arc::new(throttle(3));
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let throttle = Arc::clone(&throttle);
            all.spawn(async move {
                let attempt = throttle.attempt("a").await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
                attempt.failed();
                Ok::<(), ServiceError>(())
            });
        }
        let outcomes: Vec<_> = all.join_all().await;
        let checked = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(checked, 3);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(()) | Err(ServiceError::Throttled { .. }))), "{outcomes:?}");
        assert!(throttle.attempt("b").await.is_ok(), "of another key");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_checked_in_time_is_told_so_and_what_is_dropped_counts_for_nothing() {
        let throttle = throttle(1);
        let held = throttle.attempt("a").await.unwrap();
        assert!(matches!(throttle.attempt("a").await, Err(ServiceError::Overloaded("tests.burst"))));
        drop(held);
        for _ in 0..5 {
            drop(throttle.attempt("a").await.unwrap());
        }
        assert!(throttle.failure("a").is_ok() && throttle.failure("a").is_err());
        assert!(matches!(throttle.attempt("a").await, Err(ServiceError::Throttled { .. })));
    }
}
