//! Uploads of APKs that are under way, a part after the other, through whichever node.

use domain::apk::ApkUpload;
use domain::{ApkId, ApkUploadId, Timestamp, UserId};

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

impl Store {
    /// Begins an upload. `false`: `most` are under way.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn insert_upload(&self, new: &NewUpload, now: Timestamp, most: i64) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin().await?;
        hold_limit(&mut tx, "apk_upload").await?;
        let begun = sqlx::query!(
            "INSERT INTO apk_upload (upload_id, owner_id, created_by, file_name, size_bytes, sha256, rollback_of, notes, created_at, touched_at)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $9
             WHERE (SELECT count(*) FROM apk_upload WHERE apk_id IS NULL) < $10",
            new.id.0,
            new.owner.0,
            new.created_by,
            new.file_name,
            new.size_bytes,
            new.sha256,
            new.rollback_of.map(|id| id.0),
            new.notes,
            now,
            most
        );
        let begun = begun.execute(&mut *tx).await?.rows_affected();
        tx.commit().await?;
        Ok(begun == 1)
    }

    /// An upload.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn upload(&self, id: ApkUploadId) -> Result<Option<ApkUpload>, StoreError> {
        let row = sqlx::query!(
            "SELECT upload_id, owner_id, file_name, size_bytes, sha256, rollback_of, notes, received, parts, apk_id, created_at, touched_at
             FROM apk_upload WHERE upload_id = $1",
            id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| ApkUpload {
            id: ApkUploadId(row.upload_id),
            owner: UserId(row.owner_id),
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
        }))
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
