//! The steps. Each may be done twice without harm, and records last what it did.

mod hours;
mod unknown;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use archive::{ArchiveName, ArchiveRows, Archives, Manifest, Recorded, RowsDigest, WriteMode, Written, rows_digest};
use chrono::{NaiveDate, TimeDelta};
use domain::Timestamp;
use domain::archive::{RecordBatch, heartbeats};
use domain::partition::{Action, ArchiveRecord, PartitionState, Progress, TableSeen, table_name};
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use serde_json::Map;
use store::{LockPatience, StoreError};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::report::{FaultPoint, PartitionError, StepDone, Watch};
use super::{Manager, needs_archives};

/// How often the progress of a step is told.
const TELLS_EVERY: Duration = Duration::from_millis(500);

/// Outcome of a step: what it was about, and whether the rest of the plan holds.
struct Outcome {
    rows: u64,
    bytes: u64,
    is_as_planned: bool,
}

impl Outcome {
    const NONE: Self = Self { rows: 0, bytes: 0, is_as_planned: true };

    fn of(rows: u64, bytes: u64) -> Self {
        Self { rows, bytes, ..Self::NONE }
    }
}

/// A step under way.
struct Working<'a> {
    day: NaiveDate,
    action: Action,
    now: Timestamp,
    watch: &'a dyn Watch,
    /// Rows done so far, and rows there are.
    done: AtomicU64,
    of: AtomicU64,
}

impl Working<'_> {
    fn name(&self) -> ArchiveName {
        ArchiveName::heartbeats(self.day)
    }

    fn add(&self, rows: usize) {
        self.done.fetch_add(rows as u64, Ordering::Relaxed);
    }

    fn tell(&self) -> (u64, u64) {
        let (done, of) = (self.done.load(Ordering::Relaxed), self.of.load(Ordering::Relaxed));
        self.watch.progress(self.day, self.action, done, of);
        (done, of)
    }
}

/// What is recorded of an archive.
pub(super) fn archive_record(archives: &Archives, name: &ArchiveName, manifest: &Manifest) -> ArchiveRecord {
    ArchiveRecord {
        url: format!("{}/{}", archives.url().trim_end_matches('/'), name.file_key()),
        sha256: manifest.sha256.clone(),
        rows_sha256: manifest.rows_sha256.clone(),
        rows: manifest.rows,
        bytes: manifest.bytes,
        first_at: manifest.first_at,
        last_at: manifest.last_at,
        schema_version: manifest.schema_version,
    }
}

/// What the archive of a day has to be.
fn recorded(archive: &ArchiveRecord) -> Recorded {
    Recorded { sha256: archive.sha256.clone(), rows_sha256: archive.rows_sha256.clone(), rows: archive.rows }
}

impl Manager {
    /// Does a step, tells its progress, and notes how it ended.
    pub(super) async fn step(&self, day: NaiveDate, action: Action, now: Timestamp, watch: &dyn Watch) -> Result<StepDone, PartitionError> {
        let working = Working { day, action, now, watch, done: AtomicU64::new(0), of: AtomicU64::new(0) };
        let started = Instant::now();
        let outcome = self.telling(&working).await;
        let seconds = started.elapsed().as_secs_f64();
        self.count(action, seconds, &outcome);
        match outcome {
            Ok(Outcome { rows, bytes, is_as_planned }) => {
                tracing::info!(event = "partition.step", %day, action = action.as_str(), rows, bytes, duration_ms = (seconds * 1000.0) as u64);
                self.store.note_partition_success(day).await?;
                working.tell();
                Ok(StepDone { day, action, rows, bytes, seconds, is_as_planned })
            }
            Err(error @ (PartitionError::Fault(_) | PartitionError::Busy)) => Err(error),
            Err(error) => {
                tracing::warn!(event = "partition.failed", %day, action = action.as_str(), cause = %error);
                // A lock that a backup holds is no failure to archive.
                let counts = needs_archives(action) && !error.is_locked();
                // A database that is away is told so by the step's own error.
                let _ = self.store.note_partition_failure(day, &error.to_string(), counts, now).await;
                Err(error)
            }
        }
    }

    /// Does a step, and notes from time to time how far it has come.
    async fn telling(&self, working: &Working<'_>) -> Result<Outcome, PartitionError> {
        let mut step = std::pin::pin!(self.act(working));
        let mut ticks = interval(TELLS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            tokio::select! {
                outcome = &mut step => return outcome,
                _ = ticks.tick() => {
                    let (done, of) = working.tell();
                    let progress = Progress { step: working.action.as_str().to_owned(), done, of, at: working.now };
                    // It is for people who look on; the next note makes up for it.
                    let noted = self.store.note_partition_progress(working.day, Some(&progress));
                    let _ = tokio::time::timeout(TELLS_EVERY, noted).await;
                }
            }
        }
    }

    fn count(&self, action: Action, seconds: f64, outcome: &Result<Outcome, PartitionError>) {
        let Some(metrics) = &self.metrics else { return };
        let label = if outcome.is_ok() { "ok" } else { "failed" };
        metrics.partition_steps.with_label_values(&[action.as_str(), label]).inc();
        metrics.partition_step_seconds.with_label_values(&[action.as_str()]).observe(seconds);
        if let (Action::Archive, Ok(outcome)) = (action, outcome) {
            metrics.archived_bytes.inc_by(outcome.bytes);
            metrics.archived_rows.inc_by(outcome.rows);
        }
    }

    async fn act(&self, working: &Working<'_>) -> Result<Outcome, PartitionError> {
        let day = working.day;
        match working.action {
            Action::Create => {
                self.store.create_partition(day, LockPatience::MANAGER).await?;
                Ok(Outcome::NONE)
            }
            Action::Attach => Ok(Outcome::of(self.store.attach_partition(day, LockPatience::MANAGER).await?, 0)),
            Action::Analyze => self.analyze(working).await,
            Action::Archive => self.write(working).await,
            Action::Verify => self.read_back(working).await,
            Action::Drop => self.drop_table(working).await,
            Action::Merge => self.merge(working).await,
            Action::Restore => self.bring_back(working).await,
            Action::NoteGone => self.note_gone(working).await,
        }
    }

    async fn analyze(&self, working: &Working<'_>) -> Result<Outcome, PartitionError> {
        let table = self.store.analyze_partition(working.day).await?;
        working.watch.pass(FaultPoint::Analyzed)?;
        let before = self.store.partition_record(working.day).await?;
        let mut record = self.record(working.day).await?;
        (record.rows, record.bytes, record.analyzed_at) = (table.rows, Some(table.bytes), Some(working.now));
        record.state = PartitionState::Settled;
        self.put(&record, before.map(|before| before.state)).await?;
        Ok(Outcome::of(table.rows.unwrap_or_default(), table.bytes))
    }

    /// Writes the archive.
    async fn write(&self, working: &Working<'_>) -> Result<Outcome, PartitionError> {
        let name = working.name();
        let mut before = self.store.partition_record(working.day).await?.map(|before| before.state);
        let mut record = self.record(working.day).await?;
        let table = self.store.partition_table(working.day).await?;
        working.of.store(table.as_ref().and_then(|table| table.rows).unwrap_or_default(), Ordering::Relaxed);
        match self.archives.manifest(&name).await {
            // What cannot be read is in nobody's way while the table has its rows.
            Err(error) if error.is_damage() && table.is_some() => {
                self.has_archived(working, record.archive.as_ref()).await?;
                self.set_aside(working, &error).await?;
            }
            found => drop(found?),
        }
        let manifest = match self.write_file(working, WriteMode::Create).await? {
            Written::Stored(manifest) => manifest,
            Written::Exists(existing) => {
                let is_known = record.archive.as_ref().is_some_and(|archive| archive.sha256 == existing.sha256);
                if !is_known && existing.digest().difference(&self.table_digest(working).await?).is_none() {
                    // Written by a run that ended before it could say so.
                    existing
                } else {
                    if !is_known && self.take_over(working, record.archive.as_ref()).await? {
                        record.archive = Some(archive_record(&self.archives, &name, &existing));
                        self.put(&record, before).await?;
                        before = Some(record.state);
                    }
                    match self.write_file(working, WriteMode::Replace).await? {
                        Written::Stored(manifest) | Written::Exists(manifest) => manifest,
                    }
                }
            }
        };
        working.watch.pass(FaultPoint::ArchiveWritten)?;
        record.archive = Some(archive_record(&self.archives, &name, &manifest));
        record.rows = Some(manifest.rows);
        record.bytes = table.map(|table| table.bytes).or(record.bytes);
        (record.archived_at, record.verified_at) = (Some(working.now), None);
        // As it was when this began: whatever became of the day meanwhile stands.
        record.state = PartitionState::Archived;
        self.put(&record, before).await?;
        working.watch.pass(FaultPoint::ArchiveRecorded)?;
        Ok(Outcome::of(manifest.rows, manifest.bytes))
    }

    async fn write_file(&self, working: &Working<'_>, mode: WriteMode) -> Result<Written, PartitionError> {
        working.done.store(0, Ordering::Relaxed);
        let rows = self.batches(working);
        Ok(self.archives.write(&working.name(), &heartbeats(), rows, mode, Map::new(), working.now).await?)
    }

    /// Whether the table of a day has other rows than its archive, such as late heartbeats.
    pub(super) async fn has_other_rows(&self, day: NaiveDate, now: Timestamp, watch: &dyn Watch) -> Result<bool, PartitionError> {
        let Some(archive) = self.record(day).await?.archive else { return Ok(true) };
        let working = Working { day, action: Action::Archive, now, watch, done: AtomicU64::new(0), of: AtomicU64::new(archive.rows) };
        let found = self.table_digest(&working).await?;
        Ok(found.rows != archive.rows || found.sha256 != archive.rows_sha256)
    }

    /// The digest of the rows that the table has now.
    async fn table_digest(&self, working: &Working<'_>) -> Result<RowsDigest, PartitionError> {
        Ok(rows_digest(&heartbeats(), self.batches(working)).await?)
    }

    /// The rows of the day's table, at the pace of the settings.
    fn batches<'a>(&self, working: &'a Working<'_>) -> BoxStream<'a, Result<RecordBatch, StoreError>> {
        let batches = self.store.partition_batches(&table_name(working.day), self.settings.chunk_rows);
        self.pacer.paced(batches.inspect_ok(move |batch| working.add(batch.rows())))
    }

    /// Reads the archive back from the store, and compares it with what is recorded.
    async fn read_back(&self, working: &Working<'_>) -> Result<Outcome, PartitionError> {
        let mut record = self.record(working.day).await?;
        let before = record.state;
        let Some(archive) = &record.archive else {
            return Err(PartitionError::refused(working.day, "no archive of the day is recorded".to_owned()));
        };
        working.of.store(archive.rows, Ordering::Relaxed);
        let recorded = recorded(archive);
        let progress = |progress: archive::Progress| working.done.store(progress.rows, Ordering::Relaxed);
        match self.archives.verify(&working.name(), Some(&recorded), &progress).await {
            Ok(manifest) => {
                working.watch.pass(FaultPoint::VerifyRead)?;
                record.verified_at = Some(working.now);
                if before == PartitionState::Archived {
                    record.state = PartitionState::Verified;
                }
                self.put(&record, Some(before)).await?;
                working.watch.pass(FaultPoint::VerifyRecorded)?;
                Ok(Outcome::of(manifest.rows, manifest.bytes))
            }
            Err(error) if error.is_damage() => {
                // While the table is there it is archived anew; once it is gone, nothing here has its rows.
                let has_table = self.store.partition_table(working.day).await?.is_some();
                record.state = match before {
                    PartitionState::Archived | PartitionState::Verified | PartitionState::Restored if has_table => PartitionState::Settled,
                    PartitionState::Archived => PartitionState::Lost,
                    state => state,
                };
                if record.state != before {
                    record.verified_at = None;
                    self.put(&record, Some(before)).await?;
                }
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Detaches the table, compares it with the verified archive, and drops it.
    async fn drop_table(&self, working: &Working<'_>) -> Result<Outcome, PartitionError> {
        let day = working.day;
        let mut record = self.record(day).await?;
        let before = record.state;
        let Some(archive) = record.archive.clone() else {
            return Err(PartitionError::refused(day, "no archive of the day is recorded".to_owned()));
        };
        working.of.store(archive.rows, Ordering::Relaxed);
        let bytes = self.store.partition_table(day).await?.map_or(0, |table| table.bytes);
        self.close_hours(day).await?;
        self.store.detach_partition(day, LockPatience::MANAGER).await?;
        working.watch.pass(FaultPoint::DropDetached)?;
        self.store.complete_detached(day).await?;
        // Nobody writes to it any more: what it has now is all that it had.
        let found = self.table_digest(working).await?;
        let archived =
            RowsDigest { rows: archive.rows, sha256: archive.rows_sha256.clone(), first_at: archive.first_at, last_at: archive.last_at };
        if let Some(difference) = archived.difference(&found) {
            tracing::warn!(event = "partition.changed", %day, difference, cause = "rows came after it was archived; it is archived again");
            self.store.attach_partition(day, LockPatience::MANAGER).await?;
            record = self.record(day).await?;
            let attached = record.state;
            record.state = PartitionState::Settled;
            self.put(&record, Some(attached)).await?;
            return Ok(Outcome { rows: found.rows, bytes: 0, is_as_planned: false });
        }
        working.watch.pass(FaultPoint::DropCompared)?;
        if !self.store.drop_detached(day, &archive.rows_sha256, working.now).await? {
            return Err(PartitionError::Overtaken { day });
        }
        working.watch.pass(FaultPoint::DropDone)?;
        tracing::info!(event = "partition.dropped", %day, rows = found.rows, bytes, was = before.as_str());
        Ok(Outcome::of(found.rows, bytes))
    }

    /// Brings the archived rows into the table; of a bucket that the table has the newest stands.
    async fn insert_archived(&self, working: &Working<'_>, archived: ArchiveRows) -> Result<Manifest, PartitionError> {
        working.done.store(0, Ordering::Relaxed);
        working.of.store(archived.manifest.rows, Ordering::Relaxed);
        let mut batches = archived.batches;
        while let Some(batch) = batches.try_next().await? {
            let began = Instant::now();
            self.store.insert_archived(working.day, &batch).await?;
            working.add(batch.rows());
            self.pacer.rest(began.elapsed(), batch.rows() as u64).await;
            if working.action == Action::Restore {
                working.watch.pass(FaultPoint::RestoreBegun)?;
            }
        }
        Ok(archived.manifest)
    }

    /// Makes the table if there is none, and brings the archived rows into it: those of the version that is recorded. What the default partition has of the
    /// day comes with the attach: then the newest of a bucket stands.
    async fn fill(&self, working: &Working<'_>) -> Result<Manifest, PartitionError> {
        let archive = self.record(working.day).await?.archive;
        let archive = archive.ok_or_else(|| PartitionError::refused(working.day, "no archive of the day is recorded".to_owned()))?;
        // Before anything is made of it: an older version lacks rows, and would replace the newer one when the day is archived again.
        let archived = self.archives.rows(&working.name(), Some(&recorded(&archive))).await?;
        match self.seen_of(working.day).await?.table {
            Some(TableSeen::Unusable(why)) => return Err(PartitionError::refused(working.day, why)),
            Some(_) => {}
            None => {
                self.store.create_detached(working.day).await?;
            }
        }
        self.insert_archived(working, archived).await
    }

    async fn merge(&self, working: &Working<'_>) -> Result<Outcome, PartitionError> {
        let manifest = self.fill(working).await?;
        self.store.attach_partition(working.day, LockPatience::MANAGER).await?;
        let mut record = self.record(working.day).await?;
        (record.state, record.dropped_at, record.analyzed_at) = (PartitionState::Open, None, None);
        self.put(&record, Some(PartitionState::Dropped)).await?;
        // Those that came meanwhile count in its hours as well.
        self.aggregate_hours(working.day).await?;
        Ok(Outcome::of(manifest.rows, manifest.bytes))
    }

    async fn bring_back(&self, working: &Working<'_>) -> Result<Outcome, PartitionError> {
        let manifest = self.fill(working).await?;
        working.watch.pass(FaultPoint::RestoreFilled)?;
        self.store.attach_partition(working.day, LockPatience::MANAGER).await?;
        working.watch.pass(FaultPoint::RestoreAttached)?;
        let table = self.store.analyze_partition(working.day).await?;
        let mut record = self.record(working.day).await?;
        record.state = PartitionState::Restored;
        (record.rows, record.bytes) = (table.rows, Some(table.bytes));
        // The file was compared with its manifest before its rows were taken.
        (record.verified_at, record.restored_at, record.dropped_at) = (Some(working.now), Some(working.now), None);
        record.restored_until = Some(working.now + TimeDelta::days(self.settings.partition.restored_kept_days.into()));
        self.put(&record, Some(PartitionState::Restoring)).await?;
        Ok(Outcome::of(manifest.rows, manifest.bytes))
    }

    async fn note_gone(&self, working: &Working<'_>) -> Result<Outcome, PartitionError> {
        let mut record = self.record(working.day).await?;
        let before = record.state;
        let is_archived = record.verified_at.is_some() && matches!(before, PartitionState::Verified | PartitionState::Restored);
        (record.state, record.dropped_at) = (if is_archived { PartitionState::Dropped } else { PartitionState::Lost }, Some(working.now));
        tracing::warn!(event = "partition.gone", day = %working.day, state = record.state.as_str(), cause = "its table was removed by hand");
        self.put(&record, Some(before)).await?;
        Ok(Outcome::NONE)
    }
}
