//! Enrollment tokens: creation, lists, revocation, and use exactly once.

use domain::access::{Origin, Principal};
use domain::audit::{AuditAction, Target};
use domain::enrollment::{EnrollToken, TokenProgress, TokenQuery, TokenStatus};
use domain::name::CanonicalName;
use domain::{DeviceId, EnrollTokenId, Timestamp, UserId};
use serde_json::json;

use crate::audit::{AuditEntry, append};
use crate::device::NewDevice;
use crate::device_identity::note_same_hardware;
use crate::{Store, StoreError};

/// New enrollment token.
pub struct NewEnrollToken {
    /// Id.
    pub id: EnrollTokenId,
    /// SHA-256 of the secret.
    pub secret_sha256: Vec<u8>,
    /// Alias of the new device.
    pub alias: Option<String>,
}

/// Usable token.
#[derive(Debug, Clone, PartialEq)]
pub struct UsableToken {
    /// Id.
    pub id: EnrollTokenId,
    /// Alias of the new device.
    pub alias: Option<String>,
}

/// Usable token, found by its secret.
#[derive(Debug, Clone, PartialEq)]
pub struct PresentedToken {
    /// Id.
    pub id: EnrollTokenId,
    /// SHA-256 of the secret.
    pub secret_sha256: Vec<u8>,
    /// Alias of the new device.
    pub alias: Option<String>,
    /// Expiry.
    pub expires_at: Timestamp,
}

/// Outcome of an enrollment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnrollOutcome {
    /// The device is enrolled; the token is used up.
    Enrolled,
    /// The token is unknown, used, revoked or expired; nothing changed.
    Refused,
}

impl Store {
    /// Records tokens that share all but their alias.
    ///
    /// # Errors
    /// The database is unavailable; none is recorded then.
    pub async fn insert_enroll_tokens(
        &self,
        tokens: &[NewEnrollToken],
        tags: &[String],
        groups: &[String],
        by: &Principal,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let ids: Vec<_> = tokens.iter().map(|token| token.id.0).collect();
        let secrets: Vec<_> = tokens.iter().map(|token| token.secret_sha256.clone()).collect();
        let aliases: Vec<_> = tokens.iter().map(|token| token.alias.clone()).collect();
        let mut tx = self.begin().await?;
        sqlx::query!(
            "INSERT INTO enroll_token (enroll_token_id, secret_sha256, alias, tags, groups, created_at, created_by, expires_at)
             SELECT r.id, r.secret, r.alias, $4, $5, $6, $7, $8
             FROM UNNEST($1::uuid[], $2::bytea[], $3::text[]) AS r(id, secret, alias)",
            &ids,
            &secrets,
            &aliases as &[Option<String>],
            tags,
            groups,
            now,
            by.user_id().map(|id| id.0),
            expires_at
        )
        .execute(&mut *tx)
        .await?;
        let (action, target) = match tokens {
            [one] => (AuditAction::EnrollTokenMade, Target::EnrollToken(one.id, one.alias.clone())),
            many => (AuditAction::EnrollTokensMade, Target::EnrollTokens(many.len())),
        };
        let made = json!({ "ids": ids, "aliases": aliases, "tags": tags, "groups": groups, "expires_at": expires_at });
        append(&mut tx, &AuditEntry::new(by, action, target).after(made), now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Whether another usable token than these fixes one of these aliases, in any case, so that the device of only one of them can enroll; which.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn alias_of_other_token(
        &self,
        aliases: &[String],
        but: &[EnrollTokenId],
        now: Timestamp,
    ) -> Result<Option<String>, StoreError> {
        let forms: Vec<String> = aliases.iter().map(|alias| CanonicalName::of(alias).into_string()).collect();
        let but: Vec<_> = but.iter().map(|id| id.0).collect();
        let found = sqlx::query_scalar!(
            r#"SELECT alias AS "alias!" FROM enroll_token
               WHERE (alias = ANY($1) OR lower(alias) = ANY($2)) AND enroll_token_id <> ALL($3)
                 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > $4
               ORDER BY enroll_token_id LIMIT 1"#,
            aliases,
            &forms,
            &but,
            now
        );
        Ok(found.fetch_optional(&self.pool).await?)
    }

    /// Tokens, newest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn enroll_tokens(&self, query: TokenQuery, now: Timestamp) -> Result<Vec<EnrollToken>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT t.enroll_token_id, t.secret_sha256, t.alias, t.tags, t.groups, t.created_at, t.created_by, t.expires_at, t.used_at, t.device_id,
                   t.revoked_at, u.username AS "username?" FROM enroll_token t LEFT JOIN app_user u ON u.user_id = t.created_by
               -- Ids are UUIDv7: their order is that of creation.
               WHERE ($1::uuid IS NULL OR t.enroll_token_id < $1)
                 AND ($2::text IS NULL OR $2 = CASE
                       WHEN t.used_at IS NOT NULL THEN 'used'
                       WHEN t.revoked_at IS NOT NULL THEN 'revoked'
                       WHEN t.expires_at <= $3 THEN 'expired'
                       ELSE 'unused' END)
               ORDER BY t.enroll_token_id DESC LIMIT $4"#,
            query.after.map(|id| id.0),
            query.status.map(TokenStatus::as_str),
            now,
            query.limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| EnrollToken {
                id: EnrollTokenId(row.enroll_token_id),
                alias: row.alias,
                tags: row.tags,
                groups: row.groups,
                created_at: row.created_at,
                created_by: row.created_by.map(UserId),
                created_by_name: row.username,
                expires_at: row.expires_at,
                used_at: row.used_at,
                device_id: row.device_id.map(DeviceId),
                revoked_at: row.revoked_at,
            })
            .collect())
    }

    /// Revokes a token. `None`: the token does not exist. Else whether it is
    /// revoked now: a used one stays used.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn revoke_enroll_token(&self, id: EnrollTokenId, by: &Principal, now: Timestamp) -> Result<Option<bool>, StoreError> {
        let mut tx = self.begin().await?;
        let token = sqlx::query!(
            r#"SELECT alias, used_at IS NOT NULL AS "used!", revoked_at IS NOT NULL AS "revoked!"
               FROM enroll_token WHERE enroll_token_id = $1 FOR UPDATE"#,
            id.0
        );
        let Some(token) = token.fetch_optional(&mut *tx).await? else { return Ok(None) };
        if token.used || token.revoked {
            return Ok(Some(token.revoked));
        }
        sqlx::query!("UPDATE enroll_token SET revoked_at = $2 WHERE enroll_token_id = $1", id.0, now).execute(&mut *tx).await?;
        append(&mut tx, &AuditEntry::new(by, AuditAction::EnrollTokenRevoked, Target::EnrollToken(id, token.alias)), now).await?;
        tx.commit().await?;
        Ok(Some(true))
    }

    /// The token with this secret, if it can be used at `now`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn usable_enroll_token(&self, secret_sha256: &[u8], now: Timestamp) -> Result<Option<UsableToken>, StoreError> {
        let row = sqlx::query!(
            "SELECT enroll_token_id, alias FROM enroll_token
             WHERE secret_sha256 = $1 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > $2",
            secret_sha256,
            now
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| UsableToken { id: EnrollTokenId(row.enroll_token_id), alias: row.alias }))
    }

    /// Usable ones, at `now`, of the tokens with these secrets.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn usable_enroll_tokens(&self, secrets_sha256: &[Vec<u8>], now: Timestamp) -> Result<Vec<PresentedToken>, StoreError> {
        let rows = sqlx::query!(
            "SELECT enroll_token_id, secret_sha256, alias, expires_at FROM enroll_token
             WHERE secret_sha256 = ANY($1) AND used_at IS NULL AND revoked_at IS NULL AND expires_at > $2",
            secrets_sha256,
            now
        )
        .fetch_all(&self.pool)
        .await?;
        let found = rows.into_iter().map(|row| PresentedToken {
            id: EnrollTokenId(row.enroll_token_id),
            secret_sha256: row.secret_sha256,
            alias: row.alias,
            expires_at: row.expires_at,
        });
        Ok(found.collect())
    }

    /// Progress of the token with this secret.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn enroll_token_progress(&self, secret_sha256: &[u8], now: Timestamp) -> Result<Option<TokenProgress>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT t.enroll_token_id AS "enroll_token_id!", t.used_at, t.revoked_at, t.expires_at AS "expires_at!", t.device_id, d.alias AS "device_alias?",
                      -- By its key, so that each partition gives up one row at most. History may be gone already.
                      coalesce((SELECT h.received_at FROM heartbeats_unpacked h WHERE h.device_id = t.device_id ORDER BY h.bucket_at LIMIT 1),
                               s.received_at) AS first_heartbeat_at
               FROM enroll_token t
               LEFT JOIN device d ON d.device_id = t.device_id AND d.deleted_at IS NULL
               LEFT JOIN device_last_status s ON s.device_id = t.device_id
               WHERE t.secret_sha256 = $1"#,
            secret_sha256
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| TokenProgress {
            id: EnrollTokenId(row.enroll_token_id),
            status: status(row.used_at, row.revoked_at, row.expires_at, now),
            device_id: row.device_id.map(DeviceId),
            device_alias: row.device_alias,
            first_heartbeat_at: row.first_heartbeat_at,
        }))
    }

    /// Progress of tokens. Purged ones are left out.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn enroll_tokens_progress(&self, ids: &[EnrollTokenId], now: Timestamp) -> Result<Vec<TokenProgress>, StoreError> {
        let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
        let rows = sqlx::query!(
            r#"SELECT t.enroll_token_id AS "enroll_token_id!", t.used_at, t.revoked_at, t.expires_at AS "expires_at!", t.device_id, d.alias AS "device_alias?",
                      s.received_at AS "received_at?"
               FROM enroll_token t
               LEFT JOIN device d ON d.device_id = t.device_id AND d.deleted_at IS NULL
               LEFT JOIN device_last_status s ON s.device_id = t.device_id
               WHERE t.enroll_token_id = ANY($1)"#,
            &ids
        )
        .fetch_all(&self.pool)
        .await?;
        let found = rows.into_iter().map(|row| TokenProgress {
            id: EnrollTokenId(row.enroll_token_id),
            status: status(row.used_at, row.revoked_at, row.expires_at, now),
            device_id: row.device_id.map(DeviceId),
            device_alias: row.device_alias,
            first_heartbeat_at: row.received_at,
        });
        Ok(found.collect())
    }

    /// Uses a token up and enrolls its device, together or not at all. Of any
    /// number of simultaneous calls with one token, exactly one enrolls.
    ///
    /// # Errors
    /// [`crate::Conflict::AliasInUse`] (the token stays usable), or the database
    /// is unavailable.
    pub async fn enroll(
        &self,
        token: EnrollTokenId,
        device: &NewDevice,
        origin: Origin,
        now: Timestamp,
    ) -> Result<EnrollOutcome, StoreError> {
        let mut tx = self.begin().await?;
        // The row lock makes the second of two simultaneous calls wait, and then find it used.
        let used = sqlx::query!(
            "UPDATE enroll_token SET used_at = $2
             WHERE enroll_token_id = $1 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > $2
             RETURNING tags, groups",
            token.0,
            now
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(used) = used else { return Ok(EnrollOutcome::Refused) };
        device.insert(&mut tx, &used.tags, &used.groups, now).await?;
        note_same_hardware(&mut tx, device.id, &device.alias, device.registration.hardware_id.as_deref(), now).await?;
        sqlx::query!("UPDATE enroll_token SET device_id = $2 WHERE enroll_token_id = $1", token.0, device.id.0).execute(&mut *tx).await?;
        let target = Target::Device(device.id, device.alias.clone());
        let entry = AuditEntry::of_device(device.id, &device.alias, origin, AuditAction::DeviceEnrolled, target).after(json!({
            "enroll_token_id": token.0,
            "alias": device.alias,
            "tags": used.tags,
            "groups": used.groups,
            "model": device.registration.model,
        }));
        append(&mut tx, &entry, now).await?;
        tx.commit().await?;
        Ok(EnrollOutcome::Enrolled)
    }
}

fn status(used_at: Option<Timestamp>, revoked_at: Option<Timestamp>, expires_at: Timestamp, now: Timestamp) -> TokenStatus {
    TokenStatus::of(used_at.is_some(), revoked_at.is_some(), expires_at, now)
}
