//! What devices say of their tasks: each word decided about under the lock of its task, with the deployment held as it is.

use std::collections::{BTreeMap, HashMap};

use domain::deployment::{ErrorCode, Options, Reason, Refusal, Report, Run, Stage, Status, Task, TaskState, TaskUpdate, report};
use domain::{DeploymentId, DeviceId, Timestamp};
use uuid::Uuid;

use crate::channels;
use crate::deployment_reading::task;
use crate::deployment_record::{end_attempts, note};
use crate::flag::flags;
use crate::{Store, StoreError};

/// A device's word.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentWord {
    /// The deployment.
    pub deployment: DeploymentId,
    /// The device.
    pub device: DeviceId,
    /// What it says.
    pub status: Status,
    /// Of which attempt, if it says so.
    pub attempt: Option<u32>,
    /// How much of the file it has, percent.
    pub progress_pct: Option<i16>,
    /// For people.
    pub message: Option<String>,
    /// The version that it has now.
    pub installed_version: Option<String>,
}

/// What became of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WordTaken {
    /// It is on record.
    Changed {
        /// Where the task stands now.
        state: TaskState,
        /// What it failed with.
        error: Option<ErrorCode>,
        /// How long the attempt took, ms, when this ended it.
        took_ms: Option<i64>,
    },
    /// It was before.
    Nothing,
    /// It is refused; the device does not go on.
    Refused(Refusal),
    /// There is no such deployment, or the device is not part of it.
    Unknown,
}

struct Row {
    task: Task,
    progress_pct: Option<i16>,
    message: Option<String>,
    installed_version: Option<String>,
    accepted_at: Option<Timestamp>,
    changed: bool,
    over: Option<&'static str>,
}

impl Store {
    /// Puts words of devices on record, in their order. Each is answered in its place.
    ///
    /// # Errors
    /// The database is unavailable; nothing is on record then, or all of it.
    pub async fn take_deployment_words(&self, words: &[DeploymentWord]) -> Result<Vec<WordTaken>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let ids: Vec<Uuid> = words.iter().map(|word| word.deployment.0).collect();
        // Held until this is committed: whoever pauses waits for it, and nothing is let through afterwards.
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
            let state = domain::deployment::DeploymentState::of_name(&row.state).ok_or(corrupt("deployment.state"))?;
            runs.insert(row.deployment_id, (options, run_in(state)));
        }
        let blocked = flags(&mut tx, true).await?.blocked();
        let now = sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#).fetch_one(&mut *tx).await?;
        let devices: Vec<Uuid> = words.iter().map(|word| word.device.0).collect();
        let found = sqlx::query!(
            "SELECT t.deployment_id, t.device_id, t.canary, t.state, t.reason, t.stage, t.attempts, t.not_before, t.started_at,
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
            // What it said last does not matter to what it says now.
            let task = task!(row, None);
            let accepted_at = row.accepted_at;
            let row_of = Row { task, progress_pct: None, message: None, installed_version: None, accepted_at, changed: false, over: None };
            rows.insert((row.deployment_id, row.device_id), row_of);
        }
        let mut answers = Vec::with_capacity(words.len());
        for word in words {
            answers.push(match (runs.get(&word.deployment.0), rows.get_mut(&(word.deployment.0, word.device.0))) {
                (Some((options, run)), Some(row)) => match report(options, run, blocked, &row.task, word.status, word.attempt, now) {
                    Err(refusal) => WordTaken::Refused(refusal),
                    Ok(Report::Nothing) => {
                        // Progress is no step, and is shown all the same.
                        row.changed |= word.progress_pct.is_some() && row.task.state == TaskState::Installing;
                        row.progress_pct = word.progress_pct.or(row.progress_pct);
                        WordTaken::Nothing
                    }
                    Ok(Report::Changed(update)) => row.taken(word, update, now),
                },
                _ => WordTaken::Unknown,
            });
        }
        rows.retain(|_, row| row.changed);
        if !rows.is_empty() {
            write(&mut tx, &rows, now).await?;
            let mut told: Vec<Uuid> = rows.keys().map(|(deployment, _)| *deployment).collect();
            told.dedup();
            for id in told {
                sqlx::query!("SELECT pg_notify($1, $2)", channels::DEPLOYMENT, id.to_string()).execute(&mut *tx).await?;
            }
        }
        tx.commit().await?;
        Ok(answers)
    }
}

/// A device's word needs no more of the deployment than its state.
fn run_in(state: domain::deployment::DeploymentState) -> Run {
    let never = Timestamp::UNIX_EPOCH;
    Run {
        state,
        phase: domain::deployment::Phase::Rollout,
        canary_ran: chrono::TimeDelta::zero(),
        judged_since: never,
        expires_at: never,
        version_code: 0,
        min_sdk: None,
    }
}

impl Row {
    fn taken(&mut self, word: &DeploymentWord, update: TaskUpdate, now: Timestamp) -> WordTaken {
        let task = &mut self.task;
        if task.state == TaskState::Sending && update.state == TaskState::Installing {
            self.accepted_at = Some(now);
        }
        (task.state, task.reason, task.stage, task.error) = (update.state, update.reason, update.stage, update.error);
        task.not_before = update.not_before;
        task.finished_at = update.state.is_over().then_some(now);
        self.progress_pct = word.progress_pct;
        self.message = word.message.clone();
        self.installed_version = word.installed_version.clone();
        self.changed = true;
        if update.attempt_over {
            self.over = Some(if update.state == TaskState::Succeeded { "succeeded" } else { "failed" });
        }
        let took_ms = task.started_at.filter(|_| update.attempt_over).map(|at| (now - at).num_milliseconds());
        WordTaken::Changed { state: update.state, error: update.error, took_ms }
    }
}

async fn write(
    tx: &mut sqlx::Transaction<'static, sqlx::Postgres>,
    rows: &BTreeMap<(Uuid, Uuid), Row>,
    now: Timestamp,
) -> Result<(), StoreError> {
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
        "UPDATE deployment_task t SET state = w.state, reason = w.reason, stage = w.stage, progress_pct = coalesce(w.progress_pct, t.progress_pct),
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
        let ended: Vec<_> = rows.iter().filter(|(_, row)| row.over == Some(outcome)).collect();
        let ids: Vec<_> = ended.iter().map(|((deployment, _), _)| *deployment).collect();
        let devices: Vec<_> = ended.iter().map(|((_, device), _)| *device).collect();
        let attempts: Vec<_> = ended.iter().map(|(_, row)| row.task.attempts as i32).collect();
        end_attempts(tx, &ids, &devices, &attempts, outcome, now).await?;
    }
    for ((deployment, device), row) in rows.iter().filter(|(_, row)| row.over == Some("failed")) {
        let code = row.task.error.map_or("", ErrorCode::as_str);
        let kind = match row.task.state {
            TaskState::Failed => "task_failed",
            TaskState::Skipped => "task_skipped",
            _ => "task_retried",
        };
        note(tx, DeploymentId(*deployment), now, kind, Some(DeviceId(*device)), code, None).await?;
    }
    Ok(())
}
