//! The pool of connections to the database. Every wait for the database has an end, and no connection that once did not answer is used again.
//!
//! ```text
//! acquire   a permit, a connection that lies idle or a new one         acquire_timeout
//! statement, BEGIN, COMMIT                                             answer_timeout, which is longer than the server's own limit
//! return    what was left unfinished is rolled back in the background  answer_timeout
//! ```
//! A connection to a server that only reads is closed before it is used: during a fail-over a name or a proxy may lead to a standby for a moment,
//! and whoever kept that connection would read an old state, and write nothing, long after the primary is back. Of several hosts the primary of the
//! newest timeline is taken ([`target`]); what was connected to the one before it is used no more.
//!
//! Once one connection was given up, those that lie idle are closed, and what others wait for has to come within a grace: the path is the same.
//!
//! A path that falls silent (a firewall that drops, a host that stands still) sends nothing, so that only time tells. `sqlx`'s own pool
//! waits for such a connection for ever when it is returned, and its place in the pool is lost; hence this one. `sqlx` gives no access
//! to the sockets either, so that TCP is left as the system has it: the ends of the waits do not depend on it.

mod bounded;
mod connection;
mod executor;
mod hosts;
mod lineage;
mod listener;
mod target;
mod transaction;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::connections::{ConnectionFigures, RecentWaits};
use sqlx::{ConnectOptions, Connection as _, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

pub(crate) use connection::{Connection, PooledConnection};
pub(crate) use hosts::{hosts, place_of};
pub(crate) use lineage::Lineage;
pub(crate) use listener::PoolListener;
pub(crate) use target::{Target, Wanted};
pub(crate) use transaction::Transaction;

use target::{is_of_no_primary, is_passing};

/// Idle time after which a connection has to answer before it is used again.
const CHECKED_AFTER: Duration = Duration::from_secs(2);
/// How long that answer may take: the server does nothing for it.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// Idle time after which a connection that the others make superfluous is closed.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// Age after which a connection is made anew.
const AGE_MAX: Duration = Duration::from_secs(1800);
/// How long the farewell of a connection may take.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long what is read counts as perhaps old, after a connection led to a server that only reads.
const READS_DOUBTED_FOR: Duration = Duration::from_secs(5);
/// Pauses between attempts to connect to a server that refuses or is starting.
const CONNECT_AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(300));

/// Size of a pool, and its waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Most connections.
    pub(crate) connections: u32,
    /// Longest wait for a connection.
    pub(crate) acquire: Duration,
    /// Longest wait for an answer to a statement.
    pub(crate) answer: Duration,
    /// How long it is still waited for once another connection has fallen silent.
    pub(crate) grace: Duration,
}

/// Pool of connections. Clones are the same pool.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    target: Target,
    /// Statements that set up each new connection, and ask where it leads.
    settings: String,
    limits: Limits,
    permits: Arc<Semaphore>,
    /// Connections that nobody uses, the one that was used last at the end.
    idle: Mutex<Vec<Idle>>,
    /// Connections that are open.
    open: watch::Sender<u32>,
    /// When a connection was last given up; none that has not answered since is used again.
    silent_at: watch::Sender<Option<Instant>>,
    given_up: Arc<AtomicU64>,
    /// Callers that wait for a connection.
    waiting: AtomicU32,
    /// Callers that got none in time.
    timed_out: AtomicU64,
    /// Waits since `made_at`.
    waits: Mutex<RecentWaits>,
    made_at: Instant,
    /// When a connection last led to a server that only reads.
    read_only_at: Mutex<Option<Instant>>,
}

/// A caller that waits, until this is dropped.
struct Waiting<'a> {
    shared: &'a Shared,
    since: Instant,
}

impl<'a> Waiting<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        Self { shared, since: Instant::now() }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        let (waited, at) = (self.since.elapsed(), self.shared.made_at.elapsed());
        self.shared.waits().add(at.as_secs(), u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
    }
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// Part of a connection in the pool's counts.
struct Counted {
    shared: Arc<Shared>,
    /// 0 for one beside the pool.
    of_open: u32,
}

impl Counted {
    fn new(shared: &Arc<Shared>, of_open: u32) -> Self {
        shared.open.send_modify(|open| *open += of_open);
        Self { shared: Arc::clone(shared), of_open }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shared.open.send_modify(|open| *open = open.saturating_sub(self.of_open));
    }
}

impl Pool {
    /// A pool without a connection yet; `given_up` counts the connections that were given up.
    pub(crate) fn new(target: Target, settings: String, limits: Limits, given_up: Arc<AtomicU64>) -> Self {
        Self(Arc::new(Shared {
            settings: settings + target.question(),
            target,
            limits,
            permits: Arc::new(Semaphore::new(limits.connections as usize)),
            idle: Mutex::default(),
            open: watch::Sender::new(0),
            silent_at: watch::Sender::new(None),
            given_up,
            waiting: AtomicU32::new(0),
            timed_out: AtomicU64::new(0),
            waits: Mutex::default(),
            made_at: Instant::now(),
            read_only_at: Mutex::default(),
        }))
    }

    /// Takes a connection. Where the time runs out, the error is the reason why the last one was not made, if there was one.
    pub(crate) async fn acquire(&self) -> Result<PooledConnection, sqlx::Error> {
        let (mut refused, _waiting) = (None, Waiting::begin(&self.0));
        let taken = timeout(self.0.limits.acquire, self.take(&mut refused)).await;
        taken.unwrap_or_else(|_| {
            self.0.timed_out.fetch_add(1, Ordering::Relaxed);
            Err(refused.unwrap_or(sqlx::Error::PoolTimedOut))
        })
    }

    async fn take(&self, refused: &mut Option<sqlx::Error>) -> Result<PooledConnection, sqlx::Error> {
        let mut permit = Arc::clone(&self.0.permits).acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)?;
        while let Some(Idle { connection, since }) = self.0.pop_idle() {
            let mut connection = PooledConnection::new(self.clone(), connection, permit);
            if since.elapsed() < CHECKED_AFTER || connection.check(CHECK_TIMEOUT).await.is_ok() {
                return Ok(connection);
            }
            permit = connection.discard();
        }
        let mut pause = CONNECT_AGAIN.0;
        loop {
            match self.connect(1).await {
                Ok(connection) => return Ok(PooledConnection::new(self.clone(), connection, permit)),
                Err(cause) if is_passing(&cause) && !self.0.permits.is_closed() => {
                    tracing::debug!(event = "database.connect_failed", %cause);
                    *refused = Some(cause);
                }
                Err(cause) => return Err(cause),
            }
            sleep(pause).await;
            pause = (2 * pause).min(CONNECT_AGAIN.1);
        }
    }

    /// A new connection that is set up. It may take for ever: callers end the wait.
    async fn connect(&self, of_open: u32) -> Result<Connection, sqlx::Error> {
        let counted = Counted::new(&self.0, of_open);
        let reached = self.0.target.connect(&self.0.settings).await.inspect_err(|error| {
            if is_of_no_primary(error) {
                self.0.met_read_only();
            }
        })?;
        Ok(Connection::new(reached.raw, self.0.limits.answer, reached.generation, counted))
    }

    /// A connection to each of the servers, whatever it is, with its place; beside the pool, and not set up.
    pub(crate) async fn look(&self) -> Vec<(String, Result<Connection, sqlx::Error>)> {
        let looks = self.0.target.places().iter().map(async |place| {
            let counted = Counted::new(&self.0, 0);
            let raw = timeout(self.0.limits.acquire, place.connect()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
            (place_of(place), raw.map(|raw| Connection::new(raw, self.0.limits.answer, 0, counted)))
        });
        futures_util::future::join_all(looks).await
    }

    /// What is known of the line of the primary.
    pub(crate) fn lineage(&self) -> Arc<Lineage> {
        Arc::clone(self.0.target.lineage())
    }

    /// A connection beside the pool, closed when it is dropped.
    pub(crate) async fn connect_alone(&self) -> Result<Connection, sqlx::Error> {
        timeout(self.0.limits.acquire, self.connect(0)).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    /// Begins a transaction; it is rolled back if it is dropped, whenever that is.
    pub(crate) async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        Transaction::begin(self.acquire().await?).await
    }

    /// Open connections, in use or not.
    pub(crate) fn open(&self) -> u32 {
        *self.0.open.borrow()
    }

    /// Most connections.
    pub(crate) fn max(&self) -> u32 {
        self.0.limits.connections
    }

    /// Open connections that nobody uses.
    pub(crate) fn idle(&self) -> u32 {
        u32::try_from(self.0.idle().len()).unwrap_or(u32::MAX)
    }

    /// Connections in use, and the waits for them.
    pub(crate) fn figures(&self) -> ConnectionFigures {
        let shared = &self.0;
        let (wait_avg_ms, wait_max_ms) = shared.waits().avg_and_max_ms(shared.made_at.elapsed().as_secs());
        let open = self.open();
        ConnectionFigures {
            capacity: self.max(),
            open,
            in_use: open.saturating_sub(self.idle()),
            waiting: shared.waiting.load(Ordering::Relaxed),
            wait_avg_ms,
            wait_max_ms,
            timed_out: shared.timed_out.load(Ordering::Relaxed),
            given_up: self.given_up(),
        }
    }

    /// Connections that were given up because the database did not answer in time.
    pub(crate) fn given_up(&self) -> u64 {
        self.0.given_up.load(Ordering::Relaxed)
    }

    /// Whether a connection led to a server that only reads a moment ago: what is read may be an old state.
    pub(crate) fn reads_are_doubtful(&self) -> bool {
        self.0.read_only_at().is_some_and(|at| at.elapsed() < READS_DOUBTED_FOR)
    }

    /// The count of those.
    pub(crate) fn given_up_count(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.0.given_up)
    }

    /// Watch of when a connection was last given up.
    fn silences(&self) -> watch::Receiver<Option<Instant>> {
        self.0.silent_at.subscribe()
    }

    fn is_closed(&self) -> bool {
        self.0.permits.is_closed()
    }

    /// Closes the pool, and waits for the connections in use.
    pub(crate) async fn close(&self) {
        self.0.permits.close();
        let idle = std::mem::take(&mut *self.0.idle());
        futures_util::future::join_all(idle.into_iter().map(|idle| idle.connection.farewell())).await;
        let mut open = self.0.open.subscribe();
        // The sender is in `self`.
        let _ = open.wait_for(|open| *open == 0).await;
    }
}

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        // A list is whole after each change, so a poisoned lock guards good data.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_trusted(&self, connection: &Connection) -> bool {
        connection.is_settled()
            && !connection.is_read_only()
            && connection.generation() == self.target.lineage().generation()
            && self.silent_at.borrow().is_none_or(|silent| connection.answered_at() > silent)
            && connection.age() < AGE_MAX
    }

    fn pop_idle(&self) -> Option<Idle> {
        let mut idle = self.idle();
        while let Some(last) = idle.pop() {
            if self.is_trusted(&last.connection) {
                return Some(last);
            }
        }
        None
    }

    /// Takes back a connection that has answered all that it was asked, and then its permit.
    fn put_back(&self, connection: Connection, permit: OwnedSemaphorePermit) {
        if self.permits.is_closed() || !self.is_trusted(&connection) {
            connection.part();
        } else {
            let mut idle = self.idle();
            let superfluous = idle.iter().take_while(|idle| idle.since.elapsed() >= IDLE_MAX).count();
            let superfluous: Vec<_> = idle.drain(..superfluous).collect();
            idle.push(Idle { connection, since: Instant::now() });
            drop(idle);
            superfluous.into_iter().for_each(|idle| idle.connection.part());
        }
        drop(permit);
    }

    fn waits(&self) -> std::sync::MutexGuard<'_, RecentWaits> {
        // Sums are whole after each change, as the list above.
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_only_at(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        // A time is whole after each change, as the list above.
        self.read_only_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection leads to a server that only reads.
    fn met_read_only(&self) {
        let before = self.read_only_at().replace(Instant::now());
        if before.is_none_or(|at| at.elapsed() >= READS_DOUBTED_FOR) {
            tracing::warn!(event = "database.read_only", remedy = "let DATABASE_URL lead to a primary that takes writes");
        }
    }

    /// One connection did not answer in time: the others that lie idle go the same way, and are closed too.
    fn gave_up(&self) {
        let number = self.given_up.fetch_add(1, Ordering::Relaxed) + 1;
        self.silent_at.send_replace(Some(Instant::now()));
        self.target.doubt();
        let idle = std::mem::take(&mut *self.idle());
        tracing::warn!(event = "database.connection_given_up", number, idle_closed = idle.len());
    }
}

/// Closes a connection, with a farewell that the server needs not wait for.
async fn farewell(raw: PgConnection) {
    // Nobody is told of a connection that could not be closed politely.
    let _ = timeout(FAREWELL_TIMEOUT, raw.close()).await;
}
