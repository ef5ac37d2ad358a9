//! Addresses that somebody signed in from before: their sign-ins go before those of strangers.

use std::net::IpAddr;
use std::time::Duration;

use chrono::TimeDelta;
use clock::Clock;
use domain::permits::{Claim, Class, stranger_delay_ms};
use domain::rate::counted_as;
use moka::sync::Cache;
use store::Store;

use super::settings::AuthSettings;

/// Addresses with a sign-in on this node, and what the database knows of the others.
pub(crate) struct KnownAddresses {
    clock: Clock,
    store: Store,
    known: Cache<IpAddr, ()>,
    kept: TimeDelta,
    first_delay_ms: u64,
    max_delay_ms: u64,
}

impl KnownAddresses {
    pub(crate) fn new(clock: Clock, store: Store, settings: &AuthSettings) -> Self {
        let life = Duration::from_secs(settings.known_address_kept.num_seconds().unsigned_abs());
        Self {
            clock,
            store,
            known: Cache::builder().max_capacity(settings.failure_keys_max).time_to_live(life).build(),
            kept: settings.known_address_kept,
            first_delay_ms: settings.stranger_delay_ms,
            max_delay_ms: settings.stranger_delay_max_ms,
        }
    }

    /// Somebody signed in from here.
    pub(crate) fn signed_in(&self, address: IpAddr) {
        self.known.insert(counted_as(address), ());
    }

    /// What a sign-in is counted as at bcrypt. One from a stranger's address waits the longer, the more of them failed lately.
    pub(crate) async fn claim(&self, address: IpAddr, recent_failures: u32) -> Claim {
        let class = if self.is_known(address).await { Class::Regular } else { Class::Stranger };
        let delay_ms = match class {
            Class::Stranger => stranger_delay_ms(recent_failures, self.first_delay_ms, self.max_delay_ms),
            _ => 0,
        };
        Claim { delay_ms, ..Claim::new(class) }.from_address(Some(address))
    }

    async fn is_known(&self, address: IpAddr) -> bool {
        let key = counted_as(address);
        if self.known.contains_key(&key) {
            return true;
        }
        // On another node, or before this one started.
        match self.store.signed_in_from(key, self.clock.now() - self.kept).await {
            Ok(known) => {
                if known {
                    self.known.insert(key, ());
                }
                known
            }
            Err(cause) => {
                tracing::warn!(event = "auth.address_not_looked_up", %cause);
                false
            }
        }
    }
}
