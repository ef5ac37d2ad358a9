//! The return of every row, into a database of the backup's own schema.
//!
//! ```text
//! target     what there is: devices, live nodes, a restore that did not end
//! prepare    the table UNFINISHED is made; what there was is dropped; migrations up to that of the backup
//! load       one transaction: tables emptied, foreign keys dropped, rows, sequences, foreign keys made anew and with that checked
//! commit     leases and sign-ins ended, epochs raised; the later migrations; UNFINISHED is dropped
//! ```
//! A node starts over no database that has the table UNFINISHED.

use std::collections::BTreeSet;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::Timestamp;
use domain::access::Principal;
use domain::audit::{AuditAction, Target};
use domain::partition::{day_of, table_name};
use domain::retention;
use serde_json::json;
use sqlx::postgres::PgCopyIn;
use sqlx::{PgConnection, Row as _};

use super::snapshot::{SnapshotSequence, SnapshotTable};
use super::{UNFINISHED, piece, quoted, run};
use crate::audit::{AuditEntry, append};
use crate::migrate::MIGRATOR;
use crate::pool::Connection;
use crate::{Store, StoreError};

/// What a database holds that a backup would be restored to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreTarget {
    /// Devices that are enrolled.
    pub devices: i64,
    /// Accounts.
    pub accounts: i64,
    /// Names of the nodes whose lease holds.
    pub live_nodes: Vec<String>,
    /// The backup whose restore did not end.
    pub unfinished: Option<String>,
    /// Tables and views of something else than NexMDM.
    pub foreign_tables: Vec<String>,
}

impl Store {
    /// What the database holds.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn restore_target(&self) -> Result<RestoreTarget, StoreError> {
        let mut connection = self.pool.connect_alone().await?;
        read_target(&mut connection).await
    }

    /// The backup whose restore into this database did not end.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn unfinished_restore(&self) -> Result<Option<String>, StoreError> {
        let mut connection = self.pool.connect_alone().await?;
        unfinished(&mut connection).await
    }

    /// Marks the database as one that is being restored, drops what it held, and brings its schema to that of the backup. `None`: a node of it
    /// lives.
    ///
    /// # Errors
    /// The database is unavailable, or the role may not drop what is there. Unless the marking failed, no node starts over it any more.
    pub async fn begin_restore(&self, backup: &str, schema: i64) -> Result<Option<RestoreTransaction>, StoreError> {
        let mut connection = self.pool.connect_alone().await?;
        let settings =
            "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET lock_timeout = '10s'; SET datestyle = 'ISO, YMD'";
        crate::configure(&mut connection, settings).await?;
        if !mark(&mut connection, backup).await? {
            return Ok(None);
        }
        drop_everything(&mut connection).await?;
        MIGRATOR.run_direct(Some(schema), connection.raw(), false).await?;
        let mut transaction = RestoreTransaction { connection, foreign_keys: Vec::new(), guarded: Vec::new() };
        transaction.begin().await?;
        Ok(Some(transaction))
    }
}

async fn exists(connection: &mut Connection, table: &str) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(quoted(table)).fetch_one(connection).await?)
}

async fn unfinished(connection: &mut Connection) -> Result<Option<String>, StoreError> {
    if !exists(connection, UNFINISHED).await? {
        return Ok(None);
    }
    let backup = sqlx::query_scalar("SELECT backup FROM nexmdm_restore_unfinished").fetch_optional(connection).await?;
    Ok(Some(backup.unwrap_or_default()))
}

async fn read_target(connection: &mut Connection) -> Result<RestoreTarget, StoreError> {
    let mut target = RestoreTarget { unfinished: unfinished(connection).await?, ..RestoreTarget::default() };
    let relations: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relnamespace = current_schema()::regnamespace AND c.relname <> $1
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
         ORDER BY c.relname",
    )
    .bind(UNFINISHED)
    .fetch_all(&mut *connection)
    .await?;
    target.foreign_tables = relations.into_iter().filter(|name| !is_ours(name)).collect();
    if exists(connection, "device").await? {
        target.devices = sqlx::query_scalar("SELECT count(*) FROM device WHERE deleted_at IS NULL").fetch_one(&mut *connection).await?;
    }
    if exists(connection, "app_user").await? {
        target.accounts = sqlx::query_scalar("SELECT count(*) FROM app_user").fetch_one(&mut *connection).await?;
    }
    if exists(connection, "cluster_node").await? {
        target.live_nodes = live_nodes(connection).await?;
    }
    Ok(target)
}

async fn live_nodes(connection: &mut Connection) -> Result<Vec<String>, StoreError> {
    let live = sqlx::query_scalar(
        "SELECT name FROM cluster_node WHERE state IN ('active', 'draining') AND expires_at > clock_timestamp() ORDER BY name LIMIT 100",
    );
    Ok(live.fetch_all(connection).await?)
}

/// Marks the database, unless a node lives: none joins or renews meanwhile. Answers whether it did.
async fn mark(connection: &mut Connection, backup: &str) -> Result<bool, StoreError> {
    run(connection, "BEGIN").await?;
    if exists(connection, "cluster_node").await? {
        run(connection, "LOCK TABLE cluster_node IN SHARE ROW EXCLUSIVE MODE").await?;
        if !live_nodes(connection).await?.is_empty() {
            run(connection, "ROLLBACK").await?;
            return Ok(false);
        }
    }
    run(connection, "CREATE TABLE IF NOT EXISTS nexmdm_restore_unfinished (backup text NOT NULL, began_at timestamptz NOT NULL)").await?;
    run(connection, "DELETE FROM nexmdm_restore_unfinished").await?;
    sqlx::query("INSERT INTO nexmdm_restore_unfinished VALUES ($1, clock_timestamp())").bind(backup).execute(&mut *connection).await?;
    run(connection, "COMMIT").await?;
    Ok(true)
}

/// The view of heartbeats; it goes with its tables.
const HEARTBEATS_VIEW: &str = "heartbeats_unpacked";

/// Whether a table or view of this name is one that NexMDM makes.
fn is_ours(table: &str) -> bool {
    day_of(table).is_some() || table == HEARTBEATS_VIEW || retention::TABLES.iter().any(|row| row.table == table)
}

/// Names of the functions that migrations make.
fn functions_of_ours() -> BTreeSet<String> {
    let made = |sql: &str| -> Vec<String> {
        let names = sql.split("FUNCTION ").skip(1).filter_map(|rest| rest.split_once('('));
        names.map(|(name, _)| name.trim().to_owned()).collect()
    };
    MIGRATOR.iter().flat_map(|migration| made(migration.sql.as_str())).collect()
}

/// Drops the tables and functions of ours in the schema but the mark; those of others stay.
async fn drop_everything(connection: &mut Connection) -> Result<(), StoreError> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c
         WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = current_schema()::regnamespace AND c.relname <> $1",
    )
    .bind(UNFINISHED)
    .fetch_all(&mut *connection)
    .await?;
    for table in tables.into_iter().filter(|table| is_ours(table)) {
        run(connection, &format!("DROP TABLE {} CASCADE", quoted(&table))).await?;
    }
    // By its signature: functions of an extension are not ours.
    let functions: Vec<(String, String)> = sqlx::query_as(
        "SELECT p.proname::text, p.oid::regprocedure::text FROM pg_proc p
         WHERE p.pronamespace = current_schema()::regnamespace
           AND pg_get_userbyid(p.proowner) = current_user
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')",
    )
    .fetch_all(&mut *connection)
    .await?;
    let ours = functions_of_ours();
    for (_, function) in functions.iter().filter(|(name, _)| ours.contains(name)) {
        run(connection, &format!("DROP ROUTINE {function} CASCADE")).await?;
    }
    Ok(())
}

/// The transaction in which every row returns. Dropped before its commit, it leaves an empty database that no node starts over.
pub struct RestoreTransaction {
    connection: Connection,
    /// Foreign keys that are made anew at the end: table, name, definition.
    foreign_keys: Vec<(String, String, String)>,
    /// Tables whose triggers are off.
    guarded: Vec<String>,
}

/// Rows of a table on their way.
pub struct RowsIn<'a>(PgCopyIn<&'a mut PgConnection>);

impl RestoreTransaction {
    async fn begin(&mut self) -> Result<(), StoreError> {
        let connection = &mut self.connection;
        run(connection, "BEGIN").await?;
        // Rows come table by table, and refer to rows of tables that come later. Who owns the tables may do this; to switch triggers of
        // the system off takes a superuser.
        let rows = sqlx::query(
            "SELECT r.relname::text AS name, c.conname::text AS key, pg_get_constraintdef(c.oid) AS definition
             FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid
             WHERE c.contype = 'f' AND c.conparentid = 0 AND c.connamespace = current_schema()::regnamespace",
        )
        .fetch_all(&mut *connection)
        .await?;
        for row in rows {
            let key: (String, String, String) = (row.try_get("name")?, row.try_get("key")?, row.try_get("definition")?);
            run(connection, &format!("ALTER TABLE {} DROP CONSTRAINT {}", quoted(&key.0), quoted(&key.1))).await?;
            self.foreign_keys.push(key);
        }
        self.guarded = sqlx::query_scalar(
            "SELECT DISTINCT r.relname::text FROM pg_trigger t JOIN pg_class r ON r.oid = t.tgrelid
             WHERE NOT t.tgisinternal AND r.relnamespace = current_schema()::regnamespace",
        )
        .fetch_all(&mut *connection)
        .await?;
        for table in &self.guarded {
            run(connection, &format!("ALTER TABLE {} DISABLE TRIGGER USER", quoted(table))).await?;
        }
        // What migrations put there is in the backup as well, as it became.
        let filled: Vec<String> = sqlx::query_scalar(
            "SELECT c.relname::text FROM pg_class c
             WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = current_schema()::regnamespace
               AND c.relname NOT IN ('_sqlx_migrations', $1)",
        )
        .bind(UNFINISHED)
        .fetch_all(&mut *connection)
        .await?;
        let filled: Vec<String> = filled.iter().filter(|table| is_ours(table)).map(|table| quoted(table)).collect();
        run(connection, &format!("TRUNCATE {}", filled.join(", "))).await
    }

    /// Makes a table that no migration makes: a day of heartbeats, attached or not. Answers whether the table is there and ours.
    ///
    /// # Errors
    /// The database is unavailable, or the bounds are not those of a day.
    pub async fn ensure_table(&mut self, table: &SnapshotTable) -> Result<bool, StoreError> {
        if !is_ours(&table.name) {
            return Ok(false);
        }
        let connection = &mut self.connection;
        if exists(connection, &table.name).await? {
            return Ok(true);
        }
        let Some(day) = day_of(&table.name) else { return Ok(false) };
        let name = quoted(&table_name(day));
        match (&table.parent, &table.bound) {
            (Some(parent), Some(bound)) if parent == "heartbeats" => {
                let (from, to) = bounds(bound).ok_or(StoreError::Corrupt("bounds of a partition in the backup"))?;
                run(connection, &format!("CREATE TABLE {name} PARTITION OF heartbeats FOR VALUES FROM ('{from}') TO ('{to}')")).await?;
            }
            (None, _) => {
                run(
                    connection,
                    &format!("CREATE TABLE {name} (LIKE heartbeats INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)"),
                )
                .await?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Begins to take the rows of a table.
    ///
    /// # Errors
    /// The database is unavailable, or its table has no such columns.
    pub async fn rows(&mut self, table: &SnapshotTable) -> Result<RowsIn<'_>, StoreError> {
        let columns: Vec<String> = table.columns.iter().map(|column| quoted(column)).collect();
        let statement = format!("COPY {} ({}) FROM STDIN", quoted(&table.name), columns.join(", "));
        Ok(RowsIn(piece(self.connection.raw().copy_in_raw(&statement)).await?))
    }

    /// Sets the sequences that there are to what they were.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn set_sequences(&mut self, sequences: &[SnapshotSequence]) -> Result<(), StoreError> {
        for SnapshotSequence { name, last_value } in sequences {
            if let (Some(last), true) = (last_value, exists(&mut self.connection, name).await?) {
                sqlx::query("SELECT setval($1::regclass, $2)").bind(quoted(name)).bind(last).execute(&mut self.connection).await?;
            }
        }
        Ok(())
    }

    /// Makes the foreign keys anew, ends leases and sign-ins, raises the epochs, and commits. Then the later migrations are applied, and nodes may
    /// start over the database. Answers how many sign-ins ended.
    ///
    /// No node of before owns anything: its row has ended, so its lease is renewed no more, and what it writes names an epoch that is over. Epochs
    /// go on from the time of the restore, which is past every epoch that was ever claimed, also after this backup.
    ///
    /// # Errors
    /// The database is unavailable, or rows refer to rows that are not there.
    pub async fn commit(mut self, backup: &str, made_at: Timestamp, by: &Principal, now: Timestamp) -> Result<u64, StoreError> {
        let connection = &mut self.connection;
        for (table, key, definition) in &self.foreign_keys {
            run(connection, &format!("ALTER TABLE {} ADD CONSTRAINT {} {definition}", quoted(table), quoted(key))).await?;
        }
        for table in &self.guarded {
            run(connection, &format!("ALTER TABLE {} ENABLE TRIGGER USER", quoted(table))).await?;
        }
        sqlx::query!(
            "UPDATE cluster_node SET state = 'expired', ended_at = clock_timestamp(), expires_at = LEAST(expires_at, clock_timestamp())
             WHERE state IN ('active', 'draining')"
        )
        .execute(&mut *connection)
        .await?;
        sqlx::query!(
            "UPDATE shard SET owner = NULL, epoch = GREATEST(epoch + 1, extract(epoch FROM clock_timestamp())::bigint), activated_at = NULL"
        )
        .execute(&mut *connection)
        .await?;
        // What was signed out since the backup would be signed in again.
        let ended = sqlx::query!("UPDATE user_session SET revoked_at = clock_timestamp() WHERE revoked_at IS NULL");
        let ended = ended.execute(&mut *connection).await?.rows_affected();
        let entry =
            AuditEntry::new(by, AuditAction::BackupRestored, Target::Other { kind: "backup", id: None, name: Some(backup.to_owned()) });
        append(connection, &entry.after(json!({ "made_at": made_at, "sign_ins_ended": ended })), now).await?;
        run(connection, "COMMIT").await?;
        MIGRATOR.run(connection.raw()).await?;
        // Rows that were never counted look few to the planner.
        run(connection, "ANALYZE").await?;
        Ok(ended)
    }
}

impl Store {
    /// Takes the mark away: nodes may start over the database.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn end_restore(&self) -> Result<(), StoreError> {
        let mut connection = self.pool.connect_alone().await?;
        run(&mut connection, "DROP TABLE IF EXISTS nexmdm_restore_unfinished").await
    }
}

impl RowsIn<'_> {
    /// Sends lines.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn send(&mut self, lines: &Bytes) -> Result<(), StoreError> {
        piece(self.0.send(lines.as_ref())).await.map(drop)
    }

    /// Ends the table. Answers its rows.
    ///
    /// # Errors
    /// The database is unavailable, or refuses a row.
    pub async fn finish(self) -> Result<u64, StoreError> {
        piece(self.0.finish()).await
    }
}

/// The bounds of a partition by time, as the database tells them.
fn bounds(told: &str) -> Option<(String, String)> {
    let (from, to) = told.strip_prefix("FOR VALUES FROM ('")?.strip_suffix("')")?.split_once("') TO ('")?;
    let time = |text: &str| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%#z").ok().map(|time| time.with_timezone(&Utc).to_rfc3339());
    Some((time(from)?, time(to)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_functions_of_others_are_not_ours() {
        for table in ["device", "heartbeats", "heartbeats_default", "heartbeats_p20260901", "heartbeats_unpacked", "_sqlx_migrations"] {
            assert!(is_ours(table), "{table}");
        }
        for table in ["orders", "heartbeats_prices", "heartbeats_p2026", "spatial_ref_sys"] {
            assert!(!is_ours(table), "{table}");
        }
        let functions = functions_of_ours();
        assert!(functions.contains("audit_refuse") && functions.contains("device_event_queued"), "{functions:?}");
        assert!(functions.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')), "{functions:?}");
    }

    #[test]
    fn bounds_are_times_and_nothing_else() {
        let told = "FOR VALUES FROM ('2026-09-01 00:00:00+00') TO ('2026-09-02 00:00:00+00')";
        assert_eq!(bounds(told), Some(("2026-09-01T00:00:00+00:00".to_owned(), "2026-09-02T00:00:00+00:00".to_owned())));
        for told in
            ["DEFAULT", "FOR VALUES FROM ('x') TO ('y')", "FOR VALUES FROM ('2026-09-01 00:00:00+00') TO ('2026-09-02'); DROP TABLE x --')"]
        {
            assert_eq!(bounds(told), None, "{told}");
        }
    }
}
