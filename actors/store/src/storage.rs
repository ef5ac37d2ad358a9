//! What history takes over time, and work on partitions that people start.

use domain::archive::{RecordBatch, heartbeats};
use domain::storage::{PartitionWork, StorageSample, WorkKind, WorkState};
use domain::{DeviceId, PartitionWorkId, Timestamp};
use sqlx::AssertSqlSafe;

use crate::archived::{batch_of, quoted};
use crate::audit::{AuditEntry, append};
use crate::{Store, StoreError};

/// Sizes in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatabaseSizes {
    /// The whole database.
    pub database_bytes: i64,
    /// The partitions of heartbeats, the default one included, with their indexes.
    pub heartbeats_bytes: i64,
    /// Rows of those, as the database estimates them.
    pub heartbeats_rows: i64,
}

macro_rules! work {
    ($row:expr) => {{
        let row = $row;
        // Words of a later build: the work is shown by neither.
        match (WorkKind::parse(&row.kind), WorkState::parse(&row.state)) {
            (Some(kind), Some(state)) => Some(PartitionWork {
                id: PartitionWorkId(row.work_id),
                kind,
                day: row.day,
                state,
                step: row.step,
                done: row.done,
                total: row.total,
                by: row.started_by,
                node: row.node,
                started_at: row.started_at,
                renewed_at: row.renewed_at,
                ended_at: row.ended_at,
                outcome: row.outcome,
            }),
            _ => None,
        }
    }};
}

impl Store {
    /// Sizes in the database.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn database_sizes(&self) -> Result<DatabaseSizes, StoreError> {
        // A table that is dropped meanwhile has no size any more.
        let sizes = sqlx::query_as!(
            DatabaseSizes,
            r#"SELECT pg_database_size(current_database()) AS "database_bytes!",
                   coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint AS "heartbeats_bytes!",
                   coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint AS "heartbeats_rows!"
               FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'heartbeats'::regclass"#
        );
        Ok(sizes.fetch_one(&self.pool).await?)
    }

    /// The heartbeats of a device from `from` until before `to`, the first `limit` of them.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn device_batch(&self, device: DeviceId, from: Timestamp, to: Timestamp, limit: i64) -> Result<RecordBatch, StoreError> {
        let schema = heartbeats();
        let columns = schema.columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ");
        let statement = format!(
            "SELECT {columns} FROM heartbeats_unpacked WHERE device_id = $1 AND bucket_at >= $2 AND bucket_at < $3 ORDER BY bucket_at LIMIT $4"
        );
        let rows = sqlx::query(AssertSqlSafe(statement))
            .bind(device.0)
            .bind(from)
            .bind(to)
            .bind(limit)
            .fetch_all(&mut *self.reader().await?)
            .await?;
        batch_of(schema, &rows)
    }

    /// Keeps a sample, unless there is one of that time.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn insert_storage_sample(&self, sample: &StorageSample) -> Result<(), StoreError> {
        let StorageSample { at, database_bytes, heartbeats_bytes, archive_bytes, on_disk_bytes, disk_free_bytes, disk_bytes } = *sample;
        sqlx::query!(
            "INSERT INTO storage_sample (at, database_bytes, heartbeats_bytes, archive_bytes, on_disk_bytes, disk_free_bytes, disk_bytes)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (at) DO NOTHING",
            at,
            database_bytes,
            heartbeats_bytes,
            archive_bytes,
            on_disk_bytes,
            disk_free_bytes,
            disk_bytes
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The samples since this time, oldest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn storage_samples(&self, since: Timestamp) -> Result<Vec<StorageSample>, StoreError> {
        let samples = sqlx::query_as!(
            StorageSample,
            "SELECT at, database_bytes, heartbeats_bytes, archive_bytes, on_disk_bytes, disk_free_bytes, disk_bytes
             FROM storage_sample WHERE at >= $1 ORDER BY at LIMIT 5000",
            since
        );
        Ok(samples.fetch_all(&self.pool).await?)
    }

    /// Deletes at most `limit` samples from before this time, and as many records of work that ended before it. Returns how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_storage_records(&self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query!(
            "WITH samples AS (
                 DELETE FROM storage_sample WHERE at = ANY(ARRAY(SELECT at FROM storage_sample WHERE at < $1 ORDER BY at LIMIT $2)) RETURNING 1
             ), work AS (
                 DELETE FROM partition_work
                 WHERE work_id = ANY(ARRAY(SELECT work_id FROM partition_work WHERE started_at < $1 AND ended_at < $1 ORDER BY started_at LIMIT $2))
                 RETURNING 1
             )
             SELECT greatest((SELECT count(*) FROM samples), (SELECT count(*) FROM work)) AS \"purged!\"",
            before,
            limit
        );
        Ok(purged.fetch_one(&self.pool).await?.purged.unsigned_abs())
    }

    /// Begins work, unless some is under way: then that one is answered. What was renewed last before `lost_before` is noted as
    /// interrupted, so that it stands in nobody's way.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn begin_partition_work(
        &self,
        work: &PartitionWork,
        lost_before: Timestamp,
        entry: &AuditEntry,
    ) -> Result<Option<PartitionWork>, StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query!(
            "UPDATE partition_work SET state = 'interrupted', ended_at = renewed_at,
                 outcome = 'Its node ended, or fell silent. It can be started again.'
             WHERE ended_at IS NULL AND renewed_at < $1",
            lost_before
        )
        .execute(&mut *tx)
        .await?;
        let begun = sqlx::query!(
            "INSERT INTO partition_work (work_id, kind, day, state, step, done, total, started_by, node, started_at, renewed_at)
             VALUES ($1, $2, $3, 'running', $4, $5, $6, $7, $8, $9, $9) ON CONFLICT DO NOTHING",
            work.id.0,
            work.kind.as_str(),
            work.day,
            work.step,
            work.done,
            work.total,
            work.by,
            work.node,
            work.started_at
        )
        .execute(&mut *tx)
        .await?;
        if begun.rows_affected() == 0 {
            let other = sqlx::query!(
                "SELECT work_id, kind, day, state, step, done, total, started_by, node, started_at, renewed_at, ended_at, outcome
                 FROM partition_work WHERE ended_at IS NULL"
            )
            .fetch_optional(&mut *tx)
            .await?;
            // One that has just ended is shown as it began; whoever asked tries again.
            return Ok(Some(other.and_then(|row| work!(row)).unwrap_or_else(|| work.clone())));
        }
        append(&mut tx, entry, work.started_at).await?;
        tx.commit().await?;
        Ok(None)
    }

    /// Notes how far work is. Answers whether it is still under way: another node may have taken it for lost.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn note_partition_work(
        &self,
        id: PartitionWorkId,
        step: &str,
        done: i64,
        total: Option<i64>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let noted = sqlx::query!(
            "UPDATE partition_work SET step = left($2, 200), done = $3, total = $4, renewed_at = $5 WHERE work_id = $1 AND ended_at IS NULL",
            id.0,
            step,
            done,
            total,
            now
        );
        Ok(noted.execute(&self.pool).await?.rows_affected() == 1)
    }

    /// Notes the end of work. Answers whether it was under way.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn end_partition_work(
        &self,
        id: PartitionWorkId,
        state: WorkState,
        outcome: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let ended = sqlx::query!(
            "UPDATE partition_work SET state = $2, outcome = left($3, 1000), renewed_at = $4, ended_at = $4
             WHERE work_id = $1 AND ended_at IS NULL",
            id.0,
            state.as_str(),
            outcome,
            now
        );
        Ok(ended.execute(&self.pool).await?.rows_affected() == 1)
    }

    /// The newest work, newest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn newest_partition_work(&self, limit: i64) -> Result<Vec<PartitionWork>, StoreError> {
        let rows = sqlx::query!(
            "SELECT work_id, kind, day, state, step, done, total, started_by, node, started_at, renewed_at, ended_at, outcome
             FROM partition_work ORDER BY started_at DESC, work_id DESC LIMIT $1",
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().filter_map(|row| work!(row)).collect())
    }

    /// Work by its id.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn partition_work(&self, id: PartitionWorkId) -> Result<Option<PartitionWork>, StoreError> {
        let row = sqlx::query!(
            "SELECT work_id, kind, day, state, step, done, total, started_by, node, started_at, renewed_at, ended_at, outcome
             FROM partition_work WHERE work_id = $1",
            id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.and_then(|row| work!(row)))
    }
}
