//! The coordinator of notifications: runs on every node, and decides on the one that owns its shard.
//!
//! ```text
//! state, changes of alerts --read--\
//!                                   decide --> one transaction: state, messages in the outbox, what each change has come to
//! silences, windows, routes -------/
//! ```
//! It keeps the state after its last decision, and reads it again whenever another one may have been stored.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use clock::Clock;
use domain::NotificationId;
use domain::notification::{CoordinatorState, Decision, NotificationSettings, NotificationSetup, Settled, Surroundings, decide};
use domain::shard::{Epoch, ShardLease};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use ractor_cluster::RactorMessage;
use store::{CoordinatorInput, DecisionWrite, Store, StoreError};
use tokio::time::Instant;

use super::alert_shard;
use super::setup::KnownSetup;
use crate::metrics::Metrics;
use crate::ownership::Ownership;

/// Least time between two decisions, however often the actor is woken.
const DECISION_GAP: Duration = Duration::from_millis(100);
/// Longest time between two decisions.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Delay after a failure, and of looking whether this node owns the shard.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Changes of alerts that one decision takes.
const EVENTS_MAX: i64 = 5_000;
/// Rules and subjects from which on a decision is made beside the tasks of the runtime, which it would keep waiting.
const LARGE: usize = 1_000;
/// A decision is followed by a pause of so many times its own duration: a storm leaves time to others.
const PAUSE_FACTOR: u32 = 2;

/// Message to the coordinator. Local to a node.
#[derive(RactorMessage)]
pub(crate) enum CoordinatorMsg {
    /// Something may have changed.
    Wake,
    /// This timer has expired.
    Due(u64),
}

/// Dependencies of the coordinator.
pub(crate) struct CoordinatorContext {
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) ownership: Arc<Ownership>,
    pub(crate) settings: NotificationSettings,
    pub(crate) metrics: Metrics,
}

/// The coordinator of notifications.
pub(crate) struct Coordinator;

pub(crate) struct DecidingState {
    context: Arc<CoordinatorContext>,
    /// State after the last decision of this node, its number, and the epoch in which it was stored.
    known: Option<(Epoch, i64, CoordinatorState)>,
    setup: KnownSetup,
    /// Begin and duration of the last decision.
    last: Option<(Instant, Duration)>,
    timer: u64,
}

impl Actor for Coordinator {
    type Msg = CoordinatorMsg;
    type State = DecidingState;
    type Arguments = Arc<CoordinatorContext>;

    async fn pre_start(&self, me: ActorRef<CoordinatorMsg>, context: Arc<CoordinatorContext>) -> Result<DecidingState, ActorProcessingErr> {
        let _ = me.cast(CoordinatorMsg::Wake);
        Ok(DecidingState { context, known: None, setup: KnownSetup::default(), last: None, timer: 0 })
    }

    async fn handle(
        &self,
        me: ActorRef<CoordinatorMsg>,
        message: CoordinatorMsg,
        state: &mut DecidingState,
    ) -> Result<(), ActorProcessingErr> {
        if matches!(message, CoordinatorMsg::Due(timer) if timer != state.timer) {
            return Ok(());
        }
        // However often it is woken, decisions keep their distance; the next one sees everything that woke it.
        let gap = |took: Duration| DECISION_GAP.max(took * PAUSE_FACTOR).min(POLL_INTERVAL);
        let early = state.last.map(|(at, took)| gap(took).saturating_sub(at.elapsed())).filter(|wait| !wait.is_zero());
        let wait = match early {
            Some(wait) => wait,
            None => {
                let began = Instant::now();
                let decided = state.decide().await;
                state.last = Some((began, began.elapsed()));
                decided.unwrap_or_else(|cause| {
                    // Whether it was stored is not known.
                    state.known = None;
                    tracing::warn!(event = "alert.decision_failed", %cause);
                    RETRY_DELAY
                })
            }
        };
        state.timer += 1;
        let timer = state.timer;
        me.send_after(wait, move || CoordinatorMsg::Due(timer));
        Ok(())
    }
}

impl DecidingState {
    /// Decides once, if this node owns the shard. Returns the time until the next decision.
    async fn decide(&mut self) -> Result<Duration, StoreError> {
        let context = Arc::clone(&self.context);
        let store = &context.store;
        let Some(epoch) = context.ownership.acting(alert_shard()) else {
            self.known = None;
            // These metrics are about the cluster: the node that coordinates sets them.
            context.metrics.alert_last_decision.set(0);
            context.metrics.alerts_open.reset();
            return Ok(RETRY_DELAY);
        };
        let now = context.clock.now();
        let input = self.input(epoch, now - TimeDelta::minutes(1)).await?;
        let setup = self.setup.at(input.setup_version, store, now).await?;
        let (input, decision) = decided(input, setup, context.settings, now).await?;
        let wait = decision.next_wakeup.map_or(POLL_INTERVAL, |at| (at - now).to_std().unwrap_or_default());
        let more = i64::try_from(input.events.len()).is_ok_and(|events| events >= EVENTS_MAX);
        let mut decisions = input.decisions;
        let nothing = input.events.is_empty() && decision.settled.is_empty() && decision.notifications.is_empty();
        if !nothing || decision.state != input.state {
            let lease = ShardLease { shard: alert_shard(), epoch };
            let ids: Vec<_> = decision.notifications.iter().map(|_| NotificationId(context.clock.new_id())).collect();
            if !store.apply_decision(&DecisionWrite { lease, input: &input, decision: &decision, ids: &ids, now }).await? {
                self.known = None;
                return Ok(RETRY_DELAY);
            }
            decisions += 1;
            for (_, settled) in &decision.settled {
                let outcome = match settled {
                    Settled::Notified(_) => "notified",
                    Settled::Suppressed(cause) => cause.as_str(),
                    Settled::Noted => continue,
                };
                context.metrics.alert_changes_settled.with_label_values(&[outcome]).inc();
            }
            for notification in &decision.notifications {
                context.metrics.notifications_decided.with_label_values(&[notification.kind.as_str()]).inc();
                tracing::info!(event = "alert.notified", kind = notification.kind.as_str(), alerts = notification.alerts.len());
            }
        }
        context.metrics.alert_last_decision.set(now.timestamp());
        self.known = Some((epoch, decisions, decision.state));
        Ok(if more { DECISION_GAP } else { wait.clamp(DECISION_GAP, POLL_INTERVAL) })
    }

    /// What the next decision is made from.
    async fn input(&mut self, epoch: Epoch, minute: domain::Timestamp) -> Result<CoordinatorInput, StoreError> {
        let store = &self.context.store;
        if let Some((_, decisions, state)) = self.known.take().filter(|(known_in, ..)| *known_in == epoch)
            && let Some(news) = store.coordinator_news(decisions, EVENTS_MAX).await?
        {
            return Ok(CoordinatorInput { decisions, setup_version: news.setup_version, state, events: news.events });
        }
        store.coordinator_input(minute, EVENTS_MAX).await
    }
}

/// The decision, and what it was made from.
async fn decided(
    input: CoordinatorInput,
    setup: Arc<NotificationSetup>,
    settings: NotificationSettings,
    now: domain::Timestamp,
) -> Result<(CoordinatorInput, Decision), StoreError> {
    let large = input.state.tracked.len() + input.events.len() >= LARGE;
    let make = move || {
        let decision = decide(&input.state, &Surroundings { settings: &settings, setup: &setup }, &input.events, now);
        (input, decision)
    };
    if large {
        return tokio::task::spawn_blocking(make).await.map_err(|_| StoreError::Corrupt("decision of the coordinator"));
    }
    Ok(make())
}
