//! The database of a node: the one it is given, or its private PostgreSQL.

use std::env::VarError;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::TimeDelta;
use clock::Clock;
use domain::ServiceError;
use embedded_postgres::{EmbeddedOptions, EmbeddedPostgres, ServerSettings};
use store::{NarrowRows, PoolOptions, Store};
use tokio::sync::Mutex;

use crate::config::Config;
use crate::secret_files;

/// What a server tells of itself, for whoever judges it.
pub(crate) use store::{DurabilitySettings, ServerConnections};

/// A connected, migrated database.
pub(crate) struct Database {
    /// The statements.
    pub(crate) store: Store,
    /// The same over connections of its own, for leases and placement.
    pub(crate) cluster_store: Store,
    embedded: Option<Mutex<EmbeddedPostgres>>,
}

/// Longest wait for a connection to the standby: the primary is there as well.
const REPLICA_WITHIN: Duration = Duration::from_millis(500);
/// Check interval of the private PostgreSQL.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Connections of the private PostgreSQL beyond the node's own: commands, psql, other nodes on this machine.
const SPARE_CONNECTIONS: u32 = 160;
/// How long a polite stop of the private PostgreSQL may take; it must fit into a node's own.
const EMBEDDED_STOP_TIMEOUT: Duration = Duration::from_secs(4);

/// Connections of a node beside its pools: its listener, and work that runs once per cluster.
const CONNECTIONS_BESIDE: i64 = 4;
/// What to do where the server takes too few.
pub(crate) const CONNECTIONS_REMEDY: &str =
    "raise max_connections of PostgreSQL, or lower database.pool_max_connections and cluster.pool_max_connections";

/// Most connections that a node of this configuration opens.
pub(crate) fn connections_per_node(config: &Config) -> i64 {
    i64::from(config.database.pool_max_connections) + i64::from(config.cluster.pool_max_connections) + CONNECTIONS_BESIDE
}

/// The URL of the database, unless it is the private one.
///
/// # Errors
/// It is no URL of PostgreSQL.
pub(crate) fn given_url(config: &Config) -> anyhow::Result<Option<String>> {
    let variable = match std::env::var("DATABASE_URL") {
        Err(VarError::NotUnicode(_)) => bail!("DATABASE_URL is not UTF-8"),
        variable => variable.ok().filter(|url| !url.is_empty()),
    };
    let given = match variable {
        Some(url) => Some(url),
        None => secret_files::given("database.url", &config.database.url, &config.database.url_file)?,
    };
    let Some(url) = given else { return Ok(None) };
    check_url("DATABASE_URL (database.url, database.url_file)", &url)?;
    Ok(Some(url))
}

/// The URL of the standby for reads, if there is one.
///
/// # Errors
/// It is no URL of PostgreSQL.
pub(crate) fn read_url(config: &Config) -> anyhow::Result<Option<&str>> {
    let Some(url) = config.database.read_url.get() else { return Ok(None) };
    check_url("database.read_url", url)?;
    Ok(Some(url))
}

/// Checks what can be known of a URL; messages do not repeat it, as it may hold a password.
fn check_url(field: &str, url: &str) -> anyhow::Result<()> {
    if let Some(c) = url.chars().find(|c| c.is_control() || c.is_whitespace()) {
        bail!("{field}: has a blank or control character (U+{:04X})", u32::from(c));
    }
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        bail!("{field}: does not read as postgres://...");
    }
    Ok(Store::check_url(field, url)?)
}

/// Starts the private PostgreSQL if no database is given.
///
/// # Errors
/// No server programs are found, or the server does not start.
pub(crate) async fn start_embedded(config: &Config) -> anyhow::Result<EmbeddedPostgres> {
    let mut options = EmbeddedOptions::new(&config.data_dir);
    options.bin_dir = Some(config.database.bin_dir.clone()).filter(|dir| *dir != PathBuf::new());
    options.stop_timeout = EMBEDDED_STOP_TIMEOUT;
    options.settings = ServerSettings {
        max_connections: config.database.pool_max_connections + config.cluster.pool_max_connections + SPARE_CONNECTIONS,
        shared_buffers_mb: config.database.shared_buffers_mb,
        ..ServerSettings::default()
    };
    Ok(EmbeddedPostgres::ensure_running(&options).await?)
}

/// Refuses to go on where there is no database yet: a command in a wrong folder must not make one.
///
/// # Errors
/// No database is given, and the data folder has no private one.
pub(crate) fn ensure_exists(config: &Config) -> anyhow::Result<()> {
    if given_url(config)?.is_none() && !embedded_postgres::exists(&config.data_dir) {
        return Err(none_here(config, "database", "its database (DATABASE_URL)"));
    }
    Ok(())
}

/// The refusal of a command that found nothing to work on in the data folder.
pub(crate) fn none_here(config: &Config, what: &str, or: &str) -> anyhow::Error {
    let folder = std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
    anyhow::anyhow!(
        "there is no {what} in the data folder {}: name the data folder of the server (data_dir, NEXMDM__DATA_DIR) or {or}, or run this in the \
         folder in which the server is started; only `nexmdm serve` makes a new one",
        folder.display()
    )
}

/// File that is in the data folder while a restore is under way.
pub(crate) fn restore_mark(config: &Config) -> PathBuf {
    config.data_dir.join("restore.unfinished")
}

/// Refuses a data folder that a restore left unfinished.
///
/// # Errors
/// Names the backup.
pub(crate) fn refuse_unfinished(config: &Config) -> anyhow::Result<()> {
    match std::fs::read_to_string(restore_mark(config)) {
        Ok(backup) => bail!(
            "the restore of {backup} into the data folder {} did not end well: repeat `nexmdm backup restore`",
            config.data_dir.display()
        ),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(cause).with_context(|| restore_mark(config).display().to_string()),
    }
}

impl Database {
    /// Whether it is the private one, whose files lie in the data folder.
    pub(crate) fn is_private(&self) -> bool {
        self.embedded.is_some()
    }

    /// As [`Self::open`], if there is a database.
    ///
    /// # Errors
    /// As [`ensure_exists`] and [`Self::open`].
    pub(crate) async fn open_existing(config: &Config) -> anyhow::Result<Self> {
        ensure_exists(config)?;
        Self::open(config).await
    }

    /// Connects, starting the private PostgreSQL if need be, and migrates.
    ///
    /// # Errors
    /// The database cannot be started, reached or migrated.
    pub(crate) async fn open(config: &Config) -> anyhow::Result<Self> {
        let database = Self::connect(config).await?;
        match database.prepare().await {
            Ok(()) => Ok(database),
            Err(error) => {
                database.close().await?;
                Err(error)
            }
        }
    }

    /// As [`Self::open`], and leaves the schema as it is.
    ///
    /// # Errors
    /// The database cannot be started, reached or used.
    pub(crate) async fn open_unmigrated(config: &Config) -> anyhow::Result<Self> {
        let database = Self::connect(config).await?;
        match database.store.check_server().await.context("the database cannot be used") {
            Ok(()) => Ok(database),
            Err(error) => {
                database.close().await?;
                Err(error)
            }
        }
    }

    async fn connect(config: &Config) -> anyhow::Result<Self> {
        let (url, embedded) = match given_url(config)? {
            Some(url) => (url, None),
            None => {
                let embedded = start_embedded(config).await?;
                (embedded.database_url(), Some(embedded))
            }
        };
        let options = PoolOptions {
            max_connections: config.database.pool_max_connections,
            acquire_timeout: Duration::from_millis(config.database.acquire_timeout_ms),
            statement_timeout: Duration::from_millis(config.database.statement_timeout_ms),
            answer_grace: Duration::from_millis(config.database.answer_grace_ms),
        };
        let narrow = NarrowRows {
            enabled: config.history.narrow_rows,
            sessions_max: config.history.sessions_max,
            cached_max: config.history.sessions_cached_max,
        };
        let mut store = Store::new(&url, options)?.with_narrow_rows(narrow);
        if let Some(read_url) = read_url(config)? {
            let replica = PoolOptions {
                max_connections: u32::try_from(config.database.read_connections()).unwrap_or(u32::MAX),
                acquire_timeout: options.acquire_timeout.min(REPLICA_WITHIN),
                ..options
            };
            store = store.with_replica(read_url, replica, Duration::from_millis(config.database.read_max_lag_ms))?;
        }
        let options = PoolOptions { max_connections: config.cluster.pool_max_connections, ..options };
        let cluster_store = store.beside(&url, options)?;
        Ok(Self { store, cluster_store, embedded: embedded.map(Mutex::new) })
    }

    /// Checks the server, and migrates.
    async fn prepare(&self) -> anyhow::Result<()> {
        self.store.check_server().await.context("the database cannot be used")?;
        if let Some(backup) = self.store.unfinished_restore().await.context("the database cannot be used")? {
            bail!(
                "the restore of the backup {backup} into this database did not end well, so that it is not whole: repeat `nexmdm backup restore`"
            );
        }
        self.store.migrate().await.context("the database migration failed")?;
        if let Some(cause) = self.store.check_replica().await.context("the standby cannot be used")? {
            let remedy = "reads come from the primary until the server of database.read_url answers as a standby";
            tracing::warn!(event = "database.replica_unavailable", cause, remedy);
        }
        Ok(())
    }

    /// Refuses a machine whose clock is far off from the database's: certificates, logs and whatever else goes by it would be wrong.
    ///
    /// # Errors
    /// It is off by more than `max`, or the database does not tell its time.
    pub(crate) async fn refuse_wrong_clock(&self, clock: &Clock, max: TimeDelta) -> anyhow::Result<()> {
        let offset = actors::database_time::machine_offset(&self.store, clock).await.context("the database does not tell its time")?;
        if offset.abs() <= max {
            return Ok(());
        }
        let (seconds, direction) = (offset.num_seconds().abs(), if offset > TimeDelta::zero() { "ahead of" } else { "behind" });
        bail!(
            "the clock of this machine is {seconds} s {direction} that of the database's server, more than cluster.clock_offset_refused_ms \
             ({} ms): compare both with the time (timedatectl, chronyc tracking), and let NTP set the one that is wrong",
            max.num_milliseconds()
        )
    }

    /// A clock that goes by the database's.
    ///
    /// # Errors
    /// The database does not tell its time.
    pub(crate) async fn clock(&self) -> anyhow::Result<Clock> {
        let clock = Clock::system();
        actors::database_time::correct(&self.store, &clock).await.context("the database does not tell its time")?;
        Ok(clock)
    }

    /// The shell command that opens the private database.
    pub(crate) async fn psql_command(&self) -> Option<String> {
        match &self.embedded {
            Some(embedded) => Some(embedded.lock().await.psql_command()),
            None => None,
        }
    }

    /// Restarts the private PostgreSQL whenever it has ended; runs until dropped.
    pub(crate) async fn supervise(&self, config: &Config) {
        let Some(embedded) = &self.embedded else { return std::future::pending().await };
        let mut looks = tokio::time::interval(WATCH_INTERVAL);
        loop {
            looks.tick().await;
            if self.store.ping().await.is_ok() {
                continue;
            }
            match start_embedded(config).await {
                // The handle on the one that ended is let go of; the pool reconnects by itself.
                Ok(started) => {
                    tracing::warn!(event = "database.restarted");
                    *embedded.lock().await = started;
                }
                Err(cause) => tracing::error!(event = "database.restart_failed", %cause),
            }
        }
    }

    /// Disconnects, and stops the private PostgreSQL if nobody else uses it.
    ///
    /// # Errors
    /// The private PostgreSQL does not stop.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        // A connection that does not come back in time is cut off by the server's stop.
        let closing = async { tokio::join!(self.store.close(), self.cluster_store.close()) };
        let _ = tokio::time::timeout(Duration::from_secs(2), closing).await;
        if let Some(embedded) = self.embedded {
            embedded.into_inner().stop().await?;
        }
        Ok(())
    }
}

/// A service's refusal as a message for a person at the console.
pub(crate) fn for_console(error: ServiceError) -> anyhow::Error {
    match error {
        // Services log the cause, which callers of the API must not see; a person at the console has that log.
        ServiceError::Internal => anyhow::anyhow!("a call to the database or the system failed; the log line above has the cause"),
        error => anyhow::anyhow!("{error}"),
    }
}
