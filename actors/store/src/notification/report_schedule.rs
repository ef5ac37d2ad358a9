//! Schedules of reports, and the outbox of what is due by them.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use domain::notification::{DigestTime, Message, ReportMessage};
use domain::report::{Period, ReportSchedule, report_notification_id};
use domain::shard::ShardLease;
use domain::{ChannelId, ReportScheduleId, Timestamp};
use serde_json::{Value, json};

use super::coordinator::queue;
use crate::audit::{AuditEntry, append};
use crate::channels;
use crate::{Store, StoreError};

/// Schedule with what was sent by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReportSchedule {
    /// The schedule.
    pub schedule: ReportSchedule,
    /// First day of the period that was sent last, and when it was put into the outbox.
    pub sent: Option<(NaiveDate, Timestamp)>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The report of a message, as it is kept with it.
pub(super) fn to_json(report: &ReportMessage) -> Value {
    json!({ "path": report.path, "file_name": report.file_name, "lines": report.lines, "csv": report.csv })
}

/// The report of a message.
pub(super) fn from_json(stored: &Value) -> Option<ReportMessage> {
    let text = |name: &str| stored.get(name)?.as_str().map(str::to_owned);
    let line = |line: &Value| {
        let part = |at: usize| line.get(at)?.as_str().map(str::to_owned);
        Some((part(0)?, part(1)?, part(2)?))
    };
    Some(ReportMessage {
        path: text("path")?,
        file_name: text("file_name")?,
        lines: stored.get("lines")?.as_array()?.iter().filter_map(line).collect(),
        csv: text("csv")?,
    })
}

impl Store {
    /// Schedules of reports, the oldest first, at most `limit`; if `sending`, of channels that are on.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn report_schedules(&self, sending: bool, limit: i64) -> Result<Vec<StoredReportSchedule>, StoreError> {
        let rows = sqlx::query!(
            "SELECT s.schedule_id, s.channel_id, s.period, s.group_name, s.at_time, s.tz, s.sent_period, s.sent_at, s.created_by, s.created_at
             FROM report_schedule s JOIN alert_channel c USING (channel_id) WHERE c.enabled OR NOT $1
             ORDER BY s.created_at, s.schedule_id LIMIT $2",
            sending,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        // Those of a later build that this one does not understand are left to it.
        let stored = rows.into_iter().filter_map(|row| {
            Some(StoredReportSchedule {
                schedule: ReportSchedule {
                    id: ReportScheduleId(row.schedule_id),
                    channel: ChannelId(row.channel_id),
                    kind: row.period.parse().ok()?,
                    group: row.group_name,
                    at: DigestTime::parse(&row.at_time, &row.tz).ok()?,
                },
                sent: row.sent_period.zip(row.sent_at),
                created_by: row.created_by,
                created_at: row.created_at,
            })
        });
        Ok(stored.collect())
    }

    /// Stores a new schedule, unless there are so many already or its channel is gone. Returns whether it is stored.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn insert_report_schedule(
        &self,
        schedule: &ReportSchedule,
        most: i64,
        by: &str,
        entry: &AuditEntry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (at, tz) = schedule.at.parts();
        let mut tx = self.begin().await?;
        let stored = sqlx::query!(
            "INSERT INTO report_schedule (schedule_id, channel_id, period, group_name, at_time, tz, created_by, created_at)
             SELECT $1, c.channel_id, $3, $4, $5, $6, $7, $8 FROM alert_channel c
             WHERE c.channel_id = $2 AND (SELECT count(*) FROM report_schedule) < $9",
            schedule.id.0,
            schedule.channel.0,
            schedule.kind.as_str(),
            schedule.group,
            at,
            tz,
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

    /// Deletes a schedule. What it has put into the outbox is still sent. Returns whether there was one.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn delete_report_schedule(&self, id: ReportScheduleId, entry: &AuditEntry, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let deleted = sqlx::query!("DELETE FROM report_schedule WHERE schedule_id = $1", id.0).execute(&mut *tx).await?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        append(&mut tx, entry, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Puts the report of a period into the outbox, in the epoch of the shard, unless it was put there before, or a later one. Returns whether it is
    /// there now.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn queue_report(
        &self,
        lease: ShardLease,
        schedule: &ReportSchedule,
        period: Period,
        message: &Message,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let epoch = sqlx::query_scalar!("SELECT epoch FROM shard WHERE shard_id = $1 FOR SHARE", i32::from(lease.shard.0))
            .fetch_optional(&mut *tx)
            .await?;
        if epoch != Some(lease.epoch.0) {
            return Ok(false);
        }
        let sent = sqlx::query!(
            "UPDATE report_schedule SET sent_period = $2, sent_at = $3 WHERE schedule_id = $1 AND (sent_period IS NULL OR sent_period < $2)",
            schedule.id.0,
            period.first,
            now
        )
        .execute(&mut *tx)
        .await?;
        if sent.rows_affected() == 0 {
            return Ok(false);
        }
        // The id is that of the schedule and period: should all else fail, a second message is refused by its key.
        queue(&mut tx, report_notification_id(schedule.id, period), message, &BTreeSet::from([schedule.channel]), now).await?;
        sqlx::query!("SELECT pg_notify($1, '')", channels::ALERT).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_back_as_it_is_kept() {
        let report = ReportMessage {
            path: "/reports?period=daily".into(),
            file_name: "report.csv".into(),
            lines: vec![("Online".into(), "98 %".into(), "+1 points".into()), ("Restarts".into(), "0".into(), String::new())],
            csv: "\"a\"\r\n".into(),
        };
        assert_eq!(from_json(&to_json(&report)), Some(report));
        assert_eq!(from_json(&json!({ "path": "/reports" })), None);
    }
}
