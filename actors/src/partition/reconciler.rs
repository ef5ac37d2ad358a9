//! The reconcilers of partitions: every node makes those of the days ahead, since history must not depend on a single one; one node leads each day
//! through the rest of its life.

use std::sync::Arc;
use std::time::Duration;

use domain::partition::wanted_days;
use domain::shard::shard_of_name;
use domain::{Invalid, ServiceError, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::{Store, StoreError};

use super::Manager;
use super::report::{PartitionError, Watch};
use crate::metrics::Metrics;
use crate::reconcile::{Reconcile, Reconciler, Run};

/// Name of the reconciler of the whole life of partitions.
pub(crate) const PARTITIONS: &str = "partitions";

/// Most rows of the default partition that are counted.
const DEFAULT_ROWS_MAX: i64 = 1_000_000;

/// The reconcilers.
pub(crate) fn reconcilers(store: &Store, manager: &Arc<Manager>, metrics: &Metrics, interval: Duration) -> [Reconciler; 2] {
    let ahead = Ahead { store: store.clone(), metrics: metrics.clone() };
    let life = LifeCycle { manager: Arc::clone(manager) };
    [
        Reconciler::per_node("partitions_ahead", interval, ahead),
        // The manager holds a lock of its own, which commands take as well.
        Reconciler::per_cluster(PARTITIONS, shard_of_name(PARTITIONS), interval, life).fenced_by_epoch(),
    ]
}

struct Ahead {
    store: Store,
    metrics: Metrics,
}

impl Reconcile for Ahead {
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
    let today = now.date_naive();
    let mut days = wanted_days(today);
    // Heartbeats come for today: behind it the others have time.
    days.sort_by_key(|day| (*day != today, *day));
    let created = store.ensure_partitions(&days).await?;
    for day in &created {
        tracing::info!(event = "partition.created", %day);
    }
    metrics.heartbeat_partitions.set(store.partitions().await?.len() as i64);
    metrics.default_partition_rows.set(store.default_partition_rows(DEFAULT_ROWS_MAX).await?);
    Ok(created.len() as u64)
}

struct LifeCycle {
    manager: Arc<Manager>,
}

/// A run of the reconciler, as the manager sees it.
struct RunWatch<'a>(&'a Run);

impl Watch for RunWatch<'_> {
    fn may_go_on(&self) -> bool {
        self.0.may_go_on()
    }
}

impl Reconcile for LifeCycle {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let report = match self.manager.run(run.now, &RunWatch(run)).await {
                Ok(report) => report,
                // A command or another node is at it; it leaves nothing undone that the next run does not find.
                Err(PartitionError::Busy) => return Ok(0),
                Err(error) => return Err(error.into()),
            };
            // Locks that others hold are free again when the next run comes.
            let failures: Vec<_> = report.failed.iter().filter(|failed| !failed.is_locked).collect();
            match failures.first() {
                None => Ok(report.done.len() as u64),
                Some(failed) => {
                    let more = failures.len() - 1;
                    let more = if more == 0 { String::new() } else { format!(" (and {more} more days)") };
                    let problem = format!("{} {}: {}{more}", failed.action.as_str(), failed.day, failed.error);
                    Err(ServiceError::Invalid(Invalid::new(PARTITIONS, problem)))
                }
            }
        }
        .boxed()
    }
}
