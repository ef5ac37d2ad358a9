//! The overview of storage: partitions by state, sizes, growth, when the disk is full, runs and backups.

use chrono::TimeDelta;
use domain::access::{Permission, Principal};
use domain::backup::BackupRecord;
use domain::partition::{PartitionRecord, PartitionState};
use domain::reconcile::ReconcilerStatus;
use domain::reconciliation::ReconciliationRun;
use domain::storage::{Forecast, GROWTH_SPAN, Growth, PartitionWork, StorageSample, bytes_per_row};
use domain::{ServiceError, Timestamp};

use super::{PARTITIONS_DRAWN_DAYS, StorageService};
use crate::NodeReconciler;

/// Name of the reconciler that carries out the steps of partitions.
const MANAGER: &str = "partitions";
/// How old a reconciliation is at most that an overview shows.
const RUNS_SHOWN: TimeDelta = TimeDelta::days(7);
/// Work that an overview shows.
const WORK_MAX: i64 = 10;

/// Partitions of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionCount {
    /// State.
    pub state: PartitionState,
    /// Number of days.
    pub days: usize,
    /// Rows in the database or, where the table is gone, in the archive.
    pub rows: u64,
    /// Bytes in the database.
    pub bytes: u64,
    /// Bytes in the archive.
    pub archive_bytes: u64,
}

/// Sizes now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sizes {
    /// The whole database.
    pub database_bytes: i64,
    /// Heartbeats in it.
    pub heartbeats_bytes: i64,
    /// Rows of those, about.
    pub heartbeats_rows: i64,
    /// The archives.
    pub archive_bytes: i64,
    /// Rows of those.
    pub archive_rows: i64,
    /// Bytes of a heartbeat in the database, indexes included.
    pub bytes_per_heartbeat: Option<f64>,
    /// Bytes of a heartbeat in an archive.
    pub bytes_per_archived: Option<f64>,
}

/// Storage at a glance.
#[derive(Debug, Clone, PartialEq)]
pub struct StorageOverview {
    /// Time of reading.
    pub at: Timestamp,
    /// Days whose heartbeats are kept in the database.
    pub kept_days: u32,
    /// Where archives are kept.
    pub archive_url: String,
    /// Why this node cannot use it; `None`: nothing is known against it.
    pub archive_problem: Option<String>,
    /// The newest days, oldest first.
    pub partitions: Vec<PartitionRecord>,
    /// All days by state; states without one are left out.
    pub counts: Vec<PartitionCount>,
    /// Sizes now.
    pub sizes: Sizes,
    /// The newest sample of the disk.
    pub sample: Option<StorageSample>,
    /// Growth a day; `None`: there is too little data.
    pub growth: Option<Growth>,
    /// When the disk is full at this rate.
    pub forecast: Forecast,
    /// The partition manager, at the node that ran it last.
    pub manager: Option<NodeReconciler>,
    /// When it runs again, about.
    pub next_run_at: Option<Timestamp>,
    /// The newest work that people started, newest first.
    pub work: Vec<PartitionWork>,
    /// The last reconciliation of each kind.
    pub reconciliations: Vec<ReconciliationRun>,
    /// The newest backup that succeeded.
    pub backup: Option<BackupRecord>,
    /// When the schedule makes the next one; `None`: there is no schedule.
    pub next_backup_at: Option<Timestamp>,
}

/// The counts of these records by state, in the order of the states.
fn counts(records: &[PartitionRecord]) -> Vec<PartitionCount> {
    let of = |state: PartitionState| {
        let here = records.iter().filter(|record| record.state == state);
        let archive = |record: &PartitionRecord, of: fn(&domain::partition::ArchiveRecord) -> u64| record.archive.as_ref().map_or(0, of);
        here.fold(PartitionCount { state, days: 0, rows: 0, bytes: 0, archive_bytes: 0 }, |count, record| PartitionCount {
            state,
            days: count.days + 1,
            rows: count.rows + if has_table(state) { record.rows.unwrap_or_default() } else { archive(record, |archive| archive.rows) },
            bytes: count.bytes + if has_table(state) { record.bytes.unwrap_or_default() } else { 0 },
            archive_bytes: count.archive_bytes + archive(record, |archive| archive.bytes),
        })
    };
    PartitionState::ALL.into_iter().map(of).filter(|count| count.days > 0).collect()
}

/// Whether rows of a day of this state are in the database.
fn has_table(state: PartitionState) -> bool {
    !matches!(state, PartitionState::Dropped | PartitionState::Lost)
}

/// When a reconciler runs again, about: an interval after its last run.
fn next_run_at(status: &ReconcilerStatus, interval: std::time::Duration) -> Option<Timestamp> {
    let ended = status.last_run_at? + TimeDelta::milliseconds(i64::try_from(status.duration_ms).unwrap_or(i64::MAX));
    Some(ended + TimeDelta::from_std(interval).ok()?)
}

impl StorageService {
    /// Storage at a glance.
    ///
    /// # Errors
    /// Forbidden, the database is unavailable, or too many read it.
    pub async fn overview(&self, principal: &Principal) -> Result<StorageOverview, ServiceError> {
        principal.require(Permission::ViewCluster)?;
        let (parts, at) = (&self.parts, self.parts.clock.now());
        let _permit = parts.tables.read(principal).await?;
        let records = self.records().await?;
        let sizes = self.sizes.get(async { parts.store.database_sizes().await.map_err(ServiceError::from) }).await?;
        let samples = parts.store.storage_samples(at - GROWTH_SPAN).await?;
        let counts = counts(&records);
        let sum = |of: fn(&PartitionRecord) -> u64| i64::try_from(records.iter().map(of).sum::<u64>()).unwrap_or(i64::MAX);
        let archive_bytes = sum(|record| record.archive.as_ref().map_or(0, |archive| archive.bytes));
        let archive_rows = sum(|record| record.archive.as_ref().map_or(0, |archive| archive.rows));
        let manager = parts.cluster.reconcilers().into_iter().find(|shown| shown.status.name == MANAGER && shown.status.per_cluster);
        let work = parts.store.newest_partition_work(WORK_MAX).await?;
        let backup = parts.store.newest_backup(at).await?;
        // The first is due at once.
        let next_backup_at = parts.view.backup_every.map(|every| backup.as_ref().map_or(at, |newest| newest.started_at + every));
        let drawn = records.iter().skip(records.len().saturating_sub(PARTITIONS_DRAWN_DAYS)).cloned().collect();
        Ok(StorageOverview {
            at,
            kept_days: parts.view.kept_days,
            archive_url: parts.view.archive_url.clone(),
            archive_problem: parts.partitions.archives().problem(),
            partitions: drawn,
            counts,
            sizes: Sizes {
                database_bytes: sizes.database_bytes,
                heartbeats_bytes: sizes.heartbeats_bytes,
                heartbeats_rows: sizes.heartbeats_rows,
                archive_bytes,
                archive_rows,
                bytes_per_heartbeat: bytes_per_row(sizes.heartbeats_bytes, sizes.heartbeats_rows),
                bytes_per_archived: bytes_per_row(archive_bytes, archive_rows),
            },
            sample: samples.last().copied(),
            growth: Growth::of(&samples, at),
            forecast: Forecast::of(&samples, at),
            next_run_at: manager.as_ref().and_then(|shown| next_run_at(&shown.status, parts.view.interval)),
            manager,
            work: work.into_iter().map(|work| work.seen_at(at)).collect(),
            reconciliations: parts.store.newest_reconciliation_runs(at - RUNS_SHOWN).await?,
            backup,
            next_backup_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::NaiveDate;
    use domain::partition::ArchiveRecord;

    fn record(day: u32, state: PartitionState, archived: bool) -> PartitionRecord {
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
        PartitionRecord {
            rows: Some(100),
            bytes: Some(1000),
            archive: archived.then_some(archive),
            ..PartitionRecord::new(NaiveDate::from_ymd_opt(2026, 11, day).unwrap(), state)
        }
    }

    #[test]
    fn rows_count_once_where_they_are() {
        use PartitionState::{Dropped, Open, Verified};
        let records = [record(1, Dropped, true), record(2, Dropped, true), record(3, Verified, true), record(4, Open, false)];
        let count = |state, days, rows, bytes, archive_bytes| PartitionCount { state, days, rows, bytes, archive_bytes };
        assert_eq!(counts(&records), [count(Open, 1, 100, 1000, 0), count(Verified, 1, 100, 1000, 9), count(Dropped, 2, 180, 0, 18)]);
        assert!(counts(&[]).is_empty());
    }

    #[test]
    fn the_next_run_is_an_interval_after_the_end_of_the_last() {
        let at = |second: i64| chrono::DateTime::from_timestamp(second, 0);
        let status = ReconcilerStatus { last_run_at: at(9), duration_ms: 1500, ..ReconcilerStatus::default() };
        let next = next_run_at(&status, std::time::Duration::from_secs(60)).unwrap();
        assert_eq!(next, at(70).unwrap() + TimeDelta::milliseconds(500));
        assert_eq!(next_run_at(&ReconcilerStatus::default(), std::time::Duration::ZERO), None, "before the first run");
    }
}
