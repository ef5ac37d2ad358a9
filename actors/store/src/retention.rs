//! Removal of rows that are of no use any more and that no other module removes with its own.

use domain::Timestamp;

use crate::{Store, StoreError};

impl Store {
    /// Removes at most `limit` enrollment tokens that were used, revoked or expired before this time. Returns how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_enroll_tokens(&self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query!(
            "DELETE FROM enroll_token WHERE enroll_token_id = ANY(ARRAY(
                 SELECT enroll_token_id FROM enroll_token
                 WHERE created_at < $1 AND least(used_at, revoked_at, expires_at) < $1 ORDER BY created_at LIMIT $2))",
            before,
            limit
        );
        Ok(purged.execute(&self.pool).await?.rows_affected())
    }

    /// Removes at most `limit` maintenance windows that ended before this time. Returns how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_alert_windows(&self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query!(
            "DELETE FROM alert_window WHERE window_id = ANY(ARRAY(SELECT window_id FROM alert_window WHERE ends_at < $1 LIMIT $2))",
            before,
            limit
        );
        Ok(purged.execute(&self.pool).await?.rows_affected())
    }

    /// Removes at most `limit` APKs that were deleted before this time, whose files are gone, and that no deployment, build or other APK names. Returns
    /// how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_deleted_apks(&self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query!(
            "DELETE FROM apk WHERE apk_id = ANY(ARRAY(
                 SELECT apk_id FROM apk a WHERE deleted_at < $1
                     AND NOT EXISTS (SELECT FROM deployment d WHERE d.apk_id = a.apk_id)
                     AND NOT EXISTS (SELECT FROM agent_build b WHERE b.apk_id = a.apk_id)
                     AND NOT EXISTS (SELECT FROM apk later WHERE later.rollback_of = a.apk_id)
                 LIMIT $2))",
            before,
            limit
        );
        Ok(purged.execute(&self.pool).await?.rows_affected())
    }

    /// Forgets at most `limit` aggregated days from before this time that have neither heartbeats nor hours any more: they would be aggregated again. Returns
    /// how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_history_days(&self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query!(
            "DELETE FROM history_day WHERE day = ANY(ARRAY(
                 SELECT day FROM history_day WHERE day < $1 AND to_regclass('heartbeats_p' || to_char(day, 'YYYYMMDD')) IS NULL
                 ORDER BY day LIMIT $2))",
            before.date_naive(),
            limit
        );
        Ok(purged.execute(&self.pool).await?.rows_affected())
    }

    /// Forgets at most `limit` nodes that have said nothing of themselves since this time. Returns how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_node_health(&self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query!(
            "DELETE FROM node_health WHERE name = ANY(ARRAY(SELECT name FROM node_health WHERE observed_at < $1 LIMIT $2))",
            before,
            limit
        );
        Ok(purged.execute(&self.pool).await?.rows_affected())
    }
}
