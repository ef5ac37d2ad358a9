//! Subscriptions to events: entries of the audit trail, which have numbers without gaps, are put into the outbox in their order.

use std::collections::BTreeSet;

use domain::notification::{AuditedEvent, EventSubscription, Message};
use domain::{ChannelId, NotificationId, SubscriptionId, Timestamp};
use serde_json::{Value, json};

use super::coordinator::queue;
use crate::audit::{AuditEntry, append};
use crate::channels;
use crate::{Store, StoreError};

/// Subscription with what it has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribed {
    /// The subscription.
    pub subscription: EventSubscription,
    /// Number of the last entry that it has taken, or passed over.
    pub seq: i64,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// An event of a message, as it is kept with it.
pub(super) fn to_json(event: &AuditedEvent) -> Value {
    json!({
        "seq": event.seq,
        "at": event.at.to_rfc3339(),
        "action": event.action,
        "actor_kind": event.actor_kind,
        "actor_name": event.actor_name,
        "target_kind": event.target_kind,
        "target_id": event.target_id,
        "target_name": event.target_name,
    })
}

/// The event of a message.
pub(super) fn from_json(stored: &Value) -> Option<AuditedEvent> {
    let text = |name: &str| stored.get(name)?.as_str().map(str::to_owned);
    Some(AuditedEvent {
        seq: stored.get("seq")?.as_i64()?,
        at: text("at")?.parse().ok()?,
        action: text("action")?,
        actor_kind: text("actor_kind")?,
        actor_name: text("actor_name")?,
        target_kind: text("target_kind")?,
        target_id: text("target_id"),
        target_name: text("target_name"),
    })
}

impl Store {
    /// Subscriptions, the oldest first, at most `limit`; if `sending`, of channels that are on and for which fewer than `waiting_max` messages wait.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn event_subscriptions(&self, sending: bool, waiting_max: i64, limit: i64) -> Result<Vec<Subscribed>, StoreError> {
        let rows = sqlx::query!(
            "SELECT s.subscription_id, s.channel_id, s.actions, s.seq, s.created_by, s.created_at
             FROM event_subscription s JOIN alert_channel c USING (channel_id)
             WHERE NOT $1 OR (c.enabled AND (SELECT count(*) FROM (
                 SELECT FROM notification_delivery d WHERE d.channel_id = s.channel_id AND d.state = 'queued' LIMIT $2) w) < $2)
             ORDER BY s.created_at, s.subscription_id LIMIT $3",
            sending,
            waiting_max,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        let subscribed = rows.into_iter().map(|row| Subscribed {
            subscription: EventSubscription {
                id: SubscriptionId(row.subscription_id),
                channel: ChannelId(row.channel_id),
                actions: row.actions,
            },
            seq: row.seq,
            created_by: row.created_by,
            created_at: row.created_at,
        });
        Ok(subscribed.collect())
    }

    /// Stores a new subscription, unless there are so many already or its channel is gone. It begins with what is recorded after it. Returns
    /// whether it is stored.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn insert_event_subscription(
        &self,
        subscription: &EventSubscription,
        most: i64,
        by: &str,
        entry: &AuditEntry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let stored = sqlx::query!(
            "INSERT INTO event_subscription (subscription_id, channel_id, actions, seq, created_by, created_at)
             SELECT $1, c.channel_id, $3, (SELECT seq FROM audit_head), $4, $5 FROM alert_channel c
             WHERE c.channel_id = $2 AND (SELECT count(*) FROM event_subscription) < $6",
            subscription.id.0,
            subscription.channel.0,
            &subscription.actions,
            by,
            now,
            most
        )
        .execute(&mut *tx)
        .await?;
        if stored.rows_affected() == 0 {
            return Ok(false);
        }
        append(&mut tx, entry, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Deletes a subscription. What it has put into the outbox is still sent. Returns whether there was one.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn delete_event_subscription(&self, id: SubscriptionId, entry: &AuditEntry, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let deleted = sqlx::query!("DELETE FROM event_subscription WHERE subscription_id = $1", id.0).execute(&mut *tx).await?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        append(&mut tx, entry, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Passes over the entries that were recorded before `before` and that a subscription has not taken: they are too old to be sent, and are counted as
    /// missed by its channel. Returns the number of the last entry that it has taken or passed over now; `None`: somebody else has done so meanwhile.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn pass_over_events(&self, subscribed: &Subscribed, before: Timestamp) -> Result<Option<i64>, StoreError> {
        let next = sqlx::query_scalar!("SELECT at FROM audit_entry WHERE seq > $1 ORDER BY seq LIMIT 1", subscribed.seq);
        if next.fetch_optional(&self.pool).await?.is_none_or(|at| at > before) {
            return Ok(Some(subscribed.seq));
        }
        let actions: Vec<_> = subscribed.subscription.covered().into_iter().map(str::to_owned).collect();
        let mut tx = self.begin().await?;
        let old = sqlx::query!(
            r#"SELECT max(seq) AS last, count(*) FILTER (WHERE action = ANY($3)) AS "missed!", min(at) FILTER (WHERE action = ANY($3)) AS since
               FROM audit_entry WHERE seq > $1 AND at <= $2"#,
            subscribed.seq,
            before,
            &actions
        )
        .fetch_one(&mut *tx)
        .await?;
        let seen = old.last.unwrap_or(subscribed.seq);
        let id = subscribed.subscription.id.0;
        let moved =
            sqlx::query!("UPDATE event_subscription SET seq = $3 WHERE subscription_id = $1 AND seq = $2", id, subscribed.seq, seen);
        if moved.execute(&mut *tx).await?.rows_affected() == 0 {
            return Ok(None);
        }
        if let Some(since) = old.since {
            super::missed::note(&mut tx, subscribed.subscription.channel, old.missed, since).await?;
        }
        tx.commit().await?;
        Ok(Some(seen))
    }

    /// At most `limit` events of a subscription that it has not taken, the oldest first, and the number of the last entry that was looked at.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn subscribed_events(&self, subscribed: &Subscribed, limit: i64) -> Result<(Vec<AuditedEvent>, i64), StoreError> {
        let head = sqlx::query_scalar!("SELECT seq FROM audit_head").fetch_optional(&self.pool).await?;
        let head = head.ok_or(StoreError::Corrupt("audit_head"))?;
        let actions: Vec<_> = subscribed.subscription.covered().into_iter().map(str::to_owned).collect();
        let rows = sqlx::query!(
            "SELECT seq, at, action, actor_kind, actor_name, target_kind, target_id, target_name FROM audit_entry
             WHERE seq > $1 AND seq <= $2 AND action = ANY($3) ORDER BY seq LIMIT $4",
            subscribed.seq,
            head,
            &actions,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        // A full page may have more behind it.
        let seen = rows.last().filter(|_| rows.len() as i64 >= limit).map_or(head, |last| last.seq);
        let event = rows.into_iter().map(|row| AuditedEvent {
            seq: row.seq,
            at: row.at,
            action: row.action,
            actor_kind: row.actor_kind,
            actor_name: row.actor_name,
            target_kind: row.target_kind,
            target_id: row.target_id,
            target_name: row.target_name,
        });
        Ok((event.collect(), seen))
    }

    /// Puts events of a subscription into the outbox, each under its id, and notes that everything up to `seen` is taken; unless somebody else
    /// has done so meanwhile. Returns whether it is done.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn queue_events(
        &self,
        subscribed: &Subscribed,
        events: &[(NotificationId, AuditedEvent)],
        seen: i64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let EventSubscription { id, channel, .. } = subscribed.subscription;
        let mut tx = self.begin().await?;
        let moved =
            sqlx::query!("UPDATE event_subscription SET seq = $3 WHERE subscription_id = $1 AND seq = $2", id.0, subscribed.seq, seen)
                .execute(&mut *tx)
                .await?;
        if moved.rows_affected() == 0 {
            return Ok(false);
        }
        for (notification, event) in events {
            queue(&mut tx, *notification, &Message::of_event(id, event.clone()), &BTreeSet::from([channel]), now).await?;
        }
        if !events.is_empty() {
            sqlx::query!("SELECT pg_notify($1, '')", channels::ALERT).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}
