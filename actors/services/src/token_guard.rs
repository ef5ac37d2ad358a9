//! Slows down who tries device tokens and API tokens: per address, for both together.

use std::net::IpAddr;
use std::sync::Arc;

use clock::Clock;
use domain::ServiceError;
use domain::rate::counted_as;

use super::settings::AuthSettings;
use super::throttle::{AttemptInFlight, FailureThrottle};

/// Counts tokens that are not known, per address (IPv6: per /64 network). Only those that this node has not verified before are
/// asked about, so the devices and scripts that share an address with a guesser go on working.
#[derive(Clone)]
pub(crate) struct TokenGuard {
    failures: Arc<FailureThrottle>,
}

impl TokenGuard {
    pub(crate) fn new(clock: Clock, settings: &AuthSettings) -> Self {
        let setting = "auth.token_failure_burst";
        let failures = FailureThrottle::new(clock, settings.token_failures, setting, settings.failure_keys_max, settings.bcrypt_wait);
        Self { failures: Arc::new(failures) }
    }

    /// Lets a look-up go on.
    ///
    /// # Errors
    /// Throttled: too many wrong tokens came from this address. Overloaded: the look-ups before it took too long.
    pub(crate) async fn attempt(&self, address: IpAddr) -> Result<AttemptInFlight, ServiceError> {
        self.failures.attempt(&counted_as(address).to_string()).await
    }
}
