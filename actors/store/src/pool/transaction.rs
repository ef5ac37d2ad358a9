//! Transactions.

use std::io::ErrorKind;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::AssertSqlSafe;

use super::{Connection, PooledConnection};

/// Transaction, rolled back when it is dropped before its commit.
///
/// Callers are dropped at any moment: a client hangs up, a time runs out. A transaction counts as begun before its BEGIN is sent, so that
/// no connection is used again within one.
pub(crate) struct Transaction(PooledConnection);

impl Transaction {
    pub(super) async fn begin(mut connection: PooledConnection) -> Result<Self, sqlx::Error> {
        connection.state.in_transaction = true;
        sqlx::raw_sql("BEGIN").execute(&mut *connection).await?;
        Ok(Self(connection))
    }

    /// Commits. After an error it is unknown whether it did.
    pub(crate) async fn commit(mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("COMMIT").execute(&mut *self.0).await?;
        self.0.state.in_transaction = false;
        Ok(())
    }

    /// Runs statements of ours and commits, all in one message: what they lock is not held while this process, or the way to it, stands still. They may
    /// take so long. After an error it is unknown whether it committed.
    pub(crate) async fn commit_after(mut self, statements: &str, longest: Duration) -> Result<(), sqlx::Error> {
        let message = format!("{statements}; COMMIT");
        let work = sqlx::raw_sql(AssertSqlSafe(message)).execute(self.0.raw());
        tokio::time::timeout(longest, work).await.map_err(|_| sqlx::Error::Io(ErrorKind::TimedOut.into()))??;
        self.0.state.in_transaction = false;
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0
    }
}
