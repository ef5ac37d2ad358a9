//! Brings the schema up to date.

use crate::{Store, StoreError};

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations");

impl Store {
    /// Applies the migrations that are missing, under an advisory lock, so that
    /// nodes that start together do it once.
    ///
    /// # Errors
    /// The database is unavailable, or an applied migration differs from ours.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        Ok(MIGRATOR.run(&self.pool).await?)
    }

    /// Whether every migration that this build knows is applied.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn is_migrated(&self) -> Result<bool, StoreError> {
        let newest = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0);
        // Not a checked statement: sqlx's own table is not part of our schema.
        let applied: Option<i64> =
            sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success").fetch_one(&self.pool).await?;
        Ok(applied.is_some_and(|version| version >= newest))
    }
}
