//! Slows down who guesses passwords: per address on this node, per name on all nodes.

use clock::Clock;
use domain::ServiceError;
use domain::access::Origin;
use domain::lockout::{Attempt, LockoutPolicy};
use domain::name::CanonicalName;
use domain::rate::counted_as;
use store::Store;

use super::settings::AuthSettings;
use super::throttle::{FailureThrottle, address_of};
use crate::crypto::sha256;
use crate::metrics::Metrics;

/// Counts failed sign-ins. It answers the same whether or not there is such an account.
pub(crate) struct SignInGuard {
    clock: Clock,
    store: Store,
    addresses: FailureThrottle,
    policy: LockoutPolicy,
    metrics: Metrics,
}

/// An attempt that was let through and counted as failed.
#[must_use]
pub(crate) struct CountedAttempt {
    name: [u8; 32],
    address: String,
    failures: u32,
    /// Failed attempts from the address lately, before this one.
    pub(crate) recent_failures: u32,
}

impl SignInGuard {
    pub(crate) fn new(clock: Clock, store: Store, settings: &AuthSettings, metrics: Metrics) -> Self {
        let addresses = FailureThrottle::new(clock.clone(), settings.failures, settings.failure_keys_max);
        Self { clock, store, addresses, policy: settings.lockout, metrics }
    }

    /// Lets an attempt go on, counted as failed until told otherwise.
    ///
    /// # Errors
    /// Throttled, or the database is unavailable.
    pub(crate) async fn attempt(&self, username: &str, origin: Origin) -> Result<CountedAttempt, ServiceError> {
        let address = address_of(&origin);
        let (name, key) = (name_key(username), counted_as(address).to_string());
        let recent_failures = match self.addresses.attempt(&key) {
            Ok(recent) => recent,
            Err(throttled) => {
                self.metrics.logins.with_label_values(&["throttled"]).inc();
                return Err(throttled);
            }
        };
        match self.store.sign_in_attempt(&name, username, self.policy, origin, self.clock.now()).await? {
            Attempt::Locked { retry_after_s } => {
                self.metrics.logins.with_label_values(&["locked"]).inc();
                Err(ServiceError::Throttled { retry_after_s })
            }
            Attempt::Allowed(counted) => {
                if counted.locked_until.is_some() {
                    self.metrics.lockouts.inc();
                    tracing::warn!(event = "auth.locked", failures = counted.failures, %address);
                }
                Ok(CountedAttempt { name, address: key, failures: counted.failures, recent_failures })
            }
        }
    }

    /// The attempt succeeded: the failures of its name are forgotten.
    ///
    /// # Errors
    /// The database is unavailable.
    pub(crate) async fn succeeded(&self, counted: CountedAttempt) -> Result<(), ServiceError> {
        self.addresses.succeeded(&counted.address);
        Ok(self.store.clear_sign_in_failures(&counted.name).await?)
    }

    /// The attempt was never looked at, for want of time or of the database.
    pub(crate) async fn not_looked_at(&self, counted: CountedAttempt) {
        self.addresses.succeeded(&counted.address);
        if let Err(cause) = self.store.uncount_sign_in_attempt(&counted.name, counted.failures).await {
            tracing::warn!(event = "auth.attempt_stays_counted", %cause);
        }
    }

    /// Clears the failures of a name.
    ///
    /// # Errors
    /// The database is unavailable.
    pub(crate) async fn unlock(&self, username: &str) -> Result<(), ServiceError> {
        Ok(self.store.clear_sign_in_failures(&name_key(username)).await?)
    }
}

/// Names that mean one account share one key.
fn name_key(username: &str) -> [u8; 32] {
    sha256(CanonicalName::of(username).as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_counted_under_one_key_however_it_is_written() {
        for (a, b) in [("admin", " ADMIN "), ("Élodie", "e\u{301}LODIE"), ("admin", "ａｄｍｉｎ"), ("admin", "ad\u{200b}min")] {
            assert_eq!(name_key(a), name_key(b), "{a} {b}");
        }
        assert_ne!(name_key("admin"), name_key("adm\u{130}n"));
    }
}
