//! Devices whose agent needs push messages in the format of the earlier server.

use domain::device::LegacyPushDevice;
use domain::{DeviceId, Timestamp};

use crate::{Store, StoreError};

impl Store {
    /// Notes in which format a device answered a command: the legacy one at this time, or today's.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn note_result_format(&self, id: DeviceId, legacy_at: Option<Timestamp>) -> Result<(), StoreError> {
        // To about an hour, so that not every result writes.
        sqlx::query!(
            "UPDATE device SET legacy_result_at = $2
             WHERE device_id = $1 AND (($2::timestamptz IS NULL) <> (legacy_result_at IS NULL) OR legacy_result_at < $2::timestamptz - interval '1 h')",
            id.0,
            legacy_at
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// At most `limit` devices that need legacy push, in the order of their ids, behind `after`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn legacy_push_devices(&self, after: Option<DeviceId>, limit: i64) -> Result<Vec<LegacyPushDevice>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT device_id, alias, legacy_result_at AS "result_at!" FROM device
               WHERE legacy_result_at IS NOT NULL AND deleted_at IS NULL AND device_id > $1 ORDER BY device_id LIMIT $2"#,
            after.map_or(uuid::Uuid::nil(), |id| id.0),
            limit
        );
        let device = |id, alias, result_at| LegacyPushDevice { id: DeviceId(id), alias, result_at };
        Ok(rows.fetch_all(&self.pool).await?.into_iter().map(|row| device(row.device_id, row.alias, row.result_at)).collect())
    }
}
