//! Virtual time: a runtime whose timers go on only while nothing else can.
//!
//! Tokio's paused clock jumps to the next timer as soon as every task waits, also for a database that is about to
//! answer. Here a stepper advances it instead, when four things hold: no task can run, nothing is on its way
//! through a socket, no statement is under way (but such as wait for a lock whose holder waits for the time), and no
//! blocking task is.
//!
//! A run whose time stands still is given up with what it waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::task::yield_now;

use crate::database::Traffic;

/// Longest step of the time, ms: a timer may fire as much later than it was set for.
pub(crate) const STEP_MAX_MS: u64 = 8;
/// Real time without a message after which statements under way are looked at for locks.
const LOCKS_LOOKED_AT_AFTER: Duration = Duration::from_millis(2);
/// Polls of the sockets that have to find nothing before the time goes on: a message passes a proxy in two.
const QUIET_POLLS: u32 = 3;
/// Threads for blocking tasks: one holds tokio's own time, the other runs them in the order in which they come.
const BLOCKING_THREADS: usize = 2;
/// How long a thread without a blocking task is kept: for the whole run, so that none has to be made anew.
const BLOCKING_THREADS_KEPT: Duration = Duration::from_secs(3600);
/// Real time without a step of the time after which a run is given up; the first run also starts the server in it.
const STUCK_AFTER: Duration = Duration::from_secs(90);

/// What a run and its watch share.
#[derive(Default)]
struct Progress {
    steps: AtomicU64,
    /// Tells the stepper that nothing but the time may bring the tasks further.
    idle: Notify,
    /// Tells that the time stands still.
    stuck: Notify,
    ended: AtomicBool,
}

/// Ends the watch, also by a panic.
struct EndOfRun(Arc<Progress>);

impl Drop for EndOfRun {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
    }
}

/// Runs a future on virtual time; the lengths of its steps depend on the seed.
///
/// # Errors
/// The time stood still; the text tells what was outstanding.
///
/// # Panics
/// The runtime cannot be made, or the future panics.
pub(crate) fn run<T>(seed: u64, traffic: &Arc<Traffic>, future: impl Future<Output = T>) -> Result<T, String> {
    let progress = Arc::new(Progress::default());
    let _end = EndOfRun(Arc::clone(&progress));
    let on_park = {
        let (progress, traffic) = (Arc::clone(&progress), Arc::clone(traffic));
        move || {
            // With a statement under way the thread sleeps until the database answers.
            if traffic.waits_for_time() {
                progress.idle.notify_one();
            }
        }
    };
    let mut builder = Builder::new_current_thread();
    builder
        .enable_all()
        .start_paused(true)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(BLOCKING_THREADS_KEPT)
        .on_thread_park(on_park);
    let runtime = builder.build().expect("a runtime");
    std::thread::spawn({
        let (progress, traffic) = (Arc::clone(&progress), Arc::clone(traffic));
        move || watch(seed, &progress, &traffic)
    });
    let done = runtime.block_on(async {
        // While a blocking task runs, tokio does not advance the time by itself.
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let blocking = tokio::task::spawn_blocking(move || held.recv().is_ok());
        let began = tokio::time::Instant::now();
        let done = tokio::select! {
            biased;
            () = progress.stuck.notified() => {
                let outstanding = traffic.outstanding().await;
                Err(format!("the time stands still at {} ms for {STUCK_AFTER:?}: {outstanding}", began.elapsed().as_millis()))
            }
            done = future => Ok(done),
            () = step(seed, &progress, traffic) => unreachable!("the stepper goes on"),
        };
        drop(hold);
        let _ = blocking.await;
        done
    });
    runtime.shutdown_background();
    done
}

/// Wakes the stepper for statements that may wait for a lock, and gives a run up whose time stands still.
fn watch(seed: u64, progress: &Progress, traffic: &Traffic) {
    let (mut passed, mut steps, mut stepped) = (0, 0, Instant::now());
    while !progress.ended.load(Ordering::Acquire) {
        std::thread::sleep(LOCKS_LOOKED_AT_AFTER);
        let now_passed = traffic.passed();
        if now_passed == passed && traffic.under_way() > 0 {
            progress.idle.notify_one();
        }
        passed = now_passed;
        let now_steps = progress.steps.load(Ordering::Acquire);
        if now_steps != steps {
            (steps, stepped) = (now_steps, Instant::now());
        } else if stepped.elapsed() > 2 * STUCK_AFTER {
            eprintln!("seed {seed}: a task blocks the thread, {} statements are under way", traffic.under_way());
            std::process::abort();
        } else if stepped.elapsed() > STUCK_AFTER {
            progress.stuck.notify_one();
        }
    }
}

async fn step(seed: u64, progress: &Progress, traffic: &Traffic) {
    let mut chance = StdRng::seed_from_u64(seed);
    loop {
        progress.idle.notified().await;
        if !quiet(traffic).await {
            continue;
        }
        // Notifications of other nodes' commits come at the virtual time of the commit.
        if traffic.delivered_notifications().await {
            continue;
        }
        // A file that is being read keeps a task waiting, however late the machine runs the thread that reads it.
        let before = traffic.passed();
        let _ = tokio::task::spawn_blocking(|| ()).await;
        if !quiet(traffic).await || traffic.passed() != before {
            continue;
        }
        // What was waited for here was no idleness of the others.
        let _ = progress.idle.notified().now_or_never();
        progress.steps.fetch_add(1, Ordering::AcqRel);
        tokio::time::advance(Duration::from_millis(chance.random_range(1..=STEP_MAX_MS))).await;
    }
}

/// Whether nothing but the time can bring the tasks further.
async fn quiet(traffic: &Traffic) -> bool {
    let before = traffic.passed();
    for _ in 0..QUIET_POLLS {
        // Each turn polls the sockets, and whoever is woken by it runs before this task does.
        yield_now().await;
    }
    traffic.passed() == before && (traffic.waits_for_time() || traffic.found_waiting_for_locks(before).await)
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[test]
    fn time_goes_on_while_everything_waits_for_it_and_not_for_a_blocking_task_or_a_statement() {
        let traffic = Arc::new(Traffic::default());
        let elapsed = run(1, &traffic, async {
            let began = tokio::time::Instant::now();
            sleep(Duration::from_secs(20)).await;
            let held = began.elapsed();
            tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(30))).await.unwrap();
            assert_eq!(began.elapsed(), held, "time waits for a blocking task");
            let hold = traffic.hold_time();
            let (sender, told) = tokio::sync::oneshot::channel();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(30));
                sender.send(())
            });
            told.await.unwrap();
            assert_eq!(began.elapsed(), held, "time waits for a statement");
            drop(hold);
            held
        });
        let elapsed = elapsed.unwrap();
        assert!((20.0..20.1).contains(&elapsed.as_secs_f64()), "{elapsed:?}");
    }
}
