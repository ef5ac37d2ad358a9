//! Feature flags of the cluster.

use domain::Timestamp;
use domain::access::Principal;
use domain::audit::{AuditAction, Target};
use domain::flag::{Flag, FlagSetting, Flags};
use serde_json::json;

use crate::audit::{AuditEntry, append};
use crate::channels;
use crate::pool::Connection;
use crate::{Store, StoreError};

/// The flags as they are; held until the transaction ends when `held`.
pub(crate) async fn flags(connection: &mut Connection, held: bool) -> Result<Flags, StoreError> {
    let on = if held {
        sqlx::query_scalar!("SELECT name FROM feature_flag WHERE enabled FOR SHARE").fetch_all(connection).await?
    } else {
        sqlx::query_scalar!("SELECT name FROM feature_flag WHERE enabled").fetch_all(connection).await?
    };
    Ok(Flags::of(on.iter().map(String::as_str)))
}

impl Store {
    /// Every flag that was ever set, by name.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn flag_rows(&self) -> Result<Vec<FlagSetting>, StoreError> {
        let rows =
            sqlx::query!("SELECT name, enabled, updated_by, updated_at FROM feature_flag ORDER BY name").fetch_all(&self.pool).await?;
        Ok(rows
            .into_iter()
            .map(|row| FlagSetting { name: row.name, enabled: row.enabled, updated_by: row.updated_by, updated_at: row.updated_at })
            .collect())
    }

    /// The flags as they are.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn flags(&self) -> Result<Flags, StoreError> {
        let mut connection = self.pool.acquire().await?;
        flags(&mut connection, false).await
    }

    /// Sets a flag, and notifies every node.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn set_flag(&self, flag: Flag, enabled: bool, by: &Principal, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let before = sqlx::query_scalar!("SELECT enabled FROM feature_flag WHERE name = $1 FOR UPDATE", flag.as_str())
            .fetch_optional(&mut *tx)
            .await?
            .unwrap_or(false);
        sqlx::query!(
            "INSERT INTO feature_flag (name, enabled, updated_by, updated_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO UPDATE SET enabled = excluded.enabled, updated_by = excluded.updated_by, updated_at = excluded.updated_at",
            flag.as_str(),
            enabled,
            by.username(),
            now
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!("SELECT pg_notify($1, '')", channels::DEPLOYMENT).execute(&mut *tx).await?;
        let target = Target::Other { kind: "flag", id: None, name: Some(flag.as_str().to_owned()) };
        let entry =
            AuditEntry::new(by, AuditAction::FlagSet, target).before(json!({ "enabled": before })).after(json!({ "enabled": enabled }));
        append(&mut tx, &entry, now).await?;
        tx.commit().await?;
        Ok(())
    }
}
