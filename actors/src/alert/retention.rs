//! Retention of alerts: resolved ones and silences that ended are removed.

use std::time::Duration;

use chrono::TimeDelta;
use domain::ServiceError;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::Store;

use super::alert_shard;
use crate::reconcile::{Reconcile, Reconciler, Run};

/// The reconciler that removes resolved alerts and silences `kept` after their end.
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
            Ok(alerts + silences)
        }
        .boxed()
    }
}
