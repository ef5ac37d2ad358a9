//! What the owner of a deployment reads and writes: its tasks, and what it decided about them, in one transaction that
//! names the epoch of its shard.

use domain::access::Principal;
use domain::deployment::{DeploymentChange, DeploymentState, ErrorCode, PauseReason, Reason, Stage, Task, TaskChange, TaskState};
use domain::flag::Flags;
use domain::shard::{Epoch, ShardId, shard_of};
use domain::{CommandId, DeploymentId, DeviceId, Timestamp};
use serde_json::json;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use crate::audit::{AuditEntry, append};
use crate::command::COMMAND_CHANNEL;
use crate::deployment::{DEPLOYMENT_CHANNEL, DeploymentRow, cancel_commands, end_attempts, note, target};
use crate::flag::flags;
use crate::{Store, StoreError};

/// Failures of one transaction that are told of one by one; the tasks tell of all.
const FAILURES_TOLD_MAX: usize = 50;

/// A deployment and everything that changes beside its tasks, of one moment of the database's clock.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentReading {
    /// The deployment.
    pub row: DeploymentRow,
    /// The flags.
    pub flags: Flags,
    /// Starts of the last minute, oldest first.
    pub starts: Vec<Timestamp>,
    /// The database's clock.
    pub now: Timestamp,
}

/// A task with its place in the set.
#[derive(Debug, Clone, PartialEq)]
pub struct PlacedTask {
    /// Its place.
    pub position: i32,
    /// The task.
    pub task: Task,
}

/// A start.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskStart {
    /// The device.
    pub device: DeviceId,
    /// The command that tells it.
    pub command: CommandId,
    /// Which attempt it is.
    pub attempt: u32,
    /// What the device is sent, JSON; the address in it is a secret of the device.
    pub params: String,
    /// The same for people.
    pub params_shown: String,
    /// The version that is there.
    pub version_before: Option<i64>,
}

/// What was decided about a deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Carry {
    /// The deployment.
    pub id: DeploymentId,
    /// Its shard, and the epoch in which it was decided.
    pub place: (ShardId, Epoch),
    /// Changes with the state and the attempt that they start from.
    pub changes: Vec<(DeviceId, TaskState, u32, TaskChange)>,
    /// Starts.
    pub starts: Vec<TaskStart>,
    /// When their commands are worthless.
    pub commands_expire_at: Timestamp,
    /// What becomes of the deployment.
    pub deployment: Option<DeploymentChange>,
    /// Time that its first devices had, ms.
    pub canary_ms: i64,
    /// The moment.
    pub now: Timestamp,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Carried {
    /// Devices that were really started.
    pub started: Vec<DeviceId>,
    /// Commands that were taken back, and whose they are.
    pub taken_back: Vec<(DeviceId, CommandId)>,
}

impl Store {
    /// Deployments of these shards that are not over.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn open_deployments(&self, shards: &[ShardId]) -> Result<Vec<DeploymentId>, StoreError> {
        let shards: Vec<_> = shards.iter().map(|shard| i32::from(shard.0)).collect();
        let rows = sqlx::query_scalar!("SELECT deployment_id FROM deployment WHERE finished_at IS NULL AND shard_id = ANY($1)", &shards)
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.into_iter().map(DeploymentId).collect())
    }

    /// What is on record of a deployment beside its tasks. `None`: it is gone.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn read_deployment(&self, id: DeploymentId) -> Result<Option<DeploymentReading>, StoreError> {
        let Some(row) = self.deployment(id).await? else { return Ok(None) };
        let mut connection = self.pool.acquire().await?;
        let now = sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#).fetch_one(&mut *connection).await?;
        let flags = flags(&mut connection, false).await?;
        let starts = sqlx::query_scalar!(
            "SELECT started_at FROM deployment_attempt WHERE deployment_id = $1 AND started_at > $2::timestamptz - interval '1 minute'
             ORDER BY started_at",
            id.0,
            now
        )
        .fetch_all(&mut *connection)
        .await?;
        Ok(Some(DeploymentReading { row, flags, starts, now }))
    }

    /// The tasks of a deployment that changed since; all of them when `since` is `None`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn tasks_changed(&self, id: DeploymentId, since: Option<Timestamp>) -> Result<Vec<PlacedTask>, StoreError> {
        let rows = sqlx::query!(
            "SELECT position, device_id, canary, state, reason, stage, attempts, not_before, started_at, reported_at, finished_at, error
             FROM deployment_task WHERE deployment_id = $1 AND ($2::timestamptz IS NULL OR changed_at >= $2)",
            id.0,
            since
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let task = Task {
                    device: DeviceId(row.device_id),
                    canary: row.canary,
                    state: TaskState::of_name(&row.state).ok_or(StoreError::Corrupt("deployment_task.state"))?,
                    reason: row.reason.as_deref().and_then(Reason::of_name),
                    stage: row.stage.as_deref().and_then(Stage::of_name),
                    attempts: row.attempts.max(0) as u32,
                    not_before: row.not_before,
                    started_at: row.started_at,
                    reported_at: row.reported_at,
                    finished_at: row.finished_at,
                    error: row.error.as_deref().and_then(ErrorCode::of_name),
                };
                Ok(PlacedTask { position: row.position, task })
            })
            .collect()
    }

    /// Devices with an open task that are no more.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn gone_targets(&self, id: DeploymentId) -> Result<Vec<DeviceId>, StoreError> {
        let rows = sqlx::query_scalar!(
            "SELECT t.device_id FROM deployment_task t
             WHERE t.deployment_id = $1 AND t.state IN ('queued', 'waiting_window', 'throttled', 'sending', 'installing')
                 AND NOT EXISTS (SELECT FROM device d WHERE d.device_id = t.device_id AND d.deleted_at IS NULL)",
            id.0
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(DeviceId).collect())
    }

    /// Devices of a deployment that another one of the package has first: it is installing there, or is older and waits.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn targets_elsewhere(&self, row: &DeploymentRow) -> Result<Vec<DeviceId>, StoreError> {
        let rows = sqlx::query_scalar!(
            "SELECT DISTINCT o.device_id FROM deployment_task o JOIN deployment d USING (deployment_id)
             WHERE o.package = $1 AND o.deployment_id <> $2 AND d.finished_at IS NULL
                 AND (o.state IN ('sending', 'installing')
                      OR (o.state IN ('queued', 'waiting_window', 'throttled') AND (d.created_at, d.deployment_id) < ($3, $2)))
                 AND EXISTS (SELECT FROM deployment_task t WHERE t.deployment_id = $2 AND t.device_id = o.device_id
                             AND t.state IN ('queued', 'waiting_window', 'throttled'))",
            row.package,
            row.id.0,
            row.created_at
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(DeviceId).collect())
    }

    /// Devices whose command of a deployment ended without being taken: they refused it, or it ran out.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn refused_commands(&self, id: DeploymentId) -> Result<Vec<(DeviceId, Option<String>, Option<String>)>, StoreError> {
        let rows = sqlx::query!(
            "SELECT t.device_id, c.code, c.message FROM deployment_task t JOIN command c ON c.request_id = t.command_id
             WHERE t.deployment_id = $1 AND t.state = 'sending' AND c.state = 'failed'",
            id.0
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (DeviceId(row.device_id), row.code, row.message)).collect())
    }

    /// Does what was decided: all of it, or as much as still holds. `None`: the shard has another owner by now.
    ///
    /// # Errors
    /// The database is unavailable; nothing is done then.
    pub async fn carry_deployment(&self, carry: &Carry) -> Result<Option<Carried>, StoreError> {
        let mut tx = self.pool.begin().await?;
        // Held until this is committed: nobody takes the shard in between.
        let epoch = sqlx::query_scalar!("SELECT epoch FROM shard WHERE shard_id = $1 FOR SHARE", i32::from(carry.place.0.0))
            .fetch_optional(&mut *tx)
            .await?;
        if epoch != Some(carry.place.1.0) {
            return Ok(None);
        }
        let found = if carry.deployment.is_some() {
            sqlx::query_scalar!("SELECT state FROM deployment WHERE deployment_id = $1 FOR NO KEY UPDATE", carry.id.0)
                .fetch_optional(&mut *tx)
                .await?
        } else {
            sqlx::query_scalar!("SELECT state FROM deployment WHERE deployment_id = $1 FOR SHARE", carry.id.0)
                .fetch_optional(&mut *tx)
                .await?
        };
        let Some(state) = found.as_deref().and_then(DeploymentState::of_name) else { return Ok(Some(Carried::default())) };
        let mut carried = Carried::default();
        change_tasks(&mut tx, carry, &mut carried).await?;
        let runs = state == DeploymentState::Running && (carry.starts.is_empty() || flags(&mut tx, true).await?.blocked().is_none());
        if runs && !carry.starts.is_empty() {
            // Later than every end that was read before it was decided: on record no two that were never at it together overlap.
            let now = sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#).fetch_one(&mut *tx).await?;
            carried.started = start_tasks(&mut tx, carry, now).await?;
        }
        let entry = match carry.deployment {
            Some(change) => change_deployment(&mut tx, carry, state, change).await?,
            None => None,
        };
        if let Some(entry) = entry {
            append(&mut tx, &entry, carry.now).await?;
        }
        tx.commit().await?;
        Ok(Some(carried))
    }

    /// Notes how long the first devices had so far.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn note_canary_time(&self, id: DeploymentId, canary_ms: i64) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE deployment SET canary_ms = $2 WHERE deployment_id = $1 AND phase = 'canary' AND state = 'running' AND canary_ms < $2",
            id.0,
            canary_ms
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

async fn change_tasks(tx: &mut Transaction<'static, Postgres>, carry: &Carry, carried: &mut Carried) -> Result<(), StoreError> {
    if carry.changes.is_empty() {
        return Ok(());
    }
    let mut changes: Vec<_> = carry.changes.iter().collect();
    // The order in which everybody locks tasks.
    changes.sort_unstable_by_key(|(device, ..)| *device);
    let devices: Vec<Uuid> = changes.iter().map(|(device, ..)| device.0).collect();
    let from: Vec<&str> = changes.iter().map(|(_, from, ..)| from.as_str()).collect();
    let attempts: Vec<i32> = changes.iter().map(|(_, _, attempts, _)| *attempts as i32).collect();
    let becomes = |change: TaskChange| match change {
        TaskChange::Waits(state, reason) => (state, reason, None),
        TaskChange::Again(reason, not_before) => (TaskState::Queued, reason, not_before),
        TaskChange::Over(state, reason) => (state, reason, None),
    };
    let states: Vec<&str> = changes.iter().map(|(.., change)| becomes(*change).0.as_str()).collect();
    let reasons: Vec<&str> = changes.iter().map(|(.., change)| becomes(*change).1.as_str()).collect();
    let again: Vec<bool> = changes.iter().map(|(.., change)| matches!(change, TaskChange::Again(..))).collect();
    let not_before: Vec<Option<Timestamp>> = changes.iter().map(|(.., change)| becomes(*change).2).collect();
    let over: Vec<bool> = changes.iter().map(|(.., change)| matches!(change, TaskChange::Over(..))).collect();
    // Only what the server found out by itself; what the device said stands there already.
    let errors: Vec<Option<&str>> = changes
        .iter()
        .map(|(_, from, _, change)| {
            let timed_out = matches!(change, TaskChange::Over(TaskState::Failed, _) | TaskChange::Again(_, Some(_)));
            (from.is_busy() && timed_out).then_some(ErrorCode::Timeout.as_str())
        })
        .collect();
    sqlx::query!(
        "SELECT FROM deployment_task WHERE deployment_id = $1 AND device_id = ANY($2) ORDER BY device_id FOR NO KEY UPDATE",
        carry.id.0,
        &devices
    )
    .execute(&mut **tx)
    .await?;
    let changed = sqlx::query!(
        "UPDATE deployment_task t SET state = c.state, reason = c.reason,
             stage = CASE WHEN c.again OR c.over THEN NULL ELSE t.stage END,
             progress_pct = CASE WHEN c.again OR c.over THEN NULL ELSE t.progress_pct END,
             not_before = CASE WHEN c.again THEN c.not_before ELSE t.not_before END,
             error = coalesce(c.error, t.error),
             finished_at = CASE WHEN c.over THEN $2::timestamptz END, changed_at = clock_timestamp()
         FROM UNNEST($3::uuid[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::boolean[], $9::timestamptz[], $10::boolean[],
             $11::text[]) AS c(device_id, before, attempts, state, reason, again, not_before, over, error)
         WHERE t.deployment_id = $1 AND t.device_id = c.device_id AND t.state = c.before AND t.attempts = c.attempts
         RETURNING t.device_id, t.attempts, t.command_id, c.before, t.state, t.reason",
        carry.id.0,
        carry.now,
        &devices,
        &from as &[&str],
        &attempts,
        &states as &[&str],
        &reasons as &[&str],
        &again,
        &not_before as &[Option<Timestamp>],
        &over,
        &errors as &[Option<&str>]
    )
    .fetch_all(&mut **tx)
    .await?;
    struct Ended {
        device: Uuid,
        attempt: i32,
        command: Option<Uuid>,
        was_sending: bool,
        outcome: &'static str,
        reason: String,
    }
    let ended: Vec<Ended> = changed
        .into_iter()
        .filter_map(|row| {
            let before = row.before.as_deref().and_then(TaskState::of_name).filter(|before| before.is_busy())?;
            let was_sending = before == TaskState::Sending;
            let (outcome, reason) = (outcome_of(&row.state), row.reason.unwrap_or_default());
            Some(Ended { device: row.device_id, attempt: row.attempts, command: row.command_id, was_sending, outcome, reason })
        })
        .collect();
    for outcome in ["succeeded", "failed", "taken_back"] {
        let of = ended.iter().filter(|ended| ended.outcome == outcome);
        let (devices, attempts): (Vec<_>, Vec<_>) = of.map(|ended| (ended.device, ended.attempt)).unzip();
        end_attempts(tx, &vec![carry.id.0; devices.len()], &devices, &attempts, outcome, carry.now).await?;
    }
    for failed in ended.iter().filter(|ended| ended.outcome == "failed").take(FAILURES_TOLD_MAX) {
        note(tx, carry.id, carry.now, "task_failed", Some(DeviceId(failed.device)), &failed.reason, None).await?;
    }
    let commands = ended.iter().filter(|ended| ended.was_sending).filter_map(|ended| ended.command).collect();
    carried.taken_back = cancel_commands(tx, commands, carry.now).await?;
    Ok(())
}

fn outcome_of(state: &str) -> &'static str {
    match TaskState::of_name(state) {
        Some(TaskState::Succeeded) => "succeeded",
        Some(TaskState::Failed) => "failed",
        _ => "taken_back",
    }
}

async fn start_tasks(tx: &mut Transaction<'static, Postgres>, carry: &Carry, now: Timestamp) -> Result<Vec<DeviceId>, StoreError> {
    let mut starts: Vec<_> = carry.starts.iter().collect();
    starts.sort_unstable_by_key(|start| start.device);
    let devices: Vec<Uuid> = starts.iter().map(|start| start.device.0).collect();
    let commands: Vec<Uuid> = starts.iter().map(|start| start.command.0).collect();
    let attempts: Vec<i32> = starts.iter().map(|start| start.attempt as i32).collect();
    let before: Vec<Option<i64>> = starts.iter().map(|start| start.version_before).collect();
    sqlx::query!(
        "SELECT FROM deployment_task WHERE deployment_id = $1 AND device_id = ANY($2) ORDER BY device_id FOR NO KEY UPDATE",
        carry.id.0,
        &devices
    )
    .execute(&mut **tx)
    .await?;
    let started = sqlx::query_scalar!(
        "UPDATE deployment_task t SET state = 'sending', reason = NULL, stage = NULL, progress_pct = NULL, not_before = NULL,
             attempts = s.attempt, command_id = s.command_id, started_at = $2, accepted_at = NULL, reported_at = NULL, error = NULL,
             message = NULL, version_before = coalesce(t.version_before, s.version_before), changed_at = clock_timestamp()
         FROM UNNEST($3::uuid[], $4::uuid[], $5::integer[], $6::bigint[]) AS s(device_id, command_id, attempt, version_before)
         WHERE t.deployment_id = $1 AND t.device_id = s.device_id AND t.attempts = s.attempt - 1
             AND t.state IN ('queued', 'waiting_window', 'throttled')
             -- One installation of a package at a time on a device.
             AND NOT EXISTS (SELECT FROM deployment_task o WHERE o.device_id = t.device_id AND o.package = t.package
                             AND o.state IN ('sending', 'installing'))
         RETURNING t.device_id",
        carry.id.0,
        now,
        &devices,
        &commands,
        &attempts,
        &before as &[Option<i64>]
    )
    .fetch_all(&mut **tx)
    .await?;
    let really: std::collections::HashSet<Uuid> = started.iter().copied().collect();
    starts.retain(|start| really.contains(&start.device.0));
    let devices: Vec<Uuid> = starts.iter().map(|start| start.device.0).collect();
    let commands: Vec<Uuid> = starts.iter().map(|start| start.command.0).collect();
    let attempts: Vec<i32> = starts.iter().map(|start| start.attempt as i32).collect();
    let shards: Vec<i32> = starts.iter().map(|start| i32::from(shard_of(start.device).0)).collect();
    let params: Vec<&str> = starts.iter().map(|start| start.params.as_str()).collect();
    let shown: Vec<&str> = starts.iter().map(|start| start.params_shown.as_str()).collect();
    sqlx::query!(
        "INSERT INTO deployment_attempt (deployment_id, device_id, attempt, started_at)
         SELECT $1, s.device_id, s.attempt, $2 FROM UNNEST($3::uuid[], $4::integer[]) AS s(device_id, attempt)",
        carry.id.0,
        now,
        &devices,
        &attempts
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "INSERT INTO command (request_id, device_id, shard_id, deployment_id, action, params, params_shown, state, created_by, created_at,
             release_at, expires_at)
         SELECT s.request_id, s.device_id, s.shard_id, $1, 'deploy_apk', s.params, s.shown, 'queued', 'server', $2, $2, $3
         FROM UNNEST($4::uuid[], $5::uuid[], $6::integer[], $7::text[], $8::text[]) AS s(request_id, device_id, shard_id, params, shown)
         JOIN device d ON d.device_id = s.device_id AND d.deleted_at IS NULL",
        carry.id.0,
        now,
        carry.commands_expire_at,
        &commands,
        &devices,
        &shards,
        &params as &[&str],
        &shown as &[&str]
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!("SELECT pg_notify($1, $2)", COMMAND_CHANNEL, format!("deployment:{}", carry.id)).execute(&mut **tx).await?;
    Ok(started.into_iter().map(DeviceId).collect())
}

async fn change_deployment(
    tx: &mut Transaction<'static, Postgres>,
    carry: &Carry,
    state: DeploymentState,
    change: DeploymentChange,
) -> Result<Option<AuditEntry>, StoreError> {
    let (kind, action, detail) = match change {
        DeploymentChange::Pause(_) | DeploymentChange::OpenGate if state != DeploymentState::Running => return Ok(None),
        DeploymentChange::Pause(reason) => ("paused", "deployment.paused", reason.as_str()),
        DeploymentChange::OpenGate => ("gate_opened", "deployment.gate_opened", ""),
        DeploymentChange::Finish => ("finished", "deployment.finished", ""),
    };
    let changed = match change {
        DeploymentChange::Pause(reason) => {
            sqlx::query_scalar!(
                "UPDATE deployment SET state = 'paused', pause_reason = $2, paused_at = $3, canary_ms = greatest(canary_ms, $4)
             WHERE deployment_id = $1 RETURNING name",
                carry.id.0,
                PauseReason::as_str(reason),
                carry.now,
                carry.canary_ms
            )
            .fetch_optional(&mut **tx)
            .await?
        }
        DeploymentChange::OpenGate => {
            sqlx::query_scalar!(
                "UPDATE deployment SET phase = 'rollout', phase_since = $2, judged_since = $2, canary_ms = greatest(canary_ms, $3)
             WHERE deployment_id = $1 AND phase = 'canary' RETURNING name",
                carry.id.0,
                carry.now,
                carry.canary_ms
            )
            .fetch_optional(&mut **tx)
            .await?
        }
        DeploymentChange::Finish => {
            sqlx::query_scalar!(
                "UPDATE deployment d SET state = CASE d.state WHEN 'canceled' THEN 'canceled' ELSE 'finished' END, finished_at = $2,
                 pause_reason = NULL, paused_at = NULL
             WHERE deployment_id = $1 AND finished_at IS NULL AND NOT EXISTS (
                 SELECT FROM deployment_task t WHERE t.deployment_id = d.deployment_id
                     AND t.state IN ('queued', 'waiting_window', 'throttled', 'sending', 'installing')) RETURNING name",
                carry.id.0,
                carry.now
            )
            .fetch_optional(&mut **tx)
            .await?
        }
    };
    let Some(name) = changed else { return Ok(None) };
    note(tx, carry.id, carry.now, kind, None, detail, None).await?;
    sqlx::query!("SELECT pg_notify($1, $2)", DEPLOYMENT_CHANNEL, carry.id.to_string()).execute(&mut **tx).await?;
    let entry = AuditEntry::new(&Principal::system(), action, target(carry.id, &name));
    Ok(Some(if detail.is_empty() { entry } else { entry.after(json!({ "reason": detail })) }))
}
