//! Writer of command reports.

use std::time::Duration;

use domain::ServiceError;
use domain::command::{CommandState, Path};
use store::{CommandReport, CommandReportOutcome, Store, StoreError};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::batch::{BatchLimits, BatchSink, BatchWriter};
use crate::metrics::Metrics;

const LIMITS: BatchLimits = BatchLimits {
    queues: 2,
    queue_max: 16_384,
    batch_max: 500,
    linger: Duration::ZERO,
    timeout: Duration::from_secs(10),
    failure_backoff: Duration::ZERO,
};

struct Job {
    report: CommandReport,
    reply: Option<oneshot::Sender<Result<CommandReportOutcome, ServiceError>>>,
}

struct CommandReports {
    store: Store,
    metrics: Metrics,
}

impl BatchSink for CommandReports {
    type Item = Job;
    type Row = CommandReport;
    type Outcome = CommandReportOutcome;

    const NAME: &'static str = "command_report";

    fn row(job: &Job) -> CommandReport {
        job.report.clone()
    }

    async fn write(&self, reports: Vec<CommandReport>) -> Result<Vec<CommandReportOutcome>, StoreError> {
        self.store.report_commands(&reports).await
    }

    fn answer(&self, job: Job, outcome: Result<CommandReportOutcome, ServiceError>) {
        if let Ok(outcome) = &outcome {
            count(&self.metrics, outcome);
        }
        if let Some(reply) = job.reply {
            // A caller that is gone needs no answer.
            let _ = reply.send(outcome);
        }
    }
}

/// Writer of command reports.
#[derive(Clone)]
pub struct CommandWriter(BatchWriter<Job>);

impl CommandWriter {
    /// Starts the writer on `tasks`; it ends after `closing`.
    pub(crate) fn start(tasks: &mut JoinSet<()>, store: Store, closing: &CancellationToken, metrics: &Metrics) -> Self {
        let sink = CommandReports { store, metrics: metrics.clone() };
        Self(BatchWriter::start(tasks, sink, LIMITS, closing, metrics))
    }

    /// Queues a report that nobody waits for. If it is lost, the record says less than it could, and
    /// nothing that is wrong: what the device says, and the end of its time, are stored by others, too.
    pub fn note(&self, report: CommandReport) {
        if self.0.submit(report.id.0.as_u128(), Job { report, reply: None }).is_err() {
            tracing::warn!(event = "command_report.dropped", cause = "the queue is full or closed");
        }
    }

    /// Records a report; returns after its commit.
    ///
    /// # Errors
    /// There is no room, the report is refused, or the database is unavailable.
    pub async fn report(&self, report: CommandReport) -> Result<CommandReportOutcome, ServiceError> {
        let (reply, answer) = oneshot::channel();
        self.0
            .submit(report.id.0.as_u128(), Job { report, reply: Some(reply) })
            .map_err(|refused| refused.into_error("the queue of command reports").1)?;
        answer.await.unwrap_or(Err(ServiceError::Unavailable))
    }
}

fn count(metrics: &Metrics, answer: &CommandReportOutcome) {
    let CommandReportOutcome::Changed { action, created_at, before, after, .. } = answer else { return };
    let path = after.path.map_or("none", Path::as_str);
    let since = |at: Option<domain::Timestamp>| at.map_or(0.0, |at| (at - *created_at).as_seconds_f64().max(0.0));
    if after.attempts > before.attempts {
        metrics.command_attempts.with_label_values(&[action.as_str(), path]).inc();
    }
    if before.delivered_at.is_none() && after.delivered_at.is_some() {
        metrics.command_seconds.with_label_values(&["delivered"]).observe(since(after.delivered_at));
    }
    if before.state != after.state && !after.state.is_open() {
        metrics.commands_finished.with_label_values(&[action.as_str(), path, after.state.as_str()]).inc();
        if matches!(after.state, CommandState::Succeeded | CommandState::Failed) {
            metrics.command_seconds.with_label_values(&["finished"]).observe(since(after.finished_at));
        }
    }
}
