//! What a manager tells: progress, outcomes, errors.

use archive::ArchiveError;
use chrono::NaiveDate;
use domain::partition::Action;
use domain::{Invalid, ServiceError};
use store::StoreError;

/// Place in a step at which a test may end the manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum FaultPoint {
    /// The archive is in the store, and nothing says so yet.
    ArchiveWritten,
    /// The archive is recorded.
    ArchiveRecorded,
    /// The archive was read back, and nothing says so yet.
    VerifyRead,
    /// The archive counts as verified.
    VerifyRecorded,
    /// The table is detached.
    DropDetached,
    /// The detached table has the rows of the archive.
    DropCompared,
    /// The table is dropped.
    DropDone,
    /// Some of a restored day's rows are in its table.
    RestoreBegun,
    /// All of them are, and the table is not attached.
    RestoreFilled,
    /// The table is attached, and nothing says so yet.
    RestoreAttached,
    /// The table was frozen and analyzed, and nothing says so yet.
    Analyzed,
}

/// Whoever looks on while the manager works.
pub trait Watch: Send + Sync {
    /// A step has come so far: rows done, of so many (0: not known).
    fn progress(&self, day: NaiveDate, action: Action, done: u64, of: u64) {
        let _ = (day, action, done, of);
    }

    /// Whether the next step may begin.
    fn may_go_on(&self) -> bool {
        true
    }

    /// Passes a place at which a test may end the manager.
    ///
    /// # Errors
    /// It does.
    fn pass(&self, point: FaultPoint) -> Result<(), PartitionError> {
        let _ = point;
        Ok(())
    }
}

impl Watch for () {}

/// A step that was done.
#[derive(Debug, Clone, PartialEq)]
pub struct StepDone {
    /// Day.
    pub day: NaiveDate,
    /// What was done.
    pub action: Action,
    /// Rows that it was about.
    pub rows: u64,
    /// Bytes that it wrote, read or freed.
    pub bytes: u64,
    /// Duration, s.
    pub seconds: f64,
    /// Whether what follows in the plan still holds; otherwise the day is planned anew.
    pub is_as_planned: bool,
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFailed {
    /// Day.
    pub day: NaiveDate,
    /// What was tried.
    pub action: Action,
    /// Why it failed.
    pub error: String,
    /// Whether somebody else held a lock, such as a backup that reads; a later run finds it free.
    pub is_locked: bool,
}

/// Outcome of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunReport {
    /// Steps that were done, in order.
    pub done: Vec<StepDone>,
    /// Steps that failed; their days are left to the next run.
    pub failed: Vec<StepFailed>,
    /// Whether something that is due is left to the next run for want of time.
    pub is_cut_short: bool,
}

/// Why partitions were not worked on.
#[derive(Debug, thiserror::Error)]
pub enum PartitionError {
    /// Another one works.
    #[error("another node or command works on partitions: try again once it is done")]
    Busy,
    /// What was asked for cannot be.
    #[error("{day}: {problem}")]
    Refused {
        /// Day.
        day: NaiveDate,
        /// Why.
        problem: String,
    },
    /// Somebody else changed the record of the day meanwhile.
    #[error("{day}: somebody else changed its record meanwhile")]
    Overtaken {
        /// Day.
        day: NaiveDate,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The archive, or the store of archives, failed.
    #[error(transparent)]
    Archive(ArchiveError),
    /// A test ended the manager.
    #[error("ended at the fault point {}", <&str>::from(.0))]
    Fault(FaultPoint),
}

impl From<ArchiveError> for PartitionError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Database(cause) => Self::Store(cause),
            error => Self::Archive(error),
        }
    }
}

impl PartitionError {
    pub(super) fn refused(day: NaiveDate, problem: String) -> Self {
        Self::Refused { day, problem }
    }

    /// Whether no further step can be expected to succeed. Locks that others hold are no such reason.
    pub(super) fn ends_the_run(&self) -> bool {
        match self {
            Self::Fault(_) | Self::Busy => true,
            // A step that took longer than it may tells nothing of the others.
            Self::Store(StoreError::TimedOut(_)) => false,
            Self::Store(cause) => cause.is_outage() && !cause.is_lock_timeout(),
            _ => false,
        }
    }

    /// Whether the store of archives cannot be used now.
    pub(super) fn is_store_away(&self) -> bool {
        matches!(self, Self::Archive(cause) if cause.is_outage())
    }

    /// Whether somebody else held a lock for too long.
    pub(super) fn is_locked(&self) -> bool {
        matches!(self, Self::Store(cause) if cause.is_lock_timeout())
    }

    /// Whether the archive is not what was written.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Archive(cause) if cause.is_damage())
    }
}

impl From<PartitionError> for ServiceError {
    fn from(error: PartitionError) -> Self {
        match error {
            PartitionError::Store(cause) => cause.into(),
            PartitionError::Archive(cause) if cause.is_outage() => {
                tracing::warn!(event = "archive.unavailable", %cause);
                Self::Unavailable
            }
            error => Self::Invalid(Invalid::new("partition", error.to_string())),
        }
    }
}
