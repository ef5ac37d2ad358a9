//! The heartbeat writers: bounded queues in front of the batched dual write.
//!
//! ```text
//! rows     a b c        d e f g h i           j k
//! writer   |- commit --|------- commit -------|- ...
//!          linger ->|   what came meanwhile is the next batch
//! ```
//! While one batch commits the next one gathers, so batches grow with load
//! by themselves; the linger only matters when there is little of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::ServiceError;
use domain::shard::Epoch;
use futures_util::FutureExt;
use link::messages::{HeartbeatAck, HeartbeatOutcome, SignedCommand};
use store::{HeartbeatRow, Store, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

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

/// Message to a writer. Local to a node, and not an actor's message.
enum WriterMsg {
    Write(WriteJob),
    /// Answered once all that was queued before is committed or refused.
    Flushed(oneshot::Sender<()>),
}

/// The queues of the writers.
#[derive(Clone)]
pub struct HeartbeatWriters {
    queues: Arc<[mpsc::Sender<WriterMsg>]>,
    closing: CancellationToken,
    last_commit_ms: Arc<AtomicU64>,
}

impl HeartbeatWriters {
    /// Starts the writers on `tasks`; they end once they are told to and their queues are empty.
    pub fn start(
        tasks: &mut JoinSet<()>,
        store: &Store,
        settings: &HeartbeatSettings,
        view: &Arc<FleetView>,
        ownership: &Arc<Ownership>,
        metrics: &Metrics,
    ) -> Self {
        let closing = CancellationToken::new();
        let last_commit_ms = Arc::new(AtomicU64::new(0));
        let queues = (0..settings.writers.max(1))
            .map(|_| {
                let (sender, queue) = mpsc::channel(settings.writer_queue_max);
                let writer = Writer {
                    queue,
                    closing: closing.clone(),
                    last_commit_ms: Arc::clone(&last_commit_ms),
                    store: store.clone(),
                    batch_rows_max: settings.batch_rows_max,
                    linger: settings.linger,
                    commit_timeout: settings.commit_timeout,
                    view: Arc::clone(view),
                    ownership: Arc::clone(ownership),
                    metrics: metrics.clone(),
                };
                tasks.spawn(writer.run());
                sender
            })
            .collect();
        Self { queues, closing, last_commit_ms }
    }

    /// Waits until all that was submitted before is committed or refused.
    pub async fn flushed(&self) {
        let mut waiting = Vec::with_capacity(self.queues.len());
        for queue in self.queues.iter() {
            let (reply, flushed) = oneshot::channel();
            // A writer that ended has nothing left to flush.
            if queue.send(WriterMsg::Flushed(reply)).await.is_ok() {
                waiting.push(flushed);
            }
        }
        for flushed in waiting {
            let _ = flushed.await;
        }
    }

    /// How long the last commit of any writer took, or failed after.
    pub fn last_commit(&self) -> Duration {
        Duration::from_millis(self.last_commit_ms.load(Ordering::Relaxed))
    }

    /// Takes nothing more; the writers end once their queues are empty.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Queues a row. A device always goes through the same writer, so two
    /// writers rarely meet on one row.
    pub fn submit(&self, job: WriteJob) {
        let at = job.row.device_id.0.as_u128() as usize % self.queues.len();
        let (job, error) = match self.queues[at].try_send(WriterMsg::Write(job)) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Full(job)) => (job, ServiceError::Overloaded("heartbeat.writer_queue_max")),
            Err(mpsc::error::TrySendError::Closed(job)) => (job, ServiceError::Unavailable),
        };
        if let WriterMsg::Write(job) = job {
            // A caller that is gone needs no answer.
            let _ = job.reply.send(Err(error));
        }
    }
}

struct Writer {
    queue: mpsc::Receiver<WriterMsg>,
    closing: CancellationToken,
    last_commit_ms: Arc<AtomicU64>,
    store: Store,
    batch_rows_max: usize,
    linger: Duration,
    commit_timeout: Duration,
    view: Arc<FleetView>,
    ownership: Arc<Ownership>,
    metrics: Metrics,
}

impl Writer {
    async fn run(mut self) {
        let mut told = Vec::with_capacity(self.batch_rows_max);
        loop {
            let closing = self.closing.clone();
            tokio::select! {
                biased;
                count = self.queue.recv_many(&mut told, self.batch_rows_max) => {
                    if count == 0 {
                        return;
                    }
                }
                () = closing.cancelled(), if !self.queue.is_closed() => {
                    self.queue.close();
                    continue;
                }
            }
            self.gather(&mut told).await;
            let (mut jobs, mut flushed) = (Vec::with_capacity(told.len()), Vec::new());
            for message in told.drain(..) {
                match message {
                    WriterMsg::Write(job) => jobs.push(job),
                    WriterMsg::Flushed(reply) => flushed.push(reply),
                }
            }
            // A defect in one batch must not end the writer: its callers get 503, the next is written.
            if !jobs.is_empty() && std::panic::AssertUnwindSafe(self.commit(jobs)).catch_unwind().await.is_err() {
                tracing::error!(event = "heartbeat.writer_panicked");
                self.metrics.writer_panics.inc();
            }
            for reply in flushed {
                let _ = reply.send(());
            }
        }
    }

    /// Waits for more rows until the linger is over or the batch is full.
    async fn gather(&mut self, told: &mut Vec<WriterMsg>) {
        let until = Instant::now() + self.linger;
        while told.len() < self.batch_rows_max {
            let capacity = self.batch_rows_max - told.len();
            match tokio::time::timeout_at(until, self.queue.recv_many(told, capacity)).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            }
        }
    }

    async fn commit(&self, mut jobs: Vec<WriteJob>) {
        if !self.ownership.lease_holds() {
            // What this node decided as an owner it may have decided too late: others look again.
            for job in jobs.extract_if(.., |job| job.owner.is_some()) {
                let _ = job.reply.send(Err(ServiceError::NotOwner));
            }
            if jobs.is_empty() {
                return;
            }
        }
        let started = Instant::now();
        let mut rows: Vec<_> = jobs.iter().map(|job| job.row.clone()).collect();
        let result = self.write(&mut rows).await;
        let took = started.elapsed();
        self.last_commit_ms.store(took.as_millis() as u64, Ordering::Relaxed);
        self.metrics.batch_rows.observe(jobs.len() as f64);
        self.metrics.commit_seconds.observe(took.as_secs_f64());
        match result {
            Ok(()) => {
                tracing::debug!(event = "heartbeat.stored", rows = jobs.len(), duration_ms = took.as_millis() as u64);
                self.view.count_stored(jobs.len() as u64);
                jobs.into_iter().for_each(acknowledge);
            }
            Err(cause @ (StoreError::Unavailable(_) | StoreError::TimedOut(_))) => {
                tracing::warn!(event = "heartbeat.store_unavailable", rows = jobs.len(), duration_ms = took.as_millis() as u64, %cause);
                for job in jobs {
                    let _ = job.reply.send(Err(ServiceError::Unavailable));
                }
            }
            Err(cause) => {
                tracing::error!(event = "heartbeat.batch_refused", rows = jobs.len(), %cause);
                self.commit_singly(jobs).await;
            }
        }
    }

    /// One row that the database refuses must not take its neighbours along.
    async fn commit_singly(&self, jobs: Vec<WriteJob>) {
        let mut gone = false;
        for job in jobs {
            // Once the database is gone, waiting for it row by row helps nobody.
            if gone {
                let _ = job.reply.send(Err(ServiceError::Unavailable));
                continue;
            }
            match self.write(&mut [job.row.clone()]).await {
                Ok(()) => {
                    self.view.count_stored(1);
                    acknowledge(job);
                }
                Err(StoreError::Unavailable(_) | StoreError::TimedOut(_)) => {
                    gone = true;
                    let _ = job.reply.send(Err(ServiceError::Unavailable));
                }
                Err(cause) => {
                    tracing::error!(event = "heartbeat.row_refused", device_id = %job.row.device_id, %cause);
                    let _ = job.reply.send(Err(ServiceError::Internal));
                }
            }
        }
    }

    async fn write(&self, rows: &mut [HeartbeatRow]) -> Result<(), StoreError> {
        match tokio::time::timeout(self.commit_timeout, self.store.write_heartbeats(rows)).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::TimedOut(self.commit_timeout)),
        }
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
