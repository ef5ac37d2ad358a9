//! Retried registrations: the same hardware comes again with its used token, because the answer was lost.
//!
//! What makes that safe is that nobody has used the device token of the first answer. The first use of a token is noted on its row
//! before it counts; a retry removes tokens that were not used. Both lock that row, so one of them finds the other done.

use domain::access::Origin;
use domain::audit::{AuditAction, Target};
use domain::event::EventKind;
use domain::{DeviceId, DeviceTokenId, Timestamp};
use serde_json::json;

use crate::audit::{AuditEntry, append};
use crate::{Store, StoreError};

/// Retried registration.
#[derive(Debug, Clone, Copy)]
pub struct RegistrationRetry<'a> {
    /// SHA-256 of the enrollment token.
    pub secret_sha256: &'a [u8],
    /// Hardware identity that is told.
    pub hardware_id: &'a str,
    /// Only of a token that was used after this.
    pub used_after: Timestamp,
    /// Most retries of one device; each has a device key of its own.
    pub retries_max: i32,
}

/// New device token for a device that has none that was used.
pub struct ReplacementToken {
    /// Public half.
    pub id: DeviceTokenId,
    /// bcrypt of the secret half.
    pub secret_bcrypt: String,
}

/// Device whose registration was retried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetriedDevice {
    /// The device.
    pub id: DeviceId,
    /// Alias.
    pub alias: String,
    /// Version of the device's new key.
    pub key_version: i32,
}

impl Store {
    /// Whether a retry would be answered, before a hash is spent on it.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn may_retry_registration(&self, retry: RegistrationRetry<'_>) -> Result<bool, StoreError> {
        Ok(sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM enroll_token t JOIN device d USING (device_id)
                 WHERE t.secret_sha256 = $1 AND t.used_at > $2 AND d.hardware_id = $3 AND d.deleted_at IS NULL
                   AND d.credential_generation = 1 AND d.key_version <= $4
                   AND NOT EXISTS (SELECT FROM device_last_status s WHERE s.device_id = d.device_id)
                   AND NOT EXISTS (SELECT FROM device_token k WHERE k.device_id = d.device_id AND k.first_used_at IS NOT NULL)) AS "may!""#,
            retry.secret_sha256,
            retry.used_after,
            retry.hardware_id,
            retry.retries_max
        )
        .fetch_one(&self.pool)
        .await?)
    }

    /// Replaces the device token that nobody received, and the device key with it. `None`: the retry is refused, and nothing has changed.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn retry_registration(
        &self,
        retry: RegistrationRetry<'_>,
        token: &ReplacementToken,
        origin: Origin,
        now: Timestamp,
    ) -> Result<Option<RetriedDevice>, StoreError> {
        let mut tx = self.begin().await?;
        // Held: of several retries each replaces the token of the one before.
        let device = sqlx::query!(
            r#"SELECT t.enroll_token_id, d.device_id, d.alias FROM enroll_token t JOIN device d USING (device_id)
               WHERE t.secret_sha256 = $1 AND t.used_at > $2 AND d.hardware_id = $3 AND d.deleted_at IS NULL AND d.credential_generation = 1
                   AND d.key_version <= $4
               FOR NO KEY UPDATE OF t, d"#,
            retry.secret_sha256,
            retry.used_after,
            retry.hardware_id,
            retry.retries_max
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(device) = device else { return Ok(None) };
        sqlx::query!("DELETE FROM device_token WHERE device_id = $1 AND first_used_at IS NULL", device.device_id).execute(&mut *tx).await?;
        let spoken = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM device_token WHERE device_id = $1)
                   OR EXISTS (SELECT FROM device_last_status WHERE device_id = $1) AS "spoken!""#,
            device.device_id
        )
        .fetch_one(&mut *tx)
        .await?;
        if spoken {
            return Ok(None);
        }
        sqlx::query!(
            "WITH added AS (INSERT INTO device_token (device_token_id, device_id, secret_bcrypt, generation, created_at)
                 VALUES ($2, $1, $3, 1, $4))
             INSERT INTO device_event (device_id, at, kind) VALUES ($1, $4, $5)",
            device.device_id,
            token.id.0,
            token.secret_bcrypt,
            now,
            EventKind::RegistrationRetried.as_str()
        )
        .execute(&mut *tx)
        .await?;
        // Whoever received the first answer has its key.
        let rotated = sqlx::query!(
            r#"WITH rotated AS (
                   UPDATE device SET key_version = key_version + 1, changed_at = now() WHERE device_id = $1 RETURNING device_id, key_version)
               SELECT key_version, pg_notify('nexmdm_device', device_id::text)::text FROM rotated"#,
            device.device_id
        )
        .fetch_one(&mut *tx)
        .await?;
        let retried = RetriedDevice { id: DeviceId(device.device_id), alias: device.alias, key_version: rotated.key_version };
        let target = Target::Device(retried.id, retried.alias.clone());
        let entry = AuditEntry::of_device(retried.id, &retried.alias, origin, AuditAction::DeviceRegistrationRetried, target)
            .after(json!({ "enroll_token_id": device.enroll_token_id }));
        append(&mut tx, &entry, now).await?;
        tx.commit().await?;
        Ok(Some(retried))
    }

    /// Notes the first use of a device token, before it counts. `false`: a retried registration has replaced the token.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn note_first_use(&self, token: DeviceTokenId, now: Timestamp) -> Result<bool, StoreError> {
        let noted =
            sqlx::query!("UPDATE device_token SET first_used_at = coalesce(first_used_at, $2) WHERE device_token_id = $1", token.0, now);
        Ok(noted.execute(&self.pool).await?.rows_affected() > 0)
    }
}
