//! Writer of alerts: records with their history, under the epochs of their shards.
//!
//! Nothing is lost when the queue is full or the database is away: whoever judged reads what is open and judges again.

use std::time::Duration;

use clock::Clock;
use domain::ServiceError;
use domain::alert::RecordChange;
use store::{AlertChange, ChangedAlert, Store, StoreError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::batch::{BatchLimits, BatchSink, BatchWriter};
use crate::metrics::Metrics;

const LIMITS: BatchLimits = BatchLimits {
    queues: 1,
    queue_max: 32_768,
    batch_max: 1_000,
    linger: Duration::ZERO,
    timeout: Duration::from_secs(10),
    failure_backoff: Duration::from_millis(500),
};

/// Callback with the outcome of a change; an error: it is not known whether it is stored.
pub(crate) type OnAlertRecorded = Box<dyn FnOnce(Result<ChangedAlert, ServiceError>) + Send>;

/// Callback that is called once, also if a batch is lost to a defect.
struct Answer(Option<OnAlertRecorded>);

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(on_recorded) = self.0.take() {
            on_recorded(Err(ServiceError::Unavailable));
        }
    }
}

struct RecordJob {
    change: AlertChange,
    answer: Answer,
}

struct Alerts {
    store: Store,
    clock: Clock,
    metrics: Metrics,
}

impl BatchSink for Alerts {
    type Item = RecordJob;
    type Row = AlertChange;
    type Outcome = ChangedAlert;

    const NAME: &'static str = "alert";

    fn row(job: &RecordJob) -> AlertChange {
        job.change.clone()
    }

    async fn write(&self, changes: Vec<AlertChange>) -> Result<Vec<ChangedAlert>, StoreError> {
        self.store.record_alerts(&changes).await
    }

    fn answer(&self, mut job: RecordJob, outcome: Result<ChangedAlert, ServiceError>) {
        if matches!(outcome, Ok(ChangedAlert::Changed)) {
            let AlertChange { key, change, at, .. } = &job.change;
            let kind = match change {
                RecordChange::Open { .. } => "raised",
                RecordChange::SetSeverity(_) => "severity_changed",
                RecordChange::Resolve(_) => "resolved",
            };
            self.metrics.alert_changes.with_label_values(&[key.rule.as_str(), kind]).inc();
            self.metrics.alert_record_seconds.observe((self.clock.now() - *at).as_seconds_f64().max(0.0));
        }
        if let Some(on_recorded) = job.answer.0.take() {
            on_recorded(outcome);
        }
    }
}

/// Writer of alerts.
#[derive(Clone)]
pub struct AlertWriter(BatchWriter<RecordJob>);

impl AlertWriter {
    /// Starts the writer on `tasks`; it ends after `closing`.
    pub(crate) fn start(tasks: &mut JoinSet<()>, store: Store, clock: Clock, closing: &CancellationToken, metrics: &Metrics) -> Self {
        let sink = Alerts { store, clock, metrics: metrics.clone() };
        Self(BatchWriter::start(tasks, sink, LIMITS, closing, metrics))
    }

    /// Queues a change; `on_recorded` is called with its outcome, at once if there is no room.
    pub(crate) fn submit(&self, change: AlertChange, on_recorded: OnAlertRecorded) {
        // One that is not queued answers when it is dropped.
        drop(self.0.submit(0, RecordJob { change, answer: Answer(Some(on_recorded)) }));
    }

    /// Records a change; returns after its commit.
    ///
    /// # Errors
    /// There is no room, or it is not known whether it is stored.
    pub(crate) async fn record(&self, change: AlertChange) -> Result<ChangedAlert, ServiceError> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.submit(change, Box::new(move |outcome| drop(reply.send(outcome))));
        answer.await.unwrap_or(Err(ServiceError::Unavailable))
    }
}
