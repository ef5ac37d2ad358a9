//! Remembers failed attempts per key, so that guessing slows down.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use clock::Clock;
use domain::ServiceError;
use domain::access::Origin;
use domain::throttle::{FailureLimit, Failures};
use moka::ops::compute::Op;
use moka::sync::Cache;

/// Failed attempts by key, a bounded number of keys.
pub(crate) struct FailureThrottle {
    clock: Clock,
    failures: Cache<String, Failures>,
    limit: FailureLimit,
}

impl FailureThrottle {
    pub(crate) fn new(clock: Clock, limit: FailureLimit, keys_max: u64) -> Self {
        // Whatever was not touched for an hour has long been forgiven.
        let failures = Cache::builder().max_capacity(keys_max).time_to_idle(Duration::from_secs(3600)).build();
        Self { clock, failures, limit }
    }

    /// Lets an attempt go on unless `key` failed too often lately, and counts it as
    /// failed already: attempts side by side must not all slip through while the
    /// first is still being checked. A success is subtracted again. Answers how many failed lately before it.
    pub(crate) fn attempt(&self, key: &str) -> Result<u32, ServiceError> {
        let now = self.clock.now();
        let (mut refused, mut recent) = (None, 0);
        self.failures.entry_by_ref(key).and_compute_with(|known| {
            let failures = known.map_or(Failures::none(now), |entry| entry.into_value());
            (refused, recent) = (failures.wait_s(self.limit, now), failures.recent(self.limit, now));
            if refused.is_some() { Op::Nop } else { Op::Put(failures.with_failure(self.limit, now)) }
        });
        refused.map_or(Ok(recent), |retry_after_s| Err(ServiceError::Throttled { retry_after_s }))
    }

    /// Uncounts the attempt of `key`, which succeeded.
    pub(crate) fn succeeded(&self, key: &str) {
        let now = self.clock.now();
        self.failures.entry_by_ref(key).and_compute_with(|known| match known {
            Some(entry) => Op::Put(entry.into_value().forgiven_once(self.limit, now)),
            None => Op::Nop,
        });
    }
}

/// Address of a request; requests without a known address share one.
pub(super) fn address_of(origin: &Origin) -> IpAddr {
    origin.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}
