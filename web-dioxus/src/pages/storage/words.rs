//! States, steps and work on partitions in words and colours.

use domain::partition::{Action, PartitionRecord, PartitionState};
use domain::storage::{PartitionWork, WorkKind, WorkState};

use crate::format;

/// A state in a word or two.
pub(super) fn state(state: PartitionState) -> &'static str {
    match state {
        PartitionState::Open => "Hot",
        PartitionState::Settled => "Settled",
        PartitionState::Archived => "Archived, not verified",
        PartitionState::Verified => "Archived",
        PartitionState::Dropped => "In the archive only",
        PartitionState::Restoring => "Being restored",
        PartitionState::Restored => "Restored",
        PartitionState::Lost => "Lost",
    }
}

/// The meaning of a state.
pub(super) fn meaning(state: PartitionState) -> &'static str {
    match state {
        PartitionState::Open => "Heartbeats of the day still come in.",
        PartitionState::Settled => "The day is over; its table is frozen and analyzed.",
        PartitionState::Archived => "An archive was written and has not been read back yet.",
        PartitionState::Verified => "The table is there, and its archive was read back and matched.",
        PartitionState::Dropped => "The table is gone; plots and exports read the archive.",
        PartitionState::Restoring => "Rows of the archive are on their way back into a table.",
        PartitionState::Restored => "The table was made again from the archive.",
        PartitionState::Lost => "The table was removed by hand, without an archive.",
    }
}

/// The colour of a state, a role of the style sheet.
pub(super) fn tone(state: PartitionState) -> &'static str {
    match state {
        PartitionState::Open => "accent",
        PartitionState::Settled => "second",
        PartitionState::Archived | PartitionState::Verified => "good",
        PartitionState::Dropped => "idle",
        PartitionState::Restoring | PartitionState::Restored => "warn",
        PartitionState::Lost => "bad",
    }
}

/// The colour of a state's badge.
pub(super) fn badge(state: PartitionState) -> &'static str {
    match state {
        PartitionState::Open | PartitionState::Restoring | PartitionState::Restored => "info",
        PartitionState::Archived | PartitionState::Verified => "good",
        PartitionState::Lost => "bad",
        PartitionState::Settled | PartitionState::Dropped => "",
    }
}

/// A step as what is done.
pub(super) fn action(action: Action) -> &'static str {
    match action {
        Action::Create => "Create the table",
        Action::Attach => "Attach the table",
        Action::Merge => "Merge late rows with the archive",
        Action::Analyze => "Freeze and analyze",
        Action::Archive => "Archive",
        Action::Verify => "Verify the archive",
        Action::Drop => "Drop the table",
        Action::Restore => "Restore from the archive",
        Action::NoteGone => "Note that it was removed",
    }
}

/// Work in words: "Archive of 2026-09-01", "Run of everything that is due".
pub(super) fn work(work: &PartitionWork) -> String {
    let of = |what: &str| work.day.map_or_else(|| what.to_owned(), |day| format!("{what} {day}"));
    match work.kind {
        WorkKind::Run => "Run of everything that is due".to_owned(),
        WorkKind::Archive => of("Archive"),
        WorkKind::Verify => of("Verify"),
        WorkKind::Restore => of("Restore"),
        WorkKind::Forget => of("Drop the restored"),
    }
}

/// A state of work, and its colour.
pub(super) fn work_state(state: WorkState) -> (&'static str, &'static str) {
    match state {
        WorkState::Running => ("Running", "info"),
        WorkState::Succeeded => ("Done", "good"),
        WorkState::Failed => ("Failed", "bad"),
        WorkState::Interrupted => ("Interrupted", "bad"),
    }
}

/// A number of bytes, unknown or not.
pub(super) fn bytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| format::UNKNOWN.to_owned(), domain::quantity::bytes)
}

/// A number of rows, unknown or not.
pub(super) fn rows(rows: Option<u64>) -> String {
    rows.map_or_else(|| format::UNKNOWN.to_owned(), format::number)
}

/// Rows of a day wherever they are.
pub(super) fn rows_of(record: &PartitionRecord) -> Option<u64> {
    match record.state {
        PartitionState::Dropped => record.archive.as_ref().map(|archive| archive.rows),
        PartitionState::Lost => None,
        _ => record.rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::NaiveDate;
    use domain::partition::ArchiveRecord;

    #[test]
    fn each_state_has_words_of_its_own() {
        let words: std::collections::BTreeSet<_> = PartitionState::ALL.into_iter().map(state).collect();
        assert_eq!(words.len(), PartitionState::ALL.len());
        assert!(PartitionState::ALL.into_iter().all(|state| meaning(state).ends_with('.')));
    }

    #[test]
    fn rows_of_a_dropped_day_are_those_of_its_archive() {
        let archive = ArchiveRecord {
            url: String::new(),
            sha256: String::new(),
            rows_sha256: String::new(),
            rows: 90,
            bytes: 9,
            first_at: None,
            last_at: None,
            schema_version: 1,
        };
        let day = NaiveDate::from_ymd_opt(2026, 9, 1).unwrap();
        let record = |state| PartitionRecord { rows: Some(100), archive: Some(archive.clone()), ..PartitionRecord::new(day, state) };
        assert_eq!(rows_of(&record(PartitionState::Verified)), Some(100));
        assert_eq!(rows_of(&record(PartitionState::Dropped)), Some(90));
        assert_eq!(rows_of(&record(PartitionState::Lost)), None);
    }
}
