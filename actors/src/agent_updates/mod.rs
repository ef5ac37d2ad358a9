//! State from which a node answers agent updates: the builds that are offered, and checks that were counted.

mod counters;
mod fleet;
mod offers;
mod settings;

use std::sync::Arc;

use domain::{ServiceError, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::{Store, StoreError, UpdateCheckCount};

pub use counters::CheckCounters;
pub use fleet::{CohortCounts, Cohorts};
pub use fleet::{RunningAgent, cohorts, running, versions};
pub use offers::{BUILDS_MAX, Offers, promoted_of};

use crate::reconcile::{Reconcile, Reconciler, Run};
pub use settings::AgentUpdateSettings;

/// The reconcilers of a node's part in agent updates.
pub(crate) fn reconcilers(
    store: &Store,
    offers: &Arc<Offers>,
    counters: &Arc<CheckCounters>,
    settings: &AgentUpdateSettings,
) -> [Reconciler; 2] {
    let refresh = OfferRefresh { store: store.clone(), offers: Arc::clone(offers) };
    let flush = CounterFlush { store: store.clone(), counters: Arc::clone(counters) };
    [
        Reconciler::per_node("agent_build_refresh", settings.refresh_interval, refresh),
        // Checks of the last interval before a stop count too.
        Reconciler::per_node("agent_update_counters", settings.flush, flush).at_stop(),
    ]
}

/// Reads the builds that are offered.
struct OfferRefresh {
    store: Store,
    offers: Arc<Offers>,
}

impl Reconcile for OfferRefresh {
    fn reconcile<'a>(&'a mut self, _run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            self.offers.refresh(&self.store).await?;
            Ok(0)
        }
        .boxed()
    }
}

/// Counts that are put back when they were not written, also when the run is given up.
struct PendingCounts<'a> {
    counters: &'a CheckCounters,
    counted: Vec<UpdateCheckCount>,
}

impl Drop for PendingCounts<'_> {
    fn drop(&mut self) {
        self.counters.put_back(std::mem::take(&mut self.counted));
    }
}

/// Writes the checks that were counted.
struct CounterFlush {
    store: Store,
    counters: Arc<CheckCounters>,
}

impl Reconcile for CounterFlush {
    fn reconcile<'a>(&'a mut self, _run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let mut unwritten = PendingCounts { counters: &self.counters, counted: self.counters.take() };
            if unwritten.counted.is_empty() {
                return Ok(0);
            }
            match self.store.add_update_checks(&unwritten.counted).await {
                // They are put back: a commit whose answer was lost then counts twice, which is rare; an outage would lose all counts.
                Err(cause @ StoreError::Unavailable(_)) => Err(cause.into()),
                written => {
                    let counters = std::mem::take(&mut unwritten.counted).len() as u64;
                    Ok(written.map(|()| counters)?)
                }
            }
        }
        .boxed()
    }
}

/// The hour of a time, which counters are kept by.
pub fn hour_of(at: Timestamp) -> Timestamp {
    let second = at.timestamp();
    chrono::DateTime::from_timestamp(second - second.rem_euclid(3600), 0).unwrap_or(at)
}
