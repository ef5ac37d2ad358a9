//! Removes what has ended and nobody looks at any more: sign-ins, API tokens, failed sign-ins. And logs the head of
//! the audit trail.

use std::time::Duration;

use chrono::TimeDelta;
use store::{Store, StoreError};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock;

/// Sign-ins and API tokens that ended longer ago than this are removed.
const ENDED_KEPT: TimeDelta = TimeDelta::days(30);
/// How often it is looked after. Failed sign-ins grow by what addresses are allowed to fail in between.
const INTERVAL: Duration = Duration::from_secs(300);

/// How often the head of the audit trail is logged.
const AUDIT_HEAD_EVERY: Duration = Duration::from_secs(3600);

/// What is kept of failed sign-ins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FailuresKept {
    /// For how long after the last failure.
    pub(crate) age: TimeDelta,
    /// Of how many names.
    pub(crate) names_max: i64,
}

/// Removes what has ended, at once and then at an interval, until `stopping`. Every node does it; the
/// second finds nothing.
pub(crate) async fn keep_tidy(store: Store, kept: FailuresKept, stopping: CancellationToken) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stopping.cancelled() => return,
        }
        if let Err(cause) = tidy(&store, kept).await {
            tracing::warn!(event = "housekeeping.failed", %cause);
        }
    }
}

/// Logs the head of the audit trail, at once and then at an interval, until `stopping`: a log that is kept
/// elsewhere shows later whether the chain was written anew. Every node does it.
pub(crate) async fn tell_audit_head(store: Store, stopping: CancellationToken) {
    let mut ticks = tokio::time::interval(AUDIT_HEAD_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stopping.cancelled() => return,
        }
        match store.audit_head().await {
            Ok(head) => tracing::info!(event = "audit.head", expect = %head),
            Err(cause) => tracing::warn!(event = "audit.head_failed", %cause),
        }
    }
}

async fn tidy(store: &Store, kept: FailuresKept) -> Result<(), StoreError> {
    let now = clock::now();
    store.purge_sessions(now - ENDED_KEPT).await?;
    store.purge_api_tokens(now - ENDED_KEPT).await?;
    store.purge_sign_in_failures(now - kept.age, kept.names_max).await?;
    Ok(())
}
