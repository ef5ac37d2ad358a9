//! Events of devices for subscriptions: queued with the event by a trigger, and put into the outbox once, in their order.

use std::collections::BTreeSet;

use domain::notification::{AuditedEvent, EventSubscription, Message};
use domain::{DeviceId, NotificationId, Timestamp};

use super::coordinator::queue;
use crate::channels;
use crate::pool::Transaction;
use crate::{Store, StoreError};

/// Subscription, and how many events it takes now; those beyond are counted as missed by its channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTaker {
    /// The subscription.
    pub subscription: EventSubscription,
    /// How many.
    pub most: usize,
    /// When it was made: what happened before is not for it.
    pub since: Timestamp,
}

impl Store {
    /// Takes at most `limit` events of devices, the oldest first, and puts each into the outbox for the subscriptions that are about it. Answers how many
    /// were taken, and how many messages each subscription got.
    ///
    /// # Errors
    /// The database is unavailable; nothing is taken then.
    pub async fn take_device_events(
        &self,
        takers: &[EventTaker],
        limit: i64,
        new_id: &(dyn Fn() -> NotificationId + Sync),
        now: Timestamp,
    ) -> Result<(usize, Vec<usize>), StoreError> {
        let mut tx = self.begin().await?;
        note_overflow(&mut tx, takers, now).await?;
        let rows = sqlx::query!(
            r#"WITH taken AS (
                 DELETE FROM device_event_queue WHERE queue_id IN (
                     SELECT queue_id FROM device_event_queue ORDER BY queue_id LIMIT $1 FOR UPDATE SKIP LOCKED)
                 RETURNING queue_id, device_id, at, kind, actor
             )
             SELECT t.queue_id AS "queue_id!", t.device_id AS "device_id!", t.at AS "at!", t.kind AS "kind!", t.actor, d.alias AS "alias?"
             FROM taken t LEFT JOIN device d USING (device_id) ORDER BY t.queue_id"#,
            limit
        )
        .fetch_all(&mut *tx)
        .await?;
        let taken = rows.len();
        if taken == 0 {
            tx.commit().await?;
            return Ok((0, vec![0; takers.len()]));
        }
        let events: Vec<_> = rows
            .into_iter()
            .map(|row| AuditedEvent::of_device((row.queue_id, row.at, row.kind, DeviceId(row.device_id), row.alias, row.actor)))
            .collect();
        let mut sent = Vec::with_capacity(takers.len());
        for EventTaker { subscription, most, since: made_at } in takers {
            let mut covered = events.iter().filter(|event| event.at >= *made_at && subscription.covers_device_event(&event.action));
            let mut count = 0;
            for event in covered.by_ref().take(*most) {
                let message = Message::of_event(subscription.id, event.clone());
                queue(&mut tx, new_id(), &message, &BTreeSet::from([subscription.channel]), now).await?;
                count += 1;
            }
            sent.push(count);
            let first = covered.next().map(|event| event.at);
            if let Some(since) = first {
                let missed = 1 + i64::try_from(covered.count()).unwrap_or_default();
                super::missed::note(&mut tx, subscription.channel, missed, since).await?;
            }
        }
        if sent.iter().any(|count| *count > 0) {
            sqlx::query!("SELECT pg_notify($1, '')", channels::ALERT).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok((taken, sent))
    }
}

/// Notes what the full queue did not take as missed, once, by each channel of a subscription to events of devices.
async fn note_overflow(tx: &mut Transaction, takers: &[EventTaker], now: Timestamp) -> Result<(), StoreError> {
    let noted = sqlx::query_scalar!(
        "SELECT noted FROM device_event_overflow_noted
         WHERE noted <> (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM device_event_overflow) FOR UPDATE"
    )
    .fetch_optional(&mut **tx)
    .await?;
    let Some(noted) = noted else { return Ok(()) };
    // Materialized, since a sequence takes no part in an update.
    let total = sqlx::query_scalar!(
        r#"WITH counted AS MATERIALIZED (SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS total FROM device_event_overflow)
         UPDATE device_event_overflow_noted SET noted = total FROM counted RETURNING noted"#
    )
    .fetch_one(&mut **tx)
    .await?;
    // A sequence that a restored backup has not taken along begins anew.
    let missed = (total - noted).max(0);
    let channels: BTreeSet<_> =
        takers.iter().filter(|taker| taker.subscription.covers_device_events()).map(|taker| taker.subscription.channel).collect();
    for channel in channels {
        super::missed::note(tx, channel, missed, now).await?;
    }
    Ok(())
}
