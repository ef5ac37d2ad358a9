//! Backups: the rows of every table in one snapshot, their return, and the record of what was made.
//!
//! Tables are found in the catalogue, so that one that a migration adds is in the next backup by itself. What is built at run time here are the
//! names of tables and columns, which are quoted, and the bounds of partitions, which are days.

mod record;
mod restore;
mod snapshot;

use std::time::Duration;

use sqlx::AssertSqlSafe;

use crate::StoreError;
use crate::pool::Connection;

pub use record::NewBackup;
pub use restore::{RestoreTarget, RestoreTransaction};
pub use snapshot::{Snapshot, SnapshotApk, SnapshotSequence, SnapshotTable};

/// Table that is there while a restore is under way, or after one that did not end.
pub(crate) const UNFINISHED: &str = "nexmdm_restore_unfinished";
/// Longest wait for the next piece of a table. A disk that is full of other work is slow, not gone.
const PIECE_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest statement that goes through whole tables.
const LONG_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// A name as a statement has it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Runs a statement of ours whose names are quoted.
async fn run(connection: &mut Connection, statement: &str) -> Result<(), StoreError> {
    let running = sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection.raw());
    match tokio::time::timeout(LONG_TIMEOUT, running).await {
        Ok(done) => Ok(done.map(drop)?),
        Err(_) => Err(StoreError::TimedOut(LONG_TIMEOUT)),
    }
}

/// Awaits the next piece of a table.
async fn piece<T>(next: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(PIECE_TIMEOUT, next).await {
        Ok(piece) => Ok(piece?),
        Err(_) => Err(StoreError::TimedOut(PIECE_TIMEOUT)),
    }
}
