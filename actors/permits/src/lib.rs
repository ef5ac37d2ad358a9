//! Pools of permits: `domain::permits` decides who gets one, and whoever waits is woken here.

pub mod metrics;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::ServiceError;
use domain::permits::{Answer, Claim, Limit, PermitPool, PoolLimits, PoolName, Ticket};
use tokio::sync::oneshot;
use tokio::time::Instant;

use metrics::PoolMetrics;

/// A pool of permits. Clones share it.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    name: PoolName,
    started: Instant,
    state: Mutex<State>,
    metrics: PoolMetrics,
}

struct State {
    pool: PermitPool,
    /// Those who wait, by their tickets.
    waiting: HashMap<Ticket, oneshot::Sender<()>>,
}

/// A permit, given back when it is dropped.
#[must_use]
pub struct Permit {
    pool: Pool,
    claim: Claim,
}

/// A place among those who wait; whoever is dropped while waiting leaves it.
struct Place {
    pool: Pool,
    claim: Option<Claim>,
    ticket: Ticket,
}

impl Pool {
    /// A pool of these limits.
    pub fn new(name: PoolName, limits: PoolLimits, metrics: &PoolMetrics) -> Self {
        metrics.capacity(name, limits.capacity);
        let state = State { pool: PermitPool::new(limits), waiting: HashMap::new() };
        Self(Arc::new(Shared { name, started: Instant::now(), state: Mutex::new(state), metrics: metrics.clone() }))
    }

    /// A permit, if there is one now.
    ///
    /// # Errors
    /// Overloaded; names the setting of the limit.
    pub fn take(&self, claim: Claim) -> Result<Permit, ServiceError> {
        self.try_take(claim).map_err(|limit| self.overloaded(limit))
    }

    /// As [`Self::take`], for who tells the caller in words of its own.
    ///
    /// # Errors
    /// The limit.
    pub fn try_take(&self, claim: Claim) -> Result<Permit, Limit> {
        let mut state = self.state();
        match state.pool.take(&claim) {
            Ok(()) => Ok(self.permit(&state, claim)),
            Err(limit) => Err(self.refused(&claim, limit)),
        }
    }

    /// A permit, waited for up to `patience`.
    ///
    /// # Errors
    /// Overloaded; names the setting of the limit.
    pub async fn wait(&self, claim: Claim, patience: Duration) -> Result<Permit, ServiceError> {
        let (mut place, woken) = {
            let mut state = self.state();
            let now_ms = u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            match state.pool.ask(claim.clone(), now_ms) {
                Answer::Granted => return Ok(self.permit(&state, claim)),
                Answer::Refused(limit) => {
                    drop(state);
                    return Err(self.overloaded(self.refused(&claim, limit)));
                }
                Answer::Waits(ticket) => {
                    let (wake, woken) = oneshot::channel();
                    state.waiting.insert(ticket, wake);
                    self.shown(&state, &claim);
                    (Place { pool: self.clone(), claim: Some(claim), ticket }, woken)
                }
            }
        };
        let served = tokio::time::timeout(patience, woken).await;
        if matches!(served, Ok(Ok(())))
            && let Some(claim) = place.claim.take()
        {
            return Ok(Permit { pool: self.clone(), claim });
        }
        let limit = place.claim.as_ref().map_or(Limit::Wait, |claim| self.refused(claim, Limit::Wait));
        Err(self.overloaded(limit))
    }

    /// Whether a permit could be taken right now.
    ///
    /// # Errors
    /// The limit that stands against it.
    pub fn check(&self, claim: &Claim) -> Result<(), Limit> {
        self.state().pool.check(claim)
    }

    /// The limits.
    pub fn limits(&self) -> PoolLimits {
        *self.state().pool.limits()
    }

    fn permit(&self, state: &State, claim: Claim) -> Permit {
        self.shown(state, &claim);
        Permit { pool: self.clone(), claim }
    }

    fn give_back(&self, claim: &Claim) {
        let mut state = self.state();
        let mut served = state.pool.give_back(claim);
        while let Some(ticket) = served.pop() {
            // Whoever stopped waiting in this moment gives it back when its place is dropped.
            if let Some(wake) = state.waiting.remove(&ticket) {
                let _ = wake.send(());
            }
        }
        self.shown_all(&state);
    }

    fn leave(&self, ticket: Ticket, claim: &Claim) {
        let was_waiting = {
            let mut state = self.state();
            state.waiting.remove(&ticket);
            let was_waiting = state.pool.give_up(ticket);
            self.shown(&state, claim);
            was_waiting
        };
        if !was_waiting {
            self.give_back(claim);
        }
    }

    fn refused(&self, claim: &Claim, limit: Limit) -> Limit {
        self.0.metrics.refused(self.0.name, claim.class, limit);
        limit
    }

    fn overloaded(&self, limit: Limit) -> ServiceError {
        ServiceError::Overloaded(self.0.name.setting(limit))
    }

    fn shown(&self, state: &State, claim: &Claim) {
        let class = claim.class;
        self.0.metrics.use_of(self.0.name, class, state.pool.in_use(class), state.pool.waiting(class));
    }

    fn shown_all(&self, state: &State) {
        for class in domain::permits::Class::ALL {
            self.0.metrics.use_of(self.0.name, class, state.pool.in_use(class), state.pool.waiting(class));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every step leaves the counts whole, so a poisoned lock guards good data.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pool.give_back(&self.claim);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.pool.leave(self.ticket, &claim);
        }
    }
}
