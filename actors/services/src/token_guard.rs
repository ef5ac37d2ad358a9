//! Slows down who tries device tokens and API tokens: per address, for both together.

use std::net::IpAddr;
use std::sync::Arc;

use clock::Clock;
use domain::ServiceError;
use domain::rate::counted_as;

use super::settings::AuthSettings;
use super::throttle::FailureThrottle;

/// Counts tokens that are not known, per address (IPv6: per /64 network). Only those that this node has not verified before are
/// asked about, so the devices and scripts that share an address with a guesser go on working.
#[derive(Clone)]
pub(crate) struct TokenGuard {
    failures: Arc<FailureThrottle>,
}

/// A token that is being looked up, counted as wrong until told otherwise.
#[must_use]
pub(crate) struct CountedToken<'a> {
    guard: &'a TokenGuard,
    key: String,
}

impl TokenGuard {
    pub(crate) fn new(clock: Clock, settings: &AuthSettings) -> Self {
        Self { failures: Arc::new(FailureThrottle::new(clock, settings.token_failures, settings.failure_keys_max)) }
    }

    /// Lets a look-up go on.
    ///
    /// # Errors
    /// Throttled: too many wrong tokens came from this address.
    pub(crate) fn attempt(&self, address: IpAddr) -> Result<CountedToken<'_>, ServiceError> {
        let key = counted_as(address).to_string();
        self.failures.attempt(&key)?;
        Ok(CountedToken { guard: self, key })
    }
}

impl CountedToken<'_> {
    /// The token was not wrong: it fits, or could not be looked up.
    pub(crate) fn not_wrong(self) {
        self.guard.failures.succeeded(&self.key);
    }
}
