//! Transactions.

use std::ops::{Deref, DerefMut};

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
