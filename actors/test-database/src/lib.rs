//! A migrated PostgreSQL database per test, in one private server per test binary.
//!
//! The first [`TestDatabase`] of a process starts the server, with its data in a temporary folder and nothing
//! written through to the disk, and migrates a template. Each database is a copy of the template: it takes
//! milliseconds, and no test sees the rows of another. A guard process stops the server and removes
//! the folder when the test binary has ended, also by a panic, an abort or a kill.

#![allow(clippy::expect_used, reason = "only tests use this crate, and a test without its database has failed")]

mod server;
mod silent_proxy;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, Decode, Postgres, Row as _, Type};
use store::{PoolOptions, Store};

use server::Server;
pub use silent_proxy::SilentProxy;

/// Connections of a test's store.
const STORE_CONNECTIONS: u32 = 8;
/// Connections for statements of the test itself.
const OWN_CONNECTIONS: u32 = 4;
/// Time limit of a statement and of the wait for a connection: only a test that hangs reaches it.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A database of its own for one test; removed on drop.
pub struct TestDatabase {
    name: String,
    url: String,
    store: Store,
    pool: PgPool,
}

impl TestDatabase {
    /// A new migrated database without devices, people or nodes.
    ///
    /// # Panics
    /// The server cannot be started, or makes no database.
    pub async fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let server = Server::running();
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        server.create(&name).await;
        let url = server.url_of(&name);
        let store = open_store(&url, STORE_CONNECTIONS);
        let pool = PgPoolOptions::new().max_connections(OWN_CONNECTIONS).acquire_timeout(TIMEOUT).connect_lazy(&url).expect("our own URL");
        Self { name, url, store, pool }
    }

    /// URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The store of this database; clones share its connections.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Another store of this database with so many connections of its own, as another node has one.
    pub fn another_store(&self, connections: u32) -> Store {
        open_store(&self.url, connections)
    }

    /// The test's own connections, for transactions that it holds open.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Runs statements.
    ///
    /// # Panics
    /// One of them fails.
    pub async fn execute(&self, sql: &str) {
        if let Err(error) = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool).await {
            panic!("{error}: {sql}");
        }
    }

    /// The first column of the only row of a query.
    ///
    /// # Panics
    /// The query fails, has another number of rows, or its column is of another type.
    pub async fn value<T: for<'r> Decode<'r, Postgres> + Type<Postgres>>(&self, sql: &str) -> T {
        match self.rows(sql).await.as_slice() {
            [row] => row.try_get(0).unwrap_or_else(|error| panic!("{error}: {sql}")),
            rows => panic!("{} rows instead of one: {sql}", rows.len()),
        }
    }

    /// The first column of each row of a query.
    ///
    /// # Panics
    /// The query fails, or its column is of another type.
    pub async fn values<T: for<'r> Decode<'r, Postgres> + Type<Postgres>>(&self, sql: &str) -> Vec<T> {
        let rows = self.rows(sql).await;
        rows.iter().map(|row| row.try_get(0).unwrap_or_else(|error| panic!("{error}: {sql}"))).collect()
    }

    async fn rows(&self, sql: &str) -> Vec<PgRow> {
        sqlx::query(AssertSqlSafe(sql)).fetch_all(&self.pool).await.unwrap_or_else(|error| panic!("{error}: {sql}"))
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        Server::running().discard(std::mem::take(&mut self.name));
    }
}

fn open_store(url: &str, max_connections: u32) -> Store {
    let options =
        PoolOptions { max_connections, acquire_timeout: TIMEOUT, statement_timeout: TIMEOUT, answer_grace: Duration::from_secs(2) };
    Store::new(url, options).expect("our own URL")
}
