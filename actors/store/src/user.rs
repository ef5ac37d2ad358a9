//! Accounts as sign-in needs them: made, and found by name with their password's hash.

use domain::access::{Principal, Role};
use domain::audit::{AuditAction, Target};
use domain::name::CanonicalName;
use domain::{Timestamp, UserId};

use serde_json::json;

use crate::audit::{AuditEntry, append};
use crate::{Store, StoreError};

/// An account to be made.
pub struct NewUser<'a> {
    /// Id.
    pub id: UserId,
    /// Name; unique by its canonical form.
    pub username: &'a str,
    /// bcrypt of the password.
    pub password_bcrypt: &'a str,
    /// Role.
    pub role: Role,
}

/// An account.
#[derive(Debug, Clone)]
pub struct UserRow {
    /// Id.
    pub id: UserId,
    /// Name.
    pub username: String,
    /// bcrypt of the password.
    pub password_bcrypt: String,
    /// Role.
    pub role: Role,
    /// Time of creation.
    pub created_at: Timestamp,
    /// When it was disabled.
    pub disabled_at: Option<Timestamp>,
}

struct StoredUser {
    user_id: uuid::Uuid,
    username: String,
    password_bcrypt: String,
    role: String,
    created_at: Timestamp,
    disabled_at: Option<Timestamp>,
}

impl StoredUser {
    fn read(self) -> Result<UserRow, StoreError> {
        Ok(UserRow {
            id: UserId(self.user_id),
            role: self.role.parse().map_err(|_| StoreError::Corrupt("app_user.role"))?,
            username: self.username,
            password_bcrypt: self.password_bcrypt,
            created_at: self.created_at,
            disabled_at: self.disabled_at,
        })
    }
}

fn added(user: &NewUser<'_>, by: &Principal) -> AuditEntry {
    let target = Target::Account(user.id, user.username.to_owned());
    AuditEntry::new(by, AuditAction::AccountAdded, target).after(json!({ "role": user.role.as_str() }))
}

impl Store {
    /// Makes an account.
    ///
    /// # Errors
    /// [`crate::Conflict::UsernameInUse`], or the database is unavailable.
    pub async fn insert_user(&self, user: NewUser<'_>, by: &Principal, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query!(
            "INSERT INTO app_user (user_id, username, password_bcrypt, role, created_at, password_changed_at, username_canonical)
             VALUES ($1, $2, $3, $4, $5, $5, $6)",
            user.id.0,
            user.username,
            user.password_bcrypt,
            user.role.as_str(),
            now,
            CanonicalName::of(user.username).into_string()
        )
        .execute(&mut *tx)
        .await?;
        append(&mut tx, &added(&user, by), now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Makes the first account, unless there is any. Returns whether it did.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn insert_first_user(&self, user: NewUser<'_>, by: &Principal, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        // Nodes that start together would both see an empty table.
        sqlx::query!("LOCK TABLE app_user IN SHARE ROW EXCLUSIVE MODE").execute(&mut *tx).await?;
        let inserted = sqlx::query!(
            "INSERT INTO app_user (user_id, username, password_bcrypt, role, created_at, password_changed_at, username_canonical)
             SELECT $1, $2, $3, $4, $5, $5, $6 WHERE NOT EXISTS (SELECT FROM app_user)",
            user.id.0,
            user.username,
            user.password_bcrypt,
            user.role.as_str(),
            now,
            CanonicalName::of(user.username).into_string()
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if inserted == 1 {
            append(&mut tx, &added(&user, by), now).await?;
        }
        tx.commit().await?;
        Ok(inserted == 1)
    }

    /// Whether there is any account.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn any_user(&self) -> Result<bool, StoreError> {
        Ok(sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM app_user) AS "any!""#).fetch_one(&self.pool).await?)
    }

    /// The account with this name, by its canonical form; before it one that is written exactly so, as those of
    /// earlier builds may share a form.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn user_by_name(&self, username: &str) -> Result<Option<UserRow>, StoreError> {
        let found = sqlx::query_as!(
            StoredUser,
            "SELECT user_id, username, password_bcrypt, role, created_at, disabled_at FROM app_user
             WHERE username_canonical = $2 OR username = $1 ORDER BY username = $1 DESC LIMIT 1",
            username,
            CanonicalName::of(username).into_string()
        );
        found.fetch_optional(&self.pool).await?.map(StoredUser::read).transpose()
    }
}
