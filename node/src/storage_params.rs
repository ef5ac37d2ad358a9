//! Conversion of storage and partitions to the types of the API.

use domain::backup::BackupRecord;
use domain::partition::{DayPlan, PartitionRecord, Step};
use domain::reconciliation::{Drift, FieldDrift, ReconciliationRun};
use domain::storage::{Forecast, PartitionWork};
use services::StorageOverview;
use wire::storage as shown;

use crate::present::time;

/// Storage at a glance.
pub(crate) fn overview(overview: StorageOverview) -> shown::Storage {
    let StorageOverview {
        kept_days,
        archive_url,
        archive_problem,
        counts,
        sizes,
        sample,
        growth,
        forecast,
        manager,
        next_run_at,
        work,
        ..
    } = overview;
    let disk = sample.and_then(|sample| {
        Some(shown::StorageDisk { bytes: sample.disk_bytes?, free_bytes: sample.disk_free_bytes?, at: time(sample.at) })
    });
    shown::Storage {
        heartbeats_kept_days: kept_days,
        archive_url,
        archive_problem,
        partitions: counts
            .into_iter()
            .map(|count| shown::PartitionCount {
                state: count.state.as_str().to_owned(),
                days: count.days,
                rows: count.rows,
                bytes: count.bytes,
                archive_bytes: count.archive_bytes,
            })
            .collect(),
        sizes: shown::StorageSizes {
            database_bytes: sizes.database_bytes,
            heartbeats_bytes: sizes.heartbeats_bytes,
            heartbeats_rows: sizes.heartbeats_rows,
            archive_bytes: sizes.archive_bytes,
            archive_rows: sizes.archive_rows,
            bytes_per_heartbeat: sizes.bytes_per_heartbeat,
            bytes_per_archived_heartbeat: sizes.bytes_per_archived,
        },
        disk,
        growth: growth.map(|growth| shown::StorageGrowth {
            bytes_per_day: growth.bytes_per_day,
            disk_bytes_per_day: growth.disk_bytes_per_day,
            over_seconds: growth.over.num_seconds(),
        }),
        forecast: forecast_of(forecast),
        manager: manager.map(|manager| shown::PartitionManager {
            node: manager.node,
            last_run_at: manager.status.last_run_at.map(time),
            running_since: manager.status.running_since.map(time),
            duration_ms: manager.status.duration_ms,
            changed: manager.status.changed,
            failures_in_a_row: manager.status.failures_in_a_row,
            last_error: manager.status.last_error,
            next_run_at: next_run_at.map(time),
        }),
        work: work.into_iter().map(self::work).collect(),
        reconciliations: overview.reconciliations.into_iter().map(reconciliation).collect(),
        backup: overview.backup.map(backup),
        next_backup_at: overview.next_backup_at.map(time),
    }
}

fn forecast_of(forecast: Forecast) -> shown::StorageForecast {
    shown::StorageForecast { kind: forecast.as_str().to_owned(), full_at: forecast.full_at().map(time) }
}

fn reconciliation(run: ReconciliationRun) -> shown::Reconciliation {
    shown::Reconciliation {
        check: run.check.as_str().to_owned(),
        node: Some(run.node).filter(|node| !node.is_empty()),
        started_at: time(run.started_at),
        seconds: run.seconds,
        checked: run.checked,
        drifted: run.drifted,
        healed: run.healed,
        complete: run.complete,
        kinds: run.kinds.into_iter().map(|(kind, rows)| shown::DriftCount { kind: kind.as_str().to_owned(), rows }).collect(),
        examples: run.examples.into_iter().map(drift).collect(),
    }
}

fn drift(drift: Drift) -> shown::Drift {
    let field = |field: FieldDrift| shown::FieldDrift { field: field.field, stored: field.stored, expected: field.expected };
    shown::Drift {
        kind: drift.kind.as_str().to_owned(),
        subject: drift.subject,
        fields: drift.fields.into_iter().map(field).collect(),
        healed: drift.healed,
    }
}

fn backup(record: BackupRecord) -> shown::NewestBackup {
    let BackupRecord { file, bytes, rows, node, started_at, finished_at, verified_at, .. } = record;
    shown::NewestBackup {
        file,
        bytes,
        rows,
        node,
        started_at: time(started_at),
        finished_at: finished_at.map(time),
        verified_at: verified_at.map(time),
    }
}

/// A day of heartbeats.
pub(crate) fn partition(record: PartitionRecord) -> shown::Partition {
    shown::Partition {
        day: record.day.to_string(),
        state: record.state.as_str().to_owned(),
        rows: record.rows,
        bytes: record.bytes,
        archive: record.archive.map(|archive| shown::PartitionArchive {
            url: archive.url,
            sha256: archive.sha256,
            rows_sha256: archive.rows_sha256,
            rows: archive.rows,
            bytes: archive.bytes,
            first_at: archive.first_at.map(time),
            last_at: archive.last_at.map(time),
            schema_version: archive.schema_version,
        }),
        created_at: record.created_at.map(time),
        analyzed_at: record.analyzed_at.map(time),
        archived_at: record.archived_at.map(time),
        verified_at: record.verified_at.map(time),
        dropped_at: record.dropped_at.map(time),
        restored_at: record.restored_at.map(time),
        restored_until: record.restored_until.map(time),
        last_error: record.last_error,
        failed_at: record.failed_at.map(time),
        attempts: record.attempts,
        progress: record.progress.map(|progress| shown::PartitionProgress {
            step: progress.step,
            done: progress.done,
            of: Some(progress.of).filter(|of| *of > 0),
            at: time(progress.at),
        }),
    }
}

/// A day of heartbeats with what is due of it.
pub(crate) fn details(record: PartitionRecord, plan: Option<DayPlan>) -> shown::PartitionDetails {
    let (steps, then) = plan.map_or_else(Default::default, |plan| (plan.steps, plan.then));
    shown::PartitionDetails { partition: partition(record), steps: self::steps(&steps), then: then.map(|then| then.to_string()) }
}

fn steps(steps: &[Step]) -> Vec<shown::PartitionStep> {
    steps.iter().map(|step| shown::PartitionStep { action: step.action.as_str().to_owned(), cause: step.cause.to_string() }).collect()
}

/// What is due, by day.
pub(crate) fn plan(plan: &[DayPlan]) -> Vec<shown::PlannedDay> {
    plan.iter().map(|day| shown::PlannedDay { day: day.day.to_string(), steps: steps(&day.steps) }).collect()
}

/// Work that a person started.
pub(crate) fn work(work: PartitionWork) -> shown::PartitionWork {
    shown::PartitionWork {
        id: work.id.to_string(),
        kind: work.kind.as_str().to_owned(),
        day: work.day.map(|day| day.to_string()),
        state: work.state.as_str().to_owned(),
        step: work.step,
        done: work.done,
        total: work.total,
        started_by: work.by,
        node: work.node,
        started_at: time(work.started_at),
        ended_at: work.ended_at.map(time),
        summary: work.outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::NaiveDate;
    use domain::partition::{Action, Cause, PartitionState, Wait};

    #[test]
    fn a_day_says_what_is_due_and_what_comes_then() {
        let day = NaiveDate::from_ymd_opt(2026, 9, 1).unwrap();
        let plan = DayPlan { day, steps: vec![Step { action: Action::Archive, cause: Cause::Expired }], then: Some(Wait::Gone) };
        let shown = details(PartitionRecord::new(day, PartitionState::Settled), Some(plan));
        assert_eq!((shown.partition.day.as_str(), shown.partition.state.as_str()), ("2026-09-01", "settled"));
        assert_eq!(
            (shown.steps[0].action.as_str(), shown.steps[0].cause.as_str()),
            ("archive", "the day is older than the days that are kept")
        );
        assert_eq!(shown.then.as_deref(), Some("dropped; the archive has the rows"));
        let known = serde_json::to_value(&shown).unwrap();
        assert_eq!((&known["day"], &known["archive"]), (&serde_json::json!("2026-09-01"), &serde_json::Value::Null));
    }
}
