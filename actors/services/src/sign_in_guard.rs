//! Slows down who guesses passwords: per address on this node, per name on all nodes.

use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use domain::ServiceError;
use domain::access::Origin;
use domain::lockout::{Attempt, LockoutPolicy};
use domain::name::CanonicalName;
use domain::rate::counted_as;
use moka::sync::Cache;
use store::Store;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::settings::AuthSettings;
use super::throttle::{AttemptInFlight, FailureThrottle, address_of};
use crate::crypto::sha256;
use crate::metrics::Metrics;

/// Names whose sign-ins wait for each other are remembered this long after the last.
const NAME_IDLE: Duration = Duration::from_secs(60);

/// Counts failed sign-ins. It answers the same whether or not there is such an account.
pub(crate) struct SignInGuard {
    clock: Clock,
    store: Store,
    addresses: FailureThrottle,
    /// Sign-ins of one name are checked one after the other: the count of a name is of those that failed, and one that is being checked
    /// may be right.
    names: Cache<[u8; 32], Arc<Mutex<()>>>,
    patience: Duration,
    policy: LockoutPolicy,
    metrics: Metrics,
}

/// An attempt that was let through, and counted for its name as failed.
#[must_use]
pub(crate) struct CountedAttempt {
    name: [u8; 32],
    address: AttemptInFlight,
    failures: u32,
    _turn: OwnedMutexGuard<()>,
}

impl CountedAttempt {
    /// Failed attempts from the address lately, before this one.
    pub(crate) fn recent_failures(&self) -> u32 {
        self.address.recent_failures
    }

    /// The attempt failed.
    pub(crate) fn failed(self) {
        self.address.failed();
    }
}

impl SignInGuard {
    pub(crate) fn new(clock: Clock, store: Store, settings: &AuthSettings, metrics: Metrics) -> Self {
        let setting = "auth.failure_burst";
        let addresses = FailureThrottle::new(clock.clone(), settings.failures, setting, settings.failure_keys_max, settings.bcrypt_wait);
        let names = Cache::builder().max_capacity(settings.failure_keys_max).time_to_idle(NAME_IDLE).build();
        Self { clock, store, addresses, names, patience: settings.bcrypt_wait, policy: settings.lockout, metrics }
    }

    /// Lets an attempt go on, once those of the same name that began before it on this node are over.
    ///
    /// # Errors
    /// Throttled, overloaded, or the database is unavailable.
    pub(crate) async fn attempt(&self, username: &str, origin: Origin) -> Result<CountedAttempt, ServiceError> {
        let address = address_of(&origin);
        let name = name_key(username);
        let in_flight = self.addresses.attempt(&counted_as(address).to_string()).await.inspect_err(|refused| {
            if let ServiceError::Throttled { .. } = refused {
                self.metrics.logins.with_label_values(&["throttled"]).inc();
            }
        })?;
        let turn = tokio::time::timeout(self.patience, self.names.get_with(name, Arc::default).lock_owned()).await;
        let turn = turn.map_err(|_| ServiceError::Overloaded("auth.bcrypt_wait_ms"))?;
        match self.store.sign_in_attempt(&name, username, self.policy, origin, self.clock.now()).await? {
            Attempt::Locked { retry_after_s } => {
                in_flight.failed();
                self.metrics.logins.with_label_values(&["locked"]).inc();
                Err(ServiceError::Throttled { retry_after_s })
            }
            Attempt::Allowed(counted) => {
                if counted.locked_until.is_some() {
                    self.metrics.lockouts.inc();
                    tracing::warn!(event = "auth.locked", failures = counted.failures, %address);
                }
                Ok(CountedAttempt { name, address: in_flight, failures: counted.failures, _turn: turn })
            }
        }
    }

    /// The attempt succeeded: the failures of its name are forgotten.
    ///
    /// # Errors
    /// The database is unavailable.
    pub(crate) async fn succeeded(&self, counted: CountedAttempt) -> Result<(), ServiceError> {
        Ok(self.store.clear_sign_in_failures(&counted.name).await?)
    }

    /// The attempt was never checked, for want of time or of the database.
    pub(crate) async fn not_checked(&self, counted: CountedAttempt) {
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
