//! What can go wrong with archives, and which file it is about.

use std::error::Error;
use std::io;
use std::time::Duration;

use domain::{Invalid, ServiceError};
use store::StoreError;

/// Kind of failure of the object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreProblem {
    /// No space is left.
    Full,
    /// It takes no writes, or the credentials do not allow them.
    ReadOnly,
    /// It does not answer, or with an error of its own.
    Unreachable,
}

impl StoreProblem {
    fn words(self) -> &'static str {
        match self {
            Self::Full => "the store is full",
            Self::ReadOnly => "the store refuses access",
            Self::Unreachable => "the store fails",
        }
    }
}

/// A failed read, check or write of an archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// There is no such file.
    #[error("{key}: not in the store")]
    Missing {
        /// The file.
        key: String,
    },
    /// The file is not what was written.
    #[error("{key}: {problem}")]
    Damaged {
        /// The file.
        key: String,
        /// What differs.
        problem: String,
    },
    /// The store failed.
    #[error("{key}: {}: {detail}", .problem.words())]
    Store {
        /// The file.
        key: String,
        /// What is wrong with it.
        problem: StoreProblem,
        /// The store's words.
        detail: String,
    },
    /// The store was too slow.
    #[error("{key}: the store did not answer within {} ms (archive.timeout_ms)", .timeout.as_millis())]
    TimedOut {
        /// The file.
        key: String,
        /// Limit.
        timeout: Duration,
    },
    /// Reading took more bytes than one request may.
    #[error("reading the archives takes more than {max} bytes (archive.read_limit_bytes): ask for fewer days")]
    TooManyBytes {
        /// Limit.
        max: u64,
    },
    /// Reading took longer than one request may.
    #[error("reading the archives takes longer than {} ms (archive.read_timeout_ms): ask for fewer days", .timeout.as_millis())]
    TooSlow {
        /// Limit.
        timeout: Duration,
    },
    /// This machine's disk failed.
    #[error("{}: {cause}", .folder.display())]
    Disk {
        /// The folder.
        folder: std::path::PathBuf,
        /// Cause.
        cause: io::Error,
    },
    /// The store cannot be opened: its folder cannot be made, for one.
    #[error(transparent)]
    NotOpened(Invalid),
    /// The rows cannot be archived.
    #[error(transparent)]
    Rows(#[from] Invalid),
    /// The rows could not be read from the database.
    #[error(transparent)]
    Database(#[from] StoreError),
}

impl ArchiveError {
    /// Whether the archive is not what it should be, rather than out of reach.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Missing { .. })
    }

    /// Whether a later attempt may succeed without anybody's help.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Store { .. } | Self::TimedOut { .. } | Self::Disk { .. } | Self::NotOpened(_) => true,
            Self::Database(cause) => cause.is_outage(),
            _ => false,
        }
    }

    pub(crate) fn damaged(key: &str, problem: impl Into<String>) -> Self {
        Self::Damaged { key: key.to_owned(), problem: problem.into() }
    }

    pub(crate) fn of_store(key: &str, cause: &object_store::Error) -> Self {
        let key = key.to_owned();
        let problem = match cause {
            object_store::Error::NotFound { .. } => return Self::Missing { key },
            object_store::Error::Precondition { .. } => return Self::Damaged { key, problem: "was replaced while it was read".into() },
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => StoreProblem::ReadOnly,
            other => problem_of(other),
        };
        Self::Store { key, problem, detail: cause.to_string() }
    }
}

/// What the chain of causes says: a folder tells it by its kind of error, an object store in the words of its answer.
fn problem_of(cause: &object_store::Error) -> StoreProblem {
    let mut next: Option<&(dyn Error + 'static)> = Some(cause);
    while let Some(cause) = next {
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            match cause.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => return StoreProblem::Full,
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => return StoreProblem::ReadOnly,
                _ => {}
            }
        }
        next = cause.source();
    }
    let words = cause.to_string();
    let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    if says(&["507", "InsufficientStorage", "XMinioStorageFull", "QuotaExceeded"]) {
        StoreProblem::Full
    } else if says(&["403 Forbidden", "AccessDenied"]) {
        StoreProblem::ReadOnly
    } else {
        StoreProblem::Unreachable
    }
}

impl From<ArchiveError> for ServiceError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::TooManyBytes { .. } | ArchiveError::TooSlow { .. } => Self::Invalid(Invalid::new("from", error.to_string())),
            ArchiveError::Rows(invalid) => Self::Invalid(invalid),
            ArchiveError::Database(cause) => cause.into(),
            other if other.is_outage() => {
                tracing::warn!(event = "archive.unavailable", cause = %other);
                Self::Unavailable
            }
            // Whoever reads an archive knows from a record that there is one: a folder that is not mounted, another bucket, or a file that is gone.
            missing @ ArchiveError::Missing { .. } => {
                tracing::error!(event = "archive.missing", cause = %missing);
                Self::Unavailable
            }
            other => {
                tracing::error!(event = "archive.damaged", cause = %other);
                Self::Internal
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(source: impl Into<Box<dyn Error + Send + Sync>>) -> String {
        let cause = object_store::Error::Generic { store: "test", source: source.into() };
        ArchiveError::of_store("heartbeats/2026-09-01.parquet", &cause).to_string()
    }

    #[test]
    fn a_store_that_is_full_or_read_only_is_told_from_one_that_fails() {
        for (said, words) in [
            (of(io::Error::from(io::ErrorKind::StorageFull)), "the store is full"),
            (of("Server returned non-2xx status code: 507 Insufficient Storage"), "the store is full"),
            (of(io::Error::from(io::ErrorKind::ReadOnlyFilesystem)), "the store refuses access"),
            (of("Client error with status 403 Forbidden: AccessDenied"), "the store refuses access"),
            (of("connection reset"), "the store fails"),
        ] {
            assert!(said.starts_with("heartbeats/2026-09-01.parquet: ") && said.contains(words), "{said}");
        }
    }
}
