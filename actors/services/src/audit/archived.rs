//! Search of audit entries in their archives: the newest file first, each read as a whole, within the bytes and the time of one read.

use std::collections::VecDeque;

use archive::{ArchiveError, ArchiveName, Archives, ReadBudget, Recorded};
use domain::ServiceError;
use domain::audit::{AuditArchive, AuditFilter, ChainedEntry, chained_at};
use futures_util::TryStreamExt;

/// What a search of archives found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Entries, the newest first.
    pub(super) entries: Vec<ChainedEntry>,
    /// Files that were read.
    pub(super) files: u64,
    /// Place before which the search has not looked yet; `None`: it has looked everywhere.
    pub(super) next: Option<i64>,
}

/// Finds at most `limit` entries that match and are older than the one at `before`. `recorded` are all archives, the oldest first.
///
/// # Errors
/// No turn came free, an archive is not what is recorded, or the first that has to be read takes more bytes or longer than one read may.
pub(super) async fn search(
    archives: &Archives,
    recorded: &[AuditArchive],
    filter: &AuditFilter,
    before: i64,
    limit: usize,
) -> Result<Found, ServiceError> {
    let _turn = archives.turn().await.ok_or(ServiceError::Overloaded("archive.reads_max"))?;
    let budget = archives.read_budget();
    let mut found = Found::default();
    for archive in recorded.iter().rev().filter(|archive| may_have(archive, filter, before)) {
        match matching(archives, archive, filter, before, limit - found.entries.len(), &budget).await {
            Ok((entries, more)) => {
                found.files += 1;
                found.entries.extend(entries);
                if more || found.entries.len() == limit {
                    found.next = found.entries.last().map(|oldest| oldest.entry.seq);
                    return Ok(found);
                }
            }
            // The next page begins a read of its own.
            Err(ArchiveError::TooManyBytes { .. } | ArchiveError::TooSlow { .. }) if found.files > 0 => {
                found.next = Some(archive.range.end() + 1);
                return Ok(found);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// Whether an archive may have entries that match.
fn may_have(archive: &AuditArchive, filter: &AuditFilter, before: i64) -> bool {
    *archive.range.start() < before
        && filter.from.is_none_or(|from| from <= archive.last_at)
        && filter.to.is_none_or(|to| to >= archive.first_at)
}

/// The newest entries of an archive that match, the newest first; and whether there are more.
async fn matching(
    archives: &Archives,
    archive: &AuditArchive,
    filter: &AuditFilter,
    before: i64,
    limit: usize,
    budget: &ReadBudget,
) -> Result<(Vec<ChainedEntry>, bool), ArchiveError> {
    let damaged = |problem: String| ArchiveError::Damaged { key: archive.name.clone(), problem };
    let (table, part) = archive.name.split_once('/').ok_or_else(|| damaged("its name is none of an archive".to_owned()))?;
    let name = ArchiveName::new(table, part)?;
    let rows = u64::try_from(archive.range.end() - archive.range.start() + 1).unwrap_or_default();
    let recorded = Recorded { sha256: archive.sha256.clone(), rows_sha256: archive.rows_sha256.clone(), rows };
    let mut batches = archives.rows_within(&name, Some(&recorded), budget).await?.batches;
    // Of a month of entries only those of one page are held.
    let (mut newest, mut more) = (VecDeque::with_capacity(limit), false);
    while let Some(batch) = budget.within(batches.try_next()).await? {
        for row in 0..batch.rows() {
            let row = chained_at(&batch, row).ok_or_else(|| damaged(format!("row {row} is no entry")))?;
            if row.entry.seq >= before || !filter.matches(&row.entry) {
                continue;
            }
            if newest.len() == limit {
                newest.pop_front();
                more = true;
            }
            newest.push_back(row);
        }
    }
    Ok((newest.into_iter().rev().collect(), more))
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;

    #[test]
    fn only_archives_that_may_have_what_is_looked_for_are_read() {
        let at = |day: i64| DateTime::UNIX_EPOCH + TimeDelta::days(day);
        let archive = AuditArchive {
            range: 11..=20,
            first_at: at(10),
            last_at: at(20),
            prev_hash: vec![],
            last_hash: vec![],
            name: "audit/x".into(),
            sha256: String::new(),
            rows_sha256: String::new(),
            bytes: 1,
            verified_at: at(21),
            removed_at: None,
        };
        let filter = |from: Option<i64>, to: Option<i64>| AuditFilter { from: from.map(at), to: to.map(at), ..AuditFilter::default() };
        let reads = |filter: AuditFilter, before: i64| may_have(&archive, &filter, before);
        assert!(reads(filter(None, None), i64::MAX) && reads(filter(None, None), 12) && !reads(filter(None, None), 11));
        assert!(reads(filter(Some(20), None), 99) && !reads(filter(Some(21), None), 99));
        assert!(reads(filter(None, Some(10)), 99) && !reads(filter(None, Some(9)), 99));
    }
}
