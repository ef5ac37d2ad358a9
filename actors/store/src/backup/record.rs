//! Record of the backups that were made.

use domain::access::Principal;
use domain::audit::{AuditAction, Target};
use domain::backup::{BackupAge, BackupOrigin, BackupRecord};
use domain::{BackupId, Timestamp};
use serde_json::json;

use crate::audit::{AuditEntry, append};
use crate::{Store, StoreError};

/// Longest text of an error that is kept.
const ERROR_MAX_CHARS: usize = 1000;

/// New backup, or attempt that failed.
#[derive(Debug, Clone)]
pub struct NewBackup {
    /// The record.
    pub record: BackupRecord,
    /// Whether it is encrypted.
    pub is_encrypted: bool,
}

struct Row {
    backup_id: uuid::Uuid,
    started_at: Timestamp,
    finished_at: Option<Timestamp>,
    file: String,
    bytes: i64,
    rows: i64,
    origin: String,
    node: String,
    verified_at: Option<Timestamp>,
    error: Option<String>,
}

impl TryFrom<Row> for BackupRecord {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: BackupId(row.backup_id),
            started_at: row.started_at,
            finished_at: row.finished_at,
            file: row.file,
            bytes: row.bytes,
            rows: row.rows,
            origin: BackupOrigin::parse(&row.origin).ok_or(StoreError::Corrupt("backup.origin"))?,
            node: row.node,
            verified_at: row.verified_at,
            error: row.error,
        })
    }
}

impl Store {
    /// Records a backup, or an attempt that failed. One that was made leaves an entry in the audit trail: it holds every secret.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn record_backup(&self, backup: &NewBackup, by: &Principal, now: Timestamp) -> Result<(), StoreError> {
        let NewBackup { record, is_encrypted } = backup;
        let error = record.error.as_ref().map(|error| error.chars().take(ERROR_MAX_CHARS).collect::<String>());
        let mut tx = self.begin().await?;
        sqlx::query!(
            "INSERT INTO backup (backup_id, started_at, finished_at, file, bytes, rows, origin, node, verified_at, error)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            record.id.0,
            record.started_at,
            record.finished_at,
            record.file,
            record.bytes,
            record.rows,
            record.origin.as_str(),
            record.node,
            record.verified_at,
            error
        )
        .execute(&mut *tx)
        .await?;
        if record.error.is_none() {
            let target = Target::Other { kind: "backup", id: Some(record.id.to_string()), name: name_of(&record.file) };
            let entry = AuditEntry::new(by, AuditAction::BackupCreated, target);
            let after = json!({ "bytes": record.bytes, "rows": record.rows, "encrypted": is_encrypted, "origin": record.origin.as_str() });
            append(&mut tx, &entry.after(after), now).await?;
        }
        Ok(tx.commit().await?)
    }

    /// The newest backups and attempts, newest first, at most `limit`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn backups(&self, limit: i64) -> Result<Vec<BackupRecord>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "SELECT backup_id, started_at, finished_at, file, bytes, rows, origin, node, verified_at, error
             FROM backup ORDER BY started_at DESC LIMIT $1",
            limit
        );
        rows.fetch_all(&self.pool).await?.into_iter().map(TryInto::try_into).collect()
    }

    /// The newest backup that was made until now. One from the future, by a clock that was wrong, says nothing of how old the newest is.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn newest_backup(&self, now: Timestamp) -> Result<Option<BackupRecord>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            "SELECT backup_id, started_at, finished_at, file, bytes, rows, origin, node, verified_at, error
             FROM backup WHERE error IS NULL AND started_at <= $1 ORDER BY started_at DESC LIMIT 1",
            now
        );
        row.fetch_optional(&self.pool).await?.map(TryInto::try_into).transpose()
    }

    /// How old the newest backup until now is; `None`: none was ever tried.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn backup_age(&self, now: Timestamp) -> Result<Option<BackupAge>, StoreError> {
        let row = sqlx::query!(
            "SELECT max(started_at) FILTER (WHERE error IS NULL) AS made, min(started_at) FILTER (WHERE error IS NOT NULL) AS tried
             FROM backup WHERE started_at <= $1",
            now
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(row.made.map(BackupAge::Made).or(row.tried.map(BackupAge::NoneSince)))
    }

    /// Forgets at most `limit` records of before `before`, but never the newest backup that was made. Answers how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_backup_records(&self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query!(
            "DELETE FROM backup WHERE backup_id = ANY(ARRAY(
                 SELECT backup_id FROM backup WHERE started_at < $1
                   AND backup_id IS DISTINCT FROM (SELECT backup_id FROM backup WHERE error IS NULL ORDER BY started_at DESC LIMIT 1)
                 LIMIT $2))",
            before,
            limit
        );
        Ok(purged.execute(&self.pool).await?.rows_affected())
    }
}

/// Name of a file, without its folder, as short as a name in the audit trail has to be.
fn name_of(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    Some(name.chars().take(255).collect())
}
