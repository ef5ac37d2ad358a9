//! API tokens: creation, search by secret, lists, revocation.

use domain::access::{Principal, Role, Scopes};
use domain::api_token::ApiToken;
use domain::audit::{AuditAction, Target};
use domain::{ApiTokenId, Timestamp, UserId};
use serde_json::json;

use crate::audit::{AuditEntry, append};
use crate::{Store, StoreError};

/// New API token.
pub struct NewApiToken<'a> {
    /// Id.
    pub id: ApiTokenId,
    /// Owner of the token.
    pub user_id: UserId,
    /// API token that creates it.
    pub parent: Option<ApiTokenId>,
    /// Name, which says what the token is for.
    pub name: &'a str,
    /// First characters.
    pub prefix: &'a str,
    /// SHA-256 of the whole token.
    pub secret_sha256: &'a [u8],
    /// Scopes.
    pub scopes: Scopes,
    /// Expiry.
    pub expires_at: Timestamp,
}

/// Outcome of recording a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiTokenOutcome {
    /// The token is created.
    Created,
    /// The owner has the most tokens allowed; nothing was created.
    TooMany,
    /// The owner or the parent token is no longer valid; nothing was created.
    MakerGone,
}

/// Valid API token and its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiTokenUser {
    /// The token.
    pub token_id: ApiTokenId,
    /// Owner of the token.
    pub user_id: UserId,
    /// Name of the owner.
    pub username: String,
    /// Owner's role.
    pub role: Role,
    /// Scopes of the token.
    pub scopes: Scopes,
    /// Expiry.
    pub expires_at: Timestamp,
    /// Time of last use, to about a minute.
    pub last_used_at: Option<Timestamp>,
}

/// Which tokens to list: newest first, behind `after`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ApiTokenQuery {
    /// Account.
    pub owner: Option<UserId>,
    /// Cursor: the last token of the page before.
    pub after: Option<ApiTokenId>,
    /// Most rows.
    pub limit: i64,
}

impl Store {
    /// Records a token, unless its owner has `living_max` already.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn insert_api_token(
        &self,
        token: NewApiToken<'_>,
        living_max: i64,
        by: &Principal,
        now: Timestamp,
    ) -> Result<ApiTokenOutcome, StoreError> {
        let mut tx = self.begin().await?;
        // The owner's row is locked by whoever makes or revokes tokens: counts hold, and no token
        // outlives the revocation of the one that made it.
        let owner = sqlx::query_scalar!(
            "SELECT user_id FROM app_user u WHERE user_id = $1 AND disabled_at IS NULL
                 AND ($2::uuid IS NULL OR EXISTS (SELECT FROM api_token p WHERE p.api_token_id = $2))
             FOR NO KEY UPDATE OF u",
            token.user_id.0,
            token.parent.map(|id| id.0)
        );
        if owner.fetch_optional(&mut *tx).await?.is_none() {
            return Ok(ApiTokenOutcome::MakerGone);
        }
        let state = sqlx::query!(
            r#"SELECT count(*) AS "living!",
                   $3::uuid IS NULL OR coalesce(bool_or(api_token_id = $3), false) AS "parent_lives!"
               FROM api_token WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2"#,
            token.user_id.0,
            now,
            token.parent.map(|id| id.0)
        )
        .fetch_one(&mut *tx)
        .await?;
        if !state.parent_lives {
            return Ok(ApiTokenOutcome::MakerGone);
        }
        if state.living >= living_max {
            return Ok(ApiTokenOutcome::TooMany);
        }
        sqlx::query!(
            "INSERT INTO api_token (api_token_id, user_id, parent_id, name, prefix, secret_sha256, scopes, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            token.id.0,
            token.user_id.0,
            token.parent.map(|id| id.0),
            token.name,
            token.prefix,
            token.secret_sha256,
            &token.scopes.names(),
            now,
            token.expires_at
        )
        .execute(&mut *tx)
        .await?;
        let entry = AuditEntry::new(by, AuditAction::ApiTokenMade, Target::ApiToken(token.id, token.name.to_owned()));
        append(&mut tx, &entry.after(json!({ "scopes": token.scopes.names(), "expires_at": token.expires_at })), now).await?;
        tx.commit().await?;
        Ok(ApiTokenOutcome::Created)
    }

    /// The token with this secret and its account, if both are in force at `now`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn living_api_token(&self, secret_sha256: &[u8], now: Timestamp) -> Result<Option<ApiTokenUser>, StoreError> {
        let row = sqlx::query!(
            "SELECT t.api_token_id, t.scopes, t.expires_at, t.last_used_at, u.user_id, u.username, u.role
             FROM api_token t JOIN app_user u USING (user_id)
             WHERE t.secret_sha256 = $1 AND t.revoked_at IS NULL AND t.expires_at > $2 AND u.disabled_at IS NULL",
            secret_sha256,
            now
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            Ok(ApiTokenUser {
                token_id: ApiTokenId(row.api_token_id),
                user_id: UserId(row.user_id),
                username: row.username,
                role: row.role.parse().map_err(|_| StoreError::Corrupt("app_user.role"))?,
                scopes: Scopes::stored(&row.scopes),
                expires_at: row.expires_at,
                last_used_at: row.last_used_at,
            })
        })
        .transpose()
    }

    /// Notes the use of a token, unless one was noted after `noted_before`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn touch_api_token(&self, id: ApiTokenId, address: &str, noted_before: Timestamp, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE api_token SET last_used_at = $2, last_used_address = $3
             WHERE api_token_id = $1 AND (last_used_at IS NULL OR last_used_at <= $4)",
            id.0,
            now,
            address,
            noted_before
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Tokens, newest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn api_tokens(&self, query: ApiTokenQuery) -> Result<Vec<ApiToken>, StoreError> {
        let rows = sqlx::query!(
            "SELECT t.api_token_id, t.user_id, t.name, t.prefix, t.scopes, t.created_at, t.expires_at, t.last_used_at,
                 t.last_used_address, t.revoked_at, u.username, u.role
             FROM api_token t JOIN app_user u USING (user_id)
             -- Ids are UUIDv7: their order is that of creation.
             WHERE ($1::uuid IS NULL OR t.user_id = $1) AND ($2::uuid IS NULL OR t.api_token_id < $2)
             ORDER BY t.api_token_id DESC LIMIT $3",
            query.owner.map(|id| id.0),
            query.after.map(|id| id.0),
            query.limit
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(ApiToken {
                    id: ApiTokenId(row.api_token_id),
                    user_id: UserId(row.user_id),
                    username: row.username,
                    role: row.role.parse().map_err(|_| StoreError::Corrupt("app_user.role"))?,
                    name: row.name,
                    prefix: row.prefix,
                    scopes: Scopes::stored(&row.scopes),
                    created_at: row.created_at,
                    expires_at: row.expires_at,
                    last_used_at: row.last_used_at,
                    last_used_address: row.last_used_address,
                    revoked_at: row.revoked_at,
                })
            })
            .collect()
    }

    /// Revokes a token with all that it created, and notifies all nodes. `owner`: only a token of this
    /// account. Returns whether the token exists; revoking it again changes nothing.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn revoke_api_token(
        &self,
        id: ApiTokenId,
        owner: Option<UserId>,
        by: &Principal,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let found = sqlx::query!(
            "SELECT t.name, u.user_id, u.username FROM api_token t JOIN app_user u USING (user_id)
             WHERE t.api_token_id = $1 AND ($2::uuid IS NULL OR u.user_id = $2) FOR NO KEY UPDATE OF u",
            id.0,
            owner.map(|id| id.0)
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(found) = found else { return Ok(false) };
        let revoked = sqlx::query!(
            "WITH RECURSIVE made AS (
                 SELECT api_token_id FROM api_token WHERE api_token_id = $1
                 UNION SELECT t.api_token_id FROM api_token t JOIN made m ON t.parent_id = m.api_token_id)
             UPDATE api_token SET revoked_at = $2 WHERE api_token_id IN (SELECT api_token_id FROM made) AND revoked_at IS NULL",
            id.0,
            now
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        crate::account::notify(&mut tx).await?;
        if revoked > 0 {
            let entry =
                AuditEntry::new(by, AuditAction::ApiTokenRevoked, Target::ApiToken(id, found.name)).done_to(UserId(found.user_id), by);
            append(&mut tx, &entry.after(json!({ "owner": found.username, "with_those_it_made": revoked })), now).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Removes at most `limit` tokens that ended before `before`. Returns how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_api_tokens(&self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query!(
            "DELETE FROM api_token WHERE api_token_id = ANY(ARRAY(
                 SELECT api_token_id FROM api_token WHERE expires_at < $1 OR revoked_at < $1 LIMIT $2))",
            before,
            limit
        );
        Ok(purged.execute(&self.pool).await?.rows_affected())
    }
}
