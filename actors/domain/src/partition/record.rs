//! What is recorded of a day's partition.

use chrono::NaiveDate;

use crate::Timestamp;

/// State of a day of heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum PartitionState {
    /// Heartbeats of it may still come in numbers.
    Open,
    /// The day is over, and its table is frozen and analyzed. An archive that is recorded is out of date.
    Settled,
    /// An archive was written, and not read back yet.
    Archived,
    /// The archive was read back from the store and matched.
    Verified,
    /// The table is gone; the archive has the rows.
    Dropped,
    /// Rows of the archive are on their way back into a table.
    Restoring,
    /// A table was made again from the archive.
    Restored,
    /// The table was removed by hand, without an archive.
    Lost,
}

named!(pub PartitionState, parse -> Option);

/// Archive of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveRecord {
    /// Where it is, for people; without credentials.
    pub url: String,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// SHA-256 of the canonical rows, in hex.
    pub rows_sha256: String,
    /// Rows.
    pub rows: u64,
    /// Size of the file.
    pub bytes: u64,
    /// First bucket; `None` without rows.
    pub first_at: Option<Timestamp>,
    /// Last bucket; `None` without rows.
    pub last_at: Option<Timestamp>,
    /// Version of the schema of the file.
    pub schema_version: u32,
}

/// How far the step that is under way has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Name of the step, as [`super::Action::as_str`] has it.
    pub step: String,
    /// Rows done.
    pub done: u64,
    /// Rows there are; 0: not known.
    pub of: u64,
    /// When this was noted.
    pub at: Timestamp,
}

/// What is recorded of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRecord {
    /// The day, UTC.
    pub day: NaiveDate,
    /// State.
    pub state: PartitionState,
    /// Rows of the table, when it was last counted.
    pub rows: Option<u64>,
    /// Size of the table with its indexes, when it was last looked at.
    pub bytes: Option<u64>,
    /// The newest archive.
    pub archive: Option<ArchiveRecord>,
    /// When the table was made.
    pub created_at: Option<Timestamp>,
    /// When it was frozen and analyzed.
    pub analyzed_at: Option<Timestamp>,
    /// When the archive was written.
    pub archived_at: Option<Timestamp>,
    /// When the archive was last read back and matched.
    pub verified_at: Option<Timestamp>,
    /// When the table was dropped.
    pub dropped_at: Option<Timestamp>,
    /// When it was made again from the archive.
    pub restored_at: Option<Timestamp>,
    /// Until when a restored one is kept.
    pub restored_until: Option<Timestamp>,
    /// Why the last attempt at a step failed.
    pub last_error: Option<String>,
    /// When it failed.
    pub failed_at: Option<Timestamp>,
    /// Attempts in a row that failed.
    pub attempts: u32,
    /// The step that is under way.
    pub progress: Option<Progress>,
}

impl PartitionRecord {
    /// The record of a day in this state of which nothing else is known.
    pub fn new(day: NaiveDate, state: PartitionState) -> Self {
        Self {
            day,
            state,
            rows: None,
            bytes: None,
            archive: None,
            created_at: None,
            analyzed_at: None,
            archived_at: None,
            verified_at: None,
            dropped_at: None,
            restored_at: None,
            restored_until: None,
            last_error: None,
            failed_at: None,
            attempts: 0,
            progress: None,
        }
    }
}
