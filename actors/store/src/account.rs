//! Accounts: lists, changes, and ends of sign-ins.
//!
//! Every change that takes rights away notifies all nodes, which then read sign-ins and API tokens anew.

use domain::access::Principal;
use domain::account::{Account, AccountChange, SignIn};
use domain::audit::{AuditAction, Target};
use domain::{SessionId, Timestamp, UserId};
use serde_json::{Value, json};

use crate::audit::{AuditEntry, append};
use crate::channels;
use crate::pool::Connection;
use crate::{Store, StoreError};

/// Outcome of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountOutcome {
    /// The account after the change.
    Changed(Account),
    /// The account is the last active admin; nothing changed.
    LastAdmin,
    /// The account does not exist.
    Unknown,
}

struct StoredAccount {
    user_id: uuid::Uuid,
    username: String,
    role: String,
    created_at: Timestamp,
    password_changed_at: Timestamp,
    disabled_at: Option<Timestamp>,
    last_seen_at: Option<Timestamp>,
    email: Option<String>,
}

impl StoredAccount {
    fn read(self) -> Result<Account, StoreError> {
        Ok(Account {
            id: UserId(self.user_id),
            role: self.role.parse().map_err(|_| StoreError::Corrupt("app_user.role"))?,
            username: self.username,
            created_at: self.created_at,
            password_changed_at: self.password_changed_at,
            disabled_at: self.disabled_at,
            last_seen_at: self.last_seen_at,
            email: self.email,
        })
    }
}

/// Notifies all nodes, once the transaction is committed.
pub(crate) async fn notify(connection: &mut Connection) -> Result<(), StoreError> {
    sqlx::query!("SELECT pg_notify($1, '')", channels::ACCOUNT).execute(connection).await?;
    Ok(())
}

/// Sets a new password in the transaction of its caller; as [`Store::set_password`].
pub(crate) async fn take_over(
    tx: &mut Connection,
    id: UserId,
    password_bcrypt: &str,
    kept: Option<SessionId>,
    by: &Principal,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let changed = sqlx::query_scalar!(
        "UPDATE app_user SET password_bcrypt = $2, password_changed_at = $3 WHERE user_id = $1 RETURNING username",
        id.0,
        password_bcrypt,
        now
    );
    let Some(username) = changed.fetch_optional(&mut *tx).await? else { return Ok(false) };
    // A link that was sent before is for the password that was.
    let ended_links = sqlx::query!("UPDATE password_link SET ended_at = $2 WHERE user_id = $1 AND ended_at IS NULL", id.0, now);
    ended_links.execute(&mut *tx).await?;
    let ended = end(tx, id, kept, now).await?;
    let revoked = if kept.is_none() { revoke_tokens(tx, id, now).await? } else { 0 };
    notify(tx).await?;
    let action = if kept.is_some() { AuditAction::PasswordChanged } else { AuditAction::PasswordReset };
    let entry = AuditEntry::new(by, action, Target::Account(id, username)).done_to(id, by);
    append(tx, &entry.after(json!({ "sign_ins_ended": ended, "api_tokens_revoked": revoked })), now).await?;
    Ok(true)
}

impl Store {
    /// Accounts by name, behind `after`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn accounts(&self, after: Option<&str>, limit: i64) -> Result<Vec<Account>, StoreError> {
        let rows = sqlx::query_as!(
            StoredAccount,
            "SELECT u.user_id, u.username, u.role, u.created_at, u.password_changed_at, u.disabled_at, u.email,
                 (SELECT max(coalesce(s.last_seen_at, s.created_at)) FROM user_session s WHERE s.user_id = u.user_id) AS last_seen_at
             FROM app_user u WHERE ($1::text IS NULL OR u.username > $1 COLLATE \"C\") ORDER BY u.username LIMIT $2",
            after,
            limit
        );
        rows.fetch_all(&self.pool).await?.into_iter().map(StoredAccount::read).collect()
    }

    /// One account.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        read(&mut connection, id).await
    }

    /// Changes an account and notifies all nodes; one that is disabled loses its sign-ins and API
    /// tokens for good. Of any number of changes at once, none leaves the cluster without an
    /// active admin.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn change_account(
        &self,
        id: UserId,
        change: AccountChange,
        by: &Principal,
        now: Timestamp,
    ) -> Result<AccountOutcome, StoreError> {
        let mut tx = self.begin().await?;
        // Locked in one order by all that take an admin away: the second of two waits, and then
        // sees what the first has left.
        sqlx::query!(
            "SELECT FROM app_user WHERE user_id = $1 OR (role = 'admin' AND disabled_at IS NULL) ORDER BY user_id FOR NO KEY UPDATE",
            id.0
        )
        .execute(&mut *tx)
        .await?;
        let Some(before) = read(&mut tx, id).await? else { return Ok(AccountOutcome::Unknown) };
        let changed = sqlx::query_scalar!(
            r#"WITH admins AS MATERIALIZED (SELECT user_id FROM app_user WHERE role = 'admin' AND disabled_at IS NULL)
               UPDATE app_user SET
                   role = coalesce($2, role),
                   disabled_at = CASE WHEN $3 THEN coalesce(disabled_at, $4) WHEN NOT $3 THEN NULL ELSE disabled_at END
               WHERE user_id = $1
                 AND ((coalesce($2, role) = 'admin' AND NOT coalesce($3, disabled_at IS NOT NULL))
                      OR EXISTS (SELECT FROM admins WHERE user_id <> $1))
               RETURNING disabled_at IS NOT NULL AS "disabled!""#,
            id.0,
            change.role.map(|role| role.as_str()),
            change.disabled,
            now
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(disabled) = changed else { return Ok(AccountOutcome::LastAdmin) };
        if disabled {
            sqlx::query!("UPDATE user_session SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL", id.0, now)
                .execute(&mut *tx)
                .await?;
            revoke_tokens(&mut tx, id, now).await?;
        }
        let Some(account) = read(&mut tx, id).await? else { return Ok(AccountOutcome::Unknown) };
        notify(&mut tx).await?;
        let was_disabled = before.disabled_at.is_some();
        let action = match disabled {
            true if !was_disabled => Some(AuditAction::AccountDisabled),
            false if was_disabled => Some(AuditAction::AccountEnabled),
            _ => (before.role != account.role).then_some(AuditAction::AccountRoleChanged),
        };
        if let Some(action) = action {
            let entry = AuditEntry::new(by, action, Target::Account(id, account.username.clone())).done_to(id, by);
            append(&mut tx, &entry.before(rights(&before)).after(rights(&account)), now).await?;
        }
        tx.commit().await?;
        Ok(AccountOutcome::Changed(account))
    }

    /// Sets a new password, ends every sign-in of the account but `kept`, at once, and tells all
    /// nodes. When none is kept, somebody else takes the account back: its API tokens end as well.
    /// Returns whether there is such an account.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn set_password(
        &self,
        id: UserId,
        password_bcrypt: &str,
        kept: Option<SessionId>,
        by: &Principal,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let known = take_over(&mut tx, id, password_bcrypt, kept, by, now).await?;
        tx.commit().await?;
        Ok(known)
    }

    /// Active sign-ins of an account, the last used first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn sign_ins(&self, id: UserId, limit: i64, now: Timestamp) -> Result<Vec<SignIn>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT session_id, created_at, coalesce(last_seen_at, created_at) AS "last_seen_at!", expires_at, address, user_agent
               FROM user_session WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2
               ORDER BY coalesce(last_seen_at, created_at) DESC, session_id DESC LIMIT $3"#,
            id.0,
            now,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| SignIn {
                id: SessionId(row.session_id),
                created_at: row.created_at,
                last_seen_at: row.last_seen_at,
                expires_at: row.expires_at,
                address: row.address,
                user_agent: row.user_agent,
            })
            .collect())
    }

    /// Ends one sign-in of an account and notifies all nodes. Returns whether it was in force.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn end_sign_in(&self, user: UserId, session: SessionId, by: &Principal, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let ended = sqlx::query_scalar!(
            "UPDATE user_session s SET revoked_at = $3 FROM app_user u
             WHERE s.session_id = $1 AND s.user_id = $2 AND s.revoked_at IS NULL AND s.expires_at > $3 AND u.user_id = s.user_id
             RETURNING u.username",
            session.0,
            user.0,
            now
        );
        let Some(username) = ended.fetch_optional(&mut *tx).await? else { return Ok(false) };
        notify(&mut tx).await?;
        let own = matches!(by, Principal::User { session_id, .. } if *session_id == session);
        let action = if own { AuditAction::SignedOut } else { AuditAction::SignInEnded };
        append(&mut tx, &AuditEntry::new(by, action, Target::SignIn(session, username)).done_to(user, by), now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Ends every sign-in of an account but `kept`, and notifies all nodes. Returns how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn end_sign_ins(&self, user: UserId, kept: Option<SessionId>, by: &Principal, now: Timestamp) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let ended = end(&mut tx, user, kept, now).await?;
        if ended > 0 {
            notify(&mut tx).await?;
            let username = read(&mut tx, user).await?.map(|account| account.username).unwrap_or_default();
            let entry = AuditEntry::new(by, AuditAction::SignInsEnded, Target::Account(user, username)).done_to(user, by);
            append(&mut tx, &entry.after(json!({ "sign_ins_ended": ended })), now).await?;
        }
        tx.commit().await?;
        Ok(ended)
    }
}

async fn read(connection: &mut Connection, id: UserId) -> Result<Option<Account>, StoreError> {
    let row = sqlx::query_as!(
        StoredAccount,
        "SELECT u.user_id, u.username, u.role, u.created_at, u.password_changed_at, u.disabled_at, u.email,
             (SELECT max(coalesce(s.last_seen_at, s.created_at)) FROM user_session s WHERE s.user_id = u.user_id) AS last_seen_at
         FROM app_user u WHERE u.user_id = $1",
        id.0
    );
    row.fetch_optional(connection).await?.map(StoredAccount::read).transpose()
}

/// Audit target of an account.
fn rights(account: &Account) -> Value {
    json!({ "role": account.role.as_str(), "disabled": account.disabled_at.is_some() })
}

async fn revoke_tokens(connection: &mut Connection, user: UserId, now: Timestamp) -> Result<u64, StoreError> {
    let revoked = sqlx::query!("UPDATE api_token SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL", user.0, now);
    Ok(revoked.execute(connection).await?.rows_affected())
}

async fn end(connection: &mut Connection, user: UserId, kept: Option<SessionId>, now: Timestamp) -> Result<u64, StoreError> {
    let ended = sqlx::query!(
        "UPDATE user_session SET revoked_at = $3
         WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $3 AND ($2::uuid IS NULL OR session_id <> $2)",
        user.0,
        kept.map(|id| id.0),
        now
    );
    Ok(ended.execute(connection).await?.rows_affected())
}
