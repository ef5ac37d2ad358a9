//! The index by time of the default partition. A migration makes it, unless the partition was large by then.

use super::{patiently, run};
use crate::{Store, StoreError};

impl Store {
    /// Makes the index if it is missing, beside heartbeats. Answers whether it was.
    ///
    /// # Errors
    /// The database is unavailable, or the index could not be made.
    pub async fn index_default_partition(&self) -> Result<bool, StoreError> {
        let is_valid = sqlx::query_scalar!(
            r#"SELECT i.indisvalid AS "valid!" FROM pg_index i WHERE i.indexrelid = to_regclass('heartbeats_default_time_idx')"#
        )
        .fetch_optional(&self.pool)
        .await?;
        if is_valid == Some(true) {
            return Ok(false);
        }
        let mut connection = self.patient_connection().await?;
        if is_valid.is_some() {
            // Of an attempt that was cut off.
            run(&mut connection, "DROP INDEX IF EXISTS heartbeats_default_time_idx").await?;
        }
        patiently(&mut connection, "CREATE INDEX CONCURRENTLY IF NOT EXISTS heartbeats_default_time_idx ON heartbeats_default (bucket_at)")
            .await?;
        Ok(true)
    }
}
