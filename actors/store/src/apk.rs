//! APKs: what was uploaded, which packages are managed, and uploads that are under way.

use domain::{ApkId, Timestamp};

use crate::{Store, StoreError};

/// An uploaded APK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApkRow {
    /// Its id.
    pub id: ApkId,
    /// Package name.
    pub package: String,
    /// Version code.
    pub version_code: i64,
    /// Version name.
    pub version_name: String,
    /// What people see below its icon.
    pub label: String,
    /// Oldest Android API level that it runs on.
    pub min_sdk: Option<i32>,
    /// Android API level that it was made for.
    pub target_sdk: Option<i32>,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// Its length in bytes.
    pub size_bytes: i64,
    /// Certificates that sign it, SHA-256 as hex.
    pub signers_sha256: Vec<String>,
    /// Those before them, oldest first.
    pub lineage_sha256: Vec<String>,
    /// The older APK that this one brings back.
    pub rollback_of: Option<ApkId>,
    /// For people.
    pub notes: String,
    /// Whether there is an icon.
    pub has_icon: bool,
    /// Who uploaded it.
    pub uploaded_by: String,
    /// When.
    pub uploaded_at: Timestamp,
    /// Its file is gone.
    pub deleted_at: Option<Timestamp>,
}

impl Store {
    /// An APK, also one that was deleted.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn apk(&self, id: ApkId) -> Result<Option<ApkRow>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT apk_id, package, version_code, version_name, label, min_sdk, target_sdk, sha256, size_bytes, signers_sha256,
                   lineage_sha256, rollback_of, notes, icon IS NOT NULL AS "has_icon!", uploaded_by, uploaded_at, deleted_at
               FROM apk WHERE apk_id = $1"#,
            id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| ApkRow {
            id: ApkId(row.apk_id),
            package: row.package,
            version_code: row.version_code,
            version_name: row.version_name,
            label: row.label,
            min_sdk: row.min_sdk,
            target_sdk: row.target_sdk,
            sha256: row.sha256,
            size_bytes: row.size_bytes,
            signers_sha256: row.signers_sha256,
            lineage_sha256: row.lineage_sha256,
            rollback_of: row.rollback_of.map(ApkId),
            notes: row.notes,
            has_icon: row.has_icon,
            uploaded_by: row.uploaded_by,
            uploaded_at: row.uploaded_at,
            deleted_at: row.deleted_at,
        }))
    }
}
