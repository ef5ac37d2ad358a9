//! One snapshot of the whole database, read table by table while others write.

use bytes::Bytes;
use domain::{ApkId, Timestamp};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use sqlx::Row as _;

use super::{UNFINISHED, piece, quoted, run};
use crate::cluster_lock::{keep_days, let_days_go};
use crate::pool::Connection;
use crate::{Store, StoreError};

/// Rows that no day's partition covers. A partition that is attached needs it for itself for a moment, so it is read first.
const DEFAULT_PARTITION: &str = "heartbeats_default";
/// Locks of tables from here on can be let go, without the snapshot: a migration must not wait for a whole backup, nor heartbeats behind it.
const KEEP: &str = "SAVEPOINT kept";
/// Lets them go.
const LET_GO: &str = "ROLLBACK TO SAVEPOINT kept; RELEASE SAVEPOINT kept";

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotTable {
    /// Name.
    pub name: String,
    /// Columns that are stored, not computed.
    pub columns: Vec<String>,
    /// The table that it is a partition of.
    pub parent: Option<String>,
    /// Its bounds, as the database tells them.
    pub bound: Option<String>,
}

/// A sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSequence {
    /// Name.
    pub name: String,
    /// Last value that was given out; `None`: none was.
    pub last_value: Option<i64>,
}

/// An APK that has a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotApk {
    /// Id.
    pub id: ApkId,
    /// Size.
    pub bytes: i64,
    /// SHA-256 of the file, as hex.
    pub sha256: String,
}

/// A snapshot: a transaction that reads only, and sees what was committed before it began.
pub struct Snapshot {
    connection: Connection,
    /// Whether a table is read, whose lock ends with the next.
    reads_table: bool,
    /// When it began, by the database's clock.
    pub at: Timestamp,
    /// Newest migration that was applied.
    pub schema: i64,
    /// Name of the cluster, once a node has started.
    pub cluster: Option<String>,
    /// Devices that are enrolled.
    pub devices: i64,
    /// Tables with rows of their own.
    pub tables: Vec<SnapshotTable>,
}

impl Store {
    /// Begins a snapshot on a connection of its own. Tables of days stay until it ends: who would drop one waits, and not for long. Nothing else
    /// waits for it but what needs the table that is just being read for itself.
    ///
    /// # Errors
    /// The database is unavailable, or has no schema of ours.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let mut connection = self.pool.connect_alone().await?;
        // Files are written between two statements, and may be slow.
        let settings =
            "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET lock_timeout = '10s'; SET datestyle = 'ISO, YMD';
             SET intervalstyle = 'postgres'; SET bytea_output = 'hex'; SET extra_float_digits = 3";
        crate::configure(&mut connection, settings).await?;
        keep_days(&mut connection).await?;
        run(&mut connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        // The first statement takes the snapshot, and no lock.
        let at: Timestamp = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut connection).await?;
        run(&mut connection, KEEP).await?;
        let schema: Option<i64> =
            sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success").fetch_one(&mut connection).await?;
        let tables = tables(&mut connection).await?;
        let cluster = sqlx::query_scalar("SELECT name FROM cluster").fetch_optional(&mut connection).await?;
        let devices = sqlx::query_scalar("SELECT count(*) FROM device WHERE deleted_at IS NULL").fetch_one(&mut connection).await?;
        run(&mut connection, LET_GO).await?;
        Ok(Snapshot { connection, reads_table: false, at, schema: schema.unwrap_or(0), cluster, devices, tables })
    }
}

/// Tables of the schema that have rows of their own, the default partition first.
async fn tables(connection: &mut Connection) -> Result<Vec<SnapshotTable>, StoreError> {
    let rows = sqlx::query(
        "SELECT c.relname::text AS name, p.relname::text AS parent, pg_get_expr(c.relpartbound, c.oid) AS bound,
             ARRAY(SELECT a.attname::text FROM pg_attribute a
                 WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum) AS columns
         FROM pg_class c
         LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
         LEFT JOIN pg_class p ON p.oid = i.inhparent
         WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.relnamespace = current_schema()::regnamespace
           AND c.relname NOT IN ('_sqlx_migrations', $1)
         ORDER BY c.relname <> $2, c.relname",
    )
    .bind(UNFINISHED)
    .bind(DEFAULT_PARTITION)
    .fetch_all(connection)
    .await?;
    let table = |row: &sqlx::postgres::PgRow| -> Result<SnapshotTable, sqlx::Error> {
        Ok(SnapshotTable {
            name: row.try_get("name")?,
            columns: row.try_get("columns")?,
            parent: row.try_get("parent")?,
            bound: row.try_get("bound")?,
        })
    };
    Ok(rows.iter().map(table).collect::<Result<_, _>>()?)
}

impl Snapshot {
    /// Sequences as they are now: none is behind the rows.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn sequences(&mut self) -> Result<Vec<SnapshotSequence>, StoreError> {
        let rows: Vec<(String, Option<i64>)> = sqlx::query_as(
            "SELECT sequencename::text, last_value FROM pg_sequences WHERE schemaname = current_schema() ORDER BY sequencename",
        )
        .fetch_all(&mut self.connection)
        .await?;
        Ok(rows.into_iter().map(|(name, last_value)| SnapshotSequence { name, last_value }).collect())
    }

    /// APKs that were not deleted.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn apks(&mut self) -> Result<Vec<SnapshotApk>, StoreError> {
        run(&mut self.connection, KEEP).await?;
        let rows: Vec<(uuid::Uuid, i64, String)> =
            sqlx::query_as("SELECT apk_id, size_bytes, sha256 FROM apk WHERE deleted_at IS NULL ORDER BY apk_id")
                .fetch_all(&mut self.connection)
                .await?;
        run(&mut self.connection, LET_GO).await?;
        Ok(rows.into_iter().map(|(id, bytes, sha256)| SnapshotApk { id: ApkId(id), bytes, sha256 }).collect())
    }

    /// Begins to read a table. Its rows come as lines of text, a piece or more each.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn rows(&mut self, table: &SnapshotTable) -> Result<BoxStream<'_, Result<Bytes, StoreError>>, StoreError> {
        if std::mem::take(&mut self.reads_table) {
            run(&mut self.connection, LET_GO).await?;
        }
        run(&mut self.connection, KEEP).await?;
        self.reads_table = true;
        let columns: Vec<String> = table.columns.iter().map(|column| quoted(column)).collect();
        let statement = format!("COPY {} ({}) TO STDOUT", quoted(&table.name), columns.join(", "));
        let rows = piece(self.connection.raw().copy_out_raw(&statement)).await?;
        Ok(futures_util::stream::try_unfold(rows, |mut rows| async move {
            let next = piece(rows.try_next()).await;
            next.map(|next| next.map(|bytes| (bytes, rows)))
        })
        .boxed())
    }

    /// Ends the snapshot.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn end(mut self) -> Result<(), StoreError> {
        run(&mut self.connection, "COMMIT").await?;
        let_days_go(&mut self.connection).await
    }
}
