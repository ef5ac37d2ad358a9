//! Rate at which the open pages of an account, all together, take events of their browsers: each costs a rendering, and pages of
//! many accounts share a few threads.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use domain::UserId;
use domain::rate::{RateLimit, charge};

/// Rate of the events of one account.
pub(crate) struct EventRate {
    limit: RateLimit,
    started: Instant,
    arrival_ns: AtomicU64,
}

impl EventRate {
    fn new(limit: RateLimit, started: Instant) -> Self {
        Self { limit, started, arrival_ns: AtomicU64::new(0) }
    }

    /// Counts an event. Returns how long the page waits before it reads the next.
    pub(crate) fn count(&self) -> Duration {
        self.count_at(self.started.elapsed())
    }

    fn count_at(&self, since_start: Duration) -> Duration {
        let now_ns = u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX);
        let mut wait_ns = 0;
        // Never refused: the closure always gives a value.
        let _ = self.arrival_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |arrival_ns| {
            let (next_ns, wait) = charge(arrival_ns, self.limit, now_ns);
            wait_ns = wait;
            Some(next_ns)
        });
        Duration::from_nanos(wait_ns)
    }
}

/// Rates by account, of those with an open page.
pub(crate) struct EventRates {
    limit: RateLimit,
    started: Instant,
    by_user: Mutex<HashMap<UserId, Weak<EventRate>>>,
}

impl EventRates {
    pub(crate) fn new(limit: RateLimit) -> Self {
        Self { limit, started: Instant::now(), by_user: Mutex::default() }
    }

    /// The rate of an account, one for all of its pages.
    pub(crate) fn of(&self, user: UserId) -> Arc<EventRate> {
        // The map is whole after every statement, so a poisoned lock guards good data.
        let mut by_user = self.by_user.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rate) = by_user.get(&user).and_then(Weak::upgrade) {
            return rate;
        }
        by_user.retain(|_, rate| rate.strong_count() > 0);
        let rate = Arc::new(EventRate::new(self.limit, self.started));
        by_user.insert(user, Arc::downgrade(&rate));
        rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_of_an_account_share_a_rate_and_those_of_another_have_their_own() {
        let rates = EventRates::new(RateLimit { per_second: 10, burst: 3 });
        let (ann, bob) = (UserId(uuid::Uuid::from_u128(1)), UserId(uuid::Uuid::from_u128(2)));
        let pages = [rates.of(ann), rates.of(ann)];
        let waits: Vec<_> = (0..6).map(|n| pages[n % 2].count_at(Duration::from_secs(1)).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200, 300]);
        assert_eq!(pages[0].count_at(Duration::from_secs(60)), Duration::ZERO);
        assert_eq!(rates.of(bob).count_at(Duration::from_secs(1)), Duration::ZERO);
        drop(pages);
        rates.of(bob);
        assert_eq!(rates.by_user.lock().unwrap().len(), 1);
    }
}
