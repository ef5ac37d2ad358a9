//! Locks that one node at a time holds, for work that goes on after the statement that took it.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use crate::{Store, StoreError};

/// First key of the advisory locks of this kind.
const CLASS: i32 = 0x4e58;

/// A lock that is held until this is dropped, or its node dies: its connection ends then, and with it the lock.
#[derive(Debug)]
pub struct ClusterLock {
    _connection: PgConnection,
}

impl Store {
    /// Takes the lock of this name for at most `longest`; `None`: another node holds it. It holds a connection of its own, so that those of the pool
    /// are never all taken by locks whose holders wait for one.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn try_cluster_lock(&self, name: &str, longest: Duration) -> Result<Option<ClusterLock>, StoreError> {
        let longest_ms = longest.as_millis().to_string();
        let options = PgConnectOptions::clone(&self.pool.connect_options()).options([
            // The lock of a node that is out of reach, or stands still, ends without it.
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
            ("idle_session_timeout", longest_ms.as_str()),
        ]);
        let mut connection = PgConnection::connect_with(&options).await?;
        let taken = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1, hashtext($2)) AS "taken!""#, CLASS, name)
            .fetch_one(&mut connection)
            .await?;
        Ok(taken.then_some(ClusterLock { _connection: connection }))
    }
}
