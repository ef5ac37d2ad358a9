//! Subscriptions to events: what the audit trail records is put into the outbox of the channels that have subscribed to it.

use std::time::Duration;

use clock::Clock;
use domain::notification::SUBSCRIPTIONS_MAX;
use domain::shard::shard_of_name;
use domain::{NotificationId, ServiceError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::Store;

use crate::reconcile::{Reconcile, Reconciler, Run};

/// Name of the reconciler; it is placed by it, too.
const NAME: &str = "event_subscriptions";
/// How often the trail is looked at.
const INTERVAL: Duration = Duration::from_secs(3);
/// Events of one transaction.
const BATCH: i64 = 100;
/// Messages that may wait for a channel before it gets no further events: they are in the trail until then.
const WAITING_MAX: i64 = 500;
/// Batches of a subscription in one run.
const BATCHES_MAX: usize = 5;

/// The reconciler of subscriptions.
pub(crate) fn reconciler(store: &Store, clock: &Clock) -> Reconciler {
    // Each step names the one that it follows, so that no event is queued twice, whoever else runs.
    Reconciler::per_cluster(NAME, shard_of_name(NAME), INTERVAL, Subscriptions { store: store.clone(), clock: clock.clone() })
}

struct Subscriptions {
    store: Store,
    clock: Clock,
}

impl Reconcile for Subscriptions {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let mut queued = 0;
            for mut subscribed in self.store.event_subscriptions(true, WAITING_MAX, SUBSCRIPTIONS_MAX as i64).await? {
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
