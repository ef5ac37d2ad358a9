//! Sign-ins of people.

use std::net::IpAddr;

use domain::access::{Origin, Principal, Role};
use domain::audit::{AuditAction, Target};
use domain::{SessionId, Timestamp, UserId};

use serde_json::json;

use crate::audit::{AuditEntry, append};
use crate::{Store, StoreError};

/// New session.
pub struct NewSession<'a> {
    /// Id.
    pub id: SessionId,
    /// Account.
    pub user_id: UserId,
    /// The hash that the password was compared with: the sign-in is void if it is not the
    /// account's any more.
    pub password_bcrypt: &'a str,
    /// SHA-256 of the first refresh token.
    pub refresh_sha256: &'a [u8],
    /// Expiry.
    pub expires_at: Timestamp,
    /// Address of the client.
    pub address: &'a str,
    /// User agent.
    pub user_agent: Option<&'a str>,
}

/// A living session and its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionUser {
    /// The session.
    pub session_id: SessionId,
    /// The account.
    pub user_id: UserId,
    /// Name.
    pub username: String,
    /// Role.
    pub role: Role,
    /// Expiry of the session.
    pub expires_at: Timestamp,
    /// Time of last use, to about a minute.
    pub last_seen_at: Option<Timestamp>,
}

/// Outcome of a rotation of a refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// The token was the current one, and has been replaced by the new one.
    Rotated(SessionUser),
    /// The token was replaced moments ago by a concurrent request:
    /// the session goes on, without a new token for this caller.
    JustRotated(SessionUser),
    /// The token was replaced long ago, so it has leaked: the session is ended.
    Reused(SessionId),
    /// The token is unknown, or its session has ended.
    Unknown,
}

impl Store {
    /// Records a sign-in; of those of the account that are in force, the ones not seen for longest
    /// end when there would be more than `kept_max`. Returns whether it holds: the account may have
    /// been disabled, or got another password, meanwhile.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn insert_session(&self, session: NewSession<'_>, kept_max: i64, by: &Principal, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        // Waits for a password that is being set, and is waited for by it.
        let owner = sqlx::query!(
            "SELECT FROM app_user WHERE user_id = $1 AND disabled_at IS NULL AND password_bcrypt = $2 FOR NO KEY UPDATE",
            session.user_id.0,
            session.password_bcrypt
        );
        if owner.execute(&mut *tx).await?.rows_affected() == 0 {
            return Ok(false);
        }
        let ended = sqlx::query!(
            "UPDATE user_session SET revoked_at = $2 WHERE session_id IN (
                 SELECT session_id FROM user_session WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2
                 ORDER BY coalesce(last_seen_at, created_at) DESC, session_id DESC OFFSET $3)",
            session.user_id.0,
            now,
            kept_max - 1
        );
        let ended = ended.execute(&mut *tx).await?.rows_affected();
        sqlx::query!(
            "INSERT INTO user_session (session_id, user_id, refresh_sha256, created_at, rotated_at, last_seen_at, expires_at, address, user_agent)
             VALUES ($1, $2, $3, $4, $4, $4, $5, $6, $7)",
            session.id.0,
            session.user_id.0,
            session.refresh_sha256,
            now,
            session.expires_at,
            session.address,
            session.user_agent
        )
        .execute(&mut *tx)
        .await?;
        let entry = AuditEntry::new(by, AuditAction::SignedIn, Target::SignIn(session.id, by.username().to_owned()));
        append(&mut tx, &entry.after(json!({ "client": session.user_agent, "older_sign_ins_ended": ended })), now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Whether somebody signed in from an address since then. Of IPv6, any of the same /64 network.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn signed_in_from(&self, address: IpAddr, since: Timestamp) -> Result<bool, StoreError> {
        let network = if address.is_ipv4() { format!("{address}/32") } else { format!("{address}/64") };
        let known = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM user_session WHERE coalesce(last_seen_at, created_at) >= $2 AND address::inet <<= $1::text::inet) AS "known!""#,
            network,
            since
        );
        Ok(known.fetch_one(&self.pool).await?)
    }

    /// The session and its account, if both are in force at `now`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn living_session(&self, id: SessionId, now: Timestamp) -> Result<Option<SessionUser>, StoreError> {
        let row = sqlx::query!(
            "SELECT s.session_id, s.expires_at, s.last_seen_at, u.user_id, u.username, u.role
             FROM user_session s JOIN app_user u USING (user_id)
             WHERE s.session_id = $1 AND s.revoked_at IS NULL AND s.expires_at > $2 AND u.disabled_at IS NULL",
            id.0,
            now
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| session_user(row.session_id, row.user_id, row.username, &row.role, row.expires_at, row.last_seen_at)).transpose()
    }

    /// Exchanges a refresh token for the next one. `reuse_grace_since`: a token
    /// replaced after this is taken for a request that ran in parallel. Any other one that the
    /// sign-in ever had has leaked.
    ///
    /// # Errors
    /// The database is unavailable; the old token then still holds.
    pub async fn rotate_refresh(
        &self,
        presented_sha256: &[u8],
        next_sha256: &[u8],
        reuse_grace_since: Timestamp,
        origin: Origin,
        now: Timestamp,
    ) -> Result<Rotation, StoreError> {
        let mut tx = self.begin().await?;
        // The one before the last stands in the session too: whoever waits here for the rotation by another request sees
        // that of the row, but not yet that of the table.
        let row = sqlx::query!(
            "SELECT s.session_id, s.refresh_sha256, s.previous_sha256, s.rotated_at, s.expires_at, s.last_seen_at,
                 u.user_id, u.username, u.role,
                 (SELECT r.replaced_at FROM replaced_refresh_token r WHERE r.refresh_sha256 = $1) AS replaced_at
             FROM user_session s JOIN app_user u USING (user_id)
             WHERE (s.refresh_sha256 = $1 OR s.previous_sha256 = $1
                    OR s.session_id = (SELECT r.session_id FROM replaced_refresh_token r WHERE r.refresh_sha256 = $1))
               AND s.revoked_at IS NULL AND s.expires_at > $2 AND u.disabled_at IS NULL
             FOR UPDATE OF s",
            presented_sha256,
            now
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else { return Ok(Rotation::Unknown) };
        let user = session_user(row.session_id, row.user_id, row.username, &row.role, row.expires_at, row.last_seen_at)?;
        let is_previous = row.previous_sha256.as_deref() == Some(presented_sha256);
        let replaced_at = row.replaced_at.filter(|_| !is_previous).unwrap_or(row.rotated_at);
        let rotation = if row.refresh_sha256 == presented_sha256 {
            sqlx::query!(
                "UPDATE user_session SET previous_sha256 = refresh_sha256, refresh_sha256 = $2, rotated_at = $3, last_seen_at = $3
                 WHERE session_id = $1",
                row.session_id,
                next_sha256,
                now
            )
            .execute(&mut *tx)
            .await?;
            sqlx::query!(
                "INSERT INTO replaced_refresh_token (refresh_sha256, session_id, replaced_at) VALUES ($1, $2, $3)",
                presented_sha256,
                row.session_id,
                now
            )
            .execute(&mut *tx)
            .await?;
            Rotation::Rotated(user)
        } else if replaced_at >= reuse_grace_since {
            Rotation::JustRotated(user)
        } else {
            sqlx::query!("UPDATE user_session SET revoked_at = $2 WHERE session_id = $1", row.session_id, now).execute(&mut *tx).await?;
            crate::account::notify(&mut tx).await?;
            let target = Target::SignIn(user.session_id, user.username);
            let entry = AuditEntry::new(&Principal::System { origin }, AuditAction::SignInEnded, target);
            append(&mut tx, &entry.after(json!({ "reason": "a refresh token was used again" })), now).await?;
            Rotation::Reused(user.session_id)
        };
        tx.commit().await?;
        Ok(rotation)
    }

    /// Notes the use of a session, unless one was noted after `noted_before`. Without an address
    /// the last one stays.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn touch_session(
        &self,
        id: SessionId,
        address: Option<&str>,
        noted_before: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE user_session SET last_seen_at = $2, address = coalesce($3, address)
             WHERE session_id = $1 AND (last_seen_at IS NULL OR last_seen_at <= $4)",
            id.0,
            now,
            address,
            noted_before
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Removes at most `limit` replaced refresh tokens: those of sessions that have ended, and of each session all but the
    /// newest `kept_max`. Returns how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_replaced_refresh_tokens(&self, kept_max: i64, now: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query!(
            "DELETE FROM replaced_refresh_token WHERE refresh_sha256 = ANY(ARRAY(
                 SELECT r.refresh_sha256 FROM replaced_refresh_token r JOIN user_session s USING (session_id)
                 WHERE s.revoked_at IS NOT NULL OR s.expires_at <= $2
                     OR r.replaced_at <= (SELECT k.replaced_at FROM replaced_refresh_token k WHERE k.session_id = r.session_id
                                          ORDER BY k.replaced_at DESC OFFSET $1 LIMIT 1)
                 LIMIT $3))",
            kept_max,
            now,
            limit
        );
        Ok(purged.execute(&self.pool).await?.rows_affected())
    }

    /// Removes at most `limit` sessions that ended before `before`. Returns how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_sessions(&self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query!(
            "DELETE FROM user_session WHERE session_id = ANY(ARRAY(
                 SELECT session_id FROM user_session WHERE expires_at < $1 OR revoked_at < $1 LIMIT $2))",
            before,
            limit
        );
        Ok(purged.execute(&self.pool).await?.rows_affected())
    }
}

fn session_user(
    session_id: uuid::Uuid,
    user_id: uuid::Uuid,
    username: String,
    role: &str,
    expires_at: Timestamp,
    last_seen_at: Option<Timestamp>,
) -> Result<SessionUser, StoreError> {
    let role = role.parse().map_err(|_| StoreError::Corrupt("app_user.role"))?;
    Ok(SessionUser { session_id: SessionId(session_id), user_id: UserId(user_id), username, role, expires_at, last_seen_at })
}
