//! Saved filters.

use domain::access::Principal;
use domain::audit::{AuditAction, Target};
use domain::name::CanonicalName;
use domain::saved_filter::SavedFilter;
use domain::{SavedFilterId, Timestamp, UserId};
use serde_json::{Value, json};

use crate::audit::{AuditEntry, append};
use crate::device_filter::{from_json, to_json};
use crate::{Store, StoreError};

/// State of a filter in audit entries.
fn audit_state(name: &str, filter: &Value, shared: bool) -> Value {
    json!({ "name": name, "filter": filter, "shared": shared })
}

macro_rules! saved_filter {
    ($row:expr) => {{
        let row = $row;
        SavedFilter {
            id: SavedFilterId(row.saved_filter_id),
            owner: UserId(row.owner),
            owner_name: row.username,
            name: row.name,
            filter: from_json(&row.filter),
            shared: row.shared,
            created_at: row.created_at,
            changed_at: row.changed_at,
        }
    }};
}

impl Store {
    /// At most `limit` of the filters that an account sees: its own, then those that others share, each by name.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn saved_filters(&self, viewer: UserId, limit: i64) -> Result<Vec<SavedFilter>, StoreError> {
        let rows = sqlx::query!(
            "SELECT f.saved_filter_id, f.owner, f.name, f.filter, f.shared, f.created_at, f.changed_at, u.username FROM saved_filter f JOIN app_user u ON u.user_id = f.owner
             WHERE f.owner = $1 OR f.shared ORDER BY f.owner <> $1, f.name, f.saved_filter_id LIMIT $2",
            viewer.0,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| saved_filter!(row)).collect())
    }

    /// One of the filters that an account sees.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn saved_filter(&self, id: SavedFilterId, viewer: UserId) -> Result<Option<SavedFilter>, StoreError> {
        let row = sqlx::query!(
            "SELECT f.saved_filter_id, f.owner, f.name, f.filter, f.shared, f.created_at, f.changed_at, u.username FROM saved_filter f JOIN app_user u ON u.user_id = f.owner
             WHERE f.saved_filter_id = $1 AND (f.owner = $2 OR f.shared)",
            id.0,
            viewer.0
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| saved_filter!(row)))
    }

    /// Saves a filter, unless its owner has `owned_max` already. Returns whether it is saved.
    ///
    /// # Errors
    /// [`crate::Conflict::FilterNameInUse`], or the database is unavailable.
    pub async fn insert_saved_filter(&self, filter: &SavedFilter, owned_max: i64, by: &Principal) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        // One at a time for each owner: whoever comes next counts this one too.
        sqlx::query!("SELECT FROM app_user WHERE user_id = $1 FOR NO KEY UPDATE", filter.owner.0).execute(&mut *tx).await?;
        let kept = sqlx::query!(
            "INSERT INTO saved_filter (saved_filter_id, owner, name, filter, shared, created_at, changed_at, name_canonical)
             SELECT $1, $2, $3, $4, $5, $6, $6, $8 WHERE (SELECT count(*) FROM saved_filter WHERE owner = $2) < $7",
            filter.id.0,
            filter.owner.0,
            filter.name,
            to_json(&filter.filter),
            filter.shared,
            filter.created_at,
            owned_max,
            CanonicalName::of(&filter.name).into_string()
        )
        .execute(&mut *tx)
        .await?
        .rows_affected()
            == 1;
        if kept {
            let entry = AuditEntry::new(by, AuditAction::FilterSaved, Target::Filter(filter.id, filter.name.clone()));
            append(&mut tx, &entry.after(audit_state(&filter.name, &to_json(&filter.filter), filter.shared)), filter.created_at).await?;
        }
        tx.commit().await?;
        Ok(kept)
    }

    /// Changes a filter of this owner. Returns whether there is one.
    ///
    /// # Errors
    /// [`crate::Conflict::FilterNameInUse`], or the database is unavailable.
    pub async fn update_saved_filter(&self, filter: &SavedFilter, by: &Principal) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let before = sqlx::query!(
            "UPDATE saved_filter f SET name = $3, filter = $4, shared = $5, changed_at = $6,
                 name_canonical = CASE WHEN f.name = $3 THEN f.name_canonical ELSE $7 END
             FROM (SELECT saved_filter_id, name, filter, shared FROM saved_filter WHERE saved_filter_id = $1 AND owner = $2 FOR UPDATE) b
             WHERE f.saved_filter_id = b.saved_filter_id RETURNING b.name, b.filter, b.shared",
            filter.id.0,
            filter.owner.0,
            filter.name,
            to_json(&filter.filter),
            filter.shared,
            filter.changed_at,
            CanonicalName::of(&filter.name).into_string()
        );
        let Some(before) = before.fetch_optional(&mut *tx).await? else { return Ok(false) };
        let (before, after) =
            (audit_state(&before.name, &before.filter, before.shared), audit_state(&filter.name, &to_json(&filter.filter), filter.shared));
        if before != after {
            let entry = AuditEntry::new(by, AuditAction::FilterChanged, Target::Filter(filter.id, filter.name.clone()));
            append(&mut tx, &entry.before(before).after(after), filter.changed_at).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Deletes a filter of this owner. Returns whether there was one.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn delete_saved_filter(&self, id: SavedFilterId, owner: UserId, by: &Principal, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let gone = sqlx::query!(
            "DELETE FROM saved_filter WHERE saved_filter_id = $1 AND owner = $2 RETURNING name, filter, shared",
            id.0,
            owner.0
        );
        let Some(gone) = gone.fetch_optional(&mut *tx).await? else { return Ok(false) };
        let entry = AuditEntry::new(by, AuditAction::FilterRemoved, Target::Filter(id, gone.name.clone()));
        append(&mut tx, &entry.before(audit_state(&gone.name, &gone.filter, gone.shared)), now).await?;
        tx.commit().await?;
        Ok(true)
    }
}
