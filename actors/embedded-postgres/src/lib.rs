//! A private PostgreSQL server kept under a data folder and shared by the node and its commands; tests start it, too.
//!
//! Neither ready-made crate fits: `pgtemp` deletes its database on shutdown, and
//! `postgresql_embedded`, even when pointed at installed binaries, starts the server with fsync
//! off (`-F`) and on a TCP port, takes any leftover `postmaster.pid` for a running server, stops
//! the server whenever one handle is dropped and cannot run from root.
//!
//! # What is where
//!
//! `DATA_DIR/postgres` is a folder, or a link to one, with
//!
//! - `data`: the cluster; `data.init.N`: what an interrupted `initdb` left, removed at the next start;
//! - `socket`: the Unix socket, the only way in (see [`Connection::socket_dir`] for long paths);
//! - `nexmdm.conf`: our settings, rewritten at each server start and included *last* by
//!   `data/postgresql.conf`, so a hand-made setting belongs below that include;
//! - `server.log`, `server.log.1`: the server's log, and what was cut off it when it grew;
//! - `users.lock`: every user of the server holds it shared; `start.lock`: held while starting or
//!   stopping.
//!
//! # Who stops the server
//!
//! The last user to call [`EmbeddedPostgres::stop`]. The locks are the kernel's, so a killed
//! process counts as gone at once; the server it leaves running is adopted by the next user. A
//! service manager has to leave the server alone while the node drains (systemd:
//! `KillMode=mixed`).
//!
//! # As which user
//!
//! PostgreSQL refuses to run as root. When we are root, its programs run as the owner of the
//! data folder, or when that is root too, as `postgres` or else `nobody`. The standard library
//! drops root's supplementary groups in a child that changes its user (`setgroups(0, NULL)`).

mod binaries;
mod cluster;
mod command;
mod lock;
mod paths;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use cluster::Cluster;
use lock::FileLock;

/// The database role we connect as: the superuser of the private cluster.
const USER: &str = "nexmdm";
/// The database that holds everything.
const DATABASE: &str = "nexmdm";
/// Only names the socket file (`.s.PGSQL.5432`); no TCP port is opened.
const PORT: u16 = 5432;
/// Folder of the cluster when its server user cannot enter the data folder.
const CLUSTERS_ROOT: &str = "/var/lib/nexmdm";
/// How often the size of the server's log is looked at.
const LOG_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// Folders and settings of the private server.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// The node's data folder; made when missing.
    pub data_dir: PathBuf,
    /// The folder with `postgres`, `initdb` and `pg_ctl`; `None` looks for them.
    pub bin_dir: Option<PathBuf>,
    /// Server settings. A server that is already running keeps the ones it was started with.
    pub settings: ServerSettings,
    /// The longest [`EmbeddedPostgres::ensure_running`] may take; crash recovery counts in.
    pub start_timeout: Duration,
    /// The longest a polite stop may take before the server is stopped without a checkpoint
    /// (no data is lost, the next start recovers).
    pub stop_timeout: Duration,
}

impl EmbeddedOptions {
    /// Options with default settings for the server under `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            bin_dir: None,
            settings: ServerSettings::default(),
            start_timeout: Duration::from_secs(180),
            stop_timeout: Duration::from_secs(60),
        }
    }
}

/// The server settings a node's operator may want to change; the others are fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// The most connections at a time, over all users of the server.
    pub max_connections: u32,
    /// Memory for the server's page cache, in MiB.
    pub shared_buffers_mb: u32,
    /// Memory for one sort or hash table of a query, in MiB.
    pub work_mem_mb: u32,
    /// The write-ahead log that may collect between checkpoints, in MiB.
    pub max_wal_size_mb: u32,
    /// Whether commits survive a crash of the machine. Off only for data that is thrown away.
    pub durable: bool,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self { max_connections: 40, shared_buffers_mb: 128, work_mem_mb: 4, max_wal_size_mb: 2048, durable: true }
    }
}

/// Whether there is a private server's data under the data folder, running or not; also when we may not look.
pub fn exists(data_dir: &Path) -> bool {
    match data_dir.join("postgres").join("data").join("PG_VERSION").metadata() {
        Ok(_) => true,
        Err(cause) => cause.kind() != io::ErrorKind::NotFound,
    }
}

/// Connection settings of the server's database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The folder with the server's Unix socket: under the data folder, or a private folder under
    /// `$XDG_RUNTIME_DIR` or `/tmp` when that path is too long for a socket address.
    pub socket_dir: PathBuf,
    /// The port in the socket's file name.
    pub port: u16,
    /// The database role, without a password.
    pub user: &'static str,
    /// The database's name.
    pub database: &'static str,
}

impl Connection {
    fn new(socket_dir: PathBuf) -> Self {
        Self { socket_dir, port: PORT, user: USER, database: DATABASE }
    }

    /// A `postgres://` URL as sqlx and libpq read it, with the socket folder percent-encoded in
    /// the place of the host.
    pub fn database_url(&self) -> String {
        self.url_of(self.database)
    }

    /// The same for another database of the server.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://{}@{}:{}/{database}?sslmode=disable", self.user, percent_encoded(&self.socket_dir), self.port)
    }

    /// The shell command that opens the database.
    pub fn psql_command(&self) -> String {
        format!("psql -h {} -U {} {}", shell_quoted(&self.socket_dir.to_string_lossy()), self.user, self.database)
    }
}

/// Outcome of [`EmbeddedPostgres::stop`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopOutcome {
    /// The server is down.
    ServerStopped,
    /// Others still use the server, so it runs on.
    OthersRemain,
}

/// Error in finding, starting or stopping the private server.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// No usable server programs; `looked_at` says what was there instead.
    #[error(
        "no PostgreSQL server of version {needed} was found{looked_at}; install the PostgreSQL \
         server, e.g. `apt-get install {package}`, or set DATABASE_URL"
    )]
    BinariesNotFound {
        /// The wanted version in words.
        needed: String,
        /// The Debian package that has it.
        package: String,
        /// The unfit candidates, empty or beginning with a space.
        looked_at: String,
    },
    /// The configured folder of server programs cannot be used.
    #[error("the configured PostgreSQL folder {} cannot be used: {reason}", .dir.display())]
    BinDirUnusable {
        /// The configured folder.
        dir: PathBuf,
        /// Problem with it.
        reason: String,
    },
    /// We are root and there is no ordinary user to run the server as.
    #[error(
        "PostgreSQL cannot run as root and there is neither a user `postgres` nor `nobody` \
         to run it as; make one, give the data folder to an ordinary user, or set DATABASE_URL"
    )]
    NoServerUser,
    /// The server's user cannot get into a folder it needs.
    #[error(
        "the user `{user}`, which runs PostgreSQL, cannot enter {}; give every folder of \
         this path the execute bit for others (`chmod o+x`), move the data folder, or set \
         DATABASE_URL",
        .path.display()
    )]
    NotEnterable {
        /// The folder.
        path: PathBuf,
        /// The user PostgreSQL would run as.
        user: String,
    },
    /// A folder we need exists and belongs to somebody else.
    #[error(
        "{} belongs to user id {owner}, not to us; run as that user or as root, or use another \
         data folder",
        .path.display()
    )]
    ForeignOwner {
        /// The folder.
        path: PathBuf,
        /// Owner.
        owner: u32,
    },
    /// A path that has to be written into settings and URLs is not UTF-8.
    #[error("the data folder {} has a name that is not UTF-8", .path.display())]
    PathNotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// `postgres/data` has content but is no cluster.
    #[error("{} is neither empty nor a PostgreSQL cluster; move it away", .path.display())]
    NotACluster {
        /// The folder.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {action} {}: {reason}", .path.display())]
    Io {
        /// Operation that was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Cause of the failure.
        reason: io::Error,
    },
    /// One of PostgreSQL's programs could not be started or failed.
    #[error("{program} failed: {output}{log_tail}")]
    ProgramFailed {
        /// The program with its subcommand.
        program: String,
        /// Exit status and what it printed.
        output: String,
        /// The end of the server's log, or empty.
        log_tail: String,
    },
    /// Something did not happen in time.
    #[error("waited {} s for {what}{log_tail}", .waited.as_secs())]
    TimedOut {
        /// Operation that was waited for.
        what: String,
        /// How long.
        waited: Duration,
        /// The end of the server's log, or empty.
        log_tail: String,
    },
    /// A background task of ours ended early.
    #[error(transparent)]
    Task(#[from] tokio::task::JoinError),
}

impl EmbeddedError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |reason| Self::Io { action, path, reason }
    }
}

/// One user's hold on the running private server.
///
/// Dropping it gives up the hold but leaves the server running, because stopping takes time and
/// can fail; the next user adopts that server. Call [`stop`](Self::stop) to end it.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    connection: Connection,
    cluster: Cluster,
    users_lock: FileLock,
    stop_timeout: Duration,
    _log_rotation: AbortOnDropHandle<()>,
}

impl EmbeddedPostgres {
    /// Returns a hold on the server under `options.data_dir`, making the cluster and starting the
    /// server when needed.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError`] when there are no server programs, the folders cannot be used, or the
    /// server does not answer within `options.start_timeout`. Cancelling is safe.
    pub async fn ensure_running(options: &EmbeddedOptions) -> Result<Self, EmbeddedError> {
        Self::ensure_running_in(options, Path::new(CLUSTERS_ROOT)).await
    }

    async fn ensure_running_in(options: &EmbeddedOptions, clusters_root: &Path) -> Result<Self, EmbeddedError> {
        let deadline = Deadline::after(options.start_timeout);
        let paths = paths::prepare(&options.data_dir, clusters_root).await?;
        let start_lock = FileLock::exclusive(paths.start_lock(), deadline).await?;
        let users_lock = FileLock::shared(paths.users_lock(), deadline).await?;
        let cluster = Cluster::open(paths, options.bin_dir.as_deref()).await?;
        cluster.create_if_missing(options.settings.durable, deadline).await?;
        let socket_dir = cluster.start(&options.settings, deadline).await?;
        drop(start_lock);

        let rotation = cluster.clone();
        Ok(Self {
            connection: Connection::new(socket_dir),
            cluster,
            users_lock,
            stop_timeout: options.stop_timeout,
            _log_rotation: AbortOnDropHandle::new(tokio::spawn(async move {
                let mut ticks = tokio::time::interval(LOG_CHECK_INTERVAL);
                loop {
                    ticks.tick().await;
                    rotation.rotate_log().await;
                }
            })),
        })
    }

    /// Connection settings of the database.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// See [`Connection::database_url`].
    pub fn database_url(&self) -> String {
        self.connection.database_url()
    }

    /// See [`Connection::psql_command`].
    pub fn psql_command(&self) -> String {
        self.connection.psql_command()
    }

    /// Gives up the hold, and stops the server when nobody else has one.
    ///
    /// Close the connection pools before: a stop breaks connections that are still open.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError`] when the server is still up a while after the stop timeout; the hold is
    /// given up all the same.
    pub async fn stop(self) -> Result<StopOutcome, EmbeddedError> {
        let deadline = Deadline::after(self.stop_timeout);
        let _start_lock = FileLock::exclusive(self.cluster.paths().start_lock(), deadline).await?;
        // Nobody can become a user while we hold the start lock, so being alone now is final.
        if !self.users_lock.try_upgrade()? {
            return Ok(StopOutcome::OthersRemain);
        }
        self.cluster.stop(self.stop_timeout).await?;
        Ok(StopOutcome::ServerStopped)
    }
}

/// A point in time by which a step has to be done, with the time it had.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Instant,
    total: Duration,
}

impl Deadline {
    fn after(total: Duration) -> Self {
        Self { at: Instant::now() + total, total }
    }

    fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    fn error(&self, what: impl Into<String>, log_tail: String) -> EmbeddedError {
        EmbeddedError::TimedOut { what: what.into(), waited: self.total, log_tail }
    }
}

/// Runs file operations where they may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, EmbeddedError> + Send + 'static) -> Result<T, EmbeddedError> {
    tokio::task::spawn_blocking(work).await?
}

fn percent_encoded(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;

    percent_encoding::percent_encode(path.as_os_str().as_bytes(), percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn shell_quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
