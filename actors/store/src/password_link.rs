//! Links by which a password is set: one of each kind per account, for one use.

use chrono::TimeDelta;
use domain::access::Principal;
use domain::audit::{AuditAction, Target};
use domain::{Timestamp, UserId};
use serde_json::json;

use crate::account::take_over;
use crate::audit::{AuditEntry, append};
use crate::{Store, StoreError};

/// Kind of a link. One does not replace another of the other kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// Asked for on the sign-in page, by anybody.
    Reset,
    /// Sent by an admin.
    Invitation,
}

/// Account of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedAccount {
    /// Id.
    pub id: UserId,
    /// Name.
    pub username: String,
}

impl Store {
    /// Sets the address of an account, or removes it. Returns whether there is such an account.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn set_account_email(&self, id: UserId, email: Option<&str>, by: &Principal, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let before = sqlx::query!("SELECT username, email FROM app_user WHERE user_id = $1 FOR NO KEY UPDATE", id.0);
        let Some(before) = before.fetch_optional(&mut *tx).await? else { return Ok(false) };
        if before.email.as_deref() == email {
            return Ok(true);
        }
        sqlx::query!("UPDATE app_user SET email = $2 WHERE user_id = $1", id.0, email).execute(&mut *tx).await?;
        // A link that went to the old address is worth nothing any more.
        sqlx::query!("DELETE FROM password_link WHERE user_id = $1", id.0).execute(&mut *tx).await?;
        let entry = AuditEntry::new(by, AuditAction::AccountEmailChanged, Target::Account(id, before.username));
        append(&mut tx, &entry.before(json!({ "email": before.email })).after(json!({ "email": email })), now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Stores the link of an active account that has this address, in place of the last one of its kind, unless that is younger than `pause`, used or not.
    /// Returns whether it is stored.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn put_password_link(
        &self,
        (account, email): (&LinkedAccount, &str),
        kind: LinkKind,
        token_sha256: &[u8; 32],
        (expires_at, pause): (Timestamp, TimeDelta),
        by: &Principal,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let stored = sqlx::query!(
            "INSERT INTO password_link (user_id, invitation, token_sha256, created_at, expires_at)
             SELECT user_id, $6, $2, $3, $4 FROM app_user WHERE user_id = $1 AND disabled_at IS NULL AND email = $7
             ON CONFLICT (user_id, invitation) DO UPDATE SET token_sha256 = excluded.token_sha256, created_at = excluded.created_at,
                 expires_at = excluded.expires_at, ended_at = NULL
             WHERE password_link.created_at <= $5",
            account.id.0,
            token_sha256.as_slice(),
            now,
            expires_at,
            now - pause,
            kind == LinkKind::Invitation,
            email
        )
        .execute(&mut *tx)
        .await?;
        if stored.rows_affected() == 0 {
            return Ok(false);
        }
        let entry = AuditEntry::new(by, AuditAction::PasswordLinkSent, Target::Account(account.id, account.username.clone()));
        append(&mut tx, &entry, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Lets the next link of its kind and account be sent at once: this one was not sent. It goes on to hold, as a mail server may have accepted it
    /// without saying so.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn end_link_pause(&self, token_sha256: &[u8; 32]) -> Result<(), StoreError> {
        let ended = sqlx::query!("UPDATE password_link SET created_at = 'epoch' WHERE token_sha256 = $1", token_sha256.as_slice());
        ended.execute(&self.pool).await?;
        Ok(())
    }

    /// The active account of a link that holds.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn password_link_account(&self, token_sha256: &[u8; 32], now: Timestamp) -> Result<Option<LinkedAccount>, StoreError> {
        let row = sqlx::query!(
            "SELECT u.user_id, u.username FROM password_link l JOIN app_user u USING (user_id)
             WHERE l.token_sha256 = $1 AND l.expires_at > $2 AND l.ended_at IS NULL AND u.disabled_at IS NULL",
            token_sha256.as_slice(),
            now
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| LinkedAccount { id: UserId(row.user_id), username: row.username }))
    }

    /// Uses a link up: sets the password, and ends every sign-in and API token of the account. `None`: it does not hold, or was used.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn redeem_password_link(
        &self,
        token_sha256: &[u8; 32],
        password_bcrypt: &str,
        by: &Principal,
        now: Timestamp,
    ) -> Result<Option<LinkedAccount>, StoreError> {
        let mut tx = self.begin().await?;
        // The account before its links, as all that changes both.
        let holder = sqlx::query!(
            "SELECT user_id, username FROM app_user
             WHERE user_id = (SELECT l.user_id FROM password_link l WHERE l.token_sha256 = $1) AND disabled_at IS NULL FOR NO KEY UPDATE",
            token_sha256.as_slice()
        );
        let Some(row) = holder.fetch_optional(&mut *tx).await? else { return Ok(None) };
        let account = LinkedAccount { id: UserId(row.user_id), username: row.username };
        let used = sqlx::query!(
            "UPDATE password_link SET ended_at = $3 WHERE token_sha256 = $1 AND user_id = $2 AND expires_at > $3 AND ended_at IS NULL",
            token_sha256.as_slice(),
            account.id.0,
            now
        );
        if used.execute(&mut *tx).await?.rows_affected() == 0 {
            return Ok(None);
        }
        take_over(&mut tx, account.id, password_bcrypt, None, by, now).await?;
        tx.commit().await?;
        Ok(Some(account))
    }
}
