//! Writer of command reports: a bounded queue in front of one batched transaction.

use std::sync::Arc;
use std::time::Duration;

use domain::command::{CommandState, Path};
use domain::{CommandId, ServiceError};
use store::{CommandReport, CommandReportOutcome, Store, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::metrics::Metrics;

/// Reports that wait.
const QUEUE_MAX: usize = 16_384;
/// Reports of one transaction.
const BATCH_MAX: usize = 500;
/// Each with a queue of its own.
const WRITERS: usize = 2;
/// How long a transaction may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

struct Job {
    report: CommandReport,
    reply: Option<oneshot::Sender<Result<CommandReportOutcome, ServiceError>>>,
}

/// The queue.
#[derive(Clone)]
pub struct CommandWriter(Arc<[mpsc::Sender<Job>]>);

impl CommandWriter {
    /// Starts the writers on `tasks`.
    pub(crate) fn start(tasks: &mut JoinSet<()>, store: Store, metrics: &Metrics) -> Self {
        let queues = (0..WRITERS).map(|_| {
            let (sender, queue) = mpsc::channel(QUEUE_MAX);
            tasks.spawn(write(store.clone(), queue, metrics.clone()));
            sender
        });
        Self(queues.collect())
    }

    /// Always the same for one command: what happens to it stays in its order.
    fn queue(&self, id: CommandId) -> &mpsc::Sender<Job> {
        &self.0[(id.0.as_u128() % self.0.len() as u128) as usize]
    }

    /// Notes something that nobody waits for. If it is lost, the record says less than it could, and
    /// nothing that is wrong: what the device says, and the end of its time, are stored by others, too.
    pub fn note(&self, report: CommandReport) {
        if self.queue(report.id).try_send(Job { report, reply: None }).is_err() {
            tracing::warn!(event = "command.report_dropped", cause = "the queue is full");
        }
    }

    /// Records a report; returns after its commit.
    ///
    /// # Errors
    /// There is no room, or the database is unavailable.
    pub async fn report(&self, report: CommandReport) -> Result<CommandReportOutcome, ServiceError> {
        let (reply, answer) = oneshot::channel();
        self.queue(report.id)
            .try_send(Job { report, reply: Some(reply) })
            .map_err(|_| ServiceError::Overloaded("the queue of command reports"))?;
        answer.await.unwrap_or(Err(ServiceError::Unavailable))
    }
}

async fn write(store: Store, mut queue: mpsc::Receiver<Job>, metrics: Metrics) {
    let mut jobs = Vec::with_capacity(BATCH_MAX);
    loop {
        if queue.recv_many(&mut jobs, BATCH_MAX).await == 0 {
            return;
        }
        let reports: Vec<_> = jobs.iter().map(|job| job.report.clone()).collect();
        let written = match tokio::time::timeout(WRITE_TIMEOUT, store.report_commands(&reports)).await {
            Ok(written) => written,
            Err(_) => Err(StoreError::TimedOut(WRITE_TIMEOUT)),
        };
        match written {
            Ok(answers) => {
                for (Job { reply, .. }, answer) in jobs.drain(..).zip(answers) {
                    count(&metrics, &answer);
                    if let Some(reply) = reply {
                        let _ = reply.send(Ok(answer));
                    }
                }
            }
            Err(cause) => {
                tracing::warn!(event = "command.reports_not_written", reports = jobs.len(), %cause);
                for reply in jobs.drain(..).filter_map(|job| job.reply) {
                    let _ = reply.send(Err(ServiceError::Unavailable));
                }
            }
        }
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
