//! Where connections lead: the one of several servers that is the primary now, or a standby for reads that may lag.
//!
//! Whoever needs a connection tries the server that was the primary last. If it does not answer, or is none any more, one caller at a time asks all
//! of them at once, and takes the primary of the newest timeline: after a fail-over the one before may still take itself for the primary. All are asked as
//! well once a connection was given up.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, Row as _};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};

use super::hosts::place_of;
use super::lineage::{Line, Lineage, Unsuitable};

/// What a server is.
const ROLE: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN 'standby' WHEN current_setting('transaction_read_only') = 'on' THEN 'read-only' \
     ELSE 'primary' END";
/// The same, and its line. Not every service in place of PostgreSQL tells it, so it is asked of those alone that may be deposed behind our back.
const ROLE_AND_LINE: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN 'standby' WHEN current_setting('transaction_read_only') = 'on' THEN 'read-only' \
     ELSE 'primary' END, CASE WHEN pg_is_in_recovery() THEN '' ELSE (SELECT system_identifier::text FROM pg_control_system()) || '/' \
     || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END";
/// How long the others are waited for once one primary was found.
const OTHERS_WITHIN: Duration = Duration::from_millis(300);
/// No server is known to be the primary.
const NONE: usize = usize::MAX;

/// Kind of server that connections may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The primary, which takes writes.
    Primary,
    /// A standby.
    Standby,
}

/// Where the connections of a pool lead.
pub(crate) struct Target {
    places: Vec<PgConnectOptions>,
    wanted: Wanted,
    lineage: Arc<Lineage>,
    /// Longest wait for one of several servers.
    patience: Duration,
    /// Index of the server that was right last, or [`NONE`].
    preferred: AtomicUsize,
    /// Held by whoever asks all servers.
    search: Mutex<()>,
}

/// A connection to a server that is what is wanted.
pub(super) struct Reached {
    pub(super) raw: PgConnection,
    /// Generation of its line, of those that have one.
    pub(super) generation: u64,
    /// Index of the server.
    pub(super) place: usize,
}

struct Candidate {
    raw: PgConnection,
    place: usize,
    line: Option<Line>,
}

impl Target {
    /// Servers, one at least.
    pub(crate) fn new(places: Vec<PgConnectOptions>, wanted: Wanted, lineage: Arc<Lineage>, patience: Duration) -> Self {
        Self { places, wanted, lineage, patience, preferred: AtomicUsize::new(NONE), search: Mutex::default() }
    }

    pub(super) fn lineage(&self) -> &Arc<Lineage> {
        &self.lineage
    }

    /// The servers.
    pub(super) fn places(&self) -> &[PgConnectOptions] {
        &self.places
    }

    fn is_one(&self) -> bool {
        self.places.len() == 1
    }

    /// The query that tells what a server is; it is the last of the statements that set a connection up.
    pub(super) fn question(&self) -> &'static str {
        if self.is_one() || self.wanted == Wanted::Standby { ROLE } else { ROLE_AND_LINE }
    }

    /// A new connection, set up by `settings`. It may take for ever: callers end the wait.
    pub(super) async fn connect(&self, settings: &str) -> Result<Reached, sqlx::Error> {
        if self.is_one() {
            return self.reach(0, settings).await.and_then(|candidate| self.admit(candidate));
        }
        let tried = self.preferred.load(Ordering::Relaxed);
        if let Some(reached) = self.try_preferred(tried, settings).await {
            return Ok(reached);
        }
        let _one = self.search.lock().await;
        // Whoever searched before may have found it.
        let found = self.preferred.load(Ordering::Relaxed);
        if found != tried
            && let Some(reached) = self.try_preferred(found, settings).await
        {
            return Ok(reached);
        }
        let reached = self.search(settings).await?;
        self.preferred.store(reached.place, Ordering::Relaxed);
        Ok(reached)
    }

    async fn try_preferred(&self, place: usize, settings: &str) -> Option<Reached> {
        if place == NONE {
            return None;
        }
        match self.reach(place, settings).await.and_then(|candidate| self.admit(candidate)) {
            Ok(reached) => Some(reached),
            Err(cause) => {
                tracing::debug!(event = "database.connect_failed", %cause);
                let _ = self.preferred.compare_exchange(place, NONE, Ordering::Relaxed, Ordering::Relaxed);
                None
            }
        }
    }

    /// Lets the next caller ask all servers: the one that was right falls silent, or lets nobody commit, as a primary does whose standby was promoted.
    pub(super) fn doubt(&self) {
        self.preferred.store(NONE, Ordering::Relaxed);
    }

    /// Asks all servers at once.
    async fn search(&self, settings: &str) -> Result<Reached, sqlx::Error> {
        let mut tries: FuturesUnordered<_> = (0..self.places.len()).map(|place| self.reach(place, settings)).collect();
        let (mut found, mut refused, mut until) = (Vec::new(), Vec::new(), None);
        loop {
            let next = match until {
                None => tries.next().await,
                Some(until) => timeout_at(until, tries.next()).await.unwrap_or(None),
            };
            match next {
                None => break,
                Some(Ok(candidate)) => {
                    found.push(candidate);
                    until.get_or_insert(Instant::now() + OTHERS_WITHIN);
                }
                Some(Err(cause)) => refused.push(cause),
            }
        }
        if let (Wanted::Primary, Some(two)) = (self.wanted, two_systems(&found)) {
            return Err(sqlx::Error::Configuration(two.into()));
        }
        found.sort_by_key(|candidate| std::cmp::Reverse(candidate.line.as_ref().map(|line| line.timeline)));
        for candidate in found {
            match self.admit(candidate) {
                Ok(reached) => return Ok(reached),
                Err(cause) => refused.push(cause),
            }
        }
        Err(none_of(refused))
    }

    /// Connects to one server, and asks what it is.
    async fn reach(&self, place: usize, settings: &str) -> Result<Candidate, sqlx::Error> {
        let Some(options) = self.places.get(place) else { return Err(sqlx::Error::PoolClosed) };
        let reaching = async {
            let mut raw = options.connect().await?;
            let row = sqlx::raw_sql(AssertSqlSafe(settings)).fetch_one(&mut raw).await?;
            let line = self.judge(&row)?;
            Ok(Candidate { raw, place, line })
        };
        let reached = match self.is_one() {
            true => reaching.await,
            false => timeout(self.patience, reaching).await.unwrap_or_else(|_| Err(silent(self.patience))),
        };
        reached.map_err(|error| placed(error, options))
    }

    /// Refuses a server by its answer to [`Self::question`].
    ///
    /// # Errors
    /// It is not what is wanted.
    pub(super) fn check(&self, told: &sqlx::postgres::PgRow) -> Result<(), sqlx::Error> {
        match self.judge(told)? {
            Some(line) => self.lineage.admit(&line).map(drop).map_err(unsuitable),
            None => Ok(()),
        }
    }

    /// Judges what a server answered to [`Self::question`]; tells its line, where that is asked.
    fn judge(&self, row: &sqlx::postgres::PgRow) -> Result<Option<Line>, sqlx::Error> {
        let role: String = row.try_get(0)?;
        match (self.wanted, role.as_str()) {
            (Wanted::Primary, "primary") => {}
            (Wanted::Primary, _) => return Err(unsuitable(Unsuitable::OnlyReads)),
            (Wanted::Standby, "standby") => return Ok(None),
            (Wanted::Standby, _) => return Err(unsuitable(Unsuitable::NoStandby)),
        }
        if row.len() < 2 {
            return Ok(None);
        }
        let line: String = row.try_get(1)?;
        Line::parse(&line).map(Some).ok_or_else(|| unsuitable(Unsuitable::NoLine))
    }

    fn admit(&self, Candidate { raw, place, line }: Candidate) -> Result<Reached, sqlx::Error> {
        let Some(line) = line else { return Ok(Reached { raw, place, generation: self.lineage.generation() }) };
        let options = self.places.get(place);
        match self.lineage.admit(&line) {
            Ok((generation, is_promoted)) => {
                if is_promoted {
                    let server = options.map(place_of);
                    tracing::warn!(event = "database.primary_changed", server, timeline = line.timeline);
                }
                Ok(Reached { raw, place, generation })
            }
            Err(cause) => {
                let error = unsuitable(cause);
                Err(options.map_or_else(|| sqlx::Error::PoolClosed, |options| placed(error, options)))
            }
        }
    }
}

/// Two primaries that cannot be of one database.
fn two_systems(found: &[Candidate]) -> Option<String> {
    let system = |candidate: &Candidate| candidate.line.as_ref().map(|line| line.system.clone());
    let first = found.first().and_then(system)?;
    let other = found.iter().filter_map(system).find(|other| *other != first)?;
    Some(format!("the hosts of the database URL are primaries of different database systems ({first}, {other}): name those of one only"))
}

fn unsuitable(why: Unsuitable) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, why))
}

fn silent(patience: Duration) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {patience:?}")))
}

/// The error of an attempt to connect, with the place that was tried.
fn placed(error: sqlx::Error, place: &PgConnectOptions) -> sqlx::Error {
    match error {
        sqlx::Error::Io(cause) => sqlx::Error::Io(io::Error::new(cause.kind(), format!("{cause} ({})", place_of(place)))),
        other => other,
    }
}

/// Whether a server was reached that is not the primary: what is read may be old.
pub(super) fn is_of_no_primary(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(cause) if cause.kind() == io::ErrorKind::ReadOnlyFilesystem)
}

/// Whether what refused a connection may take one soon.
pub(super) fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(cause) => matches!(cause.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ReadOnlyFilesystem),
        sqlx::Error::Database(error) => error.is_transient_in_connect_phase(),
        _ => false,
    }
}

/// One error for those of several servers: whether it passes, it does if one of them does.
fn none_of(refused: Vec<sqlx::Error>) -> sqlx::Error {
    let is_unreachable = |error: &sqlx::Error| matches!(error, sqlx::Error::Io(_));
    let kind = match () {
        () if refused.iter().any(is_of_no_primary) => io::ErrorKind::ReadOnlyFilesystem,
        () if refused.iter().any(|error| is_passing(error) || is_unreachable(error)) => io::ErrorKind::ConnectionRefused,
        () => return refused.into_iter().next().unwrap_or(sqlx::Error::PoolClosed),
    };
    let each: Vec<String> = refused.iter().map(cause_of).collect();
    sqlx::Error::Io(io::Error::new(kind, format!("none of the hosts is the primary: {}", each.join("; "))))
}

/// What went wrong, without what `sqlx` says around it.
fn cause_of(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Io(cause) => cause.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io_error(kind: io::ErrorKind) -> sqlx::Error {
        sqlx::Error::Io(io::Error::new(kind, "it"))
    }

    /// Errors of the servers; whether the common one passes, and whether it leaves reads in doubt.
    #[test]
    fn what_several_servers_refuse_passes_if_one_of_them_may_yet_take_it() {
        use io::ErrorKind::{ConnectionRefused, HostUnreachable, ReadOnlyFilesystem, TimedOut};
        for (kinds, is_doubtful) in [
            (&[ConnectionRefused][..], false),
            (&[ConnectionRefused, ReadOnlyFilesystem], true),
            (&[TimedOut, TimedOut], false),
            (&[HostUnreachable, ReadOnlyFilesystem], true),
        ] {
            let error = none_of(kinds.iter().copied().map(io_error).collect());
            assert!(is_passing(&error), "{kinds:?}");
            assert_eq!(is_of_no_primary(&error), is_doubtful, "{kinds:?}");
        }
        let error = none_of(vec![sqlx::Error::WorkerCrashed]);
        assert!(!is_passing(&error) && matches!(error, sqlx::Error::WorkerCrashed), "{error}");
    }
}
