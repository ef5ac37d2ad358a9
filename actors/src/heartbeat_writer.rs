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
use std::time::Duration;

use ractor::ActorRef;
use store::{HeartbeatRow, Store, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::ServiceError;
use crate::device::DeviceMsg;
use crate::fleet_view::FleetView;
use crate::metrics::Metrics;
use crate::settings::HeartbeatSettings;

/// Answered once the heartbeat is committed, or refused.
pub type HeartbeatReply = oneshot::Sender<Result<HeartbeatOutcome, ServiceError>>;

/// What became of an acknowledged heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeartbeatOutcome {
    /// It is committed.
    Stored,
    /// Its bucket was committed before.
    Repeat,
}

/// A row on its way to the database.
pub struct WriteJob {
    /// The row.
    pub row: HeartbeatRow,
    /// The device that learns of the commit.
    pub device: ActorRef<DeviceMsg>,
    /// The caller that waits for the commit.
    pub reply: HeartbeatReply,
}

/// The queues of the writers.
#[derive(Clone)]
pub struct HeartbeatWriters {
    queues: Arc<[mpsc::Sender<WriteJob>]>,
}

impl HeartbeatWriters {
    /// Starts the writers on `tasks`; they end once every clone of the answer is
    /// dropped and their queues are empty.
    pub fn start(tasks: &mut JoinSet<()>, store: &Store, settings: &HeartbeatSettings, view: &Arc<FleetView>, metrics: &Metrics) -> Self {
        let queues = (0..settings.writers.max(1))
            .map(|_| {
                let (sender, queue) = mpsc::channel(settings.writer_queue_max);
                let writer = Writer {
                    queue,
                    store: store.clone(),
                    batch_rows_max: settings.batch_rows_max,
                    linger: settings.linger,
                    commit_timeout: settings.commit_timeout,
                    view: Arc::clone(view),
                    metrics: metrics.clone(),
                };
                tasks.spawn(writer.run());
                sender
            })
            .collect();
        Self { queues }
    }

    /// Queues a row. A device always goes through the same writer, so two
    /// writers rarely meet on one row.
    pub fn submit(&self, job: WriteJob) {
        let at = job.row.device_id.0.as_u128() as usize % self.queues.len();
        if let Err(refused) = self.queues[at].try_send(job) {
            let (job, error) = match refused {
                mpsc::error::TrySendError::Full(job) => (job, ServiceError::Overloaded("heartbeat.writer_queue_max")),
                mpsc::error::TrySendError::Closed(job) => (job, ServiceError::Unavailable),
            };
            // A caller that is gone needs no answer.
            let _ = job.reply.send(Err(error));
        }
    }
}

struct Writer {
    queue: mpsc::Receiver<WriteJob>,
    store: Store,
    batch_rows_max: usize,
    linger: Duration,
    commit_timeout: Duration,
    view: Arc<FleetView>,
    metrics: Metrics,
}

impl Writer {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(self.batch_rows_max);
        while self.queue.recv_many(&mut batch, self.batch_rows_max).await > 0 {
            self.gather(&mut batch).await;
            self.commit(std::mem::take(&mut batch)).await;
        }
    }

    /// Waits for more rows until the linger is over or the batch is full.
    async fn gather(&mut self, batch: &mut Vec<WriteJob>) {
        let until = Instant::now() + self.linger;
        while batch.len() < self.batch_rows_max {
            let room = self.batch_rows_max - batch.len();
            match tokio::time::timeout_at(until, self.queue.recv_many(batch, room)).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            }
        }
    }

    async fn commit(&self, jobs: Vec<WriteJob>) {
        let started = Instant::now();
        let mut rows: Vec<_> = jobs.iter().map(|job| job.row.clone()).collect();
        let result = self.write(&mut rows).await;
        let took = started.elapsed();
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
    let HeartbeatRow { status, fcm_token, same_details, .. } = job.row;
    // A device that is being restarted reads the row from the store instead.
    let _ = job.device.cast(DeviceMsg::Stored { status, fcm_token, with_details: !same_details });
    let _ = job.reply.send(Ok(HeartbeatOutcome::Stored));
}
