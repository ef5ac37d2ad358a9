//! The reconcilers of this node: started, woken, stopped, and the record of their runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::reconcile::ReconcilerStatus;
use domain::{ServiceError, Timestamp};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use ractor::{Actor, ActorRef};
use tokio_util::sync::CancellationToken;

use super::actor::{ReconcilerActor, ReconcilerMsg, Running};
use super::{ReconcileSettings, Reconciler, Scope};
use crate::metrics::Metrics;
use crate::ownership::Ownership;

/// Longest reason of a failure that is kept, in characters.
const ERROR_MAX_CHARS: usize = 200;

/// What all reconcilers of a node share.
pub(super) struct Shared {
    pub(super) ownership: Arc<Ownership>,
    pub(super) settings: ReconcileSettings,
    pub(super) stopping: CancellationToken,
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
    pub fn new(ownership: Arc<Ownership>, settings: ReconcileSettings, metrics: Metrics, stopping: CancellationToken) -> Self {
        let shared = Shared { ownership, settings, stopping, metrics, statuses: Mutex::default() };
        Self { shared: Arc::new(shared), handles: Mutex::default() }
    }

    fn handles(&self) -> MutexGuard<'_, Vec<Handle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts one.
    ///
    /// # Errors
    /// Its actor does not start.
    pub(crate) fn start(&self, reconciler: Reconciler) -> BoxFuture<'_, Result<(), ServiceError>> {
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
            match Actor::spawn(None, ReconcilerActor, running).await {
                Ok((actor, _)) => {
                    self.handles().push(Handle { name, actor, woken });
                    Ok(())
                }
                Err(cause) => {
                    tracing::error!(event = "actor.start_failed", reconciler = name, %cause);
                    Err(ServiceError::Internal)
                }
            }
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
mod tests {
    use super::*;
    use crate::reconcile::{Reconcile, Run};
    use domain::shard::{Epoch, ShardId};
    use std::sync::atomic::AtomicU64;
    use tokio::sync::mpsc;

    /// Reports each run and does as it is told.
    struct Work {
        runs: mpsc::UnboundedSender<(u64, Option<Epoch>)>,
        done: u64,
        behaviour: fn(u64) -> Behaviour,
    }

    enum Behaviour {
        Change(u64),
        Fail,
        Panic,
        Hang,
    }

    impl Reconcile for Work {
        fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
            async move {
                self.done += 1;
                let _ = self.runs.send((self.done, run.epoch()));
                match (self.behaviour)(self.done) {
                    Behaviour::Change(changed) => Ok(changed),
                    Behaviour::Fail => Err(ServiceError::Unavailable),
                    Behaviour::Panic => panic!("on purpose"),
                    Behaviour::Hang => std::future::pending().await,
                }
            }
            .boxed()
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    fn reconcilers(ownership: Arc<Ownership>) -> (Reconcilers, CancellationToken) {
        let settings = ReconcileSettings { run_timeout: MINUTE, backoff_max: 4 * MINUTE, batch_rows: 10 };
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let stopping = CancellationToken::new();
        (Reconcilers::new(ownership, settings, metrics, stopping.clone()), stopping)
    }

    fn work(behaviour: fn(u64) -> Behaviour) -> (Work, mpsc::UnboundedReceiver<(u64, Option<Epoch>)>) {
        let (runs, seen) = mpsc::unbounded_channel();
        (Work { runs, done: 0, behaviour }, seen)
    }

    /// Waits until `runs` runs are on record: a run reports itself before it is.
    async fn recorded(reconcilers: &Reconcilers, runs: u64) -> ReconcilerStatus {
        loop {
            let status = reconcilers.statuses().remove(0);
            if status.runs >= runs {
                return status;
            }
            // The paused clock moves on only when nothing else can.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_runs_at_its_interval_and_sooner_when_it_is_woken() {
        let (reconcilers, _stopping) = reconcilers(Arc::default());
        let (work, mut runs) = work(Behaviour::Change);
        reconcilers.start(Reconciler::per_node("tests", MINUTE, work)).await.unwrap();
        let started = tokio::time::Instant::now();
        runs.recv().await.unwrap();
        assert!((54..=66).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
        assert_eq!(recorded(&reconcilers, 1).await.changed, 1);
        let before = tokio::time::Instant::now();
        // Woken thrice, it runs once.
        (0..3).for_each(|_| reconcilers.wake("tests"));
        runs.recv().await.unwrap();
        assert_eq!(before.elapsed(), Duration::ZERO);
        assert_eq!(recorded(&reconcilers, 2).await.changed, 2);
        runs.recv().await.unwrap();
        assert!((54..=66).contains(&before.elapsed().as_secs()), "its timer began anew: {:?}", before.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_panics_and_hanging_runs_are_counted_and_tried_again_more_slowly() {
        let (reconcilers, _stopping) = reconcilers(Arc::default());
        let (work, mut runs) = work(|run| match run {
            1 => Behaviour::Fail,
            2 => Behaviour::Panic,
            3 => Behaviour::Hang,
            _ => Behaviour::Change(5),
        });
        reconcilers.start(Reconciler::per_node("tests", MINUTE, work).at_start()).await.unwrap();
        let mut waits = vec![];
        for run in 1..=4 {
            let before = tokio::time::Instant::now();
            runs.recv().await.unwrap();
            waits.push(before.elapsed().as_secs());
            let status = recorded(&reconcilers, run).await;
            assert_eq!(status.failures_in_a_row, if run < 4 { run as u32 } else { 0 });
            assert_eq!(status.last_error.is_some(), run < 4, "{status:?}");
        }
        assert_eq!(waits[0], 0);
        assert!((108..=132).contains(&waits[1]) && (216..=264).contains(&waits[2]), "{waits:?}");
        assert!((216..=264).contains(&waits[3]), "{waits:?}");
        assert_eq!(recorded(&reconcilers, 4).await.changed, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn one_per_cluster_runs_where_its_shard_is_owned() {
        let ownership = Arc::new(Ownership::default());
        let (reconcilers, _stopping) = reconcilers(Arc::clone(&ownership));
        let (work, mut runs) = work(|_| Behaviour::Fail);
        reconcilers.start(Reconciler::per_cluster("tests", ShardId(7), MINUTE, work)).await.unwrap();
        tokio::time::sleep(10 * MINUTE).await;
        assert!(runs.try_recv().is_err(), "another node runs it");
        ownership.renewed(crate::ownership::Moment::now(), Duration::from_secs(3600));
        ownership.begin(ShardId(7), Epoch(3));
        assert_eq!(runs.recv().await.unwrap(), (1, Some(Epoch(3))));
        assert_eq!(recorded(&reconcilers, 1).await.failures_in_a_row, 1);
        // The shard goes to another node, and with it the reason to warn about this one.
        ownership.end(ShardId(7));
        tokio::time::sleep(5 * MINUTE).await;
        let status = reconcilers.statuses().remove(0);
        assert_eq!((status.runs, status.failures_in_a_row, status.last_error), (1, 0, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_gives_a_run_up_and_lets_those_run_once_more_that_have_to() {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let (reconcilers, stopping) = reconcilers(Arc::default());
        let (hanging, mut runs) = work(|_| Behaviour::Hang);
        let (flushing, mut flushed) = work(|run| {
            LAST.store(run, Ordering::Release);
            Behaviour::Change(1)
        });
        reconcilers.start(Reconciler::per_node("hanging", MINUTE, hanging).at_start()).await.unwrap();
        reconcilers.start(Reconciler::per_node("flushing", MINUTE, flushing).at_stop()).await.unwrap();
        runs.recv().await.unwrap();
        let before = tokio::time::Instant::now();
        stopping.cancel();
        assert!(reconcilers.stop(MINUTE).await);
        assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
        assert_eq!((flushed.try_recv().unwrap().0, LAST.load(Ordering::Acquire)), (1, 1));
        assert!(runs.try_recv().is_err());
    }
}
