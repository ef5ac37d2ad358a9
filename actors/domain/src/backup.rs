//! The record of a backup.

use crate::{BackupId, Timestamp};

/// Whoever made a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupOrigin {
    /// The schedule of the cluster.
    Schedule,
    /// `nexmdm backup create`.
    Console,
}

impl BackupOrigin {
    /// Name, as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Console => "console",
        }
    }

    /// The origin of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Schedule, Self::Console].into_iter().find(|origin| origin.as_str() == name)
    }
}

/// A backup, or an attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupRecord {
    /// Id.
    pub id: BackupId,
    /// Time of its snapshot, or of the attempt.
    pub started_at: Timestamp,
    /// Time at which its file was in place; `None`: it failed.
    pub finished_at: Option<Timestamp>,
    /// Path of the file on the machine that made it.
    pub file: String,
    /// Size of the file.
    pub bytes: i64,
    /// Rows that it holds.
    pub rows: i64,
    /// Whoever made it.
    pub origin: BackupOrigin,
    /// Name of the node, or of the machine's user at the command line.
    pub node: String,
    /// Time at which it was read back and every digest matched.
    pub verified_at: Option<Timestamp>,
    /// Reason of the failure.
    pub error: Option<String>,
}

/// How old the newest backup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupAge {
    /// Time of its snapshot.
    Made(Timestamp),
    /// There is none; the first attempt failed at this time.
    NoneSince(Timestamp),
}
