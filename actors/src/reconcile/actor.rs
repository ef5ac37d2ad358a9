//! The actor of one reconciler: its timer, its runs one at a time, their record.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::reconcile::{wait_before_next_run, wait_for_lock};
use futures_util::FutureExt;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use ractor_cluster::RactorMessage;
use tokio::time::{Instant, timeout};

use super::registry::Shared;
use super::{Reconciler, Run, Scope, ShardLease};

/// A message to a reconciler. Local to a node.
#[derive(RactorMessage)]
pub(crate) enum ReconcilerMsg {
    /// The timer of this number is over; an older one was replaced.
    Due(u64),
    /// There is something to do before the timer is over.
    Wake,
}

/// The actor of one reconciler.
pub(super) struct ReconcilerActor;

/// Arguments and state of the actor.
pub(super) struct Running {
    pub(super) reconciler: Reconciler,
    pub(super) shared: Arc<Shared>,
    /// Whether a [`ReconcilerMsg::Wake`] waits: another one would change nothing.
    pub(super) woken: Arc<AtomicBool>,
    pub(super) timer: u64,
}

/// Outcome of a run.
type Outcome = Result<u64, String>;

/// The wait that follows a run.
#[derive(Clone, Copy)]
enum Next {
    /// The interval, longer after failures.
    Interval,
    /// The lock, which another node holds.
    Lock,
}

impl Running {
    /// Runs once, unless another node does it for the cluster.
    async fn run(&mut self, stopping: bool) -> Next {
        let lease = match self.reconciler.scope {
            Scope::Node => None,
            Scope::Cluster(shard) => match self.shared.ownership.acting(shard) {
                Some(epoch) => Some(ShardLease { ownership: Arc::clone(&self.shared.ownership), shard, epoch }),
                None => {
                    self.shared.forget_failures(self.reconciler.name);
                    return Next::Interval;
                }
            },
        };
        let (asked_at, started) = (self.shared.clock.now(), Instant::now());
        let _lock = match self.shared.lock(self.reconciler.name, self.reconciler.locks).await {
            Ok(Some(lock)) => lock,
            // A run that another node began as the owner is about to end.
            Ok(None) => return Next::Lock,
            Err(cause) => {
                self.shared.record(self.reconciler.name, asked_at, started.elapsed(), Err(cause.to_string()));
                return Next::Interval;
            }
        };
        let now = match self.shared.now().await {
            Ok(now) => now,
            Err(cause) => {
                self.shared.record(self.reconciler.name, asked_at, started.elapsed(), Err(cause.to_string()));
                return Next::Interval;
            }
        };
        let run = Run { now, batch_rows: self.shared.settings.batch_rows, lease };
        if !run.may_go_on() {
            return Next::Interval;
        }
        let _under_way = self.shared.begin(self.reconciler.name, run.now);
        // Every run begins by reading what there is, so what a panic left behind does not matter.
        let work = AssertUnwindSafe(async { self.reconciler.work.reconcile(&run).await }).catch_unwind();
        let limited = timeout(self.shared.settings.run_timeout, work);
        let ended = tokio::select! {
            ended = limited => ended,
            () = self.shared.stopping.cancelled(), if !stopping => return Next::Interval,
        };
        let outcome: Outcome = match ended {
            Ok(Ok(Ok(changed))) => Ok(changed),
            Ok(Ok(Err(error))) => Err(error.to_string()),
            Ok(Err(_panic)) => Err("it panicked: see the log".into()),
            Err(_late) => Err(format!("not done within {:?}", self.shared.settings.run_timeout)),
        };
        self.shared.record(self.reconciler.name, run.now, started.elapsed(), outcome);
        Next::Interval
    }

    fn schedule(&mut self, me: &ActorRef<ReconcilerMsg>, next: Next) {
        self.timer += 1;
        let timer = self.timer;
        let interval = self.reconciler.interval;
        let chance = self.shared.clock.randomness().fraction();
        let wait = match next {
            Next::Lock => wait_for_lock(interval),
            Next::Interval => {
                let failures = self.shared.failures_in_a_row(self.reconciler.name);
                wait_before_next_run(interval, failures, self.shared.settings.backoff_max, chance)
            }
        };
        me.send_after(wait, move || ReconcilerMsg::Due(timer));
    }
}

impl Actor for ReconcilerActor {
    type Msg = ReconcilerMsg;
    type State = Running;
    type Arguments = Running;

    async fn pre_start(&self, me: ActorRef<ReconcilerMsg>, mut running: Running) -> Result<Running, ActorProcessingErr> {
        if running.reconciler.at_start {
            me.cast(ReconcilerMsg::Due(running.timer))?;
        } else {
            running.schedule(&me, Next::Interval);
        }
        Ok(running)
    }

    async fn handle(&self, me: ActorRef<ReconcilerMsg>, message: ReconcilerMsg, running: &mut Running) -> Result<(), ActorProcessingErr> {
        match message {
            ReconcilerMsg::Due(timer) if timer != running.timer => return Ok(()),
            ReconcilerMsg::Due(_) => {}
            ReconcilerMsg::Wake => running.woken.store(false, Ordering::Release),
        }
        let next = running.run(false).await;
        running.schedule(&me, next);
        Ok(())
    }

    async fn post_stop(&self, _me: ActorRef<ReconcilerMsg>, running: &mut Running) -> Result<(), ActorProcessingErr> {
        if running.reconciler.at_stop {
            running.run(true).await;
        }
        Ok(())
    }
}
