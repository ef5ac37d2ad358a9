//! Task reports of devices: each is decided under the lock of its task, with the deployment locked for sharing.

use std::collections::{BTreeMap, HashMap};

use domain::deployment::{
    DeploymentEventKind, ErrorCode, Options, Reason, Refusal, ReportEffect, Run, Stage, Task, TaskReport, TaskState, TaskUpdate,
    apply_report,
};
use domain::{DeploymentId, DeviceId, Timestamp};
use uuid::Uuid;

use crate::channels;
use crate::deployment_reading::task;
use crate::deployment_record::{end_attempts, note};
use crate::flag::flags;
use crate::pool::Transaction;
use crate::{Store, StoreError};

/// Outcome of a task report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskReportOutcome {
    /// The report is stored.
    Changed {
        /// State of the task now.
        state: TaskState,
        /// Error of the attempt.
        error: Option<ErrorCode>,
        /// Duration of the attempt, ms, when the report ended it.
        took_ms: Option<i64>,
    },
    /// The report repeats what is stored.
    Nothing,
    /// The report is refused; the device does not install.
    Refused(Refusal),
    /// The deployment does not exist, or the device is not a target of it.
    Unknown,
}

struct Row {
    task: Task,
    progress_pct: Option<i16>,
    message: Option<String>,
    installed_version: Option<String>,
    accepted_at: Option<Timestamp>,
    changed: bool,
    outcome: Option<&'static str>,
}

impl Store {
    /// Records task reports, in their order. Outcomes are in the same order.
    ///
    /// # Errors
    /// The database is unavailable; then either nothing is stored, or all reports are.
    pub async fn record_task_reports(&self, reports: &[TaskReport]) -> Result<Vec<TaskReportOutcome>, StoreError> {
        let mut tx = self.begin().await?;
        let ids: Vec<Uuid> = reports.iter().map(|report| report.deployment.0).collect();
        // Locked until the commit: a pause waits for it, and no installation is permitted afterwards.
        let deployments = sqlx::query!(
            "SELECT deployment_id, state, options FROM deployment WHERE deployment_id = ANY($1) ORDER BY deployment_id FOR SHARE",
            &ids
        )
        .fetch_all(&mut *tx)
        .await?;
        let mut runs: HashMap<Uuid, (Options, Run)> = HashMap::new();
        for row in deployments {
            let corrupt = StoreError::Corrupt;
            let options: Options = serde_json::from_str(&row.options).map_err(|_| corrupt("deployment.options"))?;
            let state = domain::deployment::DeploymentState::parse(&row.state).ok_or(corrupt("deployment.state"))?;
            runs.insert(row.deployment_id, (options, run_of(state)));
        }
        let blocked = flags(&mut tx, true).await?.blocked();
        let now = sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#).fetch_one(&mut *tx).await?;
        let devices: Vec<Uuid> = reports.iter().map(|report| report.device.0).collect();
        let found = sqlx::query!(
            "SELECT t.deployment_id, t.device_id, t.canary, t.state, t.reason, t.reason_detail, t.stage, t.progress_pct, t.attempts, t.not_before, t.started_at,
                 t.accepted_at, t.finished_at, t.error
             FROM deployment_task t JOIN (SELECT DISTINCT * FROM UNNEST($1::uuid[], $2::uuid[]) AS u(deployment_id, device_id)) w
                 ON t.deployment_id = w.deployment_id AND t.device_id = w.device_id
             ORDER BY t.deployment_id, t.device_id FOR NO KEY UPDATE OF t",
            &ids,
            &devices
        )
        .fetch_all(&mut *tx)
        .await?;
        let mut rows: BTreeMap<(Uuid, Uuid), Row> = BTreeMap::new();
        for row in found {
            // The time of the last report does not matter here.
            let task = task!(row, None);
            let accepted_at = row.accepted_at;
            let progress_pct = row.progress_pct;
            let row_of = Row { task, progress_pct, message: None, installed_version: None, accepted_at, changed: false, outcome: None };
            rows.insert((row.deployment_id, row.device_id), row_of);
        }
        let mut answers = Vec::with_capacity(reports.len());
        for report in reports {
            answers.push(match (runs.get(&report.deployment.0), rows.get_mut(&(report.deployment.0, report.device.0))) {
                (Some((options, run)), Some(row)) => {
                    match apply_report(options, run, blocked, &row.task, report.status, report.attempt, now) {
                        Err(refusal) => TaskReportOutcome::Refused(refusal),
                        Ok(ReportEffect::Nothing) => {
                            // Progress within a stage is stored, too. What is no progress does not put off the end of the attempt.
                            if row.task.state == TaskState::Installing && report.progress_pct > row.progress_pct {
                                (row.progress_pct, row.changed) = (report.progress_pct, true);
                            }
                            TaskReportOutcome::Nothing
                        }
                        Ok(ReportEffect::Changed(update)) => row.apply(report, update, now),
                    }
                }
                _ => TaskReportOutcome::Unknown,
            });
        }
        rows.retain(|_, row| row.changed);
        if !rows.is_empty() {
            write(&mut tx, &rows, now).await?;
            let mut notified: Vec<Uuid> = rows.keys().map(|(deployment, _)| *deployment).collect();
            notified.dedup();
            for id in notified {
                sqlx::query!("SELECT pg_notify($1, $2)", channels::DEPLOYMENT, id.to_string()).execute(&mut *tx).await?;
            }
        }
        tx.commit().await?;
        Ok(answers)
    }
}

/// A report depends only on the state of the deployment.
fn run_of(state: domain::deployment::DeploymentState) -> Run {
    let never = Timestamp::UNIX_EPOCH;
    Run {
        state,
        phase: domain::deployment::Phase::Rollout,
        canary_ran: chrono::TimeDelta::zero(),
        judged_since: never,
        expires_at: never,
        version_code: 0,
        min_sdk: None,
        target_sdk: None,
        native_abis: domain::abi::AbiSet::default(),
    }
}

impl Row {
    fn apply(&mut self, report: &TaskReport, update: TaskUpdate, now: Timestamp) -> TaskReportOutcome {
        let task = &mut self.task;
        if task.state == TaskState::Sending && update.state == TaskState::Installing {
            self.accepted_at = Some(now);
        }
        (task.state, task.reason, task.stage, task.error) = (update.state, update.reason, update.stage, update.error);
        task.not_before = update.not_before;
        task.finished_at = update.state.is_finished().then_some(now);
        self.progress_pct = report.progress_pct;
        self.message = report.message.clone();
        self.installed_version = report.installed_version.clone();
        self.changed = true;
        if update.attempt_over {
            let reported = matches!(update.state, TaskState::Confirming | TaskState::Succeeded);
            self.outcome = Some(if reported { "succeeded" } else { "failed" });
        }
        let took_ms = task.started_at.filter(|_| update.attempt_over).map(|at| (now - at).num_milliseconds());
        TaskReportOutcome::Changed { state: update.state, error: update.error, took_ms }
    }
}

async fn write(tx: &mut Transaction, rows: &BTreeMap<(Uuid, Uuid), Row>, now: Timestamp) -> Result<(), StoreError> {
    macro_rules! column {
        ($row:ident => $value:expr) => {
            rows.values().map(|$row| $value).collect::<Vec<_>>()
        };
    }
    let (ids, devices): (Vec<Uuid>, Vec<Uuid>) = rows.keys().copied().unzip();
    let states = column!(row => row.task.state.as_str());
    let reasons = column!(row => row.task.reason.map(Reason::as_str));
    let stages = column!(row => row.task.stage.map(Stage::as_str));
    let progress = column!(row => row.progress_pct);
    let not_before = column!(row => row.task.not_before);
    let accepted = column!(row => row.accepted_at);
    let finished = column!(row => row.task.finished_at);
    let errors = column!(row => row.task.error.map(ErrorCode::as_str));
    let messages = column!(row => row.message.clone());
    let versions = column!(row => row.installed_version.clone());
    sqlx::query!(
        "UPDATE deployment_task t SET state = w.state, reason = w.reason, reason_detail = NULL, stage = w.stage,
             progress_pct = coalesce(w.progress_pct, t.progress_pct),
             not_before = w.not_before, accepted_at = w.accepted_at, finished_at = w.finished_at, error = w.error,
             message = coalesce(w.message, t.message), installed_version = coalesce(w.installed_version, t.installed_version),
             reported_at = $13, changed_at = clock_timestamp()
         FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::smallint[], $7::timestamptz[], $8::timestamptz[],
             $9::timestamptz[], $10::text[], $11::text[], $12::text[])
             AS w(deployment_id, device_id, state, reason, stage, progress_pct, not_before, accepted_at, finished_at, error, message,
                  installed_version)
         WHERE t.deployment_id = w.deployment_id AND t.device_id = w.device_id",
        &ids,
        &devices,
        &states as &[&str],
        &reasons as &[Option<&str>],
        &stages as &[Option<&str>],
        &progress as &[Option<i16>],
        &not_before as &[Option<Timestamp>],
        &accepted as &[Option<Timestamp>],
        &finished as &[Option<Timestamp>],
        &errors as &[Option<&str>],
        &messages as &[Option<String>],
        &versions as &[Option<String>],
        now
    )
    .execute(&mut **tx)
    .await?;
    for outcome in ["succeeded", "failed"] {
        let ended: Vec<_> = rows.iter().filter(|(_, row)| row.outcome == Some(outcome)).collect();
        let ids: Vec<_> = ended.iter().map(|((deployment, _), _)| *deployment).collect();
        let devices: Vec<_> = ended.iter().map(|((_, device), _)| *device).collect();
        let attempts: Vec<_> = ended.iter().map(|(_, row)| row.task.attempts as i32).collect();
        end_attempts(tx, &ids, &devices, &attempts, outcome, now).await?;
    }
    for ((deployment, device), row) in rows.iter().filter(|(_, row)| row.outcome == Some("failed")) {
        let code = row.task.error.map_or("", ErrorCode::as_str);
        let kind = match row.task.state {
            TaskState::Failed => DeploymentEventKind::TaskFailed,
            TaskState::Skipped => DeploymentEventKind::TaskSkipped,
            _ => DeploymentEventKind::TaskRetried,
        };
        note(tx, DeploymentId(*deployment), now, kind, Some(DeviceId(*device)), code, None).await?;
    }
    Ok(())
}
