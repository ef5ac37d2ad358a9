//! A connection to the database that knows whether it can be used again, and its place in the pool.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until};

use super::bounded::answer;
use super::{Counted, Pool, farewell};

/// SQLSTATE of a statement that would write where nothing is written.
const READ_ONLY: &str = "25006";

/// How far a connection has come with what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Every answer is read.
    Settled,
    /// A statement is under way, or its caller is gone, or it failed: something may still be answered.
    Unsettled,
    /// It cannot be used any more.
    Lost,
}

/// State of a connection beside the connection itself, so that both can be borrowed.
pub(super) struct State {
    progress: Progress,
    /// Whether a transaction is open, or may be.
    pub(super) in_transaction: bool,
    /// Whether the server takes no writes by it.
    is_read_only: bool,
    /// Longest wait for an answer.
    pub(super) patience: Duration,
    /// Until when the statement under way has to be answered.
    due: Instant,
    answered_at: Instant,
    counted: Counted,
}

impl State {
    /// A statement begins.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) fn begin(&mut self) -> Result<(), sqlx::Error> {
        if self.progress == Progress::Lost {
            return Err(lost("the connection was given up before"));
        }
        self.progress = Progress::Unsettled;
        Ok(())
    }

    /// The database sent a part of its answer.
    pub(super) fn heard(&mut self) {
        self.answered_at = Instant::now();
    }

    /// The wait for an answer begins, or for its next part. It ends with the future, which ends sooner when another connection falls silent: then
    /// only the grace is left.
    pub(super) fn end_of_wait(&mut self) -> impl Future<Output = ()> + Send + use<> {
        self.end_of_wait_until(Instant::now() + self.patience)
    }

    fn end_of_wait_until(&mut self, due: Instant) -> impl Future<Output = ()> + Send + use<> {
        self.due = due;
        let (mut silences, grace) = (self.counted.shared.silent_at.subscribe(), self.counted.shared.limits.grace);
        async move {
            let suspected = async {
                if silences.changed().await.is_err() {
                    // The pool is gone; this connection was its last.
                    std::future::pending::<()>().await;
                }
                sleep(grace).await;
            };
            tokio::select! {
                () = sleep_until(due) => {}
                () = suspected => {}
            }
        }
    }

    /// The statement was answered to its end.
    pub(super) fn end(&mut self) {
        self.answered_at = Instant::now();
        self.progress = Progress::Settled;
    }

    /// The statement failed.
    pub(super) fn fail(&mut self, error: &sqlx::Error) {
        match error {
            // Some of these stand in the way of the rest of the answer; it is read when the connection is returned.
            sqlx::Error::Database(refused) => {
                self.answered_at = Instant::now();
                if refused.code().is_some_and(|code| code == READ_ONLY) {
                    self.is_read_only = true;
                    self.counted.shared.met_read_only();
                }
            }
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
                self.progress = Progress::Lost
            }
            _ => {}
        }
    }

    /// The database did not answer in time.
    pub(super) fn give_up(&mut self) -> sqlx::Error {
        self.progress = Progress::Lost;
        self.counted.shared.gave_up();
        lost(&format!(
            "no answer from the database within {:?}, or since another connection fell silent; this one is given up",
            self.patience
        ))
    }
}

fn lost(why: &str) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, why))
}

/// Connection whose statements end.
pub(crate) struct Connection {
    pub(super) raw: PgConnection,
    pub(super) state: State,
    made_at: Instant,
    /// Generation of the primary's line that its server is of.
    generation: u64,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("progress", &self.state.progress).finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(raw: PgConnection, patience: Duration, generation: u64, counted: Counted) -> Self {
        let now = Instant::now();
        let progress = Progress::Settled;
        let state = State { progress, in_transaction: false, is_read_only: false, patience, due: now, answered_at: now, counted };
        Self { raw, state, made_at: now, generation }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn is_settled(&self) -> bool {
        self.state.progress == Progress::Settled && !self.state.in_transaction
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.state.is_read_only
    }

    pub(super) fn answered_at(&self) -> Instant {
        self.state.answered_at
    }

    pub(super) fn age(&self) -> Duration {
        self.made_at.elapsed()
    }

    /// Reads what is still to be answered, until `due`, and ends what was begun.
    async fn settle(&mut self, due: Instant) -> Result<(), sqlx::Error> {
        if self.state.progress == Progress::Unsettled {
            self.ping(due).await?;
        }
        if self.state.in_transaction {
            sqlx::raw_sql("ROLLBACK").execute(&mut *self).await?;
            self.state.in_transaction = false;
        }
        Ok(())
    }

    /// Reads everything up to now, until `due`.
    async fn ping(&mut self, due: Instant) -> Result<(), sqlx::Error> {
        let Self { raw, state, .. } = self;
        let end = state.end_of_wait_until(due);
        answer(state, end, raw.ping()).await
    }

    /// Longest wait for an answer.
    pub(crate) fn patience(&self) -> Duration {
        self.state.patience
    }

    /// The connection itself, for who bounds its waits otherwise.
    pub(crate) fn raw(&mut self) -> &mut PgConnection {
        &mut self.raw
    }

    /// Turns into the connection itself, which is not counted any more.
    pub(crate) fn into_raw(self) -> PgConnection {
        self.raw
    }

    /// Closes it.
    pub(super) async fn farewell(self) {
        let Self { raw, state, .. } = self;
        farewell(raw).await;
        drop(state);
    }

    /// Closes it in the background.
    pub(super) fn part(self) {
        // Without a runtime its socket is just closed.
        if let (Ok(runtime), true) = (Handle::try_current(), self.is_settled()) {
            runtime.spawn(self.farewell());
        }
    }
}

/// Connection of a pool, given back when it is dropped.
pub(crate) struct PooledConnection {
    pool: Pool,
    /// There until this is dropped.
    held: Option<(Connection, OwnedSemaphorePermit)>,
}

impl PooledConnection {
    pub(super) fn new(pool: Pool, connection: Connection, permit: OwnedSemaphorePermit) -> Self {
        Self { pool, held: Some((connection, permit)) }
    }

    /// Asks it for an answer.
    pub(super) async fn check(&mut self, patience: Duration) -> Result<(), sqlx::Error> {
        self.ping(Instant::now() + patience).await
    }

    /// Drops the connection; its permit.
    #[allow(clippy::expect_used, reason = "taken by drop and by this only, which both end it")]
    pub(super) fn discard(mut self) -> OwnedSemaphorePermit {
        self.held.take().expect("held until it is dropped").1
    }
}

impl Deref for PooledConnection {
    type Target = Connection;

    #[allow(clippy::expect_used, reason = "taken by drop only")]
    fn deref(&self) -> &Connection {
        &self.held.as_ref().expect("held until it is dropped").0
    }
}

impl DerefMut for PooledConnection {
    #[allow(clippy::expect_used, reason = "taken by drop only")]
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.held.as_mut().expect("held until it is dropped").0
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        let Some((mut connection, permit)) = self.held.take() else { return };
        if connection.is_settled() {
            return self.pool.0.put_back(connection, permit);
        }
        if connection.state.progress == Progress::Lost {
            return;
        }
        // Without a runtime the node has ended; the server rolls back what was begun.
        let Ok(runtime) = Handle::try_current() else { return };
        let pool = self.pool.clone();
        // Its permit is held meanwhile: what the server still does counts.
        runtime.spawn(async move {
            let due = connection.state.due.max(Instant::now() + super::CHECK_TIMEOUT);
            if connection.settle(due).await.is_ok() {
                pool.0.put_back(connection, permit);
            }
        });
    }
}
