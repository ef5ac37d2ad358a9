use super::*;
use crate::reconcile::{Reconcile, Run, ShardLease};
use clock::SimulatedClock;
use domain::ServiceError;
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

fn clock() -> Clock {
    SimulatedClock::new(chrono::DateTime::UNIX_EPOCH).clock(1)
}

/// The locks of a cluster whose nodes are in this process.
#[derive(Clone, Default)]
struct Locks(Arc<Mutex<Vec<String>>>);

struct Held(Locks, String);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().retain(|held| *held != self.1);
    }
}

impl RunStore for Locks {
    fn try_lock<'a>(&'a self, name: &'a str, _longest: Duration) -> BoxFuture<'a, Result<Option<RunLock>, StoreError>> {
        async move {
            let mut held = self.0.lock().unwrap();
            if held.iter().any(|held| held == name) {
                return Ok(None);
            }
            held.push(name.to_owned());
            Ok(Some(Box::new(Held(self.clone(), name.to_owned())) as RunLock))
        }
        .boxed()
    }

    fn now(&self) -> BoxFuture<'_, Result<Timestamp, StoreError>> {
        async { Ok(database_time()) }.boxed()
    }
}

/// Another time than that of the nodes.
fn database_time() -> Timestamp {
    chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::days(1)
}

fn reconcilers(ownership: Arc<Ownership>) -> (Reconcilers, CancellationToken) {
    reconcilers_of_node(ownership, Locks::default())
}

fn reconcilers_of_node(ownership: Arc<Ownership>, locks: Locks) -> (Reconcilers, CancellationToken) {
    let settings = ReconcileSettings { run_timeout: MINUTE, backoff_max: 4 * MINUTE, batch_rows: 10 };
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let stopping = CancellationToken::new();
    (Reconcilers::new(clock(), ownership, Arc::new(locks), settings, metrics, stopping.clone()), stopping)
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
    let (reconcilers, _stopping) = reconcilers(Arc::new(Ownership::new(clock())));
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
    let (reconcilers, _stopping) = reconcilers(Arc::new(Ownership::new(clock())));
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
    let clock = clock();
    let ownership = Arc::new(Ownership::new(clock.clone()));
    let (reconcilers, _stopping) = reconcilers(Arc::clone(&ownership));
    let (work, mut runs) = work(|_| Behaviour::Fail);
    reconcilers.start(Reconciler::per_cluster("tests", ShardId(7), MINUTE, work)).await.unwrap();
    tokio::time::sleep(10 * MINUTE).await;
    assert!(runs.try_recv().is_err(), "another node runs it");
    ownership.renewed(clock.monotonic(), Duration::from_secs(3600));
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
    let (reconcilers, stopping) = reconcilers(Arc::new(Ownership::new(clock())));
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

/// A node that owns the shard of the reconciler.
fn owner(epoch: i64) -> Arc<Ownership> {
    let clock = clock();
    let ownership = Arc::new(Ownership::new(clock.clone()));
    ownership.renewed(clock.monotonic(), Duration::from_secs(3600));
    ownership.begin(ShardId(7), Epoch(epoch));
    ownership
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_moves_amid_a_run_does_not_make_it_run_twice_at_once() {
    let (locks, first) = (Locks::default(), owner(3));
    let (before, _stopping) = reconcilers_of_node(Arc::clone(&first), locks.clone());
    let (hanging, mut old_runs) = work(|_| Behaviour::Hang);
    before.start(Reconciler::per_cluster("tests", ShardId(7), MINUTE, hanging).at_start()).await.unwrap();
    old_runs.recv().await.unwrap();
    let began = tokio::time::Instant::now();
    first.end(ShardId(7));

    let (after, _stopping) = reconcilers_of_node(owner(4), locks);
    let (work, mut new_runs) = work(Behaviour::Change);
    after.start(Reconciler::per_cluster("tests", ShardId(7), MINUTE, work).at_start()).await.unwrap();
    assert_eq!(new_runs.recv().await.unwrap(), (1, Some(Epoch(4))));
    // The old run is given up after its timeout; the new one follows soon.
    let waited = began.elapsed();
    assert!(waited >= MINUTE && waited <= MINUTE + Duration::from_secs(2), "{waited:?}");
    let status = recorded(&after, 1).await;
    assert_eq!((status.runs, status.failures_in_a_row), (1, 0), "waiting is no failure");
    assert_eq!(recorded(&before, 1).await.failures_in_a_row, 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_statements_compare_the_epoch_needs_no_lock() {
    let locks = Locks::default();
    let _held = locks.try_lock("tests", MINUTE).await.unwrap().unwrap();
    let (reconcilers, _stopping) = reconcilers_of_node(owner(3), locks);
    let (work, mut runs) = work(Behaviour::Change);
    reconcilers.start(Reconciler::per_cluster("tests", ShardId(7), MINUTE, work).fenced_by_epoch().at_start()).await.unwrap();
    assert_eq!(runs.recv().await.unwrap(), (1, Some(Epoch(3))));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_under_way_says_since_when() {
    let (reconcilers, _stopping) = reconcilers(Arc::new(Ownership::new(clock())));
    let (work, mut runs) = work(|run| if run == 2 { Behaviour::Hang } else { Behaviour::Change(1) });
    reconcilers.start(Reconciler::per_node("tests", MINUTE, work).at_start()).await.unwrap();
    runs.recv().await.unwrap();
    let first = recorded(&reconcilers, 1).await;
    assert_eq!((first.running_since, first.newest_run_at()), (None, first.last_run_at));
    runs.recv().await.unwrap();
    let hanging = reconcilers.statuses().remove(0);
    assert!(hanging.running_since >= first.last_run_at, "{hanging:?}");
    assert_eq!((hanging.newest_run_at(), hanging.runs, hanging.last_error), (hanging.running_since, 1, None));
    assert!(recorded(&reconcilers, 2).await.running_since.is_none(), "it was given up");
}

#[tokio::test(start_paused = true)]
async fn batches_go_on_until_one_is_not_full() {
    let run = Run { now: clock().now(), batch_rows: 10, lease: None };
    let mut left = 25_u64;
    let mut limits = vec![];
    let removed = run.in_batches(|limit| {
        limits.push(limit);
        let batch = left.min(limit as u64);
        left -= batch;
        async move { Ok(batch) }
    });
    assert_eq!(removed.await.unwrap(), 25);
    assert_eq!((limits, left), (vec![10, 10, 10], 0));
    let removed = run.in_batches_of(3, |limit| async move { Ok(limit as u64 - 1) });
    assert_eq!(removed.await.unwrap(), 2);
    let over = Run { lease: Some(ShardLease { ownership: Arc::new(Ownership::new(clock())), shard: ShardId(7), epoch: Epoch(1) }), ..run };
    assert_eq!(over.in_batches(|_| async { Err(StoreError::Corrupt("another node runs this by now")) }).await.unwrap(), 0);
}

/// Reports the time at which it runs.
struct TimeOfRun(mpsc::UnboundedSender<Timestamp>);

impl Reconcile for TimeOfRun {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        let _ = self.0.send(run.now);
        async { Ok(0) }.boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_by_the_database_s_time_whatever_its_node_shows() {
    let (reconcilers, _stopping) = reconcilers(Arc::new(Ownership::new(clock())));
    let (runs, mut seen) = mpsc::unbounded_channel();
    reconcilers.start(Reconciler::per_node("tests", MINUTE, TimeOfRun(runs)).at_start()).await.unwrap();
    assert_eq!(seen.recv().await.unwrap(), database_time());
    assert_eq!(recorded(&reconcilers, 1).await.last_run_at, Some(database_time()));
}
