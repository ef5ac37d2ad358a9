//! Writer of task reports.

use domain::ServiceError;
use domain::deployment::{ErrorCode, TaskReport, TaskState};
use std::time::Duration;
use store::{Store, StoreError, TaskReportOutcome};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::writers::batch::{BatchLimits, BatchSink, BatchWriter};

const LIMITS: BatchLimits = BatchLimits {
    queues: 1,
    queue_max: 16_384,
    batch_max: 500,
    linger: Duration::ZERO,
    timeout: Duration::from_secs(10),
    failure_backoff: Duration::ZERO,
};

struct Job {
    report: TaskReport,
    reply: oneshot::Sender<Result<TaskReportOutcome, ServiceError>>,
}

struct Sink {
    store: Store,
    metrics: Metrics,
}

impl BatchSink for Sink {
    type Item = Job;
    type Row = TaskReport;
    type Outcome = TaskReportOutcome;

    const NAME: &'static str = "task_report";

    fn row(job: &Job) -> TaskReport {
        job.report.clone()
    }

    async fn write(&self, reports: Vec<TaskReport>) -> Result<Vec<TaskReportOutcome>, StoreError> {
        self.store.record_task_reports(&reports).await
    }

    fn answer(&self, job: Job, outcome: Result<TaskReportOutcome, ServiceError>) {
        if let Ok(outcome) = &outcome {
            count(&self.metrics, outcome);
        }
        // A caller that is gone needs no answer.
        let _ = job.reply.send(outcome);
    }
}

/// Writer of task reports.
#[derive(Clone)]
pub struct TaskReports(BatchWriter<Job>);

impl TaskReports {
    /// Starts the writer on `tasks`; it ends after `closing`.
    pub(crate) fn start(tasks: &mut JoinSet<()>, store: Store, closing: &CancellationToken, metrics: &Metrics) -> Self {
        Self(BatchWriter::start(tasks, Sink { store, metrics: metrics.clone() }, LIMITS, closing, metrics))
    }

    /// Records a report; returns after its commit.
    ///
    /// # Errors
    /// The queue is full, the report is refused, or the database is unavailable.
    pub async fn record(&self, report: TaskReport) -> Result<TaskReportOutcome, ServiceError> {
        let (reply, answer) = oneshot::channel();
        self.0.submit(0, Job { report, reply }).map_err(|refused| refused.into_error("the queue of deployment reports").1)?;
        answer.await.unwrap_or(Err(ServiceError::Unavailable))
    }
}

fn count(metrics: &Metrics, answer: &TaskReportOutcome) {
    let TaskReportOutcome::Changed { state, error, took_ms: Some(took_ms) } = answer else { return };
    let installed = matches!(state, TaskState::Confirming | TaskState::Succeeded);
    // The attempt has succeeded, whatever a heartbeat says of the task.
    let outcome = if installed { TaskState::Succeeded } else { *state };
    let error = error.map_or("", ErrorCode::as_str);
    metrics.deployment_attempts_finished.with_label_values(&[outcome.as_str(), error]).inc();
    if installed {
        metrics.deployment_install_seconds.observe(*took_ms as f64 / 1000.0);
    }
    if state.is_finished() {
        metrics.deployment_tasks_finished.with_label_values(&[state.as_str(), error]).inc();
    }
}
