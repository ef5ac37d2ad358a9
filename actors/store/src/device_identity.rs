//! Identity of devices: conflicts that people decide about, and devices of the same hardware, of which one replaces the other.

use domain::access::Principal;
use domain::bulk::DeviceRecord;
use domain::edit::Editable;
use domain::event::EventKind;
use domain::replacement::{EnrolledHardware, SameHardware};
use domain::{DeviceId, Timestamp};
use serde_json::json;

use crate::device_edit::DeviceWork;
use crate::pool::Connection;
use crate::{Store, StoreError};

/// Most devices of the same hardware that an enrollment tells; ids that a whole model shares say nothing.
const SAME_HARDWARE_MAX: i64 = 5;

/// Tells a device that just enrolled, and those that have its hardware id, of each other.
pub(crate) async fn note_same_hardware(
    connection: &mut Connection,
    id: DeviceId,
    alias: &str,
    hardware_id: Option<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(hardware_id) = hardware_id else { return Ok(()) };
    sqlx::query!(
        "WITH other AS (SELECT device_id, alias FROM device
             WHERE hardware_id = $3 AND deleted_at IS NULL AND device_id <> $1 ORDER BY enrolled_at DESC LIMIT $4)
         INSERT INTO device_event (device_id, at, kind, detail)
         SELECT $1, $5::timestamptz, $6::text, jsonb_build_object('device_id', device_id, 'alias', alias) FROM other
         UNION ALL SELECT device_id, $5::timestamptz, $6::text, jsonb_build_object('device_id', $1::uuid, 'alias', $2::text) FROM other",
        id.0,
        alias,
        hardware_id,
        SAME_HARDWARE_MAX,
        now,
        EventKind::SameHardware.as_str()
    )
    .execute(connection)
    .await?;
    Ok(())
}

impl Store {
    /// Devices of the fleet that enrolled with the hardware id of this one, newest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn same_hardware(&self, id: DeviceId) -> Result<Vec<SameHardware>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT o.device_id, o.alias, o.enrolled_at, s.last_seen_at AS "last_seen_at?"
               FROM device d JOIN device o ON o.hardware_id = d.hardware_id AND o.deleted_at IS NULL AND o.device_id <> d.device_id
               LEFT JOIN device_last_status s ON s.device_id = o.device_id
               WHERE d.device_id = $1 ORDER BY o.enrolled_at DESC, o.device_id LIMIT $2"#,
            id.0,
            SAME_HARDWARE_MAX
        )
        .fetch_all(&self.pool)
        .await?;
        let read = rows.into_iter().map(|row| SameHardware {
            id: DeviceId(row.device_id),
            alias: row.alias,
            enrolled_at: row.enrolled_at,
            last_seen_at: row.last_seen_at,
        });
        Ok(read.collect())
    }

    /// The device that this one has replaced, and what that one has replaced, newest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn replaced_devices(&self, id: DeviceId, limit: i64) -> Result<Vec<DeviceId>, StoreError> {
        let rows = sqlx::query_scalar!(
            r#"WITH RECURSIVE chain AS (
                   SELECT replaces AS device_id, 1::bigint AS n FROM device WHERE device_id = $1 AND replaces IS NOT NULL
                   UNION ALL
                   SELECT d.replaces, c.n + 1 FROM chain c JOIN device d USING (device_id) WHERE d.replaces IS NOT NULL AND c.n < $2)
               SELECT device_id AS "device_id!" FROM chain ORDER BY n"#,
            id.0,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(DeviceId).collect())
    }
}

impl DeviceWork {
    /// Alias of a device of the fleet, and whether its identity is in conflict.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn conflict_of(&mut self, id: DeviceId) -> Result<Option<(String, bool)>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT d.alias, coalesce(c.conflict_dismissed_at IS NULL AND c.conflict_generation = d.credential_generation, false) AS "open!"
               FROM device d LEFT JOIN device_condition c USING (device_id) WHERE d.device_id = $1 AND d.deleted_at IS NULL"#,
            id.0
        )
        .fetch_optional(self.connection())
        .await?;
        Ok(row.map(|row| (row.alias, row.open)))
    }

    /// Dismisses the identity conflict of a device: it is one device. The condition gets a new version, so that its owner reads it.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn dismiss_conflict(&mut self, id: DeviceId, by: &Principal, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query!("UPDATE device_condition SET conflict_dismissed_at = $2, version = version + 1 WHERE device_id = $1", id.0, now)
            .execute(self.connection())
            .await?;
        self.touch(&[id]).await?;
        self.record(&[id.0], EventKind::IdentityConflictDismissed, Some(by.username()), now, &[]).await
    }

    /// Hardware of a device.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn hardware(&mut self, id: DeviceId) -> Result<Option<EnrolledHardware>, StoreError> {
        let row = sqlx::query!("SELECT hardware_id, enrolled_at FROM device WHERE device_id = $1", id.0);
        let row = row.fetch_optional(self.connection()).await?;
        Ok(row.map(|row| EnrolledHardware { hardware_id: row.hardware_id, enrolled_at: row.enrolled_at }))
    }

    /// Puts a device in the place of another: that one is deleted, this one gets what people know it by and its events.
    ///
    /// # Errors
    /// [`crate::Conflict::AliasInUse`], or the database is unavailable.
    pub async fn replace(
        &mut self,
        device: (&DeviceRecord, &Editable),
        replaced: &DeviceRecord,
        by: &Principal,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (before, next) = device;
        let name = Some(by.username());
        let moved = sqlx::query!("UPDATE device_event SET device_id = $1 WHERE device_id = $2", before.id.0, replaced.id.0);
        moved.execute(self.connection()).await?;
        // Frees the alias.
        self.delete(&[replaced.id], name, now).await?;
        self.edit(&[(before, next)], name, now).await?;
        sqlx::query!("UPDATE device SET replaces = $2 WHERE device_id = $1", before.id.0, replaced.id.0).execute(self.connection()).await?;
        let other =
            |role: &str, other: &DeviceRecord| json!({ "role": role, "device_id": other.id.0, "alias": other.editable.alias }).to_string();
        let details = [other("replacement", replaced), other("replaced", before)];
        self.record(&[before.id.0, replaced.id.0], EventKind::Replaced, name, now, &details).await
    }
}
