//! Advisory locks: of one node at a time, for work that goes on after the statement that took it; and of one transaction at a time,
//! for limits that are counted.

use std::time::Duration;

use crate::pool::Connection;
use crate::{Store, StoreError};

/// First key of the advisory locks of this kind.
const CLASS: i32 = 0x4e58;
/// First key of the locks of limits.
const LIMIT_CLASS: i32 = 0x4e59;
/// First key of the locks of the commands of a shard.
const COMMANDS_CLASS: i32 = 0x4e5a;

/// Lets one transaction at a time count the rows of a limit and add one: the next statement sees all of those before. Without
/// it, two would both count before either adds.
///
/// # Errors
/// The database is unavailable.
pub(crate) async fn hold_limit(connection: &mut Connection, limit: &str) -> Result<(), StoreError> {
    sqlx::query!("SELECT pg_advisory_xact_lock($1, hashtext($2))", LIMIT_CLASS, limit).execute(connection).await?;
    Ok(())
}

/// The same for the open commands of the devices of these shards. By shard, because a batch may be for the whole fleet, and a lock for each
/// device would be too many.
///
/// # Errors
/// The database is unavailable.
pub(crate) async fn hold_commands(connection: &mut Connection, shards: &[i32]) -> Result<(), StoreError> {
    // In one order, so that no two wait for each other.
    sqlx::query!(
        "SELECT pg_advisory_xact_lock($1, held.shard_id) FROM (
             SELECT DISTINCT shard_id FROM UNNEST($2::integer[]) AS of(shard_id) ORDER BY shard_id) held",
        COMMANDS_CLASS,
        shards
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A lock that is held until this is dropped, or its node dies: its connection ends then, and with it the lock.
#[derive(Debug)]
pub struct ClusterLock {
    _connection: Connection,
}

impl Store {
    /// Takes the lock of this name for at most `longest`; `None`: another node holds it. It holds a connection of its own, so that those of the pool
    /// are never all taken by locks whose holders wait for one.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn try_cluster_lock(&self, name: &str, longest: Duration) -> Result<Option<ClusterLock>, StoreError> {
        let mut connection = self.pool.connect_alone().await?;
        // The lock of a node that stands still ends without it.
        crate::configure(&mut connection, &format!("SET idle_session_timeout = {}", longest.as_millis())).await?;
        let taken = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1, hashtext($2)) AS "taken!""#, CLASS, name)
            .fetch_one(&mut connection)
            .await?;
        Ok(taken.then_some(ClusterLock { _connection: connection }))
    }
}
