//! Errors of the database, in terms a caller can act on.

use domain::ServiceError;
use sqlx::error::DatabaseError;

/// A uniqueness rule that a write would have broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// Another enrolled device has this alias.
    AliasInUse,
    /// Another account has this name.
    UsernameInUse,
    /// Another filter of the same account has this name.
    FilterNameInUse,
    /// Another rule.
    Other,
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
    /// The migrations could not be applied.
    #[error("migration: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
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
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) if database.is_unique_violation() => Self::Conflict(match database.constraint() {
                Some("device_alias_key" | "device_alias_canonical_key") => Conflict::AliasInUse,
                Some("app_user_username_key" | "app_user_username_canonical_key") => Conflict::UsernameInUse,
                Some("saved_filter_name_key" | "saved_filter_name_canonical_key") => Conflict::FilterNameInUse,
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
/// too slow within a transaction) and 40P01 (a deadlock, of which one side is ended and may try again): appendix A of the PostgreSQL manual.
fn is_outage(error: &dyn DatabaseError) -> bool {
    let single = ["25006", "25P03", "40P01"];
    error.code().is_some_and(|code| ["08", "53", "57"].iter().any(|class| code.starts_with(class)) || single.contains(&code.as_ref()))
}
