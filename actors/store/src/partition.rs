//! Daily partitions of `heartbeats`.

use chrono::{Days, NaiveDate};
use domain::partition::table_name;
use sqlx::AssertSqlSafe;

use crate::{Store, StoreError};

/// Key of the advisory lock that one partition manager at a time holds.
const PARTITION_LOCK: i64 = 0x6e65_786d_646d_0001;

impl Store {
    /// Creates the partitions of `days` that do not exist, one transaction each.
    /// Rows of such a day that the default partition caught move along.
    /// Returns which were created.
    ///
    /// # Errors
    /// The database is unavailable; partitions made before stay.
    pub async fn ensure_partitions(&self, days: &[NaiveDate]) -> Result<Vec<NaiveDate>, StoreError> {
        let mut created = Vec::new();
        for day in days {
            if self.ensure_partition(*day).await? {
                created.push(*day);
            }
        }
        Ok(created)
    }

    async fn ensure_partition(&self, day: NaiveDate) -> Result<bool, StoreError> {
        let table = table_name(day);
        let mut tx = self.begin().await?;
        sqlx::query!("SELECT pg_advisory_xact_lock($1)", PARTITION_LOCK).execute(&mut *tx).await?;
        let exists = sqlx::query_scalar!(r#"SELECT to_regclass($1) IS NOT NULL AS "exists!""#, table).fetch_one(&mut *tx).await?;
        if exists {
            return Ok(false);
        }
        let (from, to) = (day.to_string(), (day + Days::new(1)).to_string());
        // Attaching scans the default partition, so it is emptied of the day's rows first and
        // locked throughout. The names and dates are made of digits only.
        for statement in [
            "LOCK TABLE heartbeats_default IN ACCESS EXCLUSIVE MODE".to_owned(),
            format!("CREATE TABLE {table} (LIKE heartbeats INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)"),
            format!(
                "WITH moved AS (DELETE FROM heartbeats_default WHERE bucket_at >= '{from}Z' AND bucket_at < '{to}Z' RETURNING *) \
                 INSERT INTO {table} SELECT * FROM moved"
            ),
            format!("ALTER TABLE heartbeats ATTACH PARTITION {table} FOR VALUES FROM ('{from} 00:00:00Z') TO ('{to} 00:00:00Z')"),
        ] {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(true)
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
}
