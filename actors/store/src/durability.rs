//! Settings of the database server that decide what an acknowledged write is worth.

use sqlx::Row;

use crate::pool::Connection;
use crate::{Store, StoreError};

/// By the simple protocol, which every pooler lets through.
const SETTINGS: &str = "SELECT current_setting('server_version') AS version, current_setting('fsync') AS fsync,
    current_setting('full_page_writes') AS full_page_writes, current_setting('synchronous_commit') AS synchronous_commit";

/// Settings of a server, as the node's role has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurabilitySettings {
    /// Version.
    pub version: String,
    /// Whether what is committed reaches the disk (`fsync`).
    pub fsync: bool,
    /// Whether pages that were half written are mended after a crash (`full_page_writes`).
    pub full_page_writes: bool,
    /// When a commit returns (`synchronous_commit`).
    pub synchronous_commit: String,
}

impl DurabilitySettings {
    async fn read(connection: &mut Connection) -> Result<Self, StoreError> {
        let row = sqlx::raw_sql(SETTINGS).fetch_one(connection).await?;
        let text = |column: &str| row.try_get::<String, _>(column);
        Ok(Self {
            version: text("version")?,
            fsync: text("fsync")? == "on",
            full_page_writes: text("full_page_writes")? == "on",
            synchronous_commit: text("synchronous_commit")?,
        })
    }
}

impl Store {
    /// Settings of the server.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn durability_settings(&self) -> Result<DurabilitySettings, StoreError> {
        let mut connection = self.pool.acquire().await?;
        DurabilitySettings::read(&mut connection).await
    }
}
