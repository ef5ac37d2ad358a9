//! Rows that move out of the default partition. A repeat of a bucket may lie in both; the newest stands, as it does when heartbeats are written.

use chrono::NaiveDate;
use domain::partition::table_name;
use sqlx::AssertSqlSafe;

use super::{run, within_day};
use crate::StoreError;
use crate::narrow::order_in_bucket;
use crate::pool::Connection;

/// Most rows that move in one transaction, also (but for those that came meanwhile) in the one under whose lock heartbeats of the default partition wait.
pub(super) const MOVED_UNDER_LOCK_MAX: i64 = 2000;

/// Rows that moved.
pub(super) struct Moved {
    /// Rows that the default partition had.
    pub(super) rows: i64,
    /// Of these, those that changed the day's table: of the others it had a newer one.
    pub(super) written: u64,
}

/// Columns of `heartbeats`, quoted.
pub(super) struct Columns(Vec<String>);

impl Columns {
    /// Reads them, and gives `table` those that it lacks, and lets them be empty where they may be: a migration changes partitions only.
    pub(super) async fn read(connection: &mut Connection, table: &str) -> Result<Self, StoreError> {
        let columns = sqlx::query!(
            r#"SELECT quote_ident(p.attname) AS "name!", format_type(p.atttypid, p.atttypmod) AS "type!", t.attnum IS NOT NULL AS "there!",
                   coalesce(t.attnotnull AND NOT p.attnotnull, false) AS "too_strict!"
               FROM pg_attribute p
               LEFT JOIN pg_attribute t ON t.attrelid = to_regclass($1) AND t.attname = p.attname AND t.attnum > 0 AND NOT t.attisdropped
               WHERE p.attrelid = 'heartbeats'::regclass AND p.attnum > 0 AND NOT p.attisdropped ORDER BY p.attnum"#,
            table
        )
        .fetch_all(&mut *connection)
        .await?;
        for column in columns.iter().filter(|column| !column.there) {
            run(connection, &format!("ALTER TABLE {table} ADD COLUMN {} {}", column.name, column.r#type)).await?;
        }
        for column in columns.iter().filter(|column| column.too_strict) {
            run(connection, &format!("ALTER TABLE {table} ALTER COLUMN {} DROP NOT NULL", column.name)).await?;
        }
        Ok(Self(columns.into_iter().map(|column| column.name).collect()))
    }

    /// Moves at most `most` rows of the day from the default partition into the day's table.
    pub(super) async fn move_rows(&self, connection: &mut Connection, day: NaiveDate, most: Option<i64>) -> Result<Moved, StoreError> {
        let (table, within, columns) = (table_name(day), within_day(day), self.0.join(", "));
        let chosen = match most {
            Some(most) => format!("ctid = ANY (ARRAY(SELECT ctid FROM heartbeats_default WHERE {within} LIMIT {most}))"),
            None => within,
        };
        let statement = format!(
            "WITH moved AS (DELETE FROM heartbeats_default WHERE {chosen} RETURNING {columns}), \
                 written AS (INSERT INTO {table} AS h ({columns}) SELECT {columns} FROM moved {} RETURNING 1) \
             SELECT (SELECT count(*) FROM moved), (SELECT count(*) FROM written)",
            self.newest_stands()
        );
        let counts = sqlx::query_as::<_, (i64, i64)>(AssertSqlSafe(statement)).persistent(false).fetch_one(connection).await?;
        Ok(Moved { rows: counts.0, written: counts.1.unsigned_abs() })
    }

    /// What becomes of a row whose bucket is there already.
    pub(super) fn newest_stands(&self) -> String {
        let values = self.0.iter().filter(|name| !["device_id", "bucket_at"].contains(&name.as_str()));
        let values: Vec<String> = values.map(|name| format!("{name} = excluded.{name}")).collect();
        let (new, there) = (order_in_bucket("excluded"), order_in_bucket("h"));
        format!("ON CONFLICT (device_id, bucket_at) DO UPDATE SET {} WHERE {new} > {there}", values.join(", "))
    }
}
