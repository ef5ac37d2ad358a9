//! The reconcilers of this node: started, woken, stopped, and the record of their runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clock::Clock;
use domain::Timestamp;
use domain::reconcile::ReconcilerStatus;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use ractor::{Actor, ActorRef, SpawnErr};
use store::StoreError;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::actor::{ReconcilerActor, ReconcilerMsg, Running};
use super::run_store::RunLock;
use super::{ReconcileSettings, Reconciler, RunStore, Scope};
use crate::metrics::Metrics;
use crate::ownership::Ownership;

/// How long the database may take to answer about a lock, or its time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest reason of a failure that is kept, in characters.
const ERROR_MAX_CHARS: usize = 200;

/// State that all reconcilers of a node share.
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) ownership: Arc<Ownership>,
    pub(super) settings: ReconcileSettings,
    pub(super) stopping: CancellationToken,
    database: Arc<dyn RunStore>,
    metrics: Metrics,
    statuses: Mutex<BTreeMap<&'static str, ReconcilerStatus>>,
}

impl Shared {
    fn statuses(&self) -> MutexGuard<'_, BTreeMap<&'static str, ReconcilerStatus>> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn failures_in_a_row(&self, name: &str) -> u32 {
        self.statuses().get(name).map_or(0, |status| status.failures_in_a_row)
    }

    /// Another node runs it for the cluster: failures here are of the past.
    pub(super) fn forget_failures(&self, name: &'static str) {
        if let Some(status) = self.statuses().get_mut(name).filter(|status| status.failures_in_a_row > 0) {
            (status.failures_in_a_row, status.last_error) = (0, None);
            self.metrics.reconciler_failures_in_a_row.with_label_values(&[name]).set(0);
        }
    }

    /// The lock of a run; an empty one, unless it `locks`. `None`: another node holds it.
    pub(super) async fn lock(&self, name: &str, locks: bool) -> Result<Option<RunLock>, StoreError> {
        if !locks {
            return Ok(Some(Box::new(())));
        }
        answered(self.database.try_lock(name, self.settings.run_timeout)).await
    }

    /// The time at which a run begins.
    pub(super) async fn now(&self) -> Result<Timestamp, StoreError> {
        answered(self.database.now()).await
    }

    /// Notes that a run is under way until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>, name: &'static str, at: Timestamp) -> ActiveRun {
        self.set_running(name, Some(at));
        ActiveRun { shared: Arc::clone(self), name }
    }

    fn set_running(&self, name: &'static str, since: Option<Timestamp>) {
        if let Some(status) = self.statuses().get_mut(name) {
            status.running_since = since;
        }
        self.metrics.reconciler_running_since.with_label_values(&[name]).set(since.map_or(0, |at| at.timestamp()));
    }

    /// Keeps the outcome of a run, for metrics and people.
    pub(super) fn record(&self, name: &'static str, at: Timestamp, duration: Duration, outcome: Result<u64, String>) {
        let mut statuses = self.statuses();
        let Some(status) = statuses.get_mut(name) else { return };
        status.runs += 1;
        status.last_run_at = Some(at);
        status.duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.metrics.reconciler_seconds.with_label_values(&[name]).observe(duration.as_secs_f64());
        let label = match outcome {
            Ok(changed) => {
                (status.changed, status.failures_in_a_row, status.last_error) = (changed, 0, None);
                self.metrics.reconciler_changes.with_label_values(&[name]).inc_by(changed);
                self.metrics.reconciler_last_success.with_label_values(&[name]).set(at.timestamp());
                "ok"
            }
            Err(cause) => {
                status.changed = 0;
                status.failures_in_a_row = status.failures_in_a_row.saturating_add(1);
                tracing::warn!(event = "reconcile.failed", reconciler = name, failures_in_a_row = status.failures_in_a_row, cause);
                status.last_error = Some(cause.chars().take(ERROR_MAX_CHARS).collect());
                "failed"
            }
        };
        self.metrics.reconciler_runs.with_label_values(&[name, label]).inc();
        self.metrics.reconciler_failures_in_a_row.with_label_values(&[name]).set(status.failures_in_a_row.into());
    }
}

async fn answered<T>(answer: BoxFuture<'_, Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(ANSWER_TIMEOUT, answer).await.unwrap_or(Err(StoreError::TimedOut(ANSWER_TIMEOUT)))
}

/// A run that is under way, ended or given up when this is dropped.
pub(super) struct ActiveRun {
    shared: Arc<Shared>,
    name: &'static str,
}

impl Drop for ActiveRun {
    fn drop(&mut self) {
        self.shared.set_running(self.name, None);
    }
}

/// A started reconciler.
struct Handle {
    name: &'static str,
    actor: ActorRef<ReconcilerMsg>,
    woken: Arc<AtomicBool>,
}

/// The reconcilers of this node.
pub struct Reconcilers {
    shared: Arc<Shared>,
    handles: Mutex<Vec<Handle>>,
}

impl Reconcilers {
    /// None yet. Runs that are under way are given up once `stopping` is cancelled.
    pub fn new(
        clock: Clock,
        ownership: Arc<Ownership>,
        database: Arc<dyn RunStore>,
        settings: ReconcileSettings,
        metrics: Metrics,
        stopping: CancellationToken,
    ) -> Self {
        let shared = Shared { clock, ownership, settings, stopping, database, metrics, statuses: Mutex::default() };
        Self { shared: Arc::new(shared), handles: Mutex::default() }
    }

    fn handles(&self) -> MutexGuard<'_, Vec<Handle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts one.
    ///
    /// # Errors
    /// Its actor does not start.
    pub(crate) fn start(&self, reconciler: Reconciler) -> BoxFuture<'_, Result<(), SpawnErr>> {
        let name = reconciler.name;
        let status = ReconcilerStatus {
            name: name.to_owned(),
            per_cluster: matches!(reconciler.scope, Scope::Cluster(_)),
            ..ReconcilerStatus::default()
        };
        self.shared.statuses().insert(name, status);
        let woken = Arc::new(AtomicBool::new(false));
        let running = Running { reconciler, shared: Arc::clone(&self.shared), woken: Arc::clone(&woken), timer: 0 };
        async move {
            let (actor, _) = Actor::spawn(None, ReconcilerActor, running).await?;
            self.handles().push(Handle { name, actor, woken });
            Ok(())
        }
        .boxed()
    }

    /// Runs one as soon as it can; nothing happens when it is about to run already.
    pub(crate) fn wake(&self, name: &str) {
        if let Some(handle) = self.handles().iter().find(|handle| handle.name == name)
            && !handle.woken.swap(true, Ordering::AcqRel)
        {
            // One that is stopping runs no more.
            let _ = handle.actor.cast(ReconcilerMsg::Wake);
        }
    }

    /// State of each, by name.
    pub fn statuses(&self) -> Vec<ReconcilerStatus> {
        self.shared.statuses().values().cloned().collect()
    }

    /// Stops them all; those that run at the end do so within `patience`. Answers whether all of them stopped.
    pub(crate) async fn stop(&self, patience: Duration) -> bool {
        let handles = std::mem::take(&mut *self.handles());
        let stopping = handles.into_iter().map(|handle| async move {
            let stopped = handle.actor.stop_and_wait(None, Some(patience)).await.is_ok();
            if !stopped {
                tracing::warn!(event = "reconcile.not_stopped", reconciler = handle.name);
            }
            stopped
        });
        join_all(stopping).await.into_iter().all(|stopped| stopped)
    }
}

#[cfg(test)]
mod tests;
