//! Writer of what happened to devices.
//!
//! Nothing is lost when the queue is full or the database is away: a device compares itself with
//! what is stored again at its next heartbeat or deadline.

use std::time::Duration;

use store::{RecordedChange, Store, StoreError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::batch::{BatchLimits, BatchSink, BatchWriter};
use crate::messages::RecordOutcome;
use crate::metrics::Metrics;
use domain::ServiceError;

const LIMITS: BatchLimits = BatchLimits {
    queues: 1,
    queue_max: 8192,
    batch_max: 500,
    linger: Duration::ZERO,
    timeout: Duration::from_secs(10),
    failure_backoff: Duration::from_millis(500),
};

/// Callback with the outcome of a device's change.
pub(crate) type OnRecorded = Box<dyn FnOnce(RecordOutcome) + Send>;

struct RecordJob {
    change: RecordedChange,
    on_recorded: OnRecorded,
}

struct DeviceEvents(Store);

impl BatchSink for DeviceEvents {
    type Item = RecordJob;
    type Row = RecordedChange;
    type Outcome = RecordOutcome;

    const NAME: &'static str = "device_event";

    fn row(job: &RecordJob) -> RecordedChange {
        job.change.clone()
    }

    async fn write(&self, changes: Vec<RecordedChange>) -> Result<Vec<RecordOutcome>, StoreError> {
        let recorded = self.0.record_changes(&changes).await?;
        let outcome = |change: &RecordedChange| match recorded.contains(&change.device_id) {
            true => RecordOutcome::Recorded,
            false => RecordOutcome::Refused,
        };
        Ok(changes.iter().map(outcome).collect())
    }

    fn answer(&self, job: RecordJob, outcome: Result<RecordOutcome, ServiceError>) {
        (job.on_recorded)(outcome.unwrap_or(RecordOutcome::Failed));
    }
}

/// Writer of device events.
#[derive(Clone)]
pub struct EventWriter(BatchWriter<RecordJob>);

impl EventWriter {
    /// Starts the writer on `tasks`; it ends after `closing`.
    pub(crate) fn start(tasks: &mut JoinSet<()>, store: Store, closing: &CancellationToken, metrics: &Metrics) -> Self {
        Self(BatchWriter::start(tasks, DeviceEvents(store), LIMITS, closing, metrics))
    }

    /// Queues a change; `on_recorded` is called with its outcome. `false`: there is no room, and it is not called.
    pub(crate) fn submit(&self, change: RecordedChange, on_recorded: OnRecorded) -> bool {
        self.0.submit(0, RecordJob { change, on_recorded }).is_ok()
    }
}
