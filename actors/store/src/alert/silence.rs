//! Silences and maintenance windows of notifications.

use domain::alert::{AlertWindow, Matcher, Severity, Silence};
use domain::{AlertWindowId, SilenceId, Timestamp};
use serde_json::{Value, json};

use crate::audit::{AuditEntry, append};
use crate::channels;
use crate::{Store, StoreError};

fn to_json(matcher: &Matcher) -> Value {
    json!({
        "rules": matcher.rules.iter().map(|rule| rule.as_str()).collect::<Vec<_>>(),
        "severities": matcher.severities.iter().map(|severity| severity.as_str()).collect::<Vec<_>>(),
        "groups": matcher.groups,
        "tags": matcher.tags,
        "devices": matcher.devices.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "nodes": matcher.nodes,
    })
}

/// A stored matcher. `None`: one that this build does not understand in full, which must not match more than was meant.
fn matcher(stored: &Value) -> Option<Matcher> {
    fn list<T>(stored: &Value, name: &str, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
        let Some(list) = stored.get(name) else { return Some(vec![]) };
        list.as_array()?.iter().map(|value| read(value.as_str()?)).collect()
    }
    let known = ["rules", "severities", "groups", "tags", "devices", "nodes"];
    if stored.as_object()?.keys().any(|key| !known.contains(&key.as_str())) {
        return None;
    }
    let text = |text: &str| Some(text.to_owned());
    Some(Matcher {
        rules: list(stored, "rules", |name| name.parse().ok())?,
        severities: list(stored, "severities", |name| name.parse::<Severity>().ok())?,
        groups: list(stored, "groups", text)?,
        tags: list(stored, "tags", text)?,
        devices: list(stored, "devices", |id| id.parse().ok())?,
        nodes: list(stored, "nodes", text)?,
    })
}

impl Store {
    /// Silences that have not ended at `since`, at most `limit`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn silences(&self, since: Timestamp, limit: i64) -> Result<Vec<Silence>, StoreError> {
        let rows = sqlx::query!(
            "SELECT silence_id, matcher, reason, author, starts_at, ends_at FROM alert_silence WHERE ends_at > $1
             ORDER BY ends_at, silence_id LIMIT $2",
            since,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        let silence = rows.into_iter().filter_map(|row| {
            Some(Silence {
                id: SilenceId(row.silence_id),
                matcher: matcher(&row.matcher)?,
                reason: row.reason,
                author: row.author,
                starts_at: row.starts_at,
                ends_at: row.ends_at,
            })
        });
        Ok(silence.collect())
    }

    /// Stores a silence, unless so many have not ended already. Returns whether it is stored.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn insert_silence(&self, silence: &Silence, most: i64, entry: &AuditEntry, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let stored = sqlx::query!(
            "INSERT INTO alert_silence (silence_id, matcher, reason, author, created_at, starts_at, ends_at)
             SELECT $1, $2, $3, $4, $5, $6, $7 WHERE (SELECT count(*) FROM alert_silence WHERE ends_at > $5) < $8",
            silence.id.0,
            to_json(&silence.matcher),
            silence.reason,
            silence.author,
            now,
            silence.starts_at,
            silence.ends_at,
            most
        )
        .execute(&mut *tx)
        .await?;
        if stored.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query!("SELECT pg_notify($1, '')", channels::ALERT).execute(&mut *tx).await?;
        append(&mut tx, entry, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Ends a silence that has not ended. Returns whether there was one.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn end_silence(&self, id: SilenceId, entry: &AuditEntry, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let ended = sqlx::query!(
            "UPDATE alert_silence SET starts_at = least(starts_at, $2), ends_at = $2 WHERE silence_id = $1 AND ends_at > $2",
            id.0,
            now
        )
        .execute(&mut *tx)
        .await?;
        if ended.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query!("SELECT pg_notify($1, '')", channels::ALERT).execute(&mut *tx).await?;
        append(&mut tx, entry, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Deletes at most `limit` silences that ended before this time. Returns how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_silences(&self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query!(
            "DELETE FROM alert_silence WHERE silence_id = ANY(ARRAY(SELECT silence_id FROM alert_silence WHERE ends_at < $1 LIMIT $2))",
            before,
            limit
        );
        Ok(purged.execute(&self.pool).await?.rows_affected())
    }

    /// Maintenance windows, at most `limit`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn alert_windows(&self, limit: i64) -> Result<Vec<AlertWindow>, StoreError> {
        let rows = sqlx::query!(
            "SELECT window_id, matcher, reason, author, weekdays, starts, ends, tz, ends_at FROM alert_window ORDER BY created_at, window_id LIMIT $1",
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        let window = rows.into_iter().filter_map(|row| {
            Some(AlertWindow {
                id: AlertWindowId(row.window_id),
                matcher: matcher(&row.matcher)?,
                reason: row.reason,
                author: row.author,
                weekdays: row.weekdays.try_into().ok()?,
                hours: AlertWindow::parse_hours(&row.starts, &row.ends, &row.tz).ok()?,
                ends_at: row.ends_at,
            })
        });
        Ok(window.collect())
    }

    /// Stores a maintenance window, unless there are so many already. Returns whether it is stored.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn insert_alert_window(
        &self,
        window: &AlertWindow,
        most: i64,
        entry: &AuditEntry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let Some(hours) = window.hours.daily() else { return Err(StoreError::Corrupt("hours of a maintenance window")) };
        let mut tx = self.begin().await?;
        let stored = sqlx::query!(
            "INSERT INTO alert_window (window_id, matcher, reason, author, created_at, weekdays, starts, ends, tz, ends_at)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 WHERE (SELECT count(*) FROM alert_window) < $11",
            window.id.0,
            to_json(&window.matcher),
            window.reason,
            window.author,
            now,
            &window.weekdays[..],
            hours.start(),
            hours.end(),
            hours.tz(),
            window.ends_at,
            most
        )
        .execute(&mut *tx)
        .await?;
        if stored.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query!("SELECT pg_notify($1, '')", channels::ALERT).execute(&mut *tx).await?;
        append(&mut tx, entry, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Deletes a maintenance window. Returns whether there was one.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn delete_alert_window(&self, id: AlertWindowId, entry: &AuditEntry, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let deleted = sqlx::query!("DELETE FROM alert_window WHERE window_id = $1", id.0).execute(&mut *tx).await?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query!("SELECT pg_notify($1, '')", channels::ALERT).execute(&mut *tx).await?;
        append(&mut tx, entry, now).await?;
        tx.commit().await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matcher_of_a_later_build_matches_nothing_rather_than_more() {
        let given = Matcher { severities: vec![Severity::Info], groups: vec!["north".into()], ..Matcher::default() };
        assert_eq!(matcher(&to_json(&given)), Some(given));
        assert_eq!(matcher(&json!({ "groups": ["north"], "models": ["x"] })), None);
        assert_eq!(matcher(&json!({ "rules": ["rule_of_a_later_build"] })), None);
        assert_eq!(matcher(&json!([])), None);
    }
}
