//! Archives of the audit trail: what is due, what was archived, and the removal of entries that an archive has.

use domain::Timestamp;
use domain::archive::RecordBatch;
use domain::audit::{ArchiveDue, AuditArchive, ChainCheck, Head, audit_table, push_chained};
use futures_util::Stream;
use futures_util::stream::try_unfold;

use crate::{Store, StoreError};

/// Entries that one statement reads on the way into an archive; with `before` and `after` a few megabytes at the very most.
const BATCH: i64 = 200;

struct ArchiveRow {
    first_seq: i64,
    last_seq: i64,
    first_at: Timestamp,
    last_at: Timestamp,
    prev_hash: Vec<u8>,
    last_hash: Vec<u8>,
    name: String,
    sha256: String,
    rows_sha256: String,
    bytes: i64,
    verified_at: Timestamp,
    removed_at: Option<Timestamp>,
}

impl From<ArchiveRow> for AuditArchive {
    fn from(row: ArchiveRow) -> Self {
        Self {
            range: row.first_seq..=row.last_seq,
            first_at: row.first_at,
            last_at: row.last_at,
            prev_hash: row.prev_hash,
            last_hash: row.last_hash,
            name: row.name,
            sha256: row.sha256,
            rows_sha256: row.rows_sha256,
            bytes: row.bytes,
            verified_at: row.verified_at,
            removed_at: row.removed_at,
        }
    }
}

impl Store {
    /// The archives of entries behind the one at `after`, oldest first. There is about one a month.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn audit_archives(&self, after: i64) -> Result<Vec<AuditArchive>, StoreError> {
        let rows = sqlx::query_as!(
            ArchiveRow,
            "SELECT first_seq, last_seq, first_at, last_at, prev_hash, last_hash, name, sha256, rows_sha256, bytes, verified_at, removed_at
             FROM audit_archive WHERE last_seq > $1 ORDER BY first_seq",
            after
        );
        Ok(rows.fetch_all(&self.pool).await?.into_iter().map(AuditArchive::from).collect())
    }

    /// The newest archive of entries.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn newest_audit_archive(&self) -> Result<Option<AuditArchive>, StoreError> {
        let row = sqlx::query_as!(
            ArchiveRow,
            "SELECT first_seq, last_seq, first_at, last_at, prev_hash, last_hash, name, sha256, rows_sha256, bytes, verified_at, removed_at
             FROM audit_archive ORDER BY last_seq DESC LIMIT 1"
        );
        Ok(row.fetch_optional(&self.pool).await?.map(AuditArchive::from))
    }

    /// What there is to be archived behind the entry at `after`, with entries from before `kept_since` beyond their retention. `None`: no entry.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn audit_archive_due(&self, after: i64, kept_since: Timestamp) -> Result<Option<ArchiveDue>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT first.seq, first.at, (SELECT min(seq) FROM audit_entry WHERE seq > $1 AND at >= $2) AS kept_from,
                 (SELECT max(seq) FROM audit_entry) AS "newest!"
               FROM (SELECT seq, at FROM audit_entry WHERE seq > $1 ORDER BY seq LIMIT 1) first"#,
            after,
            kept_since
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| ArchiveDue { first: (row.seq, row.at), kept_from: row.kept_from, newest: row.newest }))
    }

    /// The entries behind this one up to the one at `last`, as rows of an archive. Ends with an error where the chain does not hold: what was changed is not
    /// archived as if it had not been.
    pub fn audit_rows(&self, after: &Head, last: i64) -> impl Stream<Item = Result<RecordBatch, StoreError>> + Send + use<> {
        let mut check = ChainCheck::new(None);
        check.resume(after);
        try_unfold((self.clone(), check), move |(store, mut check)| async move {
            let left = last - check.last_seq();
            if left <= 0 {
                return Ok(None);
            }
            let entries = store.audit_batch(check.last_seq(), left.min(BATCH)).await?;
            let mut batch = RecordBatch::with_capacity(audit_table(), entries.len());
            for row in &entries {
                if !check.next(row).is_empty() || push_chained(&mut batch, row).is_err() {
                    return Err(StoreError::Corrupt("audit_entry"));
                }
            }
            // Fewer than there have to be.
            if entries.is_empty() {
                return Err(StoreError::Corrupt("audit_entry"));
            }
            Ok(Some((batch, (store, check))))
        })
    }

    /// Whether the database has the entries of the archive: the hash of the last one is over all of them.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn has_entries_of(&self, archive: &AuditArchive) -> Result<bool, StoreError> {
        let has = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM audit_entry WHERE seq = $1 AND prev_hash = $2)
                  AND EXISTS (SELECT FROM audit_entry WHERE seq = $3 AND hash = $4) AS "has!""#,
            *archive.range.start(),
            archive.prev_hash,
            *archive.range.end(),
            archive.last_hash
        );
        Ok(has.fetch_one(&self.pool).await?)
    }

    /// Notes an archive that was read back, if it follows the one before and the database has its entries. Whether it did.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn insert_audit_archive(&self, archive: &AuditArchive) -> Result<bool, StoreError> {
        let inserted = sqlx::query!(
            "INSERT INTO audit_archive
                 (first_seq, last_seq, first_at, last_at, prev_hash, last_hash, name, sha256, rows_sha256, bytes, verified_at)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
             WHERE $1 = coalesce((SELECT max(last_seq) FROM audit_archive), 0) + 1
                 AND $5 = coalesce((SELECT last_hash FROM audit_archive ORDER BY last_seq DESC LIMIT 1), decode(repeat('00', 32), 'hex'))
                 -- A file that has other entries, whoever wrote it, is no archive of these.
                 AND EXISTS (SELECT FROM audit_entry WHERE seq = $1 AND prev_hash = $5)
                 AND EXISTS (SELECT FROM audit_entry WHERE seq = $2 AND hash = $6)
             ON CONFLICT DO NOTHING",
            *archive.range.start(),
            *archive.range.end(),
            archive.first_at,
            archive.last_at,
            archive.prev_hash,
            archive.last_hash,
            archive.name,
            archive.sha256,
            archive.rows_sha256,
            archive.bytes,
            archive.verified_at
        );
        Ok(inserted.execute(&self.pool).await?.rows_affected() == 1)
    }

    /// Removes at most `limit` entries that the archive has, the oldest first, and names that no other entry has. Returns how many entries. None where the
    /// last of them, which goes last, is another one in the database.
    ///
    /// # Errors
    /// The database is unavailable, or an entry is in no archive.
    pub async fn remove_archived_entries(&self, archive: &AuditArchive, limit: i64) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let gone = sqlx::query!(
            "DELETE FROM audit_entry WHERE seq = ANY(ARRAY(
                 SELECT seq FROM audit_entry WHERE seq BETWEEN $1 AND $2
                     AND EXISTS (SELECT FROM audit_entry l WHERE l.seq = $2 AND l.hash = $4) ORDER BY seq LIMIT $3))
             RETURNING actor_name, target_name",
            *archive.range.start(),
            *archive.range.end(),
            limit,
            archive.last_hash
        )
        .fetch_all(&mut *tx)
        .await?;
        let removed = gone.len() as u64;
        let mut names: Vec<String> = gone.into_iter().flat_map(|row| [Some(row.actor_name), row.target_name]).flatten().collect();
        names.sort_unstable();
        names.dedup();
        // Whoever adds an entry holds the head: none that has one of the names is on its way. Held for one short statement.
        sqlx::query!("SELECT seq FROM audit_head FOR UPDATE").fetch_optional(&mut *tx).await?;
        sqlx::query!(
            "DELETE FROM audit_name n WHERE n.name = ANY($1)
                 AND NOT EXISTS (SELECT FROM audit_entry e WHERE e.actor_name = n.name)
                 AND NOT EXISTS (SELECT FROM audit_entry e WHERE e.target_name = n.name)",
            &names
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(removed)
    }

    /// Notes that no entry of the archive is left in the database. `false`: some are.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn note_audit_removed(&self, archive: &AuditArchive, now: Timestamp) -> Result<bool, StoreError> {
        let noted = sqlx::query!(
            "UPDATE audit_archive SET removed_at = coalesce(removed_at, $2) WHERE first_seq = $1
                 AND NOT EXISTS (SELECT FROM audit_entry e WHERE e.seq BETWEEN first_seq AND last_seq)",
            *archive.range.start(),
            now
        );
        Ok(noted.execute(&self.pool).await?.rows_affected() == 1)
    }
}
