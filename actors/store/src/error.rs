//! Errors of the database, in terms a caller can act on.

use domain::{Invalid, ServiceError};
use sqlx::error::DatabaseError;

/// Oldest supported version of PostgreSQL, as `server_version_num` has it.
pub(crate) const OLDEST_VERSION_NUM: i32 = 150_000;
/// Only this encoding has every character that people and devices write.
pub(crate) const ENCODING: &str = "UTF8";

/// A uniqueness rule that a write would have broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// Another enrolled device has this alias.
    AliasInUse,
    /// Another account has this name.
    UsernameInUse,
    /// Another filter of the same account has this name.
    FilterNameInUse,
    /// Another channel of alerts has this name.
    ChannelNameInUse,
    /// Another rule.
    Other,
}

/// Reason why a database, or the way to it, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnfitServer {
    /// The server is too old.
    #[error("the database server is PostgreSQL {found}; the oldest supported version is {}: upgrade it", OLDEST_VERSION_NUM / 10_000)]
    Version {
        /// Its version.
        found: String,
    },
    /// The database cannot hold every text.
    #[error(
        "the database {database:?} has the encoding {encoding} instead of {ENCODING}, which alone has every character: make it anew with \
         CREATE DATABASE ... ENCODING '{ENCODING}' TEMPLATE template0, and restore a dump into it"
    )]
    Encoding {
        /// Name of the database.
        database: String,
        /// Its encoding.
        encoding: String,
    },
    /// The server replays another one.
    #[error("the database server is a standby (pg_is_in_recovery), which takes no writes: let DATABASE_URL lead to the primary")]
    Standby,
    /// Several hosts, of which some answer and none is the primary.
    #[error(
        "none of the hosts of DATABASE_URL is a primary ({hosts}): let one of them become it (patronictl list, patronictl failover; or pg_ctl promote), \
         or name the host that is"
    )]
    NoPrimary {
        /// Each host, and what is wrong with it.
        hosts: String,
    },
    /// The URL for reads leads to the database of others.
    #[error(
        "database.read_url leads to the database of another cluster, or one that was restored: let it lead to a standby of the primary of \
         DATABASE_URL, or leave it empty"
    )]
    ForeignReplica,
    /// Transactions cannot write.
    #[error(
        "the database {database:?} is read-only (default_transaction_read_only): let DATABASE_URL lead to the primary, or set it to off for \
         this server, database and role"
    )]
    ReadOnly {
        /// Name of the database.
        database: String,
    },
    /// A pooler gives the connections of PostgreSQL to one client after the other.
    #[error(
        "DATABASE_URL leads to a connection pooler in transaction or statement mode, which loses the locks, notifications and settings of a \
         connection: let it lead to PostgreSQL itself, or set the pooler to session mode (PgBouncer: pool_mode = session)"
    )]
    TransactionPooling,
}

/// A failed statement.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, is starting or stopping, or took too long.
    /// Whether the statement took effect is unknown.
    #[error("the database is unavailable: {0}")]
    Unavailable(sqlx::Error),
    /// The database did not answer in time. Whether the statement took effect is unknown.
    #[error("no answer from the database within {0:?}")]
    TimedOut(std::time::Duration),
    /// The write would break a uniqueness rule; nothing was written.
    #[error("conflicts with an existing row: {0:?}")]
    Conflict(Conflict),
    /// The credential of the person or script that did it was taken away meanwhile; nothing was written.
    #[error("the credential of the caller no longer holds")]
    Unauthorized,
    /// The server, its database or the way to them cannot be used.
    #[error(transparent)]
    Unfit(#[from] UnfitServer),
    /// The migrations could not be applied.
    #[error("migration: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A value that a table cannot hold; nothing was written.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A stored value that no code path of ours writes.
    #[error("unexpected stored value in {0}")]
    Corrupt(&'static str),
    /// A defect of ours: the statement is wrong.
    #[error("database: {0}")]
    Failed(sqlx::Error),
}

impl StoreError {
    /// Whether the database is away, rather than the statement wrong.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::TimedOut(_))
    }

    /// Whether a lock did not come in time, or two transactions stood in each other's way: the database is there, and others use it.
    pub fn is_lock_timeout(&self) -> bool {
        let code = |cause: &sqlx::Error| cause.as_database_error().and_then(|cause| cause.code().map(|code| code.into_owned()));
        matches!(self, Self::Unavailable(cause) if code(cause).is_some_and(|code| code == "55P03" || code == "40P01"))
    }

    /// Whether the connection ended under the statement: the database ends one that stands still while it holds locks, or the way to it broke.
    pub(crate) fn is_cut_off(&self) -> bool {
        match self {
            Self::Unavailable(sqlx::Error::Io(_)) => true,
            Self::Unavailable(cause) => cause.as_database_error().is_some_and(|cause| cause.code().is_some_and(|code| code == "25P03")),
            _ => false,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) if database.is_unique_violation() => Self::Conflict(match database.constraint() {
                Some("device_alias_key" | "device_alias_canonical_key") => Conflict::AliasInUse,
                Some("app_user_username_key" | "app_user_username_canonical_key") => Conflict::UsernameInUse,
                Some("saved_filter_name_key" | "saved_filter_name_canonical_key") => Conflict::FilterNameInUse,
                Some("alert_channel_name_canonical_key") => Conflict::ChannelNameInUse,
                _ => Conflict::Other,
            }),
            sqlx::Error::Database(database) if is_outage(database.as_ref()) => Self::Unavailable(error),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
            _ => Self::Failed(error),
        }
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(Conflict::AliasInUse) => Self::AliasInUse,
            StoreError::Conflict(Conflict::UsernameInUse) => Self::UsernameInUse,
            StoreError::Conflict(Conflict::FilterNameInUse) => Self::FilterNameInUse,
            StoreError::Conflict(Conflict::ChannelNameInUse) => Self::Invalid(Invalid::new("name", "another channel has this name")),
            StoreError::Unauthorized => Self::Unauthorized,
            StoreError::Invalid(invalid) => Self::Invalid(invalid),
            cause @ (StoreError::Unavailable(_) | StoreError::TimedOut(_)) => {
                tracing::warn!(event = "database.unavailable", %cause);
                Self::Unavailable
            }
            other => {
                tracing::error!(event = "database.failed", cause = %other);
                Self::Internal
            }
        }
    }
}

/// Classes 08 (connection), 53 (resources), 57 (operator intervention, which
/// includes statement timeouts, shutdown and start-up), codes 25006 (a standby), 25P03 (we were
/// too slow within a transaction), 40001 and 40P01 (two transactions in each other's way, of which one is ended and may try again), 55P03 (a lock
/// that did not come in time) and 58030 (the server's disk fails): appendix A of the PostgreSQL manual.
fn is_outage(error: &dyn DatabaseError) -> bool {
    let single = ["25006", "25P03", "40001", "40P01", "55P03", "58030"];
    error.code().is_some_and(|code| ["08", "53", "57"].iter().any(|class| code.starts_with(class)) || single.contains(&code.as_ref()))
}
