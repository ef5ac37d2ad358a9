//! What is recorded of days. One partition manager at a time writes it; each change names the state that it starts from.

use chrono::NaiveDate;
use domain::Timestamp;
use domain::partition::{ArchiveRecord, PartitionRecord, PartitionState, Progress};

use crate::pool::Connection;
use crate::{Store, StoreError};

/// Longest reason of a failure that is kept, in characters.
const ERROR_MAX_CHARS: usize = 1000;
/// Most days that are read: a century.
const DAYS_MAX: i64 = 40_000;

/// A row as the statements of this module select it.
struct Row {
    day: NaiveDate,
    state: String,
    row_count: Option<i64>,
    bytes: Option<i64>,
    archive_url: Option<String>,
    archive_sha256: Option<String>,
    rows_sha256: Option<String>,
    archive_rows: Option<i64>,
    archive_bytes: Option<i64>,
    first_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
    schema_version: Option<i32>,
    created_at: Option<Timestamp>,
    analyzed_at: Option<Timestamp>,
    archived_at: Option<Timestamp>,
    verified_at: Option<Timestamp>,
    dropped_at: Option<Timestamp>,
    restored_at: Option<Timestamp>,
    restored_until: Option<Timestamp>,
    last_error: Option<String>,
    failed_at: Option<Timestamp>,
    attempts: i32,
    progress_step: Option<String>,
    progress_done: Option<i64>,
    progress_of: Option<i64>,
    progress_at: Option<Timestamp>,
}

impl Row {
    fn archive(&self) -> Option<ArchiveRecord> {
        Some(ArchiveRecord {
            url: self.archive_url.clone()?,
            sha256: self.archive_sha256.clone()?,
            rows_sha256: self.rows_sha256.clone()?,
            rows: self.archive_rows?.unsigned_abs(),
            bytes: self.archive_bytes?.unsigned_abs(),
            first_at: self.first_at,
            last_at: self.last_at,
            schema_version: self.schema_version?.unsigned_abs(),
        })
    }

    fn progress(&self) -> Option<Progress> {
        Some(Progress {
            step: self.progress_step.clone()?,
            done: self.progress_done?.unsigned_abs(),
            of: self.progress_of?.unsigned_abs(),
            at: self.progress_at?,
        })
    }

    fn record(self) -> Result<PartitionRecord, StoreError> {
        Ok(PartitionRecord {
            state: PartitionState::parse(&self.state).ok_or(StoreError::Corrupt("heartbeat_partition.state"))?,
            archive: self.archive(),
            progress: self.progress(),
            day: self.day,
            rows: self.row_count.map(i64::unsigned_abs),
            bytes: self.bytes.map(i64::unsigned_abs),
            created_at: self.created_at,
            analyzed_at: self.analyzed_at,
            archived_at: self.archived_at,
            verified_at: self.verified_at,
            dropped_at: self.dropped_at,
            restored_at: self.restored_at,
            restored_until: self.restored_until,
            last_error: self.last_error,
            failed_at: self.failed_at,
            attempts: self.attempts.unsigned_abs(),
        })
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Store {
    /// What is recorded of each day, oldest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn partition_records(&self) -> Result<Vec<PartitionRecord>, StoreError> {
        self.partition_records_of(None).await
    }

    /// What is recorded of a day.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn partition_record(&self, day: NaiveDate) -> Result<Option<PartitionRecord>, StoreError> {
        Ok(self.partition_records_of(Some(day)).await?.pop())
    }

    async fn partition_records_of(&self, day: Option<NaiveDate>) -> Result<Vec<PartitionRecord>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "SELECT day, state, row_count, bytes, archive_url, archive_sha256, rows_sha256, archive_rows, archive_bytes, first_at, last_at,
                 schema_version, created_at, analyzed_at, archived_at, verified_at, dropped_at, restored_at, restored_until, last_error,
                 failed_at, attempts, progress_step, progress_done, progress_of, progress_at
             FROM heartbeat_partition WHERE $1::date IS NULL OR day = $1 ORDER BY day LIMIT $2",
            day as _,
            DAYS_MAX
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Row::record).collect()
    }

    /// Keeps the record of a day whose state was `before` (`None`: nothing was recorded); not its failures and progress. `false`: it is another by
    /// now, and nothing was written.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn put_partition_record(&self, record: &PartitionRecord, before: Option<PartitionState>) -> Result<bool, StoreError> {
        let archive = record.archive.as_ref();
        let written = sqlx::query!(
            "INSERT INTO heartbeat_partition AS p (day, state, row_count, bytes, archive_url, archive_sha256, rows_sha256, archive_rows,
                 archive_bytes, first_at, last_at, schema_version, created_at, analyzed_at, archived_at, verified_at, dropped_at, restored_at,
                 restored_until)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
             ON CONFLICT (day) DO UPDATE SET state = excluded.state, row_count = excluded.row_count, bytes = excluded.bytes,
                 archive_url = excluded.archive_url, archive_sha256 = excluded.archive_sha256, rows_sha256 = excluded.rows_sha256,
                 archive_rows = excluded.archive_rows, archive_bytes = excluded.archive_bytes, first_at = excluded.first_at,
                 last_at = excluded.last_at, schema_version = excluded.schema_version, created_at = excluded.created_at,
                 analyzed_at = excluded.analyzed_at, archived_at = excluded.archived_at, verified_at = excluded.verified_at,
                 dropped_at = excluded.dropped_at, restored_at = excluded.restored_at, restored_until = excluded.restored_until
             WHERE p.state = $20",
            record.day,
            record.state.as_str(),
            record.rows.map(signed) as _,
            record.bytes.map(signed) as _,
            archive.map(|archive| archive.url.as_str()) as _,
            archive.map(|archive| archive.sha256.as_str()) as _,
            archive.map(|archive| archive.rows_sha256.as_str()) as _,
            archive.map(|archive| signed(archive.rows)) as _,
            archive.map(|archive| signed(archive.bytes)) as _,
            archive.and_then(|archive| archive.first_at) as _,
            archive.and_then(|archive| archive.last_at) as _,
            archive.map(|archive| i32::try_from(archive.schema_version).unwrap_or(i32::MAX)) as _,
            record.created_at as _,
            record.analyzed_at as _,
            record.archived_at as _,
            record.verified_at as _,
            record.dropped_at as _,
            record.restored_at as _,
            record.restored_until as _,
            before.map(PartitionState::as_str) as _
        )
        .execute(&self.pool)
        .await?;
        Ok(written.rows_affected() == 1)
    }

    /// Notes how far a step has come; `None`: it ended.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn note_partition_progress(&self, day: NaiveDate, progress: Option<&Progress>) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE heartbeat_partition SET progress_step = $2, progress_done = $3, progress_of = $4, progress_at = $5 WHERE day = $1",
            day,
            progress.map(|progress| progress.step.as_str()) as _,
            progress.map(|progress| signed(progress.done)) as _,
            progress.map(|progress| signed(progress.of)) as _,
            progress.map(|progress| progress.at) as _
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Notes that a step failed, and why; with `counts` as one more attempt in a row.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn note_partition_failure(&self, day: NaiveDate, error: &str, counts: bool, now: Timestamp) -> Result<(), StoreError> {
        let error: String = error.chars().take(ERROR_MAX_CHARS).collect();
        sqlx::query!(
            "INSERT INTO heartbeat_partition AS p (day, state, last_error, failed_at, attempts) VALUES ($1, 'open', $2, $3, $4)
             ON CONFLICT (day) DO UPDATE SET last_error = excluded.last_error, failed_at = excluded.failed_at, attempts = p.attempts + $4,
                 progress_step = NULL, progress_done = NULL, progress_of = NULL, progress_at = NULL",
            day,
            error,
            now,
            i32::from(counts)
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Notes that a step was done: what failed before is over.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn note_partition_success(&self, day: NaiveDate) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE heartbeat_partition SET last_error = NULL, failed_at = NULL, attempts = 0, progress_step = NULL, progress_done = NULL,
                 progress_of = NULL, progress_at = NULL
             WHERE day = $1",
            day
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The greatest number of failures in a row that a day has now.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn partition_failures(&self) -> Result<u64, StoreError> {
        let failures = sqlx::query_scalar!(r#"SELECT coalesce(max(attempts), 0) AS "failures!" FROM heartbeat_partition"#);
        Ok(failures.fetch_one(&self.pool).await?.unsigned_abs().into())
    }

    /// Of these days, those of which an archive has the rows.
    pub(super) async fn archived_days(&self, days: &[NaiveDate]) -> Result<Vec<NaiveDate>, StoreError> {
        let archived = sqlx::query_scalar!(
            "SELECT day FROM heartbeat_partition
             WHERE day = ANY($1) AND state IN ('archived', 'verified', 'dropped', 'restoring', 'restored')",
            days
        );
        Ok(archived.fetch_all(&self.pool).await?)
    }
}

/// Notes that the table of a day is attached. A new one takes the place of one that is gone, and rows that moved in are not in an archive.
pub(super) async fn note_attached(connection: &mut Connection, day: NaiveDate, is_new: bool, has_moved: bool) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO heartbeat_partition AS p (day, state, created_at) VALUES ($1, 'open', now())
         ON CONFLICT (day) DO UPDATE SET
             created_at = CASE WHEN $2 THEN now() ELSE p.created_at END,
             state = CASE WHEN p.state = 'lost' OR ($2 AND p.state = 'settled') OR ($3 AND p.state IN ('archived', 'verified')) THEN 'open'
                          ELSE p.state END",
        day,
        is_new,
        has_moved
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that the table of a day is dropped. `false`: its archive is not verified, or another.
pub(super) async fn note_dropped(
    connection: &mut Connection,
    day: NaiveDate,
    rows_sha256: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let noted = sqlx::query!(
        "UPDATE heartbeat_partition SET state = 'dropped', dropped_at = $3, restored_until = NULL
         WHERE day = $1 AND rows_sha256 = $2 AND state IN ('verified', 'restored') AND verified_at IS NOT NULL",
        day,
        rows_sha256,
        now
    )
    .execute(connection)
    .await?;
    Ok(noted.rows_affected() == 1)
}
