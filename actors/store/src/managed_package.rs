//! Managed packages and their allowed signers.

use domain::Timestamp;
use domain::access::Principal;
use domain::apk::ManagedPackage;
use domain::audit::{AuditAction, Target};
use serde_json::json;

use crate::audit::{AuditEntry, append};
use crate::cluster_lock::hold_limit;
use crate::{Store, StoreError};

/// Outcome of removing a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovePackageOutcome {
    /// The package is no longer managed.
    Removed,
    /// The package is not managed.
    Unknown,
    /// The package still has this many APKs.
    HasApks(i64),
}

impl Store {
    /// Every managed package, by name.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn packages(&self) -> Result<Vec<ManagedPackage>, StoreError> {
        let rows = sqlx::query_as!(
            ManagedPackage,
            r#"SELECT package, signers_sha256, note, updated_by, updated_at,
                   (SELECT count(*) FROM apk WHERE apk.package = managed_package.package AND deleted_at IS NULL) AS "apks!"
               FROM managed_package ORDER BY package"#
        );
        Ok(rows.fetch_all(&self.pool).await?)
    }

    /// A managed package.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn package(&self, package: &str) -> Result<Option<ManagedPackage>, StoreError> {
        let row = sqlx::query_as!(
            ManagedPackage,
            r#"SELECT package, signers_sha256, note, updated_by, updated_at,
                   (SELECT count(*) FROM apk WHERE apk.package = managed_package.package AND deleted_at IS NULL) AS "apks!"
               FROM managed_package WHERE package = $1"#,
            package
        );
        Ok(row.fetch_optional(&self.pool).await?)
    }

    /// Allows a package, or changes who may sign it. `None`: there would be more than `most`; `Some(false)`: it was changed.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn put_package(
        &self,
        package: &str,
        signers_sha256: &[String],
        note: &str,
        by: &Principal,
        now: Timestamp,
        most: i64,
    ) -> Result<Option<bool>, StoreError> {
        let mut tx = self.begin().await?;
        hold_limit(&mut tx, "managed_package").await?;
        let before = sqlx::query!("SELECT signers_sha256, note FROM managed_package WHERE package = $1 FOR UPDATE", package)
            .fetch_optional(&mut *tx)
            .await?;
        let put = sqlx::query!(
            "INSERT INTO managed_package (package, signers_sha256, note, updated_by, updated_at)
             SELECT $1, $2, $3, $4, $5
             WHERE (SELECT count(*) FROM managed_package) < $6 OR EXISTS (SELECT FROM managed_package WHERE package = $1)
             ON CONFLICT (package) DO UPDATE SET signers_sha256 = excluded.signers_sha256, note = excluded.note,
                 updated_by = excluded.updated_by, updated_at = excluded.updated_at",
            package,
            signers_sha256,
            note,
            by.username(),
            now,
            most
        );
        if put.execute(&mut *tx).await?.rows_affected() == 0 {
            return Ok(None);
        }
        let new = before.is_none();
        let mut entry = AuditEntry::new(by, if new { AuditAction::PackageAllowed } else { AuditAction::PackageChanged }, target(package));
        if let Some(before) = before {
            entry = entry.before(json!({ "signers_sha256": before.signers_sha256, "note": before.note }));
        }
        append(&mut tx, &entry.after(json!({ "signers_sha256": signers_sha256, "note": note })), now).await?;
        tx.commit().await?;
        Ok(Some(new))
    }

    /// Ends the management of a package.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn delete_package(&self, package: &str, by: &Principal, now: Timestamp) -> Result<RemovePackageOutcome, StoreError> {
        let mut tx = self.begin().await?;
        // Locked first: an upload that is about to be taken holds the same row.
        let before = sqlx::query!("SELECT signers_sha256, note FROM managed_package WHERE package = $1 FOR UPDATE", package)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(before) = before else { return Ok(RemovePackageOutcome::Unknown) };
        let apks = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM apk WHERE package = $1 AND deleted_at IS NULL"#, package)
            .fetch_one(&mut *tx)
            .await?;
        if apks > 0 {
            return Ok(RemovePackageOutcome::HasApks(apks));
        }
        sqlx::query!("DELETE FROM managed_package WHERE package = $1", package).execute(&mut *tx).await?;
        let entry = AuditEntry::new(by, AuditAction::PackageRemoved, target(package));
        append(&mut tx, &entry.before(json!({ "signers_sha256": before.signers_sha256, "note": before.note })), now).await?;
        tx.commit().await?;
        Ok(RemovePackageOutcome::Removed)
    }
}

fn target(package: &str) -> Target {
    Target::Other { kind: "package", id: None, name: Some(package.to_owned()) }
}
