//! Reasons why a backup is not made, read or restored.

use std::io;
use std::path::Path;

use domain::Invalid;
use store::StoreError;

/// Error of a backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file cannot be read or written.
    #[error("{what}: {cause}")]
    File {
        /// The file, and what was done with it.
        what: String,
        /// Reason.
        cause: io::Error,
    },
    /// There is a file of the name already.
    #[error("{0}: there is such a file already; a backup replaces none: give another name")]
    Exists(String),
    /// The file holds something else.
    #[error("not a backup of NexMDM: {0}")]
    NotABackup(String),
    /// A later format.
    #[error("the backup has format {found}, this build reads up to {known}: use the build that made it, version {version}, or a later one")]
    Format {
        /// Its format.
        found: u32,
        /// The newest that is known.
        known: u32,
        /// Version of the product that made it.
        version: String,
    },
    /// The passphrase is another one.
    #[error("the passphrase is wrong: it does not open the backup")]
    WrongPassphrase,
    /// A passphrase is needed.
    #[error("the backup is encrypted: give its passphrase (--passphrase-file or NEXMDM_BACKUP_PASSPHRASE)")]
    PassphraseNeeded,
    /// A passphrase that is refused.
    #[error("the passphrase {0}")]
    Passphrase(String),
    /// Its header asks for more work than is ever done.
    #[error("the backup asks for 2^{found} rounds of scrypt, more than the 2^{most} that this build does")]
    TooMuchWork {
        /// What it asks for.
        found: u8,
        /// Limit.
        most: u8,
    },
    /// Bytes are not what was written, or the end is missing.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// Its schema is newer than the one of this build.
    #[error(
        "the backup has schema {found} (version {version}), this build knows up to {known}: restore it with version {version} or later"
    )]
    NewerSchema {
        /// Its newest migration.
        found: i64,
        /// Newest migration of this build.
        known: i64,
        /// Version of the product that made it.
        version: String,
    },
    /// The place to restore to is in use, or holds something.
    #[error("{0}")]
    Refused(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store of APKs or archives.
    #[error("{what}: {cause}")]
    Objects {
        /// The file, and where.
        what: String,
        /// Reason.
        cause: String,
    },
    /// A setting.
    #[error("{}: {}", .0.field, .0.problem)]
    Setting(#[from] Invalid),
    /// The other side of the work ended first; its error says why.
    #[error("the work was given up")]
    GivenUp,
}

impl BackupError {
    pub(crate) fn file(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |cause| Self::File { what, cause }
    }

    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::file(path.display().to_string())
    }

    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }
}
