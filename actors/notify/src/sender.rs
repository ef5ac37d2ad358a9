//! Empties the outbox: each channel by itself, so that one that hangs or is down delays no other.

use std::collections::HashMap;
use std::time::Duration;

use chrono::TimeDelta;
use delivery::{Admission, AdmissionControl};
use domain::notification::render::Rendering;
use domain::notification::{AttemptOutcome, ChannelKind, DeliveryStep, Message, NotificationKind, next_step};
use domain::{ChannelId, NotificationId, Timestamp};
use store::{AttemptRecord, ClaimedDelivery, Store, StoreError};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::attempt::Attempt;
use crate::channel::Outgoing;
use crate::notifier::Notifier;

/// Most messages that are claimed at once.
const CLAIM_MAX: i64 = 100;
/// Time beyond that of an attempt for which a claim holds: the note of its outcome is written within it.
const NOTE_WITHIN: Duration = Duration::from_secs(30);
/// Wait before the note of an outcome is tried again.
const NOTE_AGAIN: Duration = Duration::from_millis(500);
/// Time for attempts that are under way when the node stops.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// Wait after the database failed.
const STORE_AGAIN: Duration = Duration::from_secs(1);
/// How often the outbox is counted for metrics.
const COUNT_INTERVAL: Duration = Duration::from_secs(15);
/// How often messages that have become too old are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(5);
/// Messages of a channel that are given up at once.
const EXPIRED_MAX: i64 = 1_000;
/// Counted up to so many.
const COUNT_MAX: i64 = 100_000;
/// Most channels that are checked for changes.
const CHANNELS_MAX: i64 = domain::notification::CHANNELS_MAX as i64;

/// A channel as this node sees it.
struct ChannelState {
    admission: AdmissionControl,
    under_way: usize,
    /// When the channel had been changed last, as of the last attempt.
    changed_at: Option<Timestamp>,
}

/// Attempt that ended, for the state of its channel.
struct Ended {
    sent_at_ms: u64,
    /// `None`: nothing was sent.
    attempt: Option<Attempt>,
    changed_at: Option<Timestamp>,
}

/// Starts emptying the outbox on `tasks`, if this node does, until `closing`. What is under way then is given a little time.
pub fn start(notifier: &Notifier, tasks: &mut JoinSet<()>, store: Store, closing: CancellationToken) {
    if notifier.settings().sends {
        tasks.spawn(Sender::new(notifier.clone(), store).run(closing));
    }
}

/// Sender of a node.
struct Sender {
    notifier: Notifier,
    store: Store,
    states: HashMap<ChannelId, ChannelState>,
    under_way: JoinSet<Ended>,
    channels: HashMap<Id, ChannelId>,
    started: Instant,
    counted_at: Option<Instant>,
    expired_at: Option<Instant>,
}

impl Sender {
    fn new(notifier: Notifier, store: Store) -> Self {
        let (states, channels) = (HashMap::new(), HashMap::new());
        Self { notifier, store, states, under_way: JoinSet::new(), channels, started: Instant::now(), counted_at: None, expired_at: None }
    }

    /// Sends until `closing`.
    async fn run(mut self, closing: CancellationToken) {
        loop {
            while let Some(ended) = self.under_way.try_join_next_with_id() {
                self.ended(ended);
            }
            let claimed = tokio::select! {
                claimed = self.claim() => claimed,
                () = closing.cancelled() => break,
            };
            let wait = match claimed {
                Ok(0) => {
                    self.give_up_old().await;
                    self.count().await;
                    self.notifier.settings().poll_interval
                }
                Ok(_) => {
                    // A busy outbox has old messages as well.
                    self.give_up_old().await;
                    continue;
                }
                Err(cause) => {
                    tracing::warn!(event = "notification.outbox_unavailable", %cause);
                    STORE_AGAIN
                }
            };
            tokio::select! {
                () = closing.cancelled() => break,
                Some(ended) = self.under_way.join_next_with_id() => self.ended(ended),
                () = self.notifier.woken(wait) => self.forget_changed().await,
            }
        }
        // A message that is sent and not noted is sent again.
        let rest = async { while self.under_way.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(STOP_WITHIN, rest).await;
    }

    /// Claims a message of each channel that may send one now, and starts to send them. Answers how many.
    async fn claim(&mut self) -> Result<usize, StoreError> {
        let now_ns = self.now_ns();
        let ready = |state: &mut ChannelState| state.admission.admit(state.under_way, now_ns) == Admission::Go;
        let except: Vec<_> = self.states.iter_mut().filter_map(|(id, state)| (!ready(state)).then_some(*id)).collect();
        let claim_for = TimeDelta::from_std(self.notifier.settings().timeout * 2 + NOTE_WITHIN).unwrap_or(TimeDelta::MAX);
        let claimed = self.store.claim_deliveries(1, CLAIM_MAX, &except, claim_for, self.notifier.clock().now()).await?;
        let count = claimed.len();
        for delivery in claimed {
            let (channel, concurrency) = (delivery.channel, self.notifier.settings().per_channel);
            let state = self.states.entry(channel).or_insert_with(|| ChannelState {
                admission: AdmissionControl::new(None, concurrency),
                under_way: 0,
                changed_at: None,
            });
            state.under_way += 1;
            let sent_at_ms = self.now_ms();
            let task = self.under_way.spawn(deliver(self.notifier.clone(), self.store.clone(), delivery, sent_at_ms));
            self.channels.insert(task.id(), channel);
        }
        Ok(count)
    }

    /// Notes in the state of its channel how an attempt ended. One that panicked is tried again once its claim is over.
    fn ended(&mut self, ended: Result<(Id, Ended), tokio::task::JoinError>) {
        let id = ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, _)| *id);
        let (now_ms, draw) = (self.now_ms(), self.notifier.clock().randomness().fraction());
        let Some((channel, state)) = self.channels.remove(&id).and_then(|channel| Some((channel, self.states.get_mut(&channel)?))) else {
            return;
        };
        state.under_way = state.under_way.saturating_sub(1);
        let Ok((_, Ended { sent_at_ms, attempt: Some(attempt), changed_at })) = ended else { return };
        state.changed_at = changed_at;
        if let Some(pause) = attempt.pause {
            state.admission.pause(pause, now_ms);
        }
        match (attempt.outcome, attempt.error) {
            (AttemptOutcome::Later { retry_after }, Some(error)) => {
                let (_, blocked) = state.admission.failed(error, retry_after, sent_at_ms, now_ms, draw);
                if let Some(pause) = blocked {
                    let pause_ms = pause.as_millis();
                    tracing::warn!(event = "notification.channel_paused", %channel, pause_ms, reason = error.name(), answer = attempt.answer);
                }
            }
            _ => state.admission.succeeded(sent_at_ms),
        }
    }

    /// Forgets what is known of channels that were changed or deleted: their next message shows how they are.
    async fn forget_changed(&mut self) {
        let now_ms = self.now_ms();
        if self.states.values().any(|state| state.admission.blocked_for(now_ms).is_some())
            && let Ok(channels) = self.store.alert_channels(CHANNELS_MAX).await
        {
            let changed: HashMap<_, _> = channels.into_iter().map(|channel| (channel.id, channel.changed_at)).collect();
            // One that has something under way stays, to be counted down.
            self.states
                .retain(|id, state| state.under_way > 0 || state.changed_at.is_none() || changed.get(id).copied() == state.changed_at);
        }
    }

    /// Gives up what has become too old, now and then, and says so to channels that are on.
    async fn give_up_old(&mut self) {
        if self.expired_at.is_some_and(|at| at.elapsed() < EXPIRY_INTERVAL) {
            return;
        }
        let now = self.notifier.clock().now();
        let expired = async {
            let expired = self.store.expire_deliveries(EXPIRED_MAX, now).await?;
            for missed in self.store.missed_messages(CHANNELS_MAX).await? {
                self.store.queue_missed(&missed, NotificationId(self.notifier.clock().new_id()), now).await?;
            }
            Ok::<_, StoreError>(expired)
        };
        match expired.await {
            Ok(expired) => {
                self.expired_at = Some(Instant::now());
                if expired > 0 {
                    tracing::warn!(event = "notification.expired", messages = expired);
                }
            }
            Err(cause) => tracing::warn!(event = "notification.outbox_unavailable", %cause),
        }
    }

    /// Counts the outbox for metrics, now and then.
    async fn count(&mut self) {
        if self.counted_at.is_none_or(|at| at.elapsed() >= COUNT_INTERVAL)
            && let Ok(counts) = self.store.outbox_counts(COUNT_MAX).await
        {
            self.counted_at = Some(Instant::now());
            let waits = counts.oldest_queued_at.map_or(0, |at| (self.notifier.clock().now() - at).num_seconds().max(0));
            self.notifier.metrics().queued.set(counts.queued);
            self.notifier.metrics().oldest_queued.set(waits);
            self.notifier.metrics().dead.set(counts.dead);
        }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn now_ms(&self) -> u64 {
        self.now_ns() / 1_000_000
    }
}

/// Sends a claimed message, and notes what came of it.
async fn deliver(notifier: Notifier, store: Store, delivery: ClaimedDelivery, sent_at_ms: u64) -> Ended {
    let nothing = Ended { sent_at_ms, attempt: None, changed_at: None };
    // Without the database, or without the channel, nothing is sent; the message is due again after its claim, or gone with its channel.
    let Ok(Some(row)) = store.alert_channel(delivery.channel).await else { return nothing };
    let settings = notifier.settings();
    if row.channel.kind == ChannelKind::Email {
        // A conversation about mail may take longer than a claim.
        let claim_for = TimeDelta::from_std(settings.mail_timeout + NOTE_WITHIN).unwrap_or(TimeDelta::MAX);
        let until = notifier.clock().now() + claim_for;
        if !store.hold_delivery(delivery.notification, delivery.channel, delivery.attempt, until).await.unwrap_or(false) {
            return nothing;
        }
    }
    let rendering = Rendering { id: delivery.notification, message: &delivery.message, public_url: &settings.public_url };
    let outgoing = Outgoing { rendering, queued_at: delivery.queued_at, number: delivery.attempt };
    let attempt = notifier.send(&row, outgoing).await;
    let now = notifier.clock().now();
    let step = next_step(attempt.outcome, delivery.attempt, delivery.queued_at, now, notifier.clock().randomness().fraction());
    let kind = row.channel.kind.as_str();
    let ClaimedDelivery { notification, channel, attempt: number, .. } = delivery;
    match step {
        DeliveryStep::Done => {
            tracing::info!(event = "notification.delivered", %notification, %channel, kind, attempts = number);
            if let Some(since) = changed_at(&delivery.message) {
                notifier.metrics().condition_to_delivery.observe((now - since).as_seconds_f64().max(0.0));
            }
        }
        DeliveryStep::RetryAt(at) => {
            tracing::info!(event = "notification.not_delivered", %notification, %channel, kind, attempts = number, next = %at, answer = attempt.answer);
        }
        DeliveryStep::DeadLetter | DeliveryStep::Expired => {
            notifier.metrics().dead_letters.with_label_values(&[kind]).inc();
            tracing::warn!(event = "notification.given_up", %notification, %channel, kind, attempts = number, answer = attempt.answer);
        }
    }
    let record = AttemptRecord { notification, channel, attempt: number, step, answer: attempt.answer.clone(), at: now };
    let began = Instant::now();
    while let Err(cause) = store.record_attempt(&record).await {
        if began.elapsed() >= NOTE_WITHIN {
            tracing::warn!(event = "notification.not_noted", %notification, %channel, %cause);
            break;
        }
        sleep(NOTE_AGAIN).await;
    }
    Ended { sent_at_ms, attempt: Some(attempt), changed_at: Some(row.channel.changed_at) }
}

/// When the first of a message's alerts changed as it says.
fn changed_at(message: &Message) -> Option<Timestamp> {
    let alerts = message.alerts.iter();
    match message.kind {
        NotificationKind::Raised => alerts.map(|alert| alert.opened_at).min(),
        NotificationKind::Resolved => alerts.filter_map(|alert| alert.resolved_at).min(),
        _ => None,
    }
}
