//! The writer of heartbeats: the batched dual write.

use std::sync::Arc;
use std::time::Duration;

use domain::ServiceError;
use domain::shard::Epoch;
use link::messages::{HeartbeatAck, HeartbeatOutcome, SignedCommand};
use store::{HeartbeatRow, Store, StoreError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::batch::{BatchLimits, BatchSink, BatchWriter};
use crate::fleet_view::FleetView;
use crate::messages::{HeartbeatReply, StoredHeartbeat};
use crate::metrics::Metrics;
use crate::ownership::Ownership;

/// Heartbeat intake and writing.
#[derive(Debug, Clone)]
pub struct HeartbeatSettings {
    /// Heartbeat interval.
    pub interval_s: u32,
    /// Most heartbeats between intake and commit.
    pub in_flight_max: usize,
    /// Writers, each with a database connection in use while it commits.
    pub writers: usize,
    /// Longest queue in front of one writer.
    pub writer_queue_max: usize,
    /// Most rows of one transaction.
    pub batch_rows_max: usize,
    /// How long a writer waits for more rows once it has one.
    pub linger: Duration,
    /// How long a commit may take before its rows are answered with 503.
    pub commit_timeout: Duration,
    /// Shortest `Retry-After`.
    pub retry_after_s: u32,
}

/// Notification of a device that its heartbeat is committed.
pub(crate) type OnStored = Box<dyn FnOnce(StoredHeartbeat) + Send>;

/// A row on its way to the database.
pub struct WriteJob {
    /// The row.
    pub row: HeartbeatRow,
    /// Called after the commit, for the device that decided, with its shard's epoch; `None` when the owner could not be
    /// reached.
    pub owner: Option<(OnStored, Epoch)>,
    /// Commands for the answer.
    pub commands: Vec<SignedCommand>,
    /// The caller that waits for the commit.
    pub reply: HeartbeatReply,
}

/// The writer of heartbeats.
#[derive(Clone)]
pub struct HeartbeatWriters(BatchWriter<WriteJob>);

impl HeartbeatWriters {
    /// Starts the writer on `tasks`; it ends after `closing`.
    pub(crate) fn start(
        tasks: &mut JoinSet<()>,
        store: &Store,
        settings: &HeartbeatSettings,
        view: &Arc<FleetView>,
        ownership: &Arc<Ownership>,
        closing: &CancellationToken,
        metrics: &Metrics,
    ) -> Self {
        let sink = Heartbeats { store: store.clone(), view: Arc::clone(view), ownership: Arc::clone(ownership), metrics: metrics.clone() };
        let limits = BatchLimits {
            queues: settings.writers,
            queue_max: settings.writer_queue_max,
            batch_max: settings.batch_rows_max,
            linger: settings.linger,
            timeout: settings.commit_timeout,
            // The caller of each heartbeat is answered, and waits before it comes again.
            failure_backoff: Duration::ZERO,
        };
        Self(BatchWriter::start(tasks, sink, limits, closing, metrics))
    }

    /// Waits until all that was submitted before is committed or refused.
    pub async fn flushed(&self) {
        self.0.flushed().await;
    }

    /// Whether the last commits all failed because the database takes none.
    pub fn are_failing(&self) -> bool {
        self.0.is_failing()
    }

    /// How long the last commit took, or failed after.
    pub fn last_commit(&self) -> Duration {
        self.0.last_batch()
    }

    /// Queues a row.
    pub fn submit(&self, job: WriteJob) {
        if let Err(refused) = self.0.submit(job.row.device_id.0.as_u128(), job) {
            let (job, error) = refused.into_error("heartbeat.writer_queue_max");
            // A caller that is gone needs no answer.
            let _ = job.reply.send(Err(error));
        }
    }
}

struct Heartbeats {
    store: Store,
    view: Arc<FleetView>,
    ownership: Arc<Ownership>,
    metrics: Metrics,
}

impl BatchSink for Heartbeats {
    type Item = WriteJob;
    type Row = HeartbeatRow;
    type Outcome = ();

    const NAME: &'static str = "heartbeat";

    fn admit(&self, jobs: &mut Vec<WriteJob>) {
        if !self.ownership.lease_holds() {
            // What this node decided as an owner it may have decided too late: others look again.
            for job in jobs.extract_if(.., |job| job.owner.is_some()) {
                let _ = job.reply.send(Err(ServiceError::NotOwner));
            }
        }
    }

    fn row(job: &WriteJob) -> HeartbeatRow {
        job.row.clone()
    }

    async fn write(&self, mut rows: Vec<HeartbeatRow>) -> Result<Vec<()>, StoreError> {
        self.store.write_heartbeats(&mut rows).await?;
        self.view.count_stored(rows.len() as u64);
        Ok(vec![(); rows.len()])
    }

    fn answer(&self, job: WriteJob, outcome: Result<(), ServiceError>) {
        match outcome {
            Ok(()) => acknowledge(job),
            Err(error) => drop(job.reply.send(Err(error))),
        }
    }

    fn observe(&self, rows: usize, took: Duration) {
        self.metrics.batch_rows.observe(rows as f64);
        self.metrics.commit_seconds.observe(took.as_secs_f64());
    }

    fn panicked(&self) {
        self.metrics.writer_panics.inc();
    }
}

/// The device hears of the commit before the caller does, so that whoever asks
/// the device after an acknowledgement sees what was acknowledged.
fn acknowledge(job: WriteJob) {
    let WriteJob { row: HeartbeatRow { status, fcm_token, same_details, .. }, owner, commands, reply } = job;
    let epoch = owner.as_ref().map(|(_, epoch)| *epoch);
    if let Some((on_stored, _)) = owner {
        on_stored(StoredHeartbeat { status, fcm_token, with_details: !same_details });
    }
    let _ = reply.send(Ok(HeartbeatAck { outcome: HeartbeatOutcome::Stored, epoch, commands }));
}
