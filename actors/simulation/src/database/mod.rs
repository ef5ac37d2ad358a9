//! The database of a simulated cluster: a real PostgreSQL whose clock is virtual, behind a proxy per node.
//!
//! ```text
//! node -- Unix socket --> proxy: delays, stalls, cuts --> PostgreSQL
//!                           |
//!                        Traffic: statements under way, notifications on their way
//! ```
//! `clock_timestamp()`, `now()` and `pg_notify()` are functions of the schema `simulated`, which the database looks at
//! before its own ones.

mod frames;
mod proxy;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::Timestamp;
use sqlx::{Connection as _, PgConnection};
use test_database::TestDatabase;
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::Instant;

pub(crate) use proxy::{DatabaseProxy, PathState};

/// What replaces the functions of time, and what notes who writes as an owner.
const SCHEMA: &str = include_str!("simulated.sql");
/// Channel of the marker that follows notifications; every listener listens to it.
const MARKER_CHANNEL: &str = "nexmdm_device";
/// Payload of the marker: no id of a device, and taken out by the proxies.
const MARKER: &str = "simulation-marker";

/// Real time for which it is believed that statements wait for locks.
const LOCKED_FOR: std::time::Duration = std::time::Duration::from_millis(20);

/// Statements and notifications between the nodes and the database.
#[derive(Default)]
pub(crate) struct Traffic {
    under_way: AtomicUsize,
    passed: AtomicU64,
    /// Whether a statement ended since notifications were last waited for.
    unchecked: AtomicBool,
    /// When all statements under way were last found to wait for locks.
    locked: Mutex<Option<Locked>>,
    control: AsyncMutex<Option<Control>>,
    /// Newest marker that was sent.
    marker: AtomicU64,
    /// Newest marker that each listening connection has passed on.
    listeners: Mutex<HashMap<u64, u64>>,
    marked: Notify,
}

/// Finding that all statements under way wait for locks. What holds the locks waits for the time: as long as no message
/// passes, none of them goes on.
struct Locked {
    passed: u64,
    under_way: usize,
    found: std::time::Instant,
}

/// The simulation's own connection.
struct Control {
    connection: PgConnection,
    began: Instant,
    began_at: Timestamp,
    clock_us: i64,
    notified: i64,
}

impl Traffic {
    /// Statements that the database has not answered.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Acquire)
    }

    /// Number of pieces that have passed any proxy.
    pub(crate) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Acquire)
    }

    /// Holds the time still until the guard is dropped, for statements of the simulation itself.
    pub(crate) fn hold_time(&self) -> TimeHold<'_> {
        self.began(1);
        TimeHold(self)
    }

    fn pass(&self) {
        self.passed.fetch_add(1, Ordering::AcqRel);
    }

    fn began(&self, statements: usize) {
        self.under_way.fetch_add(statements, Ordering::AcqRel);
    }

    fn ended(&self, statements: usize) {
        if statements > 0 {
            self.under_way.fetch_sub(statements, Ordering::AcqRel);
            self.unchecked.store(true, Ordering::Release);
        }
    }

    /// Sets the database's clock, before a statement is passed on.
    async fn set_clock(&self) {
        let mut control = self.control.lock().await;
        let Some(control) = control.as_mut() else { return };
        let now_us = control.began_at.timestamp_micros() + i64::try_from(control.began.elapsed().as_micros()).unwrap_or(i64::MAX);
        if now_us != control.clock_us {
            control.clock_us = now_us;
            sqlx::query("SELECT setval('simulated.clock_us', $1)")
                .bind(now_us)
                .execute(&mut control.connection)
                .await
                .expect("the simulation's own connection");
        }
    }

    /// Whether no statement is under way but such as are known to wait for locks.
    pub(crate) fn waits_for_time(&self) -> bool {
        let under_way = self.under_way();
        let still =
            |locked: &Locked| locked.under_way == under_way && locked.passed == self.passed() && locked.found.elapsed() < LOCKED_FOR;
        under_way == 0 || self.locked().as_ref().is_some_and(still)
    }

    /// Looks whether every statement under way waits for a lock, and whether no message has passed since `passed`.
    pub(crate) async fn found_waiting_for_locks(&self, passed: u64) -> bool {
        let mut control = self.control.lock().await;
        let Some(control) = control.as_mut() else { return false };
        // Whoever has been granted a lock is not blocked any more, though a busy machine may not have woken its process yet, which
        // until then says that it waits. A server process that works may hold the lock, for example one that vacuums: it does not wait for the time.
        let (waiting, working): (i64, i64) = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE is_blocked), count(*) FILTER (WHERE NOT is_blocked)
             FROM (SELECT cardinality(pg_blocking_pids(pid)) > 0 AS is_blocked FROM pg_stat_activity
                   WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()) statements",
        )
        .fetch_one(&mut control.connection)
        .await
        .expect("the simulation's own connection");
        let under_way = self.under_way();
        let all_wait = working == 0 && usize::try_from(waiting).is_ok_and(|waiting| waiting >= under_way);
        let found = all_wait && self.passed() == passed;
        if found {
            *self.locked() = Some(Locked { passed, under_way, found: std::time::Instant::now() });
        }
        found
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Option<Locked>> {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is under way, for a person.
    pub(crate) async fn outstanding(&self) -> String {
        let listeners = self.listeners().clone();
        let counts =
            format!("{} statements under way, {} messages passed, markers of listeners {listeners:?}", self.under_way(), self.passed());
        let Ok(mut control) = self.control.try_lock() else { return format!("{counts}, the simulation's own statement among them") };
        let Some(control) = control.as_mut() else { return counts };
        let backends: Result<Vec<String>, _> = sqlx::query_scalar(
            "SELECT concat_ws(' ', pid, state, wait_event_type, wait_event, left(query, 200)) FROM pg_stat_activity
             WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()",
        )
        .fetch_all(&mut control.connection)
        .await;
        format!("{counts}; {backends:?}")
    }

    /// Waits until every listener has what was notified; whether there was anything.
    pub(crate) async fn delivered_notifications(&self) -> bool {
        if !self.unchecked.swap(false, Ordering::AcqRel) {
            return false;
        }
        let marker = {
            let mut control = self.control.lock().await;
            let Some(control) = control.as_mut() else { return false };
            let notified: i64 = sqlx::query_scalar("SELECT last_value FROM simulated.notified")
                .fetch_one(&mut control.connection)
                .await
                .expect("the simulation's own connection");
            if notified == control.notified {
                return false;
            }
            control.notified = notified;
            let marker = self.marker.fetch_add(1, Ordering::AcqRel) + 1;
            // Notifications arrive in the order of the commits: whoever has the marker has all before it.
            sqlx::query("SELECT pg_catalog.pg_notify($1, $2)")
                .bind(MARKER_CHANNEL)
                .bind(format!("{MARKER}:{marker}"))
                .execute(&mut control.connection)
                .await
                .expect("the simulation's own connection");
            marker
        };
        loop {
            let marked = self.marked.notified();
            if self.listeners().values().all(|passed| *passed >= marker) {
                return true;
            }
            marked.await;
        }
    }

    fn listeners(&self) -> std::sync::MutexGuard<'_, HashMap<u64, u64>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection listens, as the database has answered. Nobody waits for it to have what was notified before.
    fn listens(&self, connection: u64) {
        let newest = self.marker.load(Ordering::Acquire);
        self.listeners().entry(connection).or_insert(newest);
    }

    fn has_marker(&self, connection: u64, marker: u64) {
        // It may have ended to listen meanwhile.
        if let Some(passed) = self.listeners().get_mut(&connection) {
            *passed = marker;
        }
        self.marked.notify_waiters();
    }

    /// A connection is closed, or does not listen any more.
    fn closed(&self, connection: u64) {
        self.listeners().remove(&connection);
        self.marked.notify_waiters();
    }
}

/// Guard that holds the time still.
pub(crate) struct TimeHold<'a>(&'a Traffic);

impl Drop for TimeHold<'_> {
    fn drop(&mut self) {
        self.0.ended(1);
    }
}

/// The database of one simulated cluster.
pub(crate) struct SimulatedDatabase {
    database: TestDatabase,
    traffic: Arc<Traffic>,
    folder: tempfile::TempDir,
}

impl SimulatedDatabase {
    /// An empty database, whose clock shows `began_at` now.
    ///
    /// # Panics
    /// It cannot be made.
    pub(crate) async fn new(traffic: Arc<Traffic>, began_at: Timestamp) -> Self {
        let hold = traffic.hold_time();
        let database = TestDatabase::new().await;
        database.execute(SCHEMA).await;
        let connection = PgConnection::connect(database.url()).await.expect("the test database takes connections");
        let control = Control { connection, began: Instant::now(), began_at, clock_us: 0, notified: 0 };
        *traffic.control.lock().await = Some(control);
        traffic.set_clock().await;
        drop(hold);
        let folder = tempfile::Builder::new().prefix("nexmdm-sim-").tempdir().expect("a temporary folder");
        Self { database, traffic, folder }
    }

    /// The way of one start of a node to the database.
    ///
    /// # Panics
    /// The socket cannot be made.
    pub(crate) fn proxy(&self, node: &str, seed: u64) -> DatabaseProxy {
        DatabaseProxy::start(self.database.url(), &self.folder.path().join(node), Arc::clone(&self.traffic), seed)
    }

    /// Runs a statement of the simulation itself, in no time.
    pub(crate) async fn execute(&self, sql: &str) {
        let _hold = self.traffic.hold_time();
        self.database.execute(sql).await;
    }

    /// First column of each row of a query of the simulation itself, in no time.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        let _hold = self.traffic.hold_time();
        self.database.values(sql).await
    }

    /// Folder for what nodes keep.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }
}
