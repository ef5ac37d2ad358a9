//! Remembers failed attempts per key, so that guessing slows down.

use std::time::Duration;

use domain::throttle::{FailureLimit, Failures};
use moka::sync::Cache;

use crate::{ServiceError, clock};

/// Failed attempts by key, a bounded number of keys.
pub(crate) struct FailureThrottle {
    failures: Cache<String, Failures>,
    limit: FailureLimit,
}

impl FailureThrottle {
    pub(crate) fn new(limit: FailureLimit, keys_max: u64) -> Self {
        // Whatever was not touched for an hour has long been forgiven.
        let failures = Cache::builder().max_capacity(keys_max).time_to_idle(Duration::from_secs(3600)).build();
        Self { failures, limit }
    }

    /// Lets an attempt go on unless `key` failed too often lately.
    pub(crate) fn check(&self, key: &str) -> Result<(), ServiceError> {
        match self.failures.get(key).and_then(|failures| failures.wait_s(self.limit, clock::now())) {
            Some(retry_after_s) => Err(ServiceError::Throttled { retry_after_s }),
            None => Ok(()),
        }
    }

    /// Counts a failure of `key`.
    pub(crate) fn failed(&self, key: &str) {
        let now = clock::now();
        self.failures
            .entry_by_ref(key)
            .and_upsert_with(|known| known.map_or(Failures::none(now), |entry| entry.into_value()).with_failure(self.limit, now));
    }
}
