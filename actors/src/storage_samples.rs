//! Hourly samples of what history takes, from which growth is judged.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DurationRound, TimeDelta};
use domain::shard::shard_of_name;
use domain::storage::{RECORDS_KEPT_DAYS, StorageSample};
use domain::{ServiceError, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::Store;

use crate::reconcile::{Reconcile, Reconciler, Run};

/// Name of the reconciler.
const NAME: &str = "storage_samples";
/// How often it is checked whether a sample is due.
const INTERVAL: Duration = Duration::from_secs(30);
/// Time between samples.
const SAMPLE_EVERY: TimeDelta = TimeDelta::hours(1);

/// The disk of the database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StorageDisk {
    /// Folder of the database on this machine; `None`: it is another's, and its disk is not seen.
    pub folder: Option<PathBuf>,
    /// Whether archives lie on the same disk.
    pub holds_archives: bool,
}

/// The reconciler, once per cluster.
pub(crate) fn reconciler(store: &Store, disk: &StorageDisk) -> Reconciler {
    let samples = Samples { store: store.clone(), disk: disk.clone(), last: None };
    Reconciler::per_cluster(NAME, shard_of_name(NAME), INTERVAL, samples).at_start()
}

struct Samples {
    store: Store,
    disk: StorageDisk,
    last: Option<Timestamp>,
}

/// The hour of a sample that is taken at `now`.
fn hour(now: Timestamp) -> Timestamp {
    now.duration_trunc(SAMPLE_EVERY).unwrap_or(now)
}

/// Free space and size of the disk of a folder. `None`: some network disks do not tell.
fn disk_of(folder: &Path) -> Option<(i64, i64)> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(disk.f_frsize)).unwrap_or(i64::MAX);
    (disk.f_blocks > 0).then(|| (bytes(disk.f_bavail), bytes(disk.f_blocks)))
}

impl Samples {
    async fn sample(&self, at: Timestamp) -> Result<StorageSample, ServiceError> {
        let sizes = self.store.database_sizes().await?;
        let archived = self.store.partition_records().await?.into_iter().filter_map(|record| Some(record.archive?.bytes));
        let archive_bytes = i64::try_from(archived.sum::<u64>()).unwrap_or(i64::MAX);
        let disk = self.disk.folder.as_deref().and_then(disk_of);
        let archives_here = if self.disk.holds_archives { archive_bytes } else { 0 };
        Ok(StorageSample {
            at,
            database_bytes: sizes.database_bytes,
            heartbeats_bytes: sizes.heartbeats_bytes,
            archive_bytes,
            on_disk_bytes: sizes.database_bytes.saturating_add(archives_here),
            disk_free_bytes: disk.map(|(free, _)| free),
            disk_bytes: disk.map(|(_, size)| size),
        })
    }
}

impl Reconcile for Samples {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let due = hour(run.now);
            if self.last == Some(due) {
                return Ok(0);
            }
            // Another node may have taken it: then it stays as it is.
            self.store.insert_storage_sample(&self.sample(due).await?).await?;
            self.last = Some(due);
            let before = run.now - TimeDelta::days(RECORDS_KEPT_DAYS);
            Ok(run.in_batches(|limit| self.store.purge_storage_records(before, limit)).await?)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_of_whole_hours() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(hour(at("2026-11-30T12:59:59.9Z")), at("2026-11-30T12:00:00Z"));
        assert_eq!(hour(at("2026-11-30T13:00:00Z")), at("2026-11-30T13:00:00Z"));
    }

    #[test]
    fn a_disk_tells_its_size() {
        assert!(disk_of(&std::env::temp_dir()).is_some_and(|(free, size)| 0 <= free && free <= size));
        assert_eq!(disk_of(Path::new("/nowhere/at/all")), None);
    }
}
