//! Daily partitions of `heartbeats`: made, attached, detached, removed, and what is recorded of them.
//!
//! ```text
//! premake, attach   SHARE UPDATE EXCLUSIVE on heartbeats, which heartbeats pass; ACCESS EXCLUSIVE on the default partition, for milliseconds
//! detach            ACCESS EXCLUSIVE on heartbeats, for milliseconds
//! drop              of a table that is no partition any more: nobody waits
//! ```
//! PostgreSQL refuses `DETACH PARTITION ... CONCURRENTLY` while there is a default partition. So what locks waits for its locks no longer than
//! [`LOCK_TIMEOUT_MS`], in an order in which the one that heartbeats need comes last, and tries again later.

mod default_index;
mod locking;
mod moving;
mod record;
mod seen;

use std::time::Duration;

use chrono::{Days, NaiveDate};
use domain::archive::RecordBatch;
use domain::partition::table_name;
use sqlx::AssertSqlSafe;
use tokio::time::Instant;

use crate::pool::{Connection, Transaction};
use crate::{Store, StoreError};
pub use locking::{LOCK_TIMEOUT_MS, LockPatience};
use locking::{LONGEST_CHANGE, begin_locking};
use moving::{Columns, MOVED_UNDER_LOCK_MAX};
pub use seen::PartitionTable;

/// Longest time for the statements of one step that go through a whole table, unless the store's settings allow more.
const LONGEST_STEP: Duration = Duration::from_secs(3600);

/// Bounds of a day as the statements write them.
fn bounds(day: NaiveDate) -> (String, String) {
    (format!("{day} 00:00:00+00"), format!("{} 00:00:00+00", day + Days::new(1)))
}

/// Condition for the rows of a day; the same words as in the bounds of a partition, so that PostgreSQL recognizes them.
fn within_day(day: NaiveDate) -> String {
    let (from, to) = bounds(day);
    format!("bucket_at >= '{from}'::timestamptz AND bucket_at < '{to}'::timestamptz")
}

/// Name of the constraint by which an attach knows that a table has rows of its day only.
const DAY_CHECK: &str = "heartbeats_of_one_day";

async fn run(connection: &mut Connection, statement: &str) -> Result<u64, sqlx::Error> {
    // The names and dates in it are made of digits; the columns come from the catalogue, quoted.
    Ok(sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?.rows_affected())
}

impl Store {
    /// Creates the partitions of `days` that do not exist and are not archived, one transaction each.
    /// Rows of such a day that the default partition caught move along.
    /// Returns which were created. Days whose locks do not come in time are left to the next call: the default partition takes their rows.
    ///
    /// # Errors
    /// The database is unavailable; partitions made before stay.
    pub async fn ensure_partitions(&self, days: &[NaiveDate]) -> Result<Vec<NaiveDate>, StoreError> {
        let archived = self.archived_days(days).await?;
        let mut created = Vec::new();
        for day in days.iter().filter(|day| !archived.contains(day)) {
            match self.create_partition(*day, LockPatience::START).await {
                Ok(true) => created.push(*day),
                Ok(false) => {}
                Err(cause) if cause.is_lock_timeout() => {
                    tracing::warn!(event = "partition.locked", %day, cause = "another transaction uses the default partition; the next run tries again");
                    break;
                }
                Err(StoreError::TimedOut(limit)) => {
                    let cause = "the default partition has many of its rows; the partition manager goes on";
                    tracing::warn!(event = "partition.many_rows", %day, limit_ms = limit.as_millis() as u64, cause);
                }
                Err(cause) => return Err(cause),
            }
        }
        Ok(created)
    }

    /// Makes the partition of a day, and moves rows of the day in the default partition into it. `false`: there is a table of the day already.
    ///
    /// # Errors
    /// The database is unavailable, or the locks did not come in time.
    pub async fn create_partition(&self, day: NaiveDate, patience: LockPatience) -> Result<bool, StoreError> {
        if !self.create_detached(day).await? {
            return Ok(false);
        }
        self.attach(day, true, patience).await?;
        Ok(true)
    }

    /// Makes the table of a day, which is no partition yet. `false`: there is one.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn create_detached(&self, day: NaiveDate) -> Result<bool, StoreError> {
        let table = table_name(day);
        let mut tx = self.begin_partition_change().await?;
        if self.relation_exists(&mut tx, &table).await? {
            return Ok(false);
        }
        let within = within_day(day);
        run(
            &mut tx,
            &format!(
                "CREATE TABLE {table} (LIKE heartbeats INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES, \
                 CONSTRAINT {DAY_CHECK} CHECK ({within}))"
            ),
        )
        .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Attaches the table of a day, and moves rows of the day in the default partition into it. Answers how many moved. What is recorded of the day
    /// follows in the same transaction: a table that was gone is there again, and an archive that lacks the moved rows is out of date.
    ///
    /// # Errors
    /// The database is unavailable, the locks did not come in time, or the table does not fit.
    pub async fn attach_partition(&self, day: NaiveDate, patience: LockPatience) -> Result<u64, StoreError> {
        self.attach(day, false, patience).await
    }

    async fn attach(&self, day: NaiveDate, is_new: bool, patience: LockPatience) -> Result<u64, StoreError> {
        let columns = self.prepare_attach(day).await?;
        // Most rows move while nobody waits.
        let moved = self.move_default_rows(day, &columns, patience.moving()).await?;
        let mut retries = patience.retries();
        loop {
            match self.try_attach(day, &columns, is_new, moved).await {
                Err(cause) if retries.are_left_for(&cause) => retries.pause().await,
                outcome => return outcome,
            }
        }
    }

    async fn try_attach(&self, day: NaiveDate, columns: &Columns, is_new: bool, moved: u64) -> Result<u64, StoreError> {
        let (table, (from, to)) = (table_name(day), bounds(day));
        let mut tx = begin_locking(self).await?;
        if self.is_attached(&mut tx, &table).await? {
            return Ok(moved);
        }
        // In this order a heartbeat waits only once the rest is held.
        let locks = format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE; LOCK TABLE heartbeats_default IN ACCESS EXCLUSIVE MODE");
        run(&mut tx, &locks).await?;
        let moved = moved + columns.move_rows(&mut tx, day, None).await?.written;
        record::note_attached(&mut tx, day, is_new, moved > 0).await?;
        let attach = format!(
            "SET LOCAL statement_timeout = {}; ALTER TABLE heartbeats ATTACH PARTITION {table} FOR VALUES FROM ('{from}') TO ('{to}'); \
             ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {DAY_CHECK}",
            LONGEST_CHANGE.as_millis()
        );
        tx.commit_after(&attach, LONGEST_CHANGE).await?;
        Ok(moved)
    }

    /// Gives the table of a day, which is no partition, the columns that came meanwhile: a migration changes partitions only.
    ///
    /// # Errors
    /// The database is unavailable, or there is no such table.
    pub async fn complete_detached(&self, day: NaiveDate) -> Result<(), StoreError> {
        let mut connection = self.patient_connection().await?;
        Columns::read(&mut connection, &table_name(day)).await.map(drop)
    }

    /// Lets the table of a day be attached without a look at its rows: gives it the columns that came meanwhile and a valid constraint for its day.
    async fn prepare_attach(&self, day: NaiveDate) -> Result<Columns, StoreError> {
        let table = table_name(day);
        let mut connection = self.patient_connection().await?;
        self.finish_detach(&mut connection, &table).await?;
        let columns = Columns::read(&mut connection, &table).await?;
        self.complete_checks(&mut connection, &table).await?;
        let has_check = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass($1) AND conname = $2 AND convalidated) AS "has!""#,
            table,
            DAY_CHECK
        )
        .fetch_one(&mut connection)
        .await?;
        if !has_check && !self.is_attached(&mut connection, &table).await? {
            let within = within_day(day);
            run(&mut connection, &format!("ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {DAY_CHECK}")).await?;
            run(&mut connection, &format!("ALTER TABLE {table} ADD CONSTRAINT {DAY_CHECK} CHECK ({within}) NOT VALID")).await?;
            patiently(&mut connection, &format!("ALTER TABLE {table} VALIDATE CONSTRAINT {DAY_CHECK}")).await?;
        }
        Ok(columns)
    }

    /// Gives a table the checks of `heartbeats` that came while it was no partition: without them it is not attached.
    async fn complete_checks(&self, connection: &mut Connection, table: &str) -> Result<(), StoreError> {
        let missing = sqlx::query!(
            r#"SELECT quote_ident(p.conname) AS "name!", pg_get_constraintdef(p.oid) AS "definition!"
               FROM pg_constraint p
               WHERE p.conrelid = 'heartbeats'::regclass AND p.contype = 'c' AND NOT EXISTS (
                   SELECT FROM pg_constraint t WHERE t.conrelid = to_regclass($1) AND t.contype = 'c' AND t.conname = p.conname)
               ORDER BY p.conname"#,
            table
        )
        .fetch_all(&mut *connection)
        .await?;
        for check in missing {
            let definition = check.definition.trim_end_matches(" NOT VALID");
            run(connection, &format!("ALTER TABLE {table} ADD CONSTRAINT {} {definition} NOT VALID", check.name)).await?;
            patiently(connection, &format!("ALTER TABLE {table} VALIDATE CONSTRAINT {}", check.name)).await?;
        }
        Ok(())
    }

    /// Ends a `DETACH ... CONCURRENTLY` that somebody began and that was cut off.
    async fn finish_detach(&self, connection: &mut Connection, table: &str) -> Result<(), StoreError> {
        let pending = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass($1) AND inhdetachpending) AS "pending!""#,
            table
        )
        .fetch_one(&mut *connection)
        .await?;
        if pending {
            run(connection, &format!("ALTER TABLE heartbeats DETACH PARTITION {table} FINALIZE")).await?;
        }
        Ok(())
    }

    /// Makes the partition of a day a table of its own. Heartbeats wait for no longer than the lock's timeout and the change itself. `false`: it is
    /// none already.
    ///
    /// # Errors
    /// The database is unavailable, or the locks did not come in time.
    pub async fn detach_partition(&self, day: NaiveDate, patience: LockPatience) -> Result<bool, StoreError> {
        let mut retries = patience.retries();
        loop {
            match self.try_detach(day).await {
                Err(cause) if retries.are_left_for(&cause) => retries.pause().await,
                outcome => return outcome,
            }
        }
    }

    async fn try_detach(&self, day: NaiveDate) -> Result<bool, StoreError> {
        let table = table_name(day);
        let mut tx = begin_locking(self).await?;
        if !self.is_attached(&mut tx, &table).await? {
            return Ok(false);
        }
        // DETACH would take the lock that every heartbeat needs first, and hold it while it waits for the others. In one message: whatever becomes of
        // this process, the locks end with it.
        let detach = format!(
            "LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE; LOCK TABLE heartbeats_default IN ACCESS EXCLUSIVE MODE; \
             LOCK TABLE ONLY heartbeats IN ACCESS EXCLUSIVE MODE; ALTER TABLE heartbeats DETACH PARTITION {table}"
        );
        tx.commit_after(&detach, LONGEST_CHANGE).await?;
        Ok(true)
    }

    /// Removes the table of a day that is no partition any more and whose verified archive has this digest of its rows; recorded in the same
    /// transaction. `false`: something of that is not so.
    ///
    /// # Errors
    /// The database is unavailable, or a backup reads: that is a lock that did not come in time.
    pub async fn drop_detached(&self, day: NaiveDate, rows_sha256: &str, now: domain::Timestamp) -> Result<bool, StoreError> {
        let table = table_name(day);
        let mut tx = self.begin_partition_change().await?;
        crate::configure(&mut tx, "SET LOCAL lock_timeout = '1s'").await?;
        crate::cluster_lock::hold_days_alone(&mut tx).await?;
        // An autovacuum of the table gives way within a second.
        crate::configure(&mut tx, "SET LOCAL lock_timeout = '10s'").await?;
        if self.is_attached(&mut tx, &table).await? || !record::note_dropped(&mut tx, day, rows_sha256, now).await? {
            return Ok(false);
        }
        run(&mut tx, &format!("DROP TABLE IF EXISTS {table}")).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Freezes and analyzes the table of a day: its rows change no more. Answers how many it has, and its size.
    ///
    /// # Errors
    /// The database is unavailable, or there is no such table.
    pub async fn analyze_partition(&self, day: NaiveDate) -> Result<PartitionTable, StoreError> {
        let table = table_name(day);
        let mut connection = self.patient_connection().await?;
        patiently(&mut connection, &format!("VACUUM (FREEZE, ANALYZE) {table}")).await?;
        drop(connection);
        self.partition_table(day).await?.ok_or(StoreError::Corrupt("heartbeats"))
    }

    /// Inserts archived rows of a day into its table; of a bucket that is there the newest stands.
    ///
    /// # Errors
    /// The database is unavailable, or there is no such table.
    pub async fn insert_archived(&self, day: NaiveDate, batch: &RecordBatch) -> Result<u64, StoreError> {
        let table = table_name(day);
        let mut connection = self.pool.acquire().await?;
        let columns = Columns::read(&mut connection, &table).await?;
        drop(connection);
        self.insert_rows(&table, batch, &columns.newest_stands()).await
    }

    /// Names of the daily partitions that exist, oldest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn partitions(&self) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar!(
            r#"SELECT c.relname::text AS "name!" FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = 'heartbeats'::regclass ORDER BY c.relname"#
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Rows that no daily partition covers, counted up to `most`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn default_partition_rows(&self, most: i64) -> Result<i64, StoreError> {
        let rows = sqlx::query_scalar!(r#"SELECT count(*) AS "rows!" FROM (SELECT FROM heartbeats_default LIMIT $1) d"#, most);
        Ok(rows.fetch_one(&self.pool).await?)
    }

    async fn relation_exists(&self, connection: &mut Connection, name: &str) -> Result<bool, StoreError> {
        Ok(sqlx::query_scalar!(r#"SELECT to_regclass($1) IS NOT NULL AS "exists!""#, name).fetch_one(connection).await?)
    }

    async fn is_attached(&self, connection: &mut Connection, table: &str) -> Result<bool, StoreError> {
        let attached = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass($1) AND inhparent = 'heartbeats'::regclass) AS "attached!""#,
            table
        );
        Ok(attached.fetch_one(connection).await?)
    }

    /// A transaction that changes partitions; one at a time does.
    async fn begin_partition_change(&self) -> Result<Transaction, StoreError> {
        let mut tx = self.begin().await?;
        locking::hold_partitions(&mut tx).await?;
        Ok(tx)
    }

    /// A connection of its own, for statements that take longer than those of others may.
    async fn patient_connection(&self) -> Result<Connection, StoreError> {
        let mut connection = self.pool.connect_alone().await?;
        // Of no lock that is taken over this one does a heartbeat wait; an autovacuum gives way within a second.
        let settings = format!("SET statement_timeout = {}; SET lock_timeout = '10s'", LONGEST_STEP.as_millis());
        crate::configure(&mut connection, &settings).await?;
        Ok(connection)
    }
}

/// A statement on a [`Store::patient_connection`] that takes as long as it takes.
async fn patiently(connection: &mut Connection, statement: &str) -> Result<(), StoreError> {
    let work = sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection.raw());
    tokio::time::timeout(LONGEST_STEP, work).await.map_err(|_| StoreError::TimedOut(LONGEST_STEP))??;
    Ok(())
}

impl Store {
    /// Moves rows of the day in the default partition in chunks while nobody waits, until few are left. Where that takes longer than it may, the table
    /// stays as it is, and the next attempt goes on.
    async fn move_default_rows(&self, day: NaiveDate, columns: &Columns, longest: Duration) -> Result<u64, StoreError> {
        let (mut total, began) = (0, Instant::now());
        loop {
            let mut tx = self.begin_partition_change().await?;
            let moved = columns.move_rows(&mut tx, day, Some(MOVED_UNDER_LOCK_MAX)).await?;
            // The last ones move with the attach: nobody sees rows of a table that is no partition.
            if moved.rows < MOVED_UNDER_LOCK_MAX {
                return Ok(total);
            }
            tx.commit().await?;
            total += moved.written;
            if began.elapsed() >= longest {
                return Err(StoreError::TimedOut(longest));
            }
        }
    }
}
