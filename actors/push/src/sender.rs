//! Sends queued messages: within the rate limit, not while the circuit breaker is open.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clock::Clock;
use delivery::{AdmissionControl, Turn, dispatch};
use domain::DeviceId;
use domain::push::{Misconfiguration, RecentSends, TransientError, Verdict, ttl_left_s};
use moka::sync::Cache;
use prometheus::{IntCounterVec, IntGauge};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::fcm::{FcmClient, SendResult};
use super::health::Health;
use super::settings::FcmSettings;
use super::{PushMessage, PushOutcome, PushStatus, QUEUE_FULL_WAIT};
use crate::metrics::Metrics;

/// Devices whose recent messages are counted; of more than that within a minute some may get more than their limit.
const DEVICES_MAX: u64 = 100_000;
/// How long the count of a device is kept after its last message.
const DEVICE_IDLE: Duration = Duration::from_secs(60);

/// Reports the outcome of a message exactly once, also when the message is dropped at the end of the node or by a defect.
pub(super) struct Completion {
    done: Option<Box<dyn FnOnce(PushOutcome) + Send>>,
    outcomes: IntCounterVec,
}

impl Completion {
    pub(super) fn new(done: impl FnOnce(PushOutcome) + Send + 'static, outcomes: &IntCounterVec) -> Self {
        Self { done: Some(Box::new(done)), outcomes: outcomes.clone() }
    }

    /// Reports the outcome; `name` is its name in metrics.
    pub(super) fn finish(mut self, name: &'static str, outcome: PushOutcome) {
        self.tell(name, outcome);
    }

    fn tell(&mut self, name: &'static str, outcome: PushOutcome) {
        if let Some(done) = self.done.take() {
            self.outcomes.with_label_values(&[name]).inc();
            done(outcome);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.tell("unfinished", PushOutcome::RetryAfter(QUEUE_FULL_WAIT));
    }
}

/// Counts a message as queued until it is dropped.
struct QueuedGuard(IntGauge);

impl Drop for QueuedGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Queued message.
pub(super) struct Job {
    message: PushMessage,
    done: Completion,
    since: Instant,
    waiting: QueuedGuard,
}

impl Job {
    pub(super) fn new(message: PushMessage, done: Completion, shared: &Shared) -> Self {
        let waiting = shared.metrics.fcm_queued.clone();
        waiting.inc();
        Self { message, done, since: Instant::now(), waiting: QueuedGuard(waiting) }
    }
}

/// State that submitting and sending share.
pub(super) struct Shared {
    clock: Clock,
    metrics: Metrics,
    per_device_per_minute: u32,
    recent: Cache<DeviceId, Arc<Mutex<RecentSends>>>,
    started: Instant,
    state: Mutex<State>,
}

struct State {
    admission: AdmissionControl,
    health: Health,
}

impl Shared {
    pub(super) fn new(settings: &FcmSettings, clock: Clock, metrics: Metrics) -> Self {
        metrics.fcm_misconfigured.set(0);
        Self {
            clock,
            metrics,
            per_device_per_minute: settings.per_device_per_minute,
            recent: Cache::builder().max_capacity(DEVICES_MAX).time_to_idle(DEVICE_IDLE).build(),
            started: Instant::now(),
            state: Mutex::new(State {
                admission: AdmissionControl::new(Some(settings.rate), settings.concurrency),
                health: Health::default(),
            }),
        }
    }

    /// The counter of outcomes.
    pub(super) fn outcomes(&self) -> &IntCounterVec {
        &self.metrics.fcm_messages
    }

    /// Counts a message to this device, or returns how long it has to wait.
    pub(super) fn admit(&self, device: DeviceId) -> Result<(), Duration> {
        let recent = self.recent.get_with(device, Arc::default);
        let mut recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.admit(self.per_device_per_minute, self.now_ms()).map_err(Duration::from_millis)
    }

    pub(super) fn status(&self) -> PushStatus {
        let (state, now_ms) = (self.state(), self.now_ms());
        PushStatus {
            on: true,
            misconfigured: state.health.wrong().map(Misconfiguration::name),
            quota_used_up: state.health.is_quota_used_up(now_ms),
            paused_for: state.admission.blocked_for(now_ms),
            queued: usize::try_from(self.metrics.fcm_queued.get()).unwrap_or(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn now_ms(&self) -> u64 {
        self.now_ns() / 1_000_000
    }

    /// Applies an answer to the breaker. Returns its name in metrics and the outcome of the message.
    fn note(&self, SendResult { verdict, retry_after }: SendResult, sent_at_ms: u64) -> (&'static str, PushOutcome) {
        let now_ms = self.now_ms();
        let mut state = self.state();
        match verdict {
            Verdict::Accepted => {
                state.admission.succeeded(sent_at_ms);
                state.health.recover();
                self.metrics.fcm_misconfigured.set(0);
                ("accepted", PushOutcome::Accepted)
            }
            Verdict::TokenGone => {
                state.admission.succeeded(sent_at_ms);
                ("token_gone", PushOutcome::TokenGone)
            }
            Verdict::Refused(why) => (why, PushOutcome::Refused(why)),
            Verdict::Retry(error_kind) => {
                let (wait, blocked) =
                    state.admission.failed(error_kind, retry_after, sent_at_ms, now_ms, self.clock.randomness().fraction());
                if error_kind == TransientError::Quota {
                    state.health.quota_used_up(wait, now_ms);
                }
                if let Some(pause) = blocked {
                    tracing::warn!(event = "fcm.paused", reason = error_kind.name(), pause_ms = pause.as_millis());
                }
                (error_kind.name(), PushOutcome::RetryAfter(wait))
            }
            Verdict::Unauthorized => self.misconfigured(&mut state, Misconfiguration::Unauthenticated, now_ms),
            Verdict::Misconfigured(reason) => self.misconfigured(&mut state, reason, now_ms),
        }
    }

    fn misconfigured(&self, state: &mut State, reason: Misconfiguration, now_ms: u64) -> (&'static str, PushOutcome) {
        self.metrics.fcm_misconfigured.set(1);
        if state.health.note(reason, now_ms) {
            tracing::error!(event = "fcm.misconfigured", reason = reason.name(), remedy = reason.remedy());
        }
        (reason.name(), PushOutcome::Refused(reason.name()))
    }
}

/// Sends the queued messages until the queue is closed. Messages under way finish before this ends.
pub(super) async fn run(client: FcmClient, shared: Arc<Shared>, queue: mpsc::Receiver<Job>) {
    let client = Arc::new(client);
    let turn = |under_way| {
        let now_ns = shared.now_ns();
        let mut state = shared.state();
        match state.health.blocked(now_ns / 1_000_000) {
            Some(reason) => Turn::Refused(reason),
            None => Turn::Admission(state.admission.admit(under_way, now_ns)),
        }
    };
    let refuse = |job: Job, reason: Misconfiguration| job.done.finish(reason.name(), PushOutcome::Refused(reason.name()));
    dispatch(queue, turn, |job| send(Arc::clone(&client), Arc::clone(&shared), job), refuse).await;
}

async fn send(client: Arc<FcmClient>, shared: Arc<Shared>, Job { message, done, since, waiting }: Job) {
    drop(waiting);
    let Some(ttl_s) = ttl_left_s(message.ttl_s, since.elapsed()) else {
        return done.finish("expired", PushOutcome::Refused("expired"));
    };
    let (sent_at_ms, began) = (shared.now_ms(), Instant::now());
    let sent = client.send(&message, ttl_s).await;
    shared.metrics.fcm_seconds.observe(began.elapsed().as_secs_f64());
    let (name, outcome) = shared.note(sent, sent_at_ms);
    done.finish(name, outcome);
}
