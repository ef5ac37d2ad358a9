//! Routes from alerts to channels.

use std::collections::BTreeSet;

use domain::alert::{AlertWindow, Rule};
use domain::notification::{DigestTime, Message, Route};
use domain::{ChannelId, NotificationId, RouteId, Timestamp};

use super::coordinator::queue;
use crate::audit::{AuditEntry, append};
use crate::channels;
use crate::{Store, StoreError};

macro_rules! route {
    ($row:expr) => {{
        let row = $row;
        let hours = match (&row.hours_start, &row.hours_end, &row.hours_tz) {
            (Some(start), Some(end), Some(tz)) => AlertWindow::parse_hours(start, end, tz).ok().map(Some),
            _ => Some(None),
        };
        let digest = match (&row.digest_at, &row.digest_tz) {
            (Some(at), Some(tz)) => DigestTime::parse(at, tz).ok().map(Some),
            _ => Some(None),
        };
        // Rules of a later build are left to it; a route for nothing but those is not one for everything.
        let rules: Vec<Rule> = row.rules.iter().filter_map(|rule| rule.parse().ok()).collect();
        let understood = row.rules.is_empty() || !rules.is_empty();
        hours.zip(digest).zip(row.min_severity.parse().ok()).filter(|_| understood).map(|((hours, digest), min_severity)| Route {
            id: RouteId(row.route_id),
            channel: ChannelId(row.channel_id),
            min_severity,
            rules,
            groups: row.groups,
            hours,
            level: row.level.try_into().unwrap_or_default(),
            digest,
        })
    }};
}

impl Store {
    /// Routes, at most `limit`; of channels that are on, if `enabled`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn alert_routes(&self, enabled: bool, limit: i64) -> Result<Vec<Route>, StoreError> {
        let rows = sqlx::query!(
            "SELECT r.route_id, r.channel_id, r.min_severity, r.rules, r.groups, r.hours_start, r.hours_end, r.hours_tz,
                r.level, r.digest_at, r.digest_tz, r.digest_sent_at, r.created_by, r.created_at FROM alert_route r JOIN alert_channel c USING (channel_id) WHERE c.enabled OR NOT $1
             ORDER BY r.created_at, r.route_id LIMIT $2",
            enabled,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().filter_map(|row| route!(row)).collect())
    }

    /// Stores a route, unless there are so many already or its channel is gone. Returns whether it is stored.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn insert_alert_route(
        &self,
        route: &Route,
        most: i64,
        by: &str,
        entry: &AuditEntry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let rules: Vec<_> = route.rules.iter().map(|rule| rule.as_str().to_owned()).collect();
        let hours = route.hours.as_ref().and_then(|hours| hours.daily());
        let digest = route.digest.as_ref().map(DigestTime::parts);
        let mut tx = self.begin().await?;
        let stored = sqlx::query!(
            "INSERT INTO alert_route (route_id, channel_id, min_severity, rules, groups, hours_start, hours_end, hours_tz, level, digest_at, digest_tz,
                 digest_sent_at, created_by, created_at)
             SELECT $1, c.channel_id, $3, $4, $5, $6, $7, $8, $9, $10, $11, CASE WHEN $10::text IS NOT NULL THEN $13::timestamptz END, $12, $13
             FROM alert_channel c WHERE c.channel_id = $2 AND (SELECT count(*) FROM alert_route) < $14",
            route.id.0,
            route.channel.0,
            route.min_severity.as_str(),
            &rules,
            &route.groups,
            hours.map(|hours| hours.start()),
            hours.map(|hours| hours.end()),
            hours.map(|hours| hours.tz()),
            i16::from(route.level),
            digest.as_ref().map(|(at, _)| at.as_str()),
            digest.as_ref().map(|(_, tz)| *tz),
            by,
            now,
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

    /// Changes a route. Returns whether there is one, and the channel that it is to lead to.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn update_alert_route(&self, route: &Route, entry: &AuditEntry, now: Timestamp) -> Result<bool, StoreError> {
        let rules: Vec<_> = route.rules.iter().map(|rule| rule.as_str().to_owned()).collect();
        let hours = route.hours.as_ref().and_then(|hours| hours.daily());
        let digest = route.digest.as_ref().map(DigestTime::parts);
        let mut tx = self.begin().await?;
        // A digest that begins now has nothing to catch up with.
        let changed = sqlx::query!(
            "UPDATE alert_route r SET channel_id = c.channel_id, min_severity = $3, rules = $4, groups = $5, hours_start = $6, hours_end = $7,
                 hours_tz = $8, level = $9, digest_at = $10, digest_tz = $11,
                 digest_sent_at = CASE WHEN $10::text IS NULL THEN NULL WHEN r.digest_at IS NULL THEN $12::timestamptz ELSE r.digest_sent_at END
             FROM alert_channel c WHERE r.route_id = $1 AND c.channel_id = $2",
            route.id.0,
            route.channel.0,
            route.min_severity.as_str(),
            &rules,
            &route.groups,
            hours.map(|hours| hours.start()),
            hours.map(|hours| hours.end()),
            hours.map(|hours| hours.tz()),
            i16::from(route.level),
            digest.as_ref().map(|(at, _)| at.as_str()),
            digest.as_ref().map(|(_, tz)| *tz),
            now
        )
        .execute(&mut *tx)
        .await?;
        if changed.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query!("SELECT pg_notify($1, '')", channels::ALERT).execute(&mut *tx).await?;
        append(&mut tx, entry, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Routes of digests whose channel is on, at most `limit`, each with the time of its last digest.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn digest_routes(&self, limit: i64) -> Result<Vec<(Route, Timestamp)>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT r.route_id, r.channel_id, r.min_severity, r.rules, r.groups, r.hours_start, r.hours_end, r.hours_tz,
                r.level, r.digest_at, r.digest_tz, r.digest_sent_at, r.created_by, r.created_at, coalesce(r.digest_sent_at, r.created_at) AS "last_at!" FROM alert_route r JOIN alert_channel c USING (channel_id)
               WHERE c.enabled AND r.digest_at IS NOT NULL ORDER BY r.created_at, r.route_id LIMIT $1"#,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        let digest = rows.into_iter().filter_map(|row| {
            let last_at = row.last_at;
            Some((route!(row)?, last_at))
        });
        Ok(digest.collect())
    }

    /// Puts the digest of a route into the outbox, unless one was sent since `last`. Returns whether it is there.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn queue_digest(
        &self,
        route: &Route,
        last: Timestamp,
        id: NotificationId,
        message: &Message,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let due = sqlx::query!(
            "UPDATE alert_route SET digest_sent_at = $3 WHERE route_id = $1 AND coalesce(digest_sent_at, created_at) = $2",
            route.id.0,
            last,
            now
        )
        .execute(&mut *tx)
        .await?;
        if due.rows_affected() == 0 {
            return Ok(false);
        }
        queue(&mut tx, id, message, &BTreeSet::from([route.channel]), now).await?;
        sqlx::query!("SELECT pg_notify($1, '')", channels::ALERT).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Deletes a route. Returns whether there was one.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn delete_alert_route(&self, id: RouteId, entry: &AuditEntry, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let deleted = sqlx::query!("DELETE FROM alert_route WHERE route_id = $1", id.0).execute(&mut *tx).await?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query!("SELECT pg_notify($1, '')", channels::ALERT).execute(&mut *tx).await?;
        append(&mut tx, entry, now).await?;
        tx.commit().await?;
        Ok(true)
    }
}
