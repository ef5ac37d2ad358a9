//! APKs: what was uploaded, what uses it, and what is gone.

use domain::access::Principal;
use domain::apk::{Apk, ApkUse, LibraryApk, Offer, Refusal, RetentionCandidate, Verdict, judge};
use domain::audit::{AuditAction, Target};
use domain::{ApkId, ApkUploadId, Timestamp};
use serde_json::json;

use crate::audit::{AuditEntry, append};
use crate::pool::Connection;
use crate::{Store, StoreError};

/// New APK, uploaded and parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApk {
    /// Id of the APK.
    pub id: ApkId,
    /// Attributes that decide whether it is accepted.
    pub offer: Offer,
    /// Version name.
    pub version_name: String,
    /// Label of the app.
    pub label: String,
    /// Minimum Android API level.
    pub min_sdk: Option<i32>,
    /// Target Android API level.
    pub target_sdk: Option<i32>,
    /// ABIs that it has native code for.
    pub native_abis: Vec<String>,
    /// Size of the file, bytes.
    pub size_bytes: i64,
    /// Icon and its media type.
    pub icon: Option<(Vec<u8>, String)>,
    /// Internal note.
    pub notes: String,
    /// Upload in parts that it came with, if any.
    pub upload: Option<ApkUploadId>,
}

/// Outcome of adding an uploaded APK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddApkOutcome {
    /// The APK is in the library.
    Added,
    /// The same file is in the library already.
    Existing(ApkId),
    /// The APK is refused.
    Refused(Refusal),
}

/// Outcome of deleting an APK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeletedApk {
    /// The APK is deleted, and its file can be removed.
    Deleted,
    /// The APK does not exist, or was deleted before.
    Unknown,
    /// The APK is in use by these.
    InUse(Vec<ApkUse>),
}

macro_rules! apk_row {
    ($row:expr) => {{
        let row = $row;
        Apk {
            id: ApkId(row.apk_id),
            package: row.package,
            version_code: row.version_code,
            version_name: row.version_name,
            label: row.label,
            min_sdk: row.min_sdk,
            target_sdk: row.target_sdk,
            native_abis: row.native_abis,
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
        }
    }};
}

impl Store {
    /// An APK, also one that was deleted.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn apk(&self, id: ApkId) -> Result<Option<Apk>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT apk_id, package, version_code, version_name, label, min_sdk, target_sdk, native_abis, sha256, size_bytes, signers_sha256,
                   lineage_sha256, rollback_of, notes, icon IS NOT NULL AS "has_icon!", uploaded_by, uploaded_at, deleted_at
               FROM apk WHERE apk_id = $1"#,
            id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| apk_row!(row)))
    }

    /// A page of the APKs that are not deleted, newest first: of one package, or of all.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn apks_page(&self, package: Option<&str>, after: Option<(Timestamp, ApkId)>, limit: i64) -> Result<Vec<Apk>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT apk_id, package, version_code, version_name, label, min_sdk, target_sdk, native_abis, sha256, size_bytes, signers_sha256,
                   lineage_sha256, rollback_of, notes, icon IS NOT NULL AS "has_icon!", uploaded_by, uploaded_at, deleted_at
               FROM apk
               WHERE deleted_at IS NULL AND ($1::text IS NULL OR package = $1)
                   AND ($2::timestamptz IS NULL OR (uploaded_at, apk_id) < ($2, $3))
               ORDER BY uploaded_at DESC, apk_id DESC LIMIT $4"#,
            package,
            after.map(|(at, _)| at),
            after.map(|(_, id)| id.0),
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| apk_row!(row)).collect())
    }

    /// The icon of an APK, and its media type.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn apk_icon(&self, id: ApkId) -> Result<Option<(Vec<u8>, String)>, StoreError> {
        let row = sqlx::query!("SELECT icon, icon_type FROM apk WHERE apk_id = $1", id.0).fetch_optional(&self.pool).await?;
        Ok(row.and_then(|row| row.icon.zip(row.icon_type)))
    }

    /// Preview of adding an APK right now; [`Self::add_apk`] decides.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn judge_apk(&self, offer: &Offer) -> Result<Verdict, StoreError> {
        let allowed = self.package(&offer.package).await?.map(|row| row.signers_sha256);
        let known = sqlx::query!("SELECT apk_id, version_code, sha256 FROM apk WHERE package = $1 AND deleted_at IS NULL", offer.package)
            .fetch_all(&self.pool)
            .await?;
        let known = known.into_iter().map(|row| LibraryApk { id: ApkId(row.apk_id), version_code: row.version_code, sha256: row.sha256 });
        Ok(judge(offer, allowed.as_deref(), &known.collect::<Vec<_>>()))
    }

    /// Puts an APK into the library if it may, whatever other nodes do meanwhile. Its file has to be in its place.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn add_apk(&self, new: &NewApk, by: &Principal, now: Timestamp) -> Result<AddApkOutcome, StoreError> {
        let offer = &new.offer;
        let mut tx = self.begin().await?;
        // Uploads of one package come one after the other.
        let allowed = sqlx::query_scalar!("SELECT signers_sha256 FROM managed_package WHERE package = $1 FOR UPDATE", offer.package)
            .fetch_optional(&mut *tx)
            .await?;
        // And what this one refers to is not deleted meanwhile.
        let known =
            sqlx::query!("SELECT apk_id, version_code, sha256 FROM apk WHERE package = $1 AND deleted_at IS NULL FOR SHARE", offer.package)
                .fetch_all(&mut *tx)
                .await?;
        let known: Vec<_> =
            known.into_iter().map(|row| LibraryApk { id: ApkId(row.apk_id), version_code: row.version_code, sha256: row.sha256 }).collect();
        let same = match judge(offer, allowed.as_deref(), &known) {
            Verdict::New => None,
            Verdict::Same(id) => Some(id),
            Verdict::Refused(refusal) => return Ok(AddApkOutcome::Refused(refusal)),
        };
        if let Some(upload) = new.upload {
            let id = same.unwrap_or(new.id);
            sqlx::query!("UPDATE apk_upload SET apk_id = $2, parts = '{}', touched_at = $3 WHERE upload_id = $1", upload.0, id.0, now)
                .execute(&mut *tx)
                .await?;
        }
        if let Some(id) = same {
            tx.commit().await?;
            return Ok(AddApkOutcome::Existing(id));
        }
        let (icon, icon_type) = new.icon.clone().unzip();
        sqlx::query!(
            "INSERT INTO apk (apk_id, package, version_code, version_name, label, min_sdk, target_sdk, sha256, size_bytes,
                 signers_sha256, lineage_sha256, icon, icon_type, rollback_of, notes, uploaded_by, uploaded_at, native_abis)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
            new.id.0,
            offer.package,
            offer.version_code,
            new.version_name,
            new.label,
            new.min_sdk,
            new.target_sdk,
            offer.sha256,
            new.size_bytes,
            &offer.signing.signers,
            &offer.signing.lineage,
            icon,
            icon_type,
            offer.rollback_of.map(|id| id.0),
            new.notes,
            by.username(),
            now,
            &new.native_abis
        )
        .execute(&mut *tx)
        .await?;
        let told = json!({
            "package": offer.package, "version_code": offer.version_code, "version_name": new.version_name, "sha256": offer.sha256,
            "size_bytes": new.size_bytes, "signers_sha256": offer.signing.signers, "lineage_sha256": offer.signing.lineage,
            "rollback_of": offer.rollback_of.map(|id| id.to_string()), "notes": new.notes
        });
        let entry = AuditEntry::new(by, AuditAction::ApkUploaded, target(new.id, &offer.package, offer.version_code));
        append(&mut tx, &entry.after(told), now).await?;
        tx.commit().await?;
        Ok(AddApkOutcome::Added)
    }

    /// Use of an APK.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn apk_uses(&self, id: ApkId) -> Result<Vec<ApkUse>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        uses(&mut connection, id).await
    }

    /// Deletes an APK that nothing uses. The row stays, for the history that names it.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn delete_apk(&self, id: ApkId, by: &Principal, now: Timestamp) -> Result<DeletedApk, StoreError> {
        let mut tx = self.begin().await?;
        // Whoever begins to use it locks the row, too.
        let row = sqlx::query!("SELECT package, version_code, sha256 FROM apk WHERE apk_id = $1 AND deleted_at IS NULL FOR UPDATE", id.0)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { return Ok(DeletedApk::Unknown) };
        let uses = uses(&mut tx, id).await?;
        if !uses.is_empty() {
            return Ok(DeletedApk::InUse(uses));
        }
        sqlx::query!("UPDATE apk SET deleted_at = $2 WHERE apk_id = $1", id.0, now).execute(&mut *tx).await?;
        let entry = AuditEntry::new(by, AuditAction::ApkDeleted, target(id, &row.package, row.version_code));
        append(&mut tx, &entry.before(json!({ "sha256": row.sha256 })), now).await?;
        tx.commit().await?;
        Ok(DeletedApk::Deleted)
    }

    /// Every APK that is not deleted, as far as retention goes.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn apks_kept(&self) -> Result<Vec<RetentionCandidate>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT apk_id, package, version_code,
                   EXISTS (SELECT FROM deployment WHERE deployment.apk_id = apk.apk_id AND finished_at IS NULL)
                   OR EXISTS (SELECT FROM apk AS later WHERE later.rollback_of = apk.apk_id AND later.deleted_at IS NULL)
                   OR EXISTS (SELECT FROM agent_build WHERE agent_build.apk_id = apk.apk_id AND state <> 'rolled_back') AS "used!"
               FROM apk WHERE deleted_at IS NULL"#
        )
        .fetch_all(&self.pool)
        .await?;
        let kept = rows.into_iter().map(|row| RetentionCandidate {
            id: ApkId(row.apk_id),
            package: row.package,
            version_code: row.version_code,
            used: row.used,
        });
        Ok(kept.collect())
    }

    /// Those of these APKs that were deleted. One that the database does not know is not among them.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn apks_deleted(&self, ids: &[ApkId]) -> Result<Vec<ApkId>, StoreError> {
        let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
        let deleted = sqlx::query_scalar!("SELECT apk_id FROM apk WHERE apk_id = ANY($1) AND deleted_at IS NOT NULL", &ids);
        Ok(deleted.fetch_all(&self.pool).await?.into_iter().map(ApkId).collect())
    }
}

async fn uses(connection: &mut Connection, id: ApkId) -> Result<Vec<ApkUse>, StoreError> {
    let uses = sqlx::query_as!(
        ApkUse,
        r#"SELECT 'deployment' AS "kind!", deployment_id::text AS "id!", name AS "name!"
           FROM deployment WHERE apk_id = $1 AND finished_at IS NULL
           UNION ALL
           SELECT 'rollback', apk_id::text, package || ' ' || version_name FROM apk WHERE rollback_of = $1 AND deleted_at IS NULL
           UNION ALL
           SELECT 'agent_build', build_id::text, package || ' ' || version_code FROM agent_build WHERE apk_id = $1 AND state <> 'rolled_back'
           ORDER BY 1, 2 LIMIT 100"#,
        id.0
    );
    Ok(uses.fetch_all(connection).await?)
}

fn target(id: ApkId, package: &str, version_code: i64) -> Target {
    Target::Other { kind: "apk", id: Some(id.to_string()), name: Some(format!("{package} {version_code}")) }
}
