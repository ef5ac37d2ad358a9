//! Subscriptions to events: what the audit trail records, and what happens to devices, is put into the outbox of the channels that have subscribed to it.

use std::collections::HashMap;
use std::time::Duration;

use clock::Clock;
use domain::notification::{DEVICE_EVENT_PREFIX, DEVICE_EVENTS_PER_MINUTE, GIVE_UP_AFTER, SUBSCRIPTIONS_MAX};
use domain::shard::shard_of_name;
use domain::{NotificationId, ServiceError, SubscriptionId, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::{EventTaker, Store, Subscribed};

use crate::reconcile::{Reconcile, Reconciler, Run};

/// Name of the reconciler; it is placed by it, too.
const NAME: &str = "event_subscriptions";
/// How often the trail is looked at.
const INTERVAL: Duration = Duration::from_secs(3);
/// Events of one transaction.
const BATCH: i64 = 100;
/// Messages that may wait for a channel before it gets no further events: they are in the trail until then.
const WAITING_MAX: i64 = 500;
/// Events of devices of one transaction.
const DEVICE_BATCH: i64 = 1_000;
/// Batches of a subscription in one run.
const BATCHES_MAX: usize = 5;

/// The reconciler of subscriptions.
pub(crate) fn reconciler(store: &Store, clock: &Clock) -> Reconciler {
    // Each step names the one that it follows, so that no event is queued twice, whoever else runs.
    Reconciler::per_cluster(
        NAME,
        shard_of_name(NAME),
        INTERVAL,
        Subscriptions { store: store.clone(), clock: clock.clone(), rates: Rates::default() },
    )
}

struct Subscriptions {
    store: Store,
    clock: Clock,
    rates: Rates,
}

/// Events of devices that each subscription may still get: so many a minute, the whole of it at once.
#[derive(Default)]
struct Rates(HashMap<SubscriptionId, (Timestamp, f64)>);

impl Rates {
    /// How many a subscription may get now.
    fn left(&mut self, id: SubscriptionId, now: Timestamp) -> usize {
        let most = f64::from(DEVICE_EVENTS_PER_MINUTE);
        let (at, left) = self.0.entry(id).or_insert((now, most));
        let passed = (now - *at).as_seconds_f64().max(0.0);
        (*at, *left) = (now, (*left + passed * most / 60.0).min(most));
        *left as usize
    }

    fn took(&mut self, id: SubscriptionId, events: usize) {
        if let Some((_, left)) = self.0.get_mut(&id) {
            *left -= events as f64;
        }
    }
}

impl Subscriptions {
    /// Puts what happened to devices into the outbox. What a channel does not take now is counted as missed: it stands on the device's page.
    async fn device_events(&mut self, run: &Run) -> Result<u64, ServiceError> {
        let limit = SUBSCRIPTIONS_MAX as i64;
        let all = self.store.event_subscriptions(false, WAITING_MAX, limit).await?;
        let about_devices =
            |subscribed: &Subscribed| subscribed.subscription.actions.iter().any(|one| one.starts_with(DEVICE_EVENT_PREFIX));
        self.rates.0.retain(|id, _| all.iter().any(|one| one.subscription.id == *id));
        if !all.iter().any(about_devices) {
            // What is left of the last one is not sent to the next.
            self.store.take_device_events(&[], DEVICE_BATCH, &|| NotificationId(self.clock.new_id()), run.now).await?;
            return Ok(0);
        }
        let sending = self.store.event_subscriptions(true, WAITING_MAX, limit).await?;
        let mut queued = 0;
        for _ in 0..BATCHES_MAX {
            let takers: Vec<_> = all
                .iter()
                .map(|one| {
                    let id = one.subscription.id;
                    let sends = sending.iter().any(|other| other.subscription.id == id);
                    let most = if sends { self.rates.left(id, run.now) } else { 0 };
                    EventTaker { subscription: one.subscription.clone(), most, since: one.created_at }
                })
                .collect();
            let new_id = || NotificationId(self.clock.new_id());
            let (taken, sent) = self.store.take_device_events(&takers, DEVICE_BATCH, &new_id, run.now).await?;
            for (taker, events) in takers.iter().zip(sent) {
                self.rates.took(taker.subscription.id, events);
                queued += events as u64;
            }
            if (taken as i64) < DEVICE_BATCH || !run.may_go_on() {
                break;
            }
        }
        Ok(queued)
    }
}

impl Reconcile for Subscriptions {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let mut queued = self.device_events(run).await?;
            for mut subscribed in self.store.event_subscriptions(true, WAITING_MAX, SUBSCRIPTIONS_MAX as i64).await? {
                // What its channel was off for is not sent late.
                match self.store.pass_over_events(&subscribed, run.now - GIVE_UP_AFTER).await? {
                    Some(seen) => subscribed.seq = seen,
                    None => continue,
                }
                for _ in 0..BATCHES_MAX {
                    let (events, seen) = self.store.subscribed_events(&subscribed, BATCH).await?;
                    if seen <= subscribed.seq || !run.may_go_on() {
                        break;
                    }
                    let events: Vec<_> = events.into_iter().map(|event| (NotificationId(self.clock.new_id()), event)).collect();
                    if !self.store.queue_events(&subscribed, &events, seen, run.now).await? {
                        break;
                    }
                    queued += events.len() as u64;
                    subscribed.seq = seen;
                }
            }
            Ok(queued)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_gets_so_many_events_of_devices_a_minute() {
        let mut rates = Rates::default();
        let (id, other) = (SubscriptionId(uuid::Uuid::from_u128(1)), SubscriptionId(uuid::Uuid::from_u128(2)));
        let at = |second: i64| chrono::DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap();
        assert_eq!(rates.left(id, at(0)), 60);
        rates.took(id, 60);
        assert_eq!((rates.left(id, at(0)), rates.left(other, at(0))), (0, 60));
        assert_eq!(rates.left(id, at(3)), 3);
        assert_eq!(rates.left(id, at(1_000)), 60, "no more than a minute's at once");
        assert_eq!(rates.left(id, at(990)), 60, "whatever the clock does");
    }
}
