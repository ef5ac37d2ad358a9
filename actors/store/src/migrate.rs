//! Brings the schema up to date.

use std::sync::LazyLock;

use sqlx::migrate::Migrator;

use crate::{NameCollision, Store, StoreError};

/// Statements of the migrator besides those of the migrations: its lock, its table.
const STATEMENTS_BESIDE: u32 = 8;

pub(crate) static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("../../migrations");
    // Those of a later build only add what this one does not look at: in a rolling upgrade, and on
    // the way back from one, this build starts beside them.
    migrator.set_ignore_missing(true);
    migrator
});

impl Store {
    /// Applies the migrations that are missing, under an advisory lock, so that
    /// nodes that start together do it once. Names without a canonical form get one; those that collide are logged.
    ///
    /// # Errors
    /// The database is unavailable, or an applied migration differs from ours.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let mut connection = self.pool.connect_alone().await?;
        let longest = connection.patience() * (2 * u32::try_from(MIGRATOR.iter().count()).unwrap_or(u32::MAX) + STATEMENTS_BESIDE);
        // A migration that goes through a large table takes as long as it takes. Its locks still have their timeout.
        sqlx::query("SET statement_timeout = 0").execute(connection.raw()).await?;
        tokio::time::timeout(longest, MIGRATOR.run(connection.raw())).await.map_err(|_| StoreError::TimedOut(longest))??;
        drop(connection);
        for NameCollision { kind, name, first } in self.assign_canonical_names().await? {
            let remedy = "both go on working as they are written; rename or remove one of them";
            tracing::warn!(event = "names.collision", kind, name, first, remedy);
        }
        Ok(())
    }

    /// Number of the newest migration that this build knows.
    pub fn newest_migration() -> i64 {
        MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0)
    }

    /// Whether every migration that this build knows is applied.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn is_migrated(&self) -> Result<bool, StoreError> {
        let newest = Self::newest_migration();
        // Not a checked statement: sqlx's own table is not part of our schema.
        let applied: Option<i64> =
            sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success").fetch_one(&self.pool).await?;
        Ok(applied.is_some_and(|version| version >= newest))
    }
}
