//! Messages that a channel has missed: too old to be sent, since it was off or did not answer. They are dead letters, and counted until a message says so.

use std::collections::BTreeSet;

use domain::notification::{GIVE_UP_AFTER, Message};
use domain::{ChannelId, NotificationId, Timestamp};

use super::coordinator::queue;
use crate::channels;
use crate::pool::Transaction;
use crate::{Store, StoreError};

/// Reason on a dead letter.
const EXPIRED: &str = "not sent within 24 h: the channel was off or did not answer";

/// Messages that a channel has missed since it was last told of some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// Channel.
    pub channel: ChannelId,
    /// How many.
    pub messages: u64,
    /// When the first of them was queued.
    pub since: Timestamp,
}

/// Counts messages that a channel has missed.
pub(super) async fn note(tx: &mut Transaction, channel: ChannelId, messages: i64, since: Timestamp) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE alert_channel SET missed = missed + $2, missed_since = least(missed_since, $3) WHERE channel_id = $1",
        channel.0,
        messages,
        since
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

impl Store {
    /// Gives up messages that are too old to be sent and are not being tried, at most `limit` of a channel. Returns how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn expire_deliveries(&self, limit: i64, now: Timestamp) -> Result<u64, StoreError> {
        let before = now - GIVE_UP_AFTER;
        let channels = sqlx::query_scalar!(
            "SELECT c.channel_id FROM alert_channel c WHERE EXISTS (
                 SELECT FROM notification_delivery d
                 WHERE d.channel_id = c.channel_id AND d.state = 'queued' AND d.queued_at <= $1 AND d.next_attempt_at <= $2)",
            before,
            now
        );
        let mut expired = 0;
        for channel in channels.fetch_all(&self.pool).await? {
            let mut tx = self.begin().await?;
            // The channel first, as whoever deletes one does.
            sqlx::query!("SELECT FROM alert_channel WHERE channel_id = $1 FOR NO KEY UPDATE", channel).fetch_optional(&mut *tx).await?;
            let row = sqlx::query!(
                r#"WITH old AS (
                     SELECT notification_id FROM notification_delivery
                     WHERE channel_id = $1 AND state = 'queued' AND queued_at <= $2 AND next_attempt_at <= $3
                     ORDER BY notification_id LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED
                 ), ended AS (
                     UPDATE notification_delivery d SET state = 'dead', ended_at = $3, last_answer = left(concat_ws('; ', d.last_answer, $5::text), 500)
                     FROM old o WHERE d.notification_id = o.notification_id AND d.channel_id = $1 RETURNING d.notification_id, d.queued_at
                 ), counted AS (
                     SELECT count(*) AS messages, coalesce(sum(CASE n.kind WHEN 'missed' THEN n.alert_count ELSE 1 END), 0) AS missed, min(e.queued_at) AS since
                     FROM ended e JOIN notification n USING (notification_id)
                 ), noted AS (
                     UPDATE alert_channel c SET missed = c.missed + k.missed, missed_since = least(c.missed_since, k.since)
                     FROM counted k WHERE c.channel_id = $1 AND k.missed > 0
                 )
                 SELECT messages AS "messages!" FROM counted"#,
                channel,
                before,
                now,
                limit,
                EXPIRED
            )
            .fetch_one(&mut *tx)
            .await?;
            tx.commit().await?;
            expired += row.messages.unsigned_abs();
        }
        Ok(expired)
    }

    /// Channels that are on and have missed messages, and for which no message that says so is queued; at most `limit`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn missed_messages(&self, limit: i64) -> Result<Vec<Missed>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT c.channel_id, c.missed, c.missed_since AS "since!" FROM alert_channel c
               WHERE c.enabled AND c.missed > 0 AND c.missed_since IS NOT NULL AND NOT EXISTS (
                   SELECT FROM notification_delivery d JOIN notification n USING (notification_id)
                   WHERE d.channel_id = c.channel_id AND d.state = 'queued' AND n.kind = 'missed')
               ORDER BY c.channel_id LIMIT $1"#,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        let missed = rows.into_iter().map(|row| Missed {
            channel: ChannelId(row.channel_id),
            messages: row.missed.unsigned_abs(),
            since: row.since,
        });
        Ok(missed.collect())
    }

    /// Puts the message that says what a channel has missed into its outbox, and counts anew; unless more was missed meanwhile, or somebody else has said
    /// so. Returns whether it is there.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn queue_missed(&self, missed: &Missed, id: NotificationId, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let said = sqlx::query!(
            "UPDATE alert_channel SET missed = 0, missed_since = NULL WHERE channel_id = $1 AND missed = $2 AND missed_since = $3 AND enabled",
            missed.channel.0,
            i64::try_from(missed.messages).unwrap_or(i64::MAX),
            missed.since
        );
        if said.execute(&mut *tx).await?.rows_affected() == 0 {
            return Ok(false);
        }
        let message = Message::of_missed(missed.channel, missed.messages, missed.since, now);
        queue(&mut tx, id, &message, &BTreeSet::from([missed.channel]), now).await?;
        sqlx::query!("SELECT pg_notify($1, '')", channels::ALERT).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(true)
    }
}
