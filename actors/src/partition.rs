//! The partition manager: a reconciler that makes daily partitions ahead of time, and forgets nodes that ended long ago.
//!
//! Every node runs it: history must not depend on a single one, and a partition that is there already is left as it is.

use std::time::Duration;

use domain::partition::wanted_days;
use domain::{ServiceError, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::{Store, StoreError};

use crate::metrics::Metrics;
use crate::reconcile::{Reconcile, Reconciler, Run};

/// The partition manager.
pub(crate) fn reconciler(store: &Store, metrics: &Metrics, interval: Duration) -> Reconciler {
    Reconciler::per_node("partitions", interval, Partitions { store: store.clone(), metrics: metrics.clone() })
}

struct Partitions {
    store: Store,
    metrics: Metrics,
}

impl Reconcile for Partitions {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            // The next run tries again; the default partition takes rows meanwhile.
            let created = ensure(&self.store, &self.metrics, run.now).await?;
            run.in_batches(|limit| self.store.purge_shard_moves(limit)).await?;
            run.in_batches(|limit| self.store.purge_ended_nodes(limit)).await?;
            Ok(created)
        }
        .boxed()
    }
}

/// Creates the partitions that are missing at `now`, and counts those that are there. Answers how many were created.
pub(crate) async fn ensure(store: &Store, metrics: &Metrics, now: Timestamp) -> Result<u64, StoreError> {
    let created = store.ensure_partitions(&wanted_days(now.date_naive())).await?;
    for day in &created {
        tracing::info!(event = "partition.created", %day);
    }
    metrics.heartbeat_partitions.set(store.partitions().await?.len() as i64);
    metrics.default_partition_rows.set(store.default_partition_rows(i64::MAX).await?);
    Ok(created.len() as u64)
}
