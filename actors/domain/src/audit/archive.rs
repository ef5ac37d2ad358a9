//! Archives of the audit trail: which entries are due, and entries as rows of a table. The chain goes through archives: each begins with the hash at which the
//! one before ends.

use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};

use chrono::TimeDelta;

use super::{ChainedEntry, Entry, Head};
use crate::archive::{Cell, Column, ColumnType, RecordBatch, TableSchema};
use crate::{Invalid, Timestamp};

/// Most entries of an archive.
const ENTRIES_MAX: i64 = 100_000;
/// How far beyond the retention the oldest entry gets before an archive is made that is not full: so there is one a month.
const GATHERED_FOR: TimeDelta = TimeDelta::days(30);

/// An archive of entries, as it was when it was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditArchive {
    /// Entries that it holds.
    pub range: RangeInclusive<i64>,
    /// Time of the first of them.
    pub first_at: Timestamp,
    /// Time of the last.
    pub last_at: Timestamp,
    /// Hash of the entry before the first.
    pub prev_hash: Vec<u8>,
    /// Hash of the last.
    pub last_hash: Vec<u8>,
    /// Name of its file in the store, without the ending.
    pub name: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// SHA-256 of the rows, hexadecimal.
    pub rows_sha256: String,
    /// Size of the file.
    pub bytes: i64,
    /// When it was read back from the store.
    pub verified_at: Timestamp,
    /// When its entries were removed from the database.
    pub removed_at: Option<Timestamp>,
}

impl AuditArchive {
    /// Where the chain is before its first entry.
    pub fn begins_after(&self) -> Head {
        Head { seq: self.range.start() - 1, hash: self.prev_hash.clone() }
    }

    /// Where the chain is after its last entry.
    pub fn ends_with(&self) -> Head {
        Head { seq: *self.range.end(), hash: self.last_hash.clone() }
    }

    /// Name of the part of the table: `000000000001-000000000900`.
    pub fn part(range: &RangeInclusive<i64>) -> String {
        format!("{:012}-{:012}", range.start(), range.end())
    }
}

/// What there is to be archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveDue {
    /// First entry that no archive has, and its time.
    pub first: (i64, Timestamp),
    /// First entry behind it that is within the retention; `None`: there is none.
    pub kept_from: Option<i64>,
    /// The newest entry, which stays: the chain is continued from it.
    pub newest: i64,
}

/// The entries that the next archive takes at `now`. `None`: not enough, or not old enough yet.
pub fn archive_range(due: ArchiveDue, kept: TimeDelta, now: Timestamp) -> Option<RangeInclusive<i64>> {
    let (first, at) = due.first;
    let last = (due.kept_from.unwrap_or(due.newest).min(due.newest) - 1).min(first + ENTRIES_MAX - 1);
    let full = last - first + 1 >= ENTRIES_MAX;
    (last >= first && (full || now - at >= kept + GATHERED_FOR)).then_some(first..=last)
}

static TABLE: LazyLock<Arc<TableSchema>> = LazyLock::new(|| {
    use ColumnType::{Binary, Int64, String, Timestamp};
    let columns = vec![
        Column::required("seq", Int64),
        Column::required("at", Timestamp),
        Column::required("actor_kind", String),
        Column::new("actor_id", String),
        Column::required("actor_name", String),
        Column::required("action", String),
        Column::required("target_kind", String),
        Column::new("target_id", String),
        Column::new("target_name", String),
        Column::new("before", String),
        Column::new("after", String),
        Column::new("request_id", String),
        Column::new("address", String),
        Column::required("prev_hash", Binary),
        Column::required("hash", Binary),
    ];
    Arc::new(TableSchema { name: "audit".into(), columns, key: vec!["seq".into()], time: "at".into() })
});

/// The table of entries in archives.
pub fn audit_table() -> Arc<TableSchema> {
    Arc::clone(&TABLE)
}

/// Adds an entry to rows of [`audit_table`].
///
/// # Errors
/// The rows are of another table.
pub fn push_chained(batch: &mut RecordBatch, row: &ChainedEntry) -> Result<(), Invalid> {
    fn maybe(text: &Option<String>) -> Cell<'_> {
        text.as_deref().map_or(Cell::Null, Cell::String)
    }
    let entry = &row.entry;
    batch.push([
        Cell::Integer(entry.seq),
        Cell::Timestamp(entry.at),
        Cell::String(&entry.actor_kind),
        maybe(&entry.actor_id),
        Cell::String(&entry.actor_name),
        Cell::String(&entry.action),
        Cell::String(&entry.target_kind),
        maybe(&entry.target_id),
        maybe(&entry.target_name),
        maybe(&entry.before),
        maybe(&entry.after),
        maybe(&entry.request_id),
        maybe(&entry.address),
        Cell::Binary(&row.prev_hash),
        Cell::Binary(&row.hash),
    ])
}

/// The entry of a row of [`audit_table`]. `None`: a value that every entry has is missing.
pub fn chained_at(batch: &RecordBatch, row: usize) -> Option<ChainedEntry> {
    let cell = |name: &str| batch.column(name).map_or(Cell::Null, |column| column.cell(row));
    let maybe = |name: &str| if let Cell::String(text) = cell(name) { Some(text.to_owned()) } else { None };
    let bytes = |name: &str| if let Cell::Binary(bytes) = cell(name) { Some(bytes.to_vec()) } else { None };
    let (Cell::Integer(seq), Cell::Timestamp(at)) = (cell("seq"), cell("at")) else { return None };
    Some(ChainedEntry {
        entry: Entry {
            seq,
            at,
            actor_kind: maybe("actor_kind")?,
            actor_id: maybe("actor_id"),
            actor_name: maybe("actor_name")?,
            action: maybe("action")?,
            target_kind: maybe("target_kind")?,
            target_id: maybe("target_id"),
            target_name: maybe("target_name"),
            before: maybe("before"),
            after: maybe("after"),
            request_id: maybe("request_id"),
            address: maybe("address"),
        },
        prev_hash: bytes("prev_hash")?,
        hash: bytes("hash")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: TimeDelta = TimeDelta::days(365);

    fn day(day: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + TimeDelta::days(day)
    }

    #[test]
    fn an_archive_is_due_when_it_is_full_or_a_month_has_gathered() {
        let due = |first: i64, at: i64, kept_from: Option<i64>, newest: i64| ArchiveDue { first: (first, day(at)), kept_from, newest };
        for (which, now, range) in [
            // Within the retention.
            (due(1, 0, Some(1), 50), 100, None),
            (due(1, 0, Some(1), 50), 500, None),
            // Beyond it, and not for a month yet.
            (due(1, 0, Some(40), 50), 394, None),
            (due(1, 0, Some(40), 50), 395, Some(1..=39)),
            (due(40, 30, Some(70), 90), 425, Some(40..=69)),
            // Nothing was added for a year: the newest entry stays.
            (due(1, 0, None, 50), 500, Some(1..=49)),
            (due(50, 0, None, 50), 500, None),
            // A full one is not waited for.
            (due(1, 0, Some(100_001), 200_000), 366, Some(1..=100_000)),
            (due(1, 0, Some(150_000), 200_000), 366, Some(1..=100_000)),
            (due(1, 0, Some(100_000), 200_000), 366, None),
        ] {
            assert_eq!(archive_range(which, KEPT, day(now)), range, "{which:?} on day {now}");
        }
    }

    #[test]
    fn names_sort_as_their_entries() {
        assert_eq!(AuditArchive::part(&(1..=900)), "000000000001-000000000900");
        assert!(AuditArchive::part(&(901..=10_000)) > AuditArchive::part(&(1..=900)));
    }
}
