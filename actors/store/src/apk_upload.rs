//! Uploads of APKs that are under way, a part after the other, through whichever node.

use domain::access::Principal;
use domain::apk::ApkUpload;
use domain::audit::{AuditAction, Target};
use domain::permits::Limit;
use domain::{ApkId, ApkUploadId, Timestamp, UserId};

use serde_json::json;

use crate::audit::{AuditEntry, append};
use crate::cluster_lock::hold_limit;
use crate::{Store, StoreError};

/// New upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUpload {
    /// Id.
    pub id: ApkUploadId,
    /// Owner of the upload.
    pub owner: UserId,
    /// Name of the owner.
    pub created_by: String,
    /// The name of the file, for display.
    pub file_name: String,
    /// The length of the whole file, bytes.
    pub size_bytes: i64,
    /// SHA-256 as hex, if the sender gave it.
    pub sha256: Option<String>,
    /// Older APK whose code this rollback build contains.
    pub rollback_of: Option<ApkId>,
    /// Internal note.
    pub notes: String,
}

/// Most uploads that may be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadsMax {
    /// Of everybody.
    pub all: i64,
    /// Of these, those that this owner may not have, because they are reserved for others.
    pub reserved: i64,
    /// Of one owner.
    pub per_owner: i64,
}

struct Row {
    upload_id: uuid::Uuid,
    owner_id: uuid::Uuid,
    created_by: String,
    file_name: String,
    size_bytes: i64,
    sha256: Option<String>,
    rollback_of: Option<uuid::Uuid>,
    notes: String,
    received: i64,
    parts: Vec<String>,
    apk_id: Option<uuid::Uuid>,
    created_at: Timestamp,
    touched_at: Timestamp,
}

impl From<Row> for ApkUpload {
    fn from(row: Row) -> Self {
        Self {
            id: ApkUploadId(row.upload_id),
            owner: UserId(row.owner_id),
            created_by: row.created_by,
            file_name: row.file_name,
            size_bytes: row.size_bytes,
            sha256: row.sha256,
            rollback_of: row.rollback_of.map(ApkId),
            notes: row.notes,
            received: row.received,
            parts: row.parts,
            apk: row.apk_id.map(ApkId),
            created_at: row.created_at,
            touched_at: row.touched_at,
        }
    }
}

impl Store {
    /// Begins an upload, or answers the limit that stands against it.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn insert_upload(&self, new: &NewUpload, now: Timestamp, most: UploadsMax) -> Result<Option<Limit>, StoreError> {
        let mut tx = self.begin().await?;
        hold_limit(&mut tx, "apk_upload").await?;
        let under_way = sqlx::query!(
            r#"SELECT count(*) AS "all!", count(*) FILTER (WHERE owner_id = $1) AS "of_owner!" FROM apk_upload WHERE apk_id IS NULL"#,
            new.owner.0
        );
        let under_way = under_way.fetch_one(&mut *tx).await?;
        let limit = match under_way {
            counted if counted.of_owner >= most.per_owner => Some(Limit::Principal),
            counted if counted.all >= most.all => Some(Limit::Capacity),
            counted if counted.all >= most.all - most.reserved => Some(Limit::Reserve),
            _ => None,
        };
        if limit.is_some() {
            return Ok(limit);
        }
        let begun = sqlx::query!(
            "INSERT INTO apk_upload (upload_id, owner_id, created_by, file_name, size_bytes, sha256, rollback_of, notes, created_at, touched_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)",
            new.id.0,
            new.owner.0,
            new.created_by,
            new.file_name,
            new.size_bytes,
            new.sha256,
            new.rollback_of.map(|id| id.0),
            new.notes,
            now
        );
        begun.execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(None)
    }

    /// An upload.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn upload(&self, id: ApkUploadId) -> Result<Option<ApkUpload>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            "SELECT upload_id, owner_id, created_by, file_name, size_bytes, sha256, rollback_of, notes, received, parts, apk_id, created_at, touched_at
             FROM apk_upload WHERE upload_id = $1",
            id.0
        );
        Ok(row.fetch_optional(&self.pool).await?.map(ApkUpload::from))
    }

    /// The uploads under way, of everybody or of one owner, newest first; at most `most`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn uploads_under_way(&self, owner: Option<UserId>, most: i64) -> Result<Vec<ApkUpload>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "SELECT upload_id, owner_id, created_by, file_name, size_bytes, sha256, rollback_of, notes, received, parts, apk_id, created_at, touched_at
             FROM apk_upload WHERE apk_id IS NULL AND ($1::uuid IS NULL OR owner_id = $1) ORDER BY created_at DESC, upload_id DESC LIMIT $2",
            owner.map(|owner| owner.0),
            most
        );
        Ok(rows.fetch_all(&self.pool).await?.into_iter().map(ApkUpload::from).collect())
    }

    /// The upload under way that stands still the longest, since before `before`: of everybody or of one owner.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn idle_upload(&self, owner: Option<UserId>, before: Timestamp) -> Result<Option<ApkUploadId>, StoreError> {
        let idle = sqlx::query_scalar!(
            "SELECT upload_id FROM apk_upload WHERE apk_id IS NULL AND touched_at < $2 AND ($1::uuid IS NULL OR owner_id = $1)
             ORDER BY touched_at LIMIT 1",
            owner.map(|owner| owner.0),
            before
        );
        Ok(idle.fetch_optional(&self.pool).await?.map(ApkUploadId))
    }

    /// Notes that a part of an upload is on its way.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn touch_upload(&self, id: ApkUploadId, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query!("UPDATE apk_upload SET touched_at = greatest(touched_at, $2) WHERE upload_id = $1", id.0, now)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Deletes the upload of somebody else. `false`: there is no such.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn remove_upload(&self, upload: &ApkUpload, by: &Principal, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let gone = sqlx::query!("DELETE FROM apk_upload WHERE upload_id = $1", upload.id.0).execute(&mut *tx).await?.rows_affected();
        if gone == 0 {
            return Ok(false);
        }
        let target = Target::Other { kind: "apk_upload", id: Some(upload.id.to_string()), name: Some(upload.file_name.clone()) };
        let was = json!({ "begun_by": upload.created_by, "size_bytes": upload.size_bytes, "received": upload.received });
        append(&mut tx, &AuditEntry::new(by, AuditAction::ApkUploadRemoved, target).before(was), now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Adds a part of `length` bytes that begins at `offset`. `None`: the upload does not end there.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn add_part(&self, id: ApkUploadId, offset: i64, length: i64, part: &str, now: Timestamp) -> Result<Option<i64>, StoreError> {
        let received = sqlx::query_scalar!(
            "UPDATE apk_upload SET received = received + $3, parts = parts || $4, touched_at = $5
             WHERE upload_id = $1 AND received = $2 AND received + $3 <= size_bytes AND apk_id IS NULL
             RETURNING received",
            id.0,
            offset,
            length,
            &[part.to_owned()] as &[String],
            now
        );
        Ok(received.fetch_optional(&self.pool).await?)
    }

    /// Deletes an upload. `false`: there is no such.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn delete_upload(&self, id: ApkUploadId) -> Result<bool, StoreError> {
        let gone = sqlx::query!("DELETE FROM apk_upload WHERE upload_id = $1", id.0).execute(&self.pool).await?;
        Ok(gone.rows_affected() == 1)
    }

    /// Uploads that nothing came for since `before`, those that are over included; at most `most`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn stale_uploads(&self, before: Timestamp, most: i64) -> Result<Vec<ApkUploadId>, StoreError> {
        let stale =
            sqlx::query_scalar!("SELECT upload_id FROM apk_upload WHERE touched_at < $1 ORDER BY touched_at LIMIT $2", before, most);
        Ok(stale.fetch_all(&self.pool).await?.into_iter().map(ApkUploadId).collect())
    }
}
