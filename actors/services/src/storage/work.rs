//! Work on partitions that people start: one at a time in the cluster, in the background, with its progress in the database.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use archive::ArchiveName;
use chrono::NaiveDate;
use domain::access::{Permission, Principal};
use domain::audit::{AuditAction, Target};
use domain::partition::{Action, PartitionRecord, PartitionState, settles_at};
use domain::quantity::count;
use domain::storage::{PartitionWork, WORK_LOST_AFTER, WorkKind, WorkState};
use domain::{PartitionWorkId, ServiceError, Timestamp};
use serde_json::json;
use store::AuditEntry;

use actors::partition::{Manager, PartitionError, RunReport, Watch};

use super::StorageService;

/// How often progress is noted.
const NOTED_EVERY: Duration = Duration::from_secs(1);
/// How long work waits for a run that is under way.
const BUSY_PATIENCE: Duration = Duration::from_secs(300);

/// Work as somebody wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkRequest {
    /// Everything that is due.
    Run,
    /// Archive this day.
    Archive(NaiveDate),
    /// Read the archive of this day back.
    Verify(NaiveDate),
    /// Bring this day back.
    Restore(NaiveDate),
    /// Drop this restored day before its time.
    Forget(NaiveDate),
}

impl WorkRequest {
    fn kind(self) -> WorkKind {
        match self {
            Self::Run => WorkKind::Run,
            Self::Archive(_) => WorkKind::Archive,
            Self::Verify(_) => WorkKind::Verify,
            Self::Restore(_) => WorkKind::Restore,
            Self::Forget(_) => WorkKind::Forget,
        }
    }

    fn day(self) -> Option<NaiveDate> {
        match self {
            Self::Run => None,
            Self::Archive(day) | Self::Verify(day) | Self::Restore(day) | Self::Forget(day) => Some(day),
        }
    }

    fn action(self) -> AuditAction {
        match self {
            Self::Run => AuditAction::PartitionsRun,
            Self::Archive(_) => AuditAction::PartitionArchived,
            Self::Verify(_) => AuditAction::PartitionVerified,
            Self::Restore(_) => AuditAction::PartitionRestored,
            Self::Forget(_) => AuditAction::PartitionForgotten,
        }
    }

    /// Refuses what cannot be done with a day as it is.
    fn check(self, record: Option<&PartitionRecord>, now: Timestamp) -> Result<(), ServiceError> {
        let Some(day) = self.day() else { return Ok(()) };
        let record = record.ok_or(ServiceError::NotFound("partition"))?;
        let is_gone = matches!(record.state, PartitionState::Dropped | PartitionState::Lost);
        match self {
            Self::Run => Ok(()),
            Self::Archive(_) if is_gone => Err(ServiceError::WrongState("its table is gone: there is nothing to archive")),
            Self::Archive(_) if now < settles_at(day) => {
                Err(ServiceError::WrongState("the day is not over yet, or only just: heartbeats of it still come in"))
            }
            Self::Verify(_) if record.archive.is_none() => Err(ServiceError::WrongState("it has no archive yet")),
            Self::Restore(_) if record.archive.is_none() => Err(ServiceError::WrongState("it has no archive to restore it from")),
            Self::Restore(_) if !is_gone && record.state != PartitionState::Restoring => {
                Err(ServiceError::WrongState("its table is there: there is nothing to restore"))
            }
            Self::Forget(_) if record.state != PartitionState::Restored => {
                Err(ServiceError::WrongState("it is no restored day: only those are dropped before their time"))
            }
            _ => Ok(()),
        }
    }
}

/// A refusal of the partition manager, for people.
pub(super) fn refused(error: PartitionError) -> ServiceError {
    match error {
        PartitionError::Busy => ServiceError::WrongState("other work on partitions is under way; try again when it has ended"),
        PartitionError::Refused { .. } | PartitionError::Overtaken { .. } => ServiceError::Conflict(error.to_string()),
        other => other.into(),
    }
}

/// Progress of the work that this node does.
struct Observed {
    step: Mutex<String>,
    done: AtomicU64,
    of: AtomicU64,
    is_over: AtomicBool,
}

impl Observed {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            step: Mutex::new("Beginning".into()),
            done: AtomicU64::new(0),
            of: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        })
    }

    fn set_step(&self, step: String) {
        // A text is whole after each change.
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }

    fn read(&self) -> (String, i64, Option<i64>) {
        let number = |number: &AtomicU64| i64::try_from(number.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        let of = number(&self.of);
        (self.step.lock().unwrap_or_else(PoisonError::into_inner).clone(), number(&self.done), (of > 0).then_some(of))
    }
}

impl Watch for Observed {
    fn progress(&self, day: NaiveDate, action: Action, done: u64, of: u64) {
        self.set_step(format!("{} {day}", doing(action)));
        self.done.store(done, Ordering::Relaxed);
        self.of.store(of, Ordering::Relaxed);
    }

    fn may_go_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }
}

/// A step that is under way, in a word.
fn doing(action: Action) -> &'static str {
    match action {
        Action::Create => "Creating",
        Action::Attach => "Attaching",
        Action::Merge => "Merging",
        Action::Analyze => "Analyzing",
        Action::Archive => "Archiving",
        Action::Verify => "Verifying",
        Action::Drop => "Dropping",
        Action::Restore => "Restoring",
        Action::NoteGone => "Noting",
    }
}

/// Why work ended without success.
#[derive(Debug, thiserror::Error)]
enum WorkError {
    /// The manager did not do it.
    #[error(transparent)]
    Refused(#[from] PartitionError),
    /// A run in which steps failed.
    #[error("{0}")]
    Failed(String),
}

/// Does the work; answers what came out as a sentence.
async fn carry_out(manager: &Manager, request: WorkRequest, now: Timestamp, observed: &Observed) -> Result<String, WorkError> {
    match request {
        WorkRequest::Run => run_outcome(&manager.run(now, observed).await?),
        WorkRequest::Archive(day) => {
            let record = manager.archive(day, now, observed).await?;
            Ok(format!("Archived {} of {day}, and read them back.", archived_rows(&record)))
        }
        WorkRequest::Verify(day) => {
            let record = manager.verify(day, now, observed).await?;
            Ok(format!("Read back {} of {day}: file and rows are as they were recorded.", archived_rows(&record)))
        }
        WorkRequest::Restore(day) => {
            let record = manager.restore(day, now, observed).await?;
            let until = record.restored_until.map_or_else(String::new, |until| format!(", kept until {}", until.format("%Y-%m-%d %H:%MZ")));
            Ok(format!("Restored {} of {day}{until}.", archived_rows(&record)))
        }
        WorkRequest::Forget(day) => {
            let record = manager.forget(day, now, observed).await?;
            Ok(format!("Dropped the restored table of {day}; the archive has its {}.", archived_rows(&record)))
        }
    }
}

/// Rows of a day's archive, in words.
fn archived_rows(record: &PartitionRecord) -> String {
    count(record.archive.as_ref().map_or(0, |archive| archive.rows), "row", "rows")
}

/// A run in words; one with a failed step is a failure that names the first.
fn run_outcome(report: &RunReport) -> Result<String, WorkError> {
    let done = count(report.done.len() as u64, "step", "steps");
    if let Some(failed) = report.failed.first() {
        let failures = count(report.failed.len() as u64, "step", "steps");
        let what = format!("{done} done, {failures} failed; the first: {} of {}: {}", failed.action.as_str(), failed.day, failed.error);
        return Err(WorkError::Failed(what));
    }
    let rest = if report.is_cut_short { " The rest is left to the next run." } else { "" };
    Ok(if report.done.is_empty() { format!("Nothing was due.{rest}") } else { format!("{done} done.{rest}") })
}

impl StorageService {
    /// Starts work; it goes on in the background.
    ///
    /// # Errors
    /// Forbidden, the day does not allow it, or other work is under way, which is named.
    pub async fn start(self: &Arc<Self>, principal: &Principal, request: WorkRequest) -> Result<PartitionWork, ServiceError> {
        principal.require(Permission::ManageCluster)?;
        let (parts, now) = (&self.parts, self.parts.clock.now());
        if let Some(day) = request.day() {
            let record = self.records_now().await?.into_iter().find(|record| record.day == day);
            let knows_archive = record.as_ref().is_some_and(|record| record.archive.is_some());
            // An archive that nothing records, of another database or a table that was removed by hand, can be restored as well.
            if !(matches!(request, WorkRequest::Restore(_)) && !knows_archive && self.has_archive(day).await?) {
                request.check(record.as_ref(), now)?;
            }
        }
        let work = PartitionWork {
            id: PartitionWorkId(parts.clock.new_id()),
            kind: request.kind(),
            day: request.day(),
            state: WorkState::Running,
            step: "Beginning".into(),
            done: 0,
            total: None,
            by: principal.username().to_owned(),
            node: parts.cluster.name().to_owned(),
            started_at: now,
            renewed_at: now,
            ended_at: None,
            outcome: None,
        };
        let target = match work.day {
            Some(day) => Target::Other { kind: "partition", id: Some(day.to_string()), name: None },
            None => Target::Other { kind: "partitions", id: None, name: None },
        };
        let entry = AuditEntry::new(principal, request.action(), target).after(json!({ "work_id": work.id.to_string() }));
        if let Some(other) = parts.store.begin_partition_work(&work, now - WORK_LOST_AFTER, &entry).await? {
            let what = other.day.map_or_else(|| other.kind.as_str().to_owned(), |day| format!("{} of {day}", other.kind.as_str()));
            return Err(ServiceError::Conflict(format!("other work on partitions is under way: {what}, started by {}", other.by)));
        }
        tracing::info!(event = "partition_work.started", work_id = %work.id, kind = work.kind.as_str(), by = principal.username());
        let (service, id) = (Arc::clone(self), work.id);
        tokio::spawn(async move { service.work_to_the_end(id, request).await });
        Ok(work)
    }

    async fn has_archive(&self, day: NaiveDate) -> Result<bool, ServiceError> {
        Ok(self.parts.partitions.archives().manifest(&ArchiveName::heartbeats(day)).await?.is_some())
    }

    /// Work that was started.
    ///
    /// # Errors
    /// Forbidden, or there is no such work.
    pub async fn work(&self, principal: &Principal, id: PartitionWorkId) -> Result<PartitionWork, ServiceError> {
        principal.require(Permission::ViewCluster)?;
        let work = self.parts.store.partition_work(id).await?.ok_or(ServiceError::NotFound("work on partitions"))?;
        Ok(work.seen_at(self.parts.clock.now()))
    }

    async fn work_to_the_end(&self, id: PartitionWorkId, request: WorkRequest) {
        let observed = Observed::new();
        let mut stopping = self.stopping.subscribe();
        let ended: Result<String, (WorkState, String)> = tokio::select! {
            ended = self.patiently(request, &observed) => ended.map_err(|error| (WorkState::Failed, error.to_string())),
            () = self.note_until_lost(id, &observed) => Err((WorkState::Interrupted, "Another node took it for lost.".to_owned())),
            _ = stopping.wait_for(|stopping| *stopping) => Err((WorkState::Interrupted, "Its node stopped. It can be started again.".to_owned())),
        };
        observed.is_over.store(true, Ordering::Relaxed);
        // Before its end is noted, so that whoever sees the end sees what came of it.
        self.forget().await;
        let (state, outcome) = match ended {
            Ok(outcome) => (WorkState::Succeeded, outcome),
            Err(ended) => ended,
        };
        tracing::info!(event = "partition_work.ended", work_id = %id, state = state.as_str(), outcome);
        if let Err(cause) = self.parts.store.end_partition_work(id, state, &outcome, self.parts.clock.now()).await {
            // It shows as interrupted after a minute.
            tracing::warn!(event = "partition_work.not_noted", work_id = %id, %cause);
        }
    }

    /// Does the work as soon as no run is under way.
    async fn patiently(&self, request: WorkRequest, observed: &Observed) -> Result<String, WorkError> {
        let deadline = tokio::time::Instant::now() + BUSY_PATIENCE;
        loop {
            match carry_out(&self.parts.partitions, request, self.parts.clock.now(), observed).await {
                Err(WorkError::Refused(PartitionError::Busy)) if tokio::time::Instant::now() < deadline => {
                    observed.set_step("Waiting for the run that is under way".into());
                    tokio::time::sleep(NOTED_EVERY).await;
                }
                ended => return ended,
            }
        }
    }

    /// Notes progress every second. Ends when the work counts as lost.
    async fn note_until_lost(&self, id: PartitionWorkId, observed: &Observed) {
        loop {
            tokio::time::sleep(NOTED_EVERY).await;
            let (step, done, total) = observed.read();
            match self.parts.store.note_partition_work(id, &step, done, total, self.parts.clock.now()).await {
                Ok(true) => {}
                Ok(false) => return,
                // The database may be back with the next.
                Err(cause) => tracing::debug!(event = "partition_work.not_noted", work_id = %id, %cause),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use domain::partition::ArchiveRecord;

    fn record(state: PartitionState, archived: bool) -> PartitionRecord {
        let archive = ArchiveRecord {
            url: String::new(),
            sha256: String::new(),
            rows_sha256: String::new(),
            rows: 1,
            bytes: 1,
            first_at: None,
            last_at: None,
            schema_version: 1,
        };
        PartitionRecord { archive: archived.then_some(archive), ..PartitionRecord::new(day(), state) }
    }

    fn day() -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 9, 1).unwrap()
    }

    #[test]
    fn a_day_is_refused_what_cannot_be_done_with_it() {
        use PartitionState::{Dropped, Lost, Open, Restored, Restoring, Settled, Verified};
        let settled = settles_at(day());
        let (archive, verify, restore) = (WorkRequest::Archive(day()), WorkRequest::Verify(day()), WorkRequest::Restore(day()));
        let forget = WorkRequest::Forget(day());
        for (request, record, allowed) in [
            (archive, Some(record(Settled, false)), true),
            (archive, Some(record(Verified, true)), true),
            (archive, Some(record(Restored, true)), true),
            (archive, Some(record(Dropped, true)), false),
            (archive, Some(record(Lost, false)), false),
            (archive, None, false),
            (verify, Some(record(Settled, false)), false),
            (verify, Some(record(Dropped, true)), true),
            (verify, Some(record(Verified, true)), true),
            (restore, Some(record(Dropped, true)), true),
            (restore, Some(record(Restoring, true)), true),
            (restore, Some(record(Restored, true)), false),
            (restore, Some(record(Verified, true)), false),
            (restore, Some(record(Lost, false)), false),
            (forget, Some(record(Restored, true)), true),
            (forget, Some(record(Verified, true)), false),
            (forget, Some(record(Dropped, true)), false),
            (forget, None, false),
            (WorkRequest::Run, None, true),
        ] {
            let checked = request.check(record.as_ref(), settled);
            assert_eq!(checked.is_ok(), allowed, "{request:?} {record:?}: {checked:?}");
        }
        assert!(archive.check(Some(&record(Open, false)), settled - TimeDelta::seconds(1)).is_err(), "heartbeats of it still come in");
    }

    #[test]
    fn a_run_in_which_a_step_failed_is_no_success() {
        use actors::partition::{StepDone, StepFailed};
        let done = StepDone { day: day(), action: Action::Archive, rows: 1, bytes: 1, seconds: 0.1, is_as_planned: true };
        let failed = StepFailed { day: day(), action: Action::Verify, error: "digest differs".into(), is_locked: false };
        let of = |done: &[StepDone], failed: &[StepFailed], is_cut_short| {
            run_outcome(&RunReport { done: done.to_vec(), failed: failed.to_vec(), is_cut_short }).map_err(|error| error.to_string())
        };
        assert_eq!(of(&[], &[], false).unwrap(), "Nothing was due.");
        assert_eq!(of(&[done.clone(), done.clone()], &[], true).unwrap(), "2 steps done. The rest is left to the next run.");
        let refused = of(&[done], &[failed], false).unwrap_err();
        assert_eq!(refused, "1 step done, 1 step failed; the first: verify of 2026-09-01: digest differs");
    }

    #[test]
    fn progress_is_told_with_its_day() {
        let observed = Observed::new();
        assert_eq!(observed.read(), ("Beginning".into(), 0, None));
        observed.progress(day(), Action::Verify, 500, 2000);
        assert_eq!(observed.read(), ("Verifying 2026-09-01".into(), 500, Some(2000)));
        assert!(observed.may_go_on());
    }
}
