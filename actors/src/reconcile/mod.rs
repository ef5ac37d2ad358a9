//! Reconcilers: work that is done again and again until the state of the system is as it should be.
//!
//! Each is an actor that runs one [`Reconcile`] at an interval, with jitter, and sooner when it is woken; never twice at a time. A
//! run that fails, panics or takes too long is counted and tried again, ever more slowly. One that runs once per cluster is placed
//! like a device: the owner of its shard runs it, and its lease is checked while it runs. A run that began before the shard went to
//! another node may still have a statement under way there, so that a run holds a lock in the database besides.

mod actor;
mod registry;
mod run_store;

use std::sync::Arc;
use std::time::Duration;

use domain::shard::{Epoch, ShardId};
use domain::{ServiceError, Timestamp};
use futures_util::future::BoxFuture;
use store::StoreError;

use crate::ownership::Ownership;
#[cfg(test)]
pub(crate) use actor::ReconcilerMsg;
pub use registry::Reconcilers;
pub use run_store::RunStore;

/// Limits of every reconciler.
#[derive(Debug, Clone, Copy)]
pub struct ReconcileSettings {
    /// Longest run; it is given up then, and counts as failed.
    pub run_timeout: Duration,
    /// Longest wait after failures, unless the interval is longer.
    pub backoff_max: Duration,
    /// Most rows that one statement removes.
    pub batch_rows: i64,
}

/// The work of a reconciler.
pub(crate) trait Reconcile: Send + 'static {
    /// Brings what there is in line with what should be. Answers how many things it changed.
    ///
    /// Whatever it leaves undone, the next run finds; it can be given up at every await.
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>>;
}

/// One run of a reconciler.
pub(crate) struct Run {
    /// When it began, by the database's clock.
    pub(crate) now: Timestamp,
    batch_rows: i64,
    lease: Option<ShardLease>,
}

/// Statements of one kind in one run.
const BATCHES_MAX: usize = 10_000;

/// The right of this node to run something for the whole cluster.
struct ShardLease {
    ownership: Arc<Ownership>,
    shard: ShardId,
    epoch: Epoch,
}

impl Run {
    /// The epoch of the shard in which a run for the whole cluster began; `None` for one of this node alone.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.lease.as_ref().map(|lease| lease.epoch)
    }

    /// Whether this node may still go on: another one takes over once its lease has lapsed.
    pub(crate) fn may_go_on(&self) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.ownership.acts(lease.shard, lease.epoch))
    }

    /// Repeats a statement that changes at most as many rows as it is given, until it finds no more, or this node may not go on.
    /// Answers how many rows it changed.
    pub(crate) async fn in_batches<F, S>(&self, statement: S) -> Result<u64, StoreError>
    where
        F: Future<Output = Result<u64, StoreError>> + Send,
        S: FnMut(i64) -> F + Send,
    {
        self.in_batches_of(self.batch_rows, statement).await
    }

    /// The same with at most `rows_max` rows: where others go with each.
    pub(crate) async fn in_batches_of<F, S>(&self, rows_max: i64, mut statement: S) -> Result<u64, StoreError>
    where
        F: Future<Output = Result<u64, StoreError>> + Send,
        S: FnMut(i64) -> F + Send,
    {
        let (rows_max, mut total) = (rows_max.min(self.batch_rows), 0);
        for _ in 0..BATCHES_MAX {
            if !self.may_go_on() {
                break;
            }
            let changed = statement(rows_max).await?;
            total += changed;
            if (changed as i64) < rows_max {
                break;
            }
        }
        Ok(total)
    }
}

/// Nodes that run a reconciler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every node.
    Node,
    /// The owner of this shard, for the whole cluster.
    Cluster(ShardId),
}

/// A reconciler before it is started.
pub(crate) struct Reconciler {
    name: &'static str,
    scope: Scope,
    interval: Duration,
    /// Runs as soon as it is started; otherwise after one interval.
    at_start: bool,
    /// Runs once more when the node stops.
    at_stop: bool,
    /// Holds the lock of its name while it runs; of one that runs once per cluster.
    locks: bool,
    work: Box<dyn Reconcile>,
}

impl Reconciler {
    /// One that every node runs for itself.
    pub(crate) fn per_node(name: &'static str, interval: Duration, work: impl Reconcile) -> Self {
        Self { name, scope: Scope::Node, interval, at_start: false, at_stop: false, locks: false, work: Box::new(work) }
    }

    /// One that the owner of `shard` runs for the whole cluster.
    pub(crate) fn per_cluster(name: &'static str, shard: ShardId, interval: Duration, work: impl Reconcile) -> Self {
        Self { scope: Scope::Cluster(shard), locks: true, ..Self::per_node(name, interval, work) }
    }

    /// Needs no lock of its name: its statements compare the epoch themselves, or it takes a lock that others take as well.
    pub(crate) fn fenced_by_epoch(self) -> Self {
        Self { locks: false, ..self }
    }

    /// Runs first as soon as it is started.
    pub(crate) fn at_start(self) -> Self {
        Self { at_start: true, ..self }
    }

    /// Runs once more when the node stops.
    pub(crate) fn at_stop(self) -> Self {
        Self { at_stop: true, ..self }
    }
}
