//! Takes what devices say of their deployments: a bounded queue in front of one batched transaction.

use std::time::Duration;
use store::{DeploymentWord, Store, StoreError, WordTaken};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::ServiceError;
use crate::metrics::Metrics;

/// Words that wait.
const QUEUE_MAX: usize = 16_384;
/// Words of one transaction.
const BATCH_MAX: usize = 500;
/// How long a transaction may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

struct Job {
    word: DeploymentWord,
    reply: oneshot::Sender<Result<WordTaken, ServiceError>>,
}

/// The queue.
#[derive(Clone)]
pub(crate) struct DeploymentWords(mpsc::Sender<Job>);

impl DeploymentWords {
    /// Starts the writer on `tasks`.
    pub(crate) fn start(tasks: &mut JoinSet<()>, store: Store, metrics: Metrics) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        tasks.spawn(write(store, queue, metrics));
        Self(sender)
    }

    /// Puts a word on record; answers after its commit.
    ///
    /// # Errors
    /// There is no room, or the database is unavailable.
    pub(crate) async fn take(&self, word: DeploymentWord) -> Result<WordTaken, ServiceError> {
        let (reply, answer) = oneshot::channel();
        self.0.try_send(Job { word, reply }).map_err(|_| ServiceError::Overloaded("the queue of deployment reports"))?;
        answer.await.unwrap_or(Err(ServiceError::Unavailable))
    }
}

async fn write(store: Store, mut queue: mpsc::Receiver<Job>, metrics: Metrics) {
    let mut jobs = Vec::with_capacity(BATCH_MAX);
    while queue.recv_many(&mut jobs, BATCH_MAX).await > 0 {
        let words: Vec<_> = jobs.iter().map(|job| job.word.clone()).collect();
        let written = match tokio::time::timeout(WRITE_TIMEOUT, store.take_deployment_words(&words)).await {
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

fn count(metrics: &Metrics, answer: &WordTaken) {
    if let WordTaken::Changed { state, error, took_ms: Some(took_ms) } = answer {
        let error = error.map_or("", domain::deployment::ErrorCode::as_str);
        metrics.deployment_attempts_finished.with_label_values(&[state.as_str(), error]).inc();
        metrics.deployment_install_seconds.observe(*took_ms as f64 / 1000.0);
    }
}
