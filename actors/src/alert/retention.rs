//! Retention of alerts: resolved ones, silences that ended and messages that wait for no channel are removed.

use std::time::Duration;

use chrono::TimeDelta;
use domain::ServiceError;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::Store;

use super::alert_shard;
use crate::reconcile::{Reconcile, Reconciler, Run};

/// The reconciler that removes resolved alerts, silences and windows `kept` after their end, and messages `kept` after they were made.
pub(crate) fn reconciler(store: &Store, interval: Duration, kept: TimeDelta) -> Reconciler {
    Reconciler::per_cluster("alert_retention", alert_shard(), interval, Retention { store: store.clone(), kept })
}

struct Retention {
    store: Store,
    kept: TimeDelta,
}

impl Reconcile for Retention {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let before = run.now - self.kept;
            let alerts = run.in_batches(|limit| self.store.purge_alerts(before, limit)).await?;
            let silences = run.in_batches(|limit| self.store.purge_silences(before, limit)).await?;
            let windows = run.in_batches(|limit| self.store.purge_alert_windows(before, limit)).await?;
            let messages = run.in_batches(|limit| self.store.purge_notifications(before, limit)).await?;
            Ok(alerts + silences + windows + messages)
        }
        .boxed()
    }
}
