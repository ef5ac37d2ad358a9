//! The schedule of backups: a reconciler of one node of the cluster makes one whenever it is due, into a folder of that node.
//!
//! Making one takes longer than a run may, so that the run only begins it; it goes on beside the runs, under a lock that other nodes respect. A
//! backup is read back before it has its name, and only then the oldest ones go.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backup::{BackupError, CreateOptions, Created, Key, Progress, Sources};
use chrono::TimeDelta;
use clock::Clock;
use domain::access::{Origin, Principal};
use domain::backup::{BackupOrigin, BackupRecord};
use domain::shard::shard_of_name;
use domain::{BackupId, ServiceError, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::{ClusterLock, NewBackup, Store, StoreError};
use tokio_util::task::AbortOnDropHandle;

use crate::metrics::Metrics;
use crate::reconcile::{Reconcile, Reconciler, Run};

/// Name of the reconciler, and of the lock of its runs.
const BACKUPS: &str = "backups";
/// Name of the lock under which a backup is made: it outlasts the run that begins it.
const WORK: &str = "backup_work";
/// Time between two looks at whether one is due.
const INTERVAL: Duration = Duration::from_secs(15);
/// Wait after an attempt that failed.
const RETRY_AFTER: TimeDelta = TimeDelta::minutes(15);
/// Longest backup.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Time without a change after which an unfinished file is nobody's.
const UNFINISHED_IDLE: TimeDelta = TimeDelta::hours(1);
/// How long records of backups are kept.
const RECORDS_KEPT: TimeDelta = TimeDelta::days(400);

/// Settings of the schedule.
#[derive(Debug, Clone, Default)]
pub struct BackupSettings {
    /// Folder that they are written to; `None`: there is no schedule.
    pub directory: Option<PathBuf>,
    /// Time between two; `None`: others make them, and the alert about an old one watches.
    pub every: Option<TimeDelta>,
    /// How many are kept.
    pub kept: usize,
    /// File with the passphrase.
    pub passphrase_file: PathBuf,
    /// Logarithm of the rounds of scrypt.
    pub work_factor: u8,
    /// Keys of the cluster.
    pub keys: Vec<Key>,
    /// Version of the product.
    pub version: String,
    /// Archives, which a backup holds as well.
    pub archives: Option<archive::ArchiveSettings>,
}

/// The reconciler of the schedule. Without one it only forgets old records.
pub(crate) fn reconciler(
    store: &Store,
    clock: &Clock,
    metrics: &Metrics,
    node: &str,
    settings: &BackupSettings,
    apks: &apk::ApkSettings,
) -> Reconciler {
    let parts = Parts {
        store: store.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
        node: node.to_owned(),
        settings: settings.clone(),
        apks: apks.clone(),
    };
    Reconciler::per_cluster(BACKUPS, shard_of_name(BACKUPS), INTERVAL, Backups { parts: Arc::new(parts), work: None }).at_start()
}

struct Backups {
    parts: Arc<Parts>,
    /// The backup that is being made; dropped with the node, and with it what it has written.
    work: Option<AbortOnDropHandle<()>>,
}

struct Parts {
    store: Store,
    clock: Clock,
    metrics: Metrics,
    node: String,
    settings: BackupSettings,
    apks: apk::ApkSettings,
}

impl Reconcile for Backups {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let parts = &self.parts;
            run.in_batches(|limit| parts.store.purge_backup_records(run.now - RECORDS_KEPT, limit)).await?;
            if self.work.as_ref().is_some_and(|work| !work.is_finished()) {
                return Ok(0);
            }
            self.work = None;
            let (Some(directory), Some(every)) = (&parts.settings.directory, parts.settings.every) else { return Ok(0) };
            let newest = parts.store.newest_backup(run.now).await?;
            if let Some(made) = newest.as_ref().and_then(|newest| newest.finished_at) {
                parts.metrics.backup_last_success.set(made.timestamp());
            }
            let tried = parts.store.backups(1).await?.pop();
            let has_failed = tried.is_some_and(|tried| tried.error.is_some() && run.now - tried.started_at < RETRY_AFTER);
            if has_failed || !backup::is_due(newest.map(|newest| newest.started_at), every, run.now) || !run.may_go_on() {
                return Ok(0);
            }
            let Some(lock) = parts.store.try_cluster_lock(WORK, LONGEST).await? else { return Ok(0) };
            let file = directory.join(backup::file_name(run.now));
            self.work = Some(AbortOnDropHandle::new(tokio::spawn(Arc::clone(parts).work(file, run.now, lock))));
            Ok(1)
        }
        .boxed()
    }
}

impl Parts {
    /// Makes a backup and records what came of it.
    async fn work(self: Arc<Self>, file: PathBuf, began: Timestamp, lock: ClusterLock) {
        let monotonic = self.clock.monotonic();
        tracing::info!(event = "backup.began", file = %file.display());
        let made = tokio::time::timeout(LONGEST, self.make(&file)).await;
        let made = made.unwrap_or_else(|_| Err(BackupError::Refused(format!("not done within {LONGEST:?}"))));
        let took = self.clock.monotonic().since(monotonic);
        let record =
            record(&file, &self.node, BackupOrigin::Schedule, (BackupId(self.clock.new_id()), began, self.clock.now()), made.as_ref());
        match &made {
            Ok(created) => {
                self.metrics.backups.with_label_values(&["made"]).inc();
                self.metrics.backup_bytes.set(i64::try_from(created.file_bytes).unwrap_or(i64::MAX));
                self.metrics.backup_seconds.set(took.as_secs_f64());
                self.metrics.backup_last_success.set(self.clock.now().timestamp());
                tracing::info!(event = "backup.made", file = %file.display(), bytes = created.file_bytes, duration_ms = took.as_millis() as u64);
                for problem in &created.digest.problems {
                    tracing::warn!(event = "backup.incomplete", problem);
                }
                self.remove_old().await;
            }
            Err(cause) => {
                self.metrics.backups.with_label_values(&["failed"]).inc();
                tracing::error!(event = "backup.failed", file = %file.display(), %cause);
            }
        }
        let by = Principal::System { origin: Origin::default() };
        let recorded = self.store.record_backup(&NewBackup { record, is_encrypted: true }, &by, self.clock.now()).await;
        if let Err(cause) = recorded {
            tracing::error!(event = "backup.not_recorded", %cause);
        }
        drop(lock);
    }

    async fn make(&self, file: &std::path::Path) -> Result<Created, BackupError> {
        let folder = file.parent().unwrap_or(file);
        backup::remove_unfinished(folder, self.clock.now() - UNFINISHED_IDLE)?;
        // Read anew each time: it may have been replaced.
        let passphrase = backup::read_passphrase_file(&self.settings.passphrase_file)?;
        let archives = self.settings.archives.as_ref().map(archive::ArchiveSettings::open_store).transpose()?;
        let sources = Sources { store: self.store.clone(), keys: self.settings.keys.clone(), apks: apk::open_store(&self.apks)?, archives };
        let options = CreateOptions {
            work_factor: self.settings.work_factor,
            verify: true,
            ..CreateOptions::new(Some(passphrase), &self.settings.version)
        };
        let silent: Progress = Arc::new(|_, _| ());
        backup::create(&sources, file, &options, silent).await
    }

    async fn remove_old(&self) {
        let (directory, kept, now) = (self.settings.directory.clone().unwrap_or_default(), self.settings.kept, self.clock.now());
        match tokio::task::spawn_blocking(move || backup::remove_old(&directory, kept, now)).await {
            Ok(Ok(removed)) => removed.iter().for_each(|name| tracing::info!(event = "backup.removed", name)),
            Ok(Err(cause)) => tracing::warn!(event = "backup.not_removed", %cause),
            Err(cause) => tracing::warn!(event = "backup.not_removed", %cause),
        }
    }
}

/// Records a backup that was made at the command line.
///
/// # Errors
/// The database is unavailable.
pub async fn record_made(
    store: &Store,
    clock: &Clock,
    by: &Principal,
    machine: &str,
    created: &Created,
    is_encrypted: bool,
) -> Result<(), StoreError> {
    let now = clock.now();
    let id = BackupId(clock.new_id());
    let record = record(&created.file, machine, BackupOrigin::Console, (id, created.manifest.created_at, now), Ok(created));
    store.record_backup(&NewBackup { record, is_encrypted }, by, now).await
}

/// The record of a backup, or of an attempt that failed: its id, when it began and ended.
fn record(
    file: &std::path::Path,
    node: &str,
    origin: BackupOrigin,
    (id, began, ended): (BackupId, Timestamp, Timestamp),
    made: Result<&Created, &BackupError>,
) -> BackupRecord {
    let file = file.display().to_string();
    let failed = BackupRecord {
        id,
        started_at: began,
        finished_at: None,
        file,
        bytes: 0,
        rows: 0,
        origin,
        node: node.to_owned(),
        verified_at: None,
        error: None,
    };
    match made {
        Ok(created) => BackupRecord {
            started_at: created.manifest.created_at,
            finished_at: Some(ended),
            bytes: i64::try_from(created.file_bytes).unwrap_or(i64::MAX),
            rows: i64::try_from(created.digest.rows()).unwrap_or(i64::MAX),
            verified_at: created.is_verified.then_some(ended),
            ..failed
        },
        Err(cause) => BackupRecord { error: Some(cause.to_string()), ..failed },
    }
}
