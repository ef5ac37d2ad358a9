//! Records what happened to devices: a bounded queue in front of one batched statement.
//!
//! Nothing is lost when the queue is full or the database is away: a device compares itself with
//! what is stored again at its next heartbeat or deadline.

use std::time::Duration;

use store::{RecordedChange, Store};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::messages::RecordOutcome;

/// Changes that wait to be recorded.
const QUEUE_MAX: usize = 8192;
/// Changes of one statement.
const BATCH_MAX: usize = 500;
/// How long a statement may take.
const RECORD_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed statement.
const FAILURE_BACKOFF: Duration = Duration::from_millis(500);

/// Notification of a device of what became of its change.
pub(crate) type OnRecorded = Box<dyn FnOnce(RecordOutcome) + Send>;

struct RecordJob {
    change: RecordedChange,
    on_recorded: OnRecorded,
}

/// The queue.
#[derive(Clone)]
pub struct EventWriter(mpsc::Sender<RecordJob>);

impl EventWriter {
    /// Starts the writer on `tasks`.
    pub fn start(tasks: &mut JoinSet<()>, store: Store) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        tasks.spawn(write(store, queue));
        Self(sender)
    }

    /// Queues a change; `on_recorded` is called with its outcome. `false`: the queue is full, and it is not called.
    pub(crate) fn submit(&self, change: RecordedChange, on_recorded: OnRecorded) -> bool {
        self.0.try_send(RecordJob { change, on_recorded }).is_ok()
    }
}

async fn write(store: Store, mut queue: mpsc::Receiver<RecordJob>) {
    let mut jobs = Vec::with_capacity(BATCH_MAX);
    while queue.recv_many(&mut jobs, BATCH_MAX).await > 0 {
        let changes: Vec<_> = jobs.iter().map(|job| job.change.clone()).collect();
        let recorded = match tokio::time::timeout(RECORD_TIMEOUT, store.record_changes(&changes)).await {
            Ok(Ok(recorded)) => Some(recorded),
            Ok(Err(cause)) => {
                tracing::warn!(event = "device_events.not_recorded", changes = changes.len(), %cause);
                None
            }
            Err(_) => {
                tracing::warn!(event = "device_events.not_recorded", changes = changes.len(), cause = "no answer in time");
                None
            }
        };
        for RecordJob { change, on_recorded } in jobs.drain(..) {
            let outcome = match &recorded {
                Some(recorded) if recorded.contains(&change.device_id) => RecordOutcome::Recorded,
                Some(_) => RecordOutcome::Refused,
                None => RecordOutcome::Failed,
            };
            on_recorded(outcome);
        }
        if recorded.is_none() {
            tokio::time::sleep(FAILURE_BACKOFF).await;
        }
    }
}
