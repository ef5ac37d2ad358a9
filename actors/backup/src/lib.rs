//! Backups: database, keys, APKs and archives as one encrypted stream.
//!
//! ```text
//! age ( zstd ( tar ) )             `age -d FILE | zstd -d | tar t` lists it
//!   manifest.json                  what it holds: versions, tables with their columns, sequences, APKs
//!   keys/master.key ...            keys of the cluster, as hex
//!   database/TABLE/000000.copy ... rows as COPY writes them, in parts of some MiB
//!   apks/ID.apk                    files of APKs
//!   archives/...                   files of archived days
//!   digest.json                    SHA-256, bytes and rows of everything before it: without it a backup is cut off
//! ```
//! All rows are of one snapshot. Files are copied after it, in the order of the rows that name them. Nothing is kept in memory but a few parts.

mod create;
mod error;
mod files;
mod keys;
mod manifest;
mod member;
mod passphrase;
mod pipe;
mod reader;
mod restore;
mod schedule;
mod tally;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

use std::sync::Arc;

pub use create::{CreateOptions, Created, Sources, create};
pub use error::BackupError;
pub use keys::{KEY_NAMES, Key};
pub use manifest::{ApkEntry, Digest, DigestEntry, FORMAT, Manifest, SequenceEntry, TableEntry};
pub use passphrase::{PASSPHRASE_MIN_CHARS, check_passphrase, read_passphrase_file};
pub use restore::{RestoreOptions, Restored, Target, TargetKey, restore};
pub use schedule::{file_name, is_due, remove_old, remove_unfinished};
pub use verify::{Verified, is_encrypted, verify};
pub use writer::{WORK_FACTOR, WORK_FACTOR_MAX};

/// Receiver of progress: the part that is under way, and the bytes so far, before compression.
pub type Progress = Arc<dyn Fn(&str, u64) + Send + Sync>;
