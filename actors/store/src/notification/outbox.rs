//! Outbox: messages for channels are claimed, tried, tried again, delivered or given up.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use domain::alert::Severity;
use domain::notification::{DeliveryStep, GIVE_UP_AFTER, Message, NotificationKind};
use domain::{ChannelId, NotificationId, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{Postgres, QueryBuilder, Row};

use super::coordinator::{from_json, marks_from_json, queue};
use crate::audit::{AuditEntry, append};
use crate::channels;
use crate::{Store, StoreError};

/// Longest answer of a service that is kept, characters.
const ANSWER_MAX_CHARS: usize = 500;

/// Message for a channel that is to be tried now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedDelivery {
    /// Id of the message: the same with each attempt.
    pub notification: NotificationId,
    /// Channel.
    pub channel: ChannelId,
    /// Message.
    pub message: Message,
    /// Number of this attempt.
    pub attempt: u32,
    /// When it was queued.
    pub queued_at: Timestamp,
}

/// Outcome of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Message.
    pub notification: NotificationId,
    /// Channel.
    pub channel: ChannelId,
    /// Number of the attempt: one that was made over again by another sender meanwhile says nothing.
    pub attempt: u32,
    /// What becomes of the message.
    pub step: DeliveryStep,
    /// Answer of the service, without secrets.
    pub answer: String,
    /// Time.
    pub at: Timestamp,
}

/// Delivery of a channel, for its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelDelivery {
    /// Message.
    pub notification: NotificationId,
    /// Line that says it all.
    pub headline: String,
    /// State: `queued`, `delivered` or `dead`.
    pub state: String,
    /// Attempts so far.
    pub attempts: u32,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// When it is tried next, unless it has ended.
    pub next_attempt_at: Option<Timestamp>,
    /// Answer to the last attempt.
    pub last_answer: Option<String>,
    /// When it was delivered or given up.
    pub ended_at: Option<Timestamp>,
}

/// What is in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxCounts {
    /// Messages that wait for a channel which is on.
    pub queued: i64,
    /// When the oldest of them was queued.
    pub oldest_queued_at: Option<Timestamp>,
    /// Messages that were given up, and are kept.
    pub dead: i64,
}

impl Store {
    /// Claims at most `limit` messages that are due, at most `per_channel` of each channel and none of `except`, and keeps others from trying them for
    /// `claim_for`. Messages of a sender that died are due again after it. Of a thread only the oldest message is claimed that is not delivered yet: a
    /// resolve never overtakes the raise. Messages of a kind of a later build are left to it, and those that are too old to [`Store::expire_deliveries`];
    /// they hold up no others.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn claim_deliveries(
        &self,
        per_channel: i64,
        limit: i64,
        except: &[ChannelId],
        claim_for: TimeDelta,
        now: Timestamp,
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let rows = sqlx::query!(
            r#"WITH due AS (
                 -- A channel with a long queue leaves room for the others.
                 SELECT d.notification_id, d.channel_id
                 FROM alert_channel c CROSS JOIN LATERAL (
                     SELECT o.notification_id, o.channel_id, o.next_attempt_at FROM (
                         SELECT DISTINCT ON (m.thread) q.notification_id, q.channel_id, q.next_attempt_at
                         FROM notification_delivery q JOIN notification m USING (notification_id)
                         WHERE q.channel_id = c.channel_id AND q.state = 'queued' AND q.queued_at > $7 AND m.kind = ANY ($6)
                         ORDER BY m.thread, m.created_at, m.notification_id
                     ) o WHERE o.next_attempt_at <= $3 ORDER BY o.next_attempt_at LIMIT $1
                 ) d WHERE c.enabled AND c.channel_id <> ALL ($5) ORDER BY d.next_attempt_at LIMIT $2
             ), locked AS (
                 SELECT d.notification_id, d.channel_id FROM notification_delivery d JOIN due USING (notification_id, channel_id)
                 WHERE d.state = 'queued' AND d.next_attempt_at <= $3 FOR NO KEY UPDATE OF d SKIP LOCKED
             )
             UPDATE notification_delivery d SET attempts = d.attempts + 1, last_attempt_at = $3, next_attempt_at = $4
             FROM locked l JOIN notification n USING (notification_id)
             WHERE d.notification_id = l.notification_id AND d.channel_id = l.channel_id
             RETURNING d.notification_id, d.channel_id, d.attempts, d.queued_at, n.kind, n.severity, n.thread, n.begins_thread, n.ends_thread,
                 n.headline, n.alert_count, n.alerts, n.event, n.report, n.threads"#,
            per_channel,
            limit,
            now,
            now + claim_for,
            &except.iter().map(|channel| channel.0).collect::<Vec<_>>(),
            &NotificationKind::ALL.map(|kind| kind.as_str().to_owned()).to_vec(),
            now - GIVE_UP_AFTER
        )
        .fetch_all(&self.pool)
        .await?;
        let mut claimed = Vec::with_capacity(rows.len());
        for row in rows {
            // The claim is made: a row that cannot be read must not take the others with it.
            let (Some(kind), Ok(severity)) = (NotificationKind::parse(&row.kind), row.severity.parse::<Severity>()) else {
                tracing::error!(event = "notification.unreadable", notification_id = %row.notification_id, kind = row.kind);
                continue;
            };
            claimed.push(ClaimedDelivery {
                notification: NotificationId(row.notification_id),
                channel: ChannelId(row.channel_id),
                message: Message {
                    kind,
                    severity,
                    thread: row.thread,
                    begins_thread: row.begins_thread,
                    ends_thread: row.ends_thread,
                    threads: row.threads.as_ref().map(marks_from_json).unwrap_or_default(),
                    headline: row.headline,
                    count: usize::try_from(row.alert_count).unwrap_or_default(),
                    alerts: row.alerts.as_array().into_iter().flatten().filter_map(from_json).collect(),
                    event: row.event.as_ref().and_then(super::subscription::from_json),
                    report: row.report.as_ref().and_then(super::report_schedule::from_json),
                },
                attempt: row.attempts.unsigned_abs(),
                queued_at: row.queued_at,
            });
        }
        Ok(claimed)
    }

    /// Records the outcome of an attempt. Returns whether it counts: not after another sender has taken the message over.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn record_attempt(&self, record: &AttemptRecord) -> Result<bool, StoreError> {
        let (state, next) = match record.step {
            DeliveryStep::Done => ("delivered", None),
            DeliveryStep::DeadLetter | DeliveryStep::Expired => ("dead", None),
            DeliveryStep::RetryAt(at) => ("queued", Some(at)),
        };
        let answer: String = record.answer.chars().filter(|c| *c != '\0').take(ANSWER_MAX_CHARS).collect();
        let is_missed = record.step == DeliveryStep::Expired;
        let mut tx = self.begin().await?;
        if is_missed {
            // The channel first, as whoever deletes one does.
            sqlx::query!("SELECT FROM alert_channel WHERE channel_id = $1 FOR NO KEY UPDATE", record.channel.0)
                .fetch_optional(&mut *tx)
                .await?;
        }
        let recorded = sqlx::query!(
            "WITH ended AS (
                 UPDATE notification_delivery SET state = $4, next_attempt_at = coalesce($5, next_attempt_at), last_answer = $6,
                     ended_at = CASE WHEN $4 <> 'queued' THEN $7::timestamptz END
                 WHERE notification_id = $1 AND channel_id = $2 AND attempts = $3 AND state = 'queued'
                 RETURNING notification_id, channel_id, queued_at
             ), missed AS (
                 UPDATE alert_channel c SET missed_since = least(c.missed_since, e.queued_at),
                     missed = c.missed + CASE n.kind WHEN 'missed' THEN n.alert_count ELSE 1 END
                 FROM ended e JOIN notification n USING (notification_id) WHERE $8 AND c.channel_id = e.channel_id
             )
             SELECT FROM ended",
            record.notification.0,
            record.channel.0,
            i32::try_from(record.attempt).unwrap_or(i32::MAX),
            state,
            next,
            answer,
            record.at,
            is_missed
        )
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(recorded.is_some())
    }

    /// When the next message is due; `None`: nothing is queued.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn next_delivery_at(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(sqlx::query_scalar!(
            "SELECT min(d.next_attempt_at) FROM notification_delivery d JOIN alert_channel c USING (channel_id)
             WHERE d.state = 'queued' AND c.enabled"
        )
        .fetch_one(&self.pool)
        .await?)
    }

    /// What waits and what was given up, over all channels; counted up to `most` each.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn outbox_counts(&self, most: i64) -> Result<OutboxCounts, StoreError> {
        let row = sqlx::query!(
            r#"SELECT q.queued AS "queued!", q.oldest, d.dead AS "dead!"
               FROM (SELECT count(*) AS queued, min(queued_at) AS oldest
                     FROM (SELECT d.queued_at FROM notification_delivery d JOIN alert_channel c USING (channel_id)
                           WHERE d.state = 'queued' AND c.enabled LIMIT $1) w) q,
                    (SELECT count(*) AS dead FROM (SELECT FROM notification_delivery WHERE state = 'dead' LIMIT $1) g) d"#,
            most
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(OutboxCounts { queued: row.queued, oldest_queued_at: row.oldest, dead: row.dead })
    }

    /// The newest deliveries of a channel, at most `limit`; those that were given up, if `dead`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn channel_deliveries(&self, channel: ChannelId, dead: bool, limit: i64) -> Result<Vec<ChannelDelivery>, StoreError> {
        // Built at run time: plans are generic, and a condition that a parameter switches off has no index.
        let mut query = QueryBuilder::<Postgres>::new(
            "SELECT d.notification_id, n.headline, d.state, d.attempts, d.queued_at, d.next_attempt_at, d.last_answer, d.ended_at
             FROM notification_delivery d JOIN notification n USING (notification_id) WHERE d.channel_id = ",
        );
        query.push_bind(channel.0);
        if dead {
            query.push(" AND d.state = 'dead'");
        }
        query.push(" ORDER BY d.queued_at DESC, d.notification_id DESC LIMIT ").push_bind(limit);
        let rows = query.build().fetch_all(&self.pool).await?;
        let delivery = |row: &PgRow| -> Result<ChannelDelivery, StoreError> {
            let ended_at: Option<Timestamp> = row.try_get("ended_at")?;
            let next_attempt_at: Timestamp = row.try_get("next_attempt_at")?;
            Ok(ChannelDelivery {
                notification: NotificationId(row.try_get("notification_id")?),
                headline: row.try_get("headline")?,
                state: row.try_get("state")?,
                attempts: row.try_get::<i32, _>("attempts")?.unsigned_abs(),
                queued_at: row.try_get("queued_at")?,
                next_attempt_at: ended_at.is_none().then_some(next_attempt_at),
                last_answer: row.try_get("last_answer")?,
                ended_at,
            })
        };
        rows.iter().map(delivery).collect()
    }

    /// Deliveries of these messages, at most `limit`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn message_deliveries(
        &self,
        ids: &[NotificationId],
        limit: i64,
    ) -> Result<Vec<(ChannelId, String, ChannelDelivery)>, StoreError> {
        let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
        let rows = sqlx::query!(
            "SELECT d.notification_id, d.channel_id, c.name, n.headline, d.state, d.attempts, d.queued_at, d.next_attempt_at, d.last_answer,
                 d.ended_at
             FROM notification_delivery d JOIN notification n USING (notification_id) JOIN alert_channel c USING (channel_id)
             WHERE d.notification_id = ANY($1) ORDER BY d.queued_at, d.notification_id, c.name_canonical LIMIT $2",
            &ids,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        let delivery = rows.into_iter().map(|row| {
            let delivery = ChannelDelivery {
                notification: NotificationId(row.notification_id),
                headline: row.headline,
                next_attempt_at: row.ended_at.is_none().then_some(row.next_attempt_at),
                state: row.state,
                attempts: row.attempts.unsigned_abs(),
                queued_at: row.queued_at,
                last_answer: row.last_answer,
                ended_at: row.ended_at,
            };
            (ChannelId(row.channel_id), row.name, delivery)
        });
        Ok(delivery.collect())
    }

    /// Queues a message for a channel again that was given up. Returns whether there is one.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn resend_delivery(
        &self,
        id: NotificationId,
        channel: ChannelId,
        entry: &AuditEntry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        // The attempts go on counting: an outcome of one before differs from one after.
        let queued = sqlx::query!(
            "UPDATE notification_delivery SET state = 'queued', queued_at = $3, next_attempt_at = $3, ended_at = NULL
             WHERE notification_id = $1 AND channel_id = $2 AND state = 'dead'",
            id.0,
            channel.0,
            now
        )
        .execute(&mut *tx)
        .await?;
        if queued.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query!("SELECT pg_notify($1, '')", channels::ALERT).execute(&mut *tx).await?;
        append(&mut tx, entry, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Puts a message of its own into the outbox: a test of a channel, a digest.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn queue_message(&self, id: NotificationId, message: &Message, to: &[ChannelId], now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        queue(&mut tx, id, message, &to.iter().copied().collect::<BTreeSet<_>>(), now).await?;
        sqlx::query!("SELECT pg_notify($1, '')", channels::ALERT).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Deletes at most `limit` messages that were made before this time and wait for no channel. Returns how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_notifications(&self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query!(
            "DELETE FROM notification WHERE notification_id = ANY(ARRAY(
                 SELECT notification_id FROM notification n WHERE created_at < $1 AND NOT EXISTS (
                     SELECT FROM notification_delivery d WHERE d.notification_id = n.notification_id AND d.state = 'queued') LIMIT $2))",
            before,
            limit
        );
        Ok(purged.execute(&self.pool).await?.rows_affected())
    }
}
