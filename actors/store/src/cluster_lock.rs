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

/// Key of the lock that keeps tables of days: shared by backups that read, and whoever drops one has it alone.
const DAYS_STAY: i64 = 0x6e65_786d_646d_0002;

/// Keeps the tables of days until the session ends, or [`let_days_go`]. It is no lock of a table: heartbeats, migrations and changes of partitions
/// do not wait for it. To be taken before the snapshot, so that a table that went is not seen in it.
///
/// # Errors
/// The database is unavailable, or a table of a day is being dropped.
pub(crate) async fn keep_days(connection: &mut Connection) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_lock_shared($1)").bind(DAYS_STAY).execute(connection).await?;
    Ok(())
}

/// Ends [`keep_days`].
///
/// # Errors
/// The database is unavailable.
pub(crate) async fn let_days_go(connection: &mut Connection) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_unlock_shared($1)").bind(DAYS_STAY).execute(connection).await?;
    Ok(())
}

/// Lets a transaction drop the table of a day: nobody reads it for a backup, nor begins to until the transaction ends.
///
/// # Errors
/// The database is unavailable; or a backup reads, which is a lock that did not come in time.
pub(crate) async fn hold_days_alone(connection: &mut Connection) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(DAYS_STAY).execute(connection).await?;
    Ok(())
}

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
    connection: Connection,
}

impl ClusterLock {
    /// Begins its time anew.
    ///
    /// # Errors
    /// The database is unavailable, or ended it.
    pub async fn renew(&mut self) -> Result<(), StoreError> {
        sqlx::raw_sql("SELECT 1").execute(&mut self.connection).await?;
        Ok(())
    }

    /// Lets it go before this returns. When it is dropped instead, the database notices the end of the connection a moment later.
    pub async fn release(mut self) {
        // A connection that does not answer is closed, which lets the lock go as well.
        let _ = sqlx::raw_sql("SELECT pg_advisory_unlock_all()").execute(&mut self.connection).await;
    }
}

impl Store {
    /// Takes the lock of this name for at most `longest` after it was taken or renewed last; `None`: another node holds it. It holds a connection of its own, so that those of the pool
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
        Ok(taken.then_some(ClusterLock { connection }))
    }
}
