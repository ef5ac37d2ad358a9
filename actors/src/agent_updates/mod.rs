//! Memory of a node for agent updates: offered builds, and counted checks.

mod counters;
mod fleet;
mod offers;
mod settings;

use std::sync::Arc;

use domain::Timestamp;
use store::Store;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

pub(crate) use counters::CheckCounters;
pub use fleet::{CohortCounts, Cohorts};
pub(crate) use fleet::{RunningAgent, cohorts, running, versions};
pub(crate) use offers::{BUILDS_MAX, Offers, promoted_of};

use crate::clock;
pub use settings::AgentUpdateSettings;

/// Reads what is offered again and again, and writes what was counted, until `stopping`; then once more.
pub(crate) async fn keep(
    store: Store,
    offers: Arc<Offers>,
    counters: Arc<CheckCounters>,
    settings: AgentUpdateSettings,
    stopping: CancellationToken,
) {
    let reading = async {
        let mut ticks = tokio::time::interval(settings.refresh_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(cause) = offers.refresh(&store).await {
                tracing::warn!(event = "agent_builds.read_failed", %cause);
            }
        }
    };
    let counting = async {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + settings.flush, settings.flush);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            flush(&store, &counters).await;
        }
    };
    tokio::select! {
        () = reading => {}
        () = counting => {}
        () = stopping.cancelled() => {}
    }
    flush(&store, &counters).await;
}

async fn flush(store: &Store, counters: &CheckCounters) {
    let counted = counters.take();
    if counted.is_empty() {
        return;
    }
    if let Err(cause) = store.add_update_checks(&counted).await {
        // A commit whose answer was lost then counts twice, which is rare; an outage would lose every count.
        let kept = matches!(cause, store::StoreError::Unavailable(_));
        tracing::warn!(event = "agent_updates.flush_failed", %cause, kept);
        if kept {
            counters.put_back(counted);
        }
    }
}

/// The hour of a time, which counters are kept by.
pub(crate) fn hour_of(at: Timestamp) -> Timestamp {
    let second = at.timestamp();
    chrono::DateTime::from_timestamp(second - second.rem_euclid(3600), 0).unwrap_or(at)
}

/// The hour that it is.
pub(crate) fn this_hour() -> Timestamp {
    hour_of(clock::now())
}
