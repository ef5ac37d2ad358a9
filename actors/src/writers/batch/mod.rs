//! The batch writer: bounded queues, each in front of one transaction at a time.
//!
//! ```text
//! items    a b c        d e f g h i           j k
//! writer   |- write ---|------- write --------|- ...
//!          linger ->|   what came meanwhile is the next batch
//! ```
//! While one batch is written the next one gathers, so batches grow with load by themselves; the linger only matters when there is
//! little of it. A batch that the database refuses is written item by item: one bad item does not take its neighbours along.

#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use store::StoreError;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use domain::ServiceError;

/// Transactions in a row that failed, from which on a writer counts as failing.
const FAILING_FROM: u32 = 5;
/// Time after the last of them for which it does: whoever sends nothing more because of it has to try again some time.
const FAILING_FOR: Duration = Duration::from_secs(10);

/// Items of a batch writer, and the callers that it answers.
pub(crate) trait BatchSink: Send + Sync + 'static {
    /// Something to write, with the reply port for its outcome.
    type Item: Send + 'static;
    /// The part of an item that is written.
    type Row: Send;
    /// Outcome of an item that was written.
    type Outcome: Send;

    /// Name in metrics, and the beginning of the names of log events.
    const NAME: &'static str;

    /// Takes out, and answers, what must not be written any more.
    fn admit(&self, _items: &mut Vec<Self::Item>) {}

    /// The row of an item.
    fn row(item: &Self::Item) -> Self::Row;

    /// Writes rows in one transaction. Answers one outcome for each, in their order.
    fn write(&self, rows: Vec<Self::Row>) -> impl Future<Output = Result<Vec<Self::Outcome>, StoreError>> + Send;

    /// Answers an item through its reply port.
    fn answer(&self, item: Self::Item, outcome: Result<Self::Outcome, ServiceError>);

    /// Notes the size and duration of a batch.
    fn observe(&self, _items: usize, _took: Duration) {}

    /// Notes a batch that a defect kept from being written.
    fn panicked(&self) {}
}

/// Limits of a batch writer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchLimits {
    /// Queues, each with a transaction of its own.
    pub(crate) queues: usize,
    /// Longest queue.
    pub(crate) queue_max: usize,
    /// Most items of one transaction.
    pub(crate) batch_max: usize,
    /// How long a batch waits for more items once it has one.
    pub(crate) linger: Duration,
    /// Longest transaction.
    pub(crate) timeout: Duration,
    /// Pause after a transaction that failed because the database is unavailable.
    pub(crate) failure_backoff: Duration,
}

/// An item that was not queued.
#[derive(Debug)]
pub(crate) enum NotQueued<T> {
    /// The queue is full.
    Full(T),
    /// The writer is closed.
    Closed(T),
}

impl<T> NotQueued<T> {
    /// The item, and the error of its caller; `limit` names the limit of the queue.
    pub(crate) fn into_error(self, limit: &'static str) -> (T, ServiceError) {
        match self {
            Self::Full(item) => (item, ServiceError::Overloaded(limit)),
            Self::Closed(item) => (item, ServiceError::Unavailable),
        }
    }
}

/// Transactions that failed since the last one that did not.
#[derive(Default)]
struct Failures(Mutex<(u32, Option<Instant>)>);

impl Failures {
    fn note(&self, available: bool) {
        // Both are set at once, so a poisoned lock guards good data.
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *failures = if available { (0, None) } else { (failures.0.saturating_add(1), Some(Instant::now())) };
    }

    fn are_many(&self) -> bool {
        let (in_a_row, last) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        in_a_row >= FAILING_FROM && last.is_some_and(|last| last.elapsed() < FAILING_FOR)
    }
}

enum Message<T> {
    Write(T),
    /// Answered once all that was queued before is written or refused.
    Flushed(oneshot::Sender<()>),
}

struct Shared<T> {
    queues: Vec<mpsc::Sender<Message<T>>>,
    writer: &'static str,
    last_batch_ms: Arc<AtomicU64>,
    failures: Arc<Failures>,
    metrics: Metrics,
}

/// Handle of a batch writer: its queues.
pub(crate) struct BatchWriter<T>(Arc<Shared<T>>);

impl<T> Clone for BatchWriter<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + 'static> BatchWriter<T> {
    /// Starts the writer on `tasks`. Once `closing` is cancelled it takes nothing more, and ends when its queues are empty.
    pub(crate) fn start<S: BatchSink<Item = T>>(
        tasks: &mut JoinSet<()>,
        sink: S,
        limits: BatchLimits,
        closing: &CancellationToken,
        metrics: &Metrics,
    ) -> Self {
        let sink = Arc::new(sink);
        let last_batch_ms = Arc::new(AtomicU64::new(0));
        let failures = Arc::<Failures>::default();
        let queues = (0..limits.queues.max(1)).map(|_| {
            let (sender, queue) = mpsc::channel(limits.queue_max.max(1));
            let drain = Drain {
                queue,
                sink: Arc::clone(&sink),
                limits,
                closing: closing.clone(),
                last_batch_ms: Arc::clone(&last_batch_ms),
                failures: Arc::clone(&failures),
                metrics: metrics.clone(),
            };
            tasks.spawn(drain.run());
            sender
        });
        Self(Arc::new(Shared { queues: queues.collect(), writer: S::NAME, last_batch_ms, failures, metrics: metrics.clone() }))
    }

    /// Queues an item. Items of one `key` keep their order, and two transactions rarely meet on one row.
    pub(crate) fn submit(&self, key: u128, item: T) -> Result<(), NotQueued<T>> {
        let at = (key % self.0.queues.len() as u128) as usize;
        let refused = match self.0.queues[at].try_send(Message::Write(item)) {
            Err(TrySendError::Full(Message::Write(item))) => NotQueued::Full(item),
            Err(TrySendError::Closed(Message::Write(item))) => NotQueued::Closed(item),
            _ => return Ok(()),
        };
        self.0.metrics.writer_items.with_label_values(&[self.0.writer, "not_queued"]).inc();
        Err(refused)
    }

    /// Waits until all that was submitted before is written or refused.
    pub(crate) async fn flushed(&self) {
        let mut waiting = Vec::with_capacity(self.0.queues.len());
        for queue in &self.0.queues {
            let (reply, flushed) = oneshot::channel();
            // One that ended has nothing left to flush.
            if queue.send(Message::Flushed(reply)).await.is_ok() {
                waiting.push(flushed);
            }
        }
        for flushed in waiting {
            let _ = flushed.await;
        }
    }

    /// Whether the last transactions all failed because the database takes none.
    pub(crate) fn is_failing(&self) -> bool {
        self.0.failures.are_many()
    }

    /// How long the last transaction took, or failed after.
    pub(crate) fn last_batch(&self) -> Duration {
        Duration::from_millis(self.0.last_batch_ms.load(Ordering::Relaxed))
    }
}

/// Task of one queue.
struct Drain<S: BatchSink> {
    queue: mpsc::Receiver<Message<S::Item>>,
    sink: Arc<S>,
    limits: BatchLimits,
    closing: CancellationToken,
    last_batch_ms: Arc<AtomicU64>,
    failures: Arc<Failures>,
    metrics: Metrics,
}

impl<S: BatchSink> Drain<S> {
    async fn run(mut self) {
        let mut messages = Vec::with_capacity(self.limits.batch_max);
        loop {
            let closing = self.closing.clone();
            tokio::select! {
                biased;
                count = self.queue.recv_many(&mut messages, self.limits.batch_max) => {
                    if count == 0 {
                        return;
                    }
                }
                () = closing.cancelled(), if !self.queue.is_closed() => {
                    self.queue.close();
                    continue;
                }
            }
            self.gather(&mut messages).await;
            let (mut items, mut flushed) = (Vec::with_capacity(messages.len()), Vec::new());
            for message in messages.drain(..) {
                match message {
                    Message::Write(item) => items.push(item),
                    Message::Flushed(reply) => flushed.push(reply),
                }
            }
            let count = items.len();
            // A defect in one batch must not end the writer: its callers are answered by their dropped ports, the next batch is written.
            let available = AssertUnwindSafe(self.commit(items)).catch_unwind().await.unwrap_or_else(|_panic| {
                tracing::error!(event = %format_args!("{}.writer_panicked", S::NAME), items = count);
                self.count("panicked", count);
                self.sink.panicked();
                true
            });
            for reply in flushed {
                let _ = reply.send(());
            }
            if !available && !self.limits.failure_backoff.is_zero() {
                sleep(self.limits.failure_backoff).await;
            }
        }
    }

    /// Waits for more items until the linger is over or the batch is full.
    async fn gather(&mut self, messages: &mut Vec<Message<S::Item>>) {
        if self.limits.linger.is_zero() {
            return;
        }
        let until = Instant::now() + self.limits.linger;
        while messages.len() < self.limits.batch_max {
            let capacity = self.limits.batch_max - messages.len();
            match timeout_at(until, self.queue.recv_many(messages, capacity)).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            }
        }
    }

    /// Writes a batch. Answers whether the database is available.
    async fn commit(&self, mut items: Vec<S::Item>) -> bool {
        if !items.is_empty() {
            self.sink.admit(&mut items);
        }
        if items.is_empty() {
            return true;
        }
        let started = Instant::now();
        let written = self.write(items.iter().map(S::row).collect()).await;
        let (count, took) = (items.len(), started.elapsed());
        let duration_ms = took.as_millis() as u64;
        self.last_batch_ms.store(duration_ms, Ordering::Relaxed);
        self.metrics.writer_seconds.with_label_values(&[S::NAME]).observe(took.as_secs_f64());
        self.sink.observe(count, took);
        if written.is_ok() {
            // How long it takes to find out that there is no database is another matter.
            self.metrics.write_times.note(took);
        }
        self.failures.note(!written.as_ref().is_err_and(StoreError::is_outage));
        match written {
            Ok(outcomes) => {
                tracing::debug!(event = %format_args!("{}.stored", S::NAME), items = count, duration_ms);
                self.count("written", count);
                items.into_iter().zip(outcomes).for_each(|(item, outcome)| self.sink.answer(item, Ok(outcome)));
                true
            }
            Err(cause) if cause.is_outage() => {
                tracing::warn!(event = %format_args!("{}.store_unavailable", S::NAME), items = count, duration_ms, %cause);
                self.count("unavailable", count);
                items.into_iter().for_each(|item| self.sink.answer(item, Err(ServiceError::Unavailable)));
                false
            }
            Err(cause) => {
                tracing::error!(event = %format_args!("{}.batch_refused", S::NAME), items = count, %cause);
                self.commit_singly(items).await
            }
        }
    }

    async fn commit_singly(&self, items: Vec<S::Item>) -> bool {
        let mut available = true;
        for item in items {
            // Once the database is gone, waiting for it item by item helps nobody.
            if !available {
                self.count("unavailable", 1);
                self.sink.answer(item, Err(ServiceError::Unavailable));
                continue;
            }
            let written = self.write(vec![S::row(&item)]).await;
            let (label, outcome) = match written.map(|mut outcomes| outcomes.pop()) {
                Ok(Some(outcome)) => ("written", Ok(outcome)),
                Ok(None) => ("refused", Err(ServiceError::Internal)),
                Err(cause) if cause.is_outage() => {
                    available = false;
                    ("unavailable", Err(ServiceError::Unavailable))
                }
                Err(cause) => {
                    tracing::error!(event = %format_args!("{}.row_refused", S::NAME), %cause);
                    ("refused", Err(ServiceError::Internal))
                }
            };
            self.count(label, 1);
            self.sink.answer(item, outcome);
        }
        available
    }

    async fn write(&self, rows: Vec<S::Row>) -> Result<Vec<S::Outcome>, StoreError> {
        match timeout(self.limits.timeout, self.sink.write(rows)).await {
            Ok(written) => written,
            Err(_) => Err(StoreError::TimedOut(self.limits.timeout)),
        }
    }

    fn count(&self, outcome: &str, items: usize) {
        self.metrics.writer_items.with_label_values(&[S::NAME, outcome]).inc_by(items as u64);
    }
}
