//! Records what happened to devices: a bounded queue in front of one batched statement.
//!
//! Nothing is lost when the queue is full or the database is away: a device compares itself with
//! what is on record again at its next heartbeat or deadline.

use std::time::Duration;

use ractor::ActorRef;
use store::{RecordedChange, Store};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::device::DeviceMsg;

/// Changes that wait to be recorded.
const QUEUE_MAX: usize = 8192;
/// Changes of one statement.
const BATCH_MAX: usize = 500;
/// How long a statement may take.
const RECORD_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed statement.
const FAILURE_BACKOFF: Duration = Duration::from_millis(500);

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordOutcome {
    /// It is on record.
    Recorded,
    /// Something else is on record than the device thought, or its owner is another one.
    Refused,
    /// The database is away.
    Failed,
}

struct RecordJob {
    device: ActorRef<DeviceMsg>,
    change: RecordedChange,
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

    /// Queues a change, whose outcome the device is told. `false`: there is no room, and it is not told.
    pub(crate) fn submit(&self, device: ActorRef<DeviceMsg>, change: RecordedChange) -> bool {
        self.0.try_send(RecordJob { device, change }).is_ok()
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
        for RecordJob { device, change } in jobs.drain(..) {
            let outcome = match &recorded {
                Some(recorded) if recorded.contains(&change.device_id) => RecordOutcome::Recorded,
                Some(_) => RecordOutcome::Refused,
                None => RecordOutcome::Failed,
            };
            // A device that stopped in the meantime is loaded with what is on record.
            let _ = device.cast(DeviceMsg::ChangeRecorded(outcome));
        }
        if recorded.is_none() {
            tokio::time::sleep(FAILURE_BACKOFF).await;
        }
    }
}
