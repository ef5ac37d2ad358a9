//! Queue of task reports: bounded, and written in batches of one transaction each.

use domain::ServiceError;
use domain::deployment::TaskReport;
use std::time::Duration;
use store::{Store, StoreError, TaskReportOutcome};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::metrics::Metrics;

/// Capacity of the queue.
const QUEUE_MAX: usize = 16_384;
/// Most reports of one transaction.
const BATCH_MAX: usize = 500;
/// Timeout of a transaction.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

struct Job {
    report: TaskReport,
    reply: oneshot::Sender<Result<TaskReportOutcome, ServiceError>>,
}

/// Queue of task reports.
#[derive(Clone)]
pub struct TaskReports(mpsc::Sender<Job>);

impl TaskReports {
    /// Starts the writer on `tasks`.
    pub(crate) fn start(tasks: &mut JoinSet<()>, store: Store, metrics: Metrics) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        tasks.spawn(write(store, queue, metrics));
        Self(sender)
    }

    /// Records a report; returns after its commit.
    ///
    /// # Errors
    /// The queue is full, or the database is unavailable.
    pub async fn record(&self, report: TaskReport) -> Result<TaskReportOutcome, ServiceError> {
        let (reply, answer) = oneshot::channel();
        self.0.try_send(Job { report, reply }).map_err(|_| ServiceError::Overloaded("the queue of deployment reports"))?;
        answer.await.unwrap_or(Err(ServiceError::Unavailable))
    }
}

async fn write(store: Store, mut queue: mpsc::Receiver<Job>, metrics: Metrics) {
    let mut jobs = Vec::with_capacity(BATCH_MAX);
    while queue.recv_many(&mut jobs, BATCH_MAX).await > 0 {
        let reports: Vec<_> = jobs.iter().map(|job| job.report.clone()).collect();
        let written = match tokio::time::timeout(WRITE_TIMEOUT, store.record_task_reports(&reports)).await {
            Ok(written) => written,
            Err(_) => Err(StoreError::TimedOut(WRITE_TIMEOUT)),
        };
        match written {
            Ok(answers) => {
                for (Job { reply, .. }, answer) in jobs.drain(..).zip(answers) {
                    count(&metrics, &answer);
                    let _ = reply.send(Ok(answer));
                }
            }
            Err(cause) => {
                tracing::warn!(event = "deployment.words_not_written", words = jobs.len(), %cause);
                jobs.drain(..).for_each(|job| drop(job.reply.send(Err(ServiceError::Unavailable))));
            }
        }
    }
}

fn count(metrics: &Metrics, answer: &TaskReportOutcome) {
    if let TaskReportOutcome::Changed { state, error, took_ms: Some(took_ms) } = answer {
        let error = error.map_or("", domain::deployment::ErrorCode::as_str);
        metrics.deployment_attempts_finished.with_label_values(&[state.as_str(), error]).inc();
        metrics.deployment_install_seconds.observe(*took_ms as f64 / 1000.0);
    }
}
