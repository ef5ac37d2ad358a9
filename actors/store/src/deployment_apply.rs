//! Writes of the owner of a deployment: it applies a plan in one transaction that checks the epoch of the shard.

use domain::access::Principal;
use domain::audit::AuditAction;
use domain::deployment::{DeploymentChange, DeploymentEventKind, DeploymentState, ErrorCode, PauseReason, Reason, TaskChange, TaskState};
use domain::shard::{ShardLease, shard_of};
use domain::{CommandId, DeploymentId, DeviceId, Timestamp};
use serde_json::json;
use uuid::Uuid;

use crate::audit::{AuditEntry, append};
use crate::channels;
use crate::deployment_record::{cancel_commands, end_attempts, expect_many, fail_attempts, note, target};
use crate::flag::flags;
use crate::pool::Transaction;
use crate::{Store, StoreError};

/// Most failures of one transaction that get an event each; the tasks show all.
const FAILURES_TOLD_MAX: usize = 50;

/// Start of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskStart {
    /// The device.
    pub device: DeviceId,
    /// Command that asks the device to install.
    pub command: CommandId,
    /// Number of the attempt.
    pub attempt: u32,
    /// Parameters of the command, JSON; the download address in them is a secret of the device.
    pub params: String,
    /// The same without the secret, for display.
    pub params_shown: String,
    /// Version code that is installed before.
    pub version_before: Option<i64>,
}

/// Change of a task, and the state that it starts from: a task that has changed meanwhile is left alone.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangedTask {
    /// The device.
    pub device: DeviceId,
    /// State of the task before.
    pub from: TaskState,
    /// Attempts of the task before.
    pub attempts: u32,
    /// The change.
    pub change: TaskChange,
    /// Message of the device, for display.
    pub message: Option<String>,
    /// Values behind the reason, for display.
    pub detail: Option<String>,
}

impl ChangedTask {
    /// Error of the attempt, as far as the server knows it: the refusal of the device, or a timeout.
    fn error(&self) -> Option<ErrorCode> {
        let reported = matches!(self.from, TaskState::Confirming | TaskState::Succeeded);
        match self.change {
            _ if !self.from.is_busy() && !reported => None,
            TaskChange::Finish(TaskState::Failed | TaskState::Skipped, Reason::Device(code)) => Some(code),
            TaskChange::Retry(Reason::Device(code), Some(_)) => Some(code),
            TaskChange::Finish(TaskState::Failed, _) | TaskChange::Retry(_, Some(_)) => Some(ErrorCode::Timeout),
            _ => None,
        }
    }
}

/// Request to apply a plan to a deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct ApplyPlan {
    /// The deployment.
    pub id: DeploymentId,
    /// Shard of the deployment, and the epoch in which the plan was made.
    pub lease: ShardLease,
    /// Changes of tasks.
    pub changes: Vec<ChangedTask>,
    /// Starts of tasks, the most urgent first.
    pub starts: Vec<TaskStart>,
    /// Concurrency limit; tasks that start count.
    pub concurrency: u32,
    /// Expiry of the commands of the starts.
    pub commands_expire_at: Timestamp,
    /// Change of the deployment.
    pub deployment: Option<DeploymentChange>,
    /// Running time of the canary, ms.
    pub canary_ms: i64,
    /// Time of the plan.
    pub now: Timestamp,
}

/// Outcome of applying a plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// Devices whose tasks were started.
    pub started: Vec<DeviceId>,
    /// Commands that were canceled, with their devices.
    pub taken_back: Vec<(DeviceId, CommandId)>,
    /// States and reasons of the tasks that have finished.
    pub finished: Vec<(TaskState, Reason)>,
}

impl Store {
    /// Applies a plan, as far as its tasks have not changed meanwhile. `None`: the shard has another owner now.
    ///
    /// # Errors
    /// The database is unavailable; nothing is changed then.
    pub async fn apply_plan(&self, plan: &ApplyPlan) -> Result<Option<Applied>, StoreError> {
        let mut tx = self.begin().await?;
        // The row is locked until the commit: no other node claims the shard in between.
        let epoch = sqlx::query_scalar!("SELECT epoch FROM shard WHERE shard_id = $1 FOR SHARE", i32::from(plan.lease.shard.0))
            .fetch_optional(&mut *tx)
            .await?;
        if epoch != Some(plan.lease.epoch.0) {
            return Ok(None);
        }
        let found = if plan.deployment.is_some() {
            sqlx::query_scalar!("SELECT state FROM deployment WHERE deployment_id = $1 FOR NO KEY UPDATE", plan.id.0)
                .fetch_optional(&mut *tx)
                .await?
        } else {
            sqlx::query_scalar!("SELECT state FROM deployment WHERE deployment_id = $1 FOR SHARE", plan.id.0)
                .fetch_optional(&mut *tx)
                .await?
        };
        let Some(state) = found.as_deref().and_then(DeploymentState::parse) else { return Ok(Some(Applied::default())) };
        let mut applied = Applied::default();
        change_tasks(&mut tx, plan, &mut applied).await?;
        let runs = state == DeploymentState::Running && (plan.starts.is_empty() || flags(&mut tx, true).await?.blocked().is_none());
        if runs && !plan.starts.is_empty() {
            let most = free_slots(&mut tx, plan).await?;
            // Later than the end of every task that freed a slot, so that stored attempts overlap only if they did.
            let now = sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#).fetch_one(&mut *tx).await?;
            applied.started = start_tasks(&mut tx, plan, most, now).await?;
        }
        let entry = match plan.deployment {
            Some(change) => change_deployment(&mut tx, plan, state, change).await?,
            None => None,
        };
        if let Some(entry) = entry {
            append(&mut tx, &entry, plan.now).await?;
        }
        tx.commit().await?;
        Ok(Some(applied))
    }

    /// Stores the running time of the canary.
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

async fn change_tasks(tx: &mut Transaction, plan: &ApplyPlan, applied: &mut Applied) -> Result<(), StoreError> {
    if plan.changes.is_empty() {
        return Ok(());
    }
    let mut changes: Vec<_> = plan.changes.iter().collect();
    // The order in which everybody locks tasks.
    changes.sort_unstable_by_key(|changed| changed.device);
    let becomes = |change: TaskChange| match change {
        TaskChange::Wait(state, reason) | TaskChange::Finish(state, reason) => (state, reason, None),
        TaskChange::Retry(reason, not_before) => (TaskState::Queued, reason, not_before),
    };
    macro_rules! column {
        ($changed:ident => $value:expr) => {
            changes.iter().map(|$changed| $value).collect::<Vec<_>>()
        };
    }
    let devices = column!(changed => changed.device.0);
    let from = column!(changed => changed.from.as_str());
    let attempts = column!(changed => changed.attempts as i32);
    let states = column!(changed => becomes(changed.change).0.as_str());
    let reasons = column!(changed => becomes(changed.change).1.as_str());
    let again = column!(changed => matches!(changed.change, TaskChange::Retry(..)));
    let not_before = column!(changed => becomes(changed.change).2);
    let over = column!(changed => matches!(changed.change, TaskChange::Finish(..)));
    let errors = column!(changed => changed.error().map(ErrorCode::as_str));
    let messages = column!(changed => changed.message.as_deref());
    let details = column!(changed => changed.detail.as_deref());
    sqlx::query!(
        "SELECT FROM deployment_task WHERE deployment_id = $1 AND device_id = ANY($2) ORDER BY device_id FOR NO KEY UPDATE",
        plan.id.0,
        &devices
    )
    .execute(&mut **tx)
    .await?;
    expect_many(tx, true).await?;
    let changed = sqlx::query!(
        "UPDATE deployment_task t SET state = c.state, reason = c.reason, reason_detail = c.detail,
             stage = CASE WHEN c.again OR c.over THEN NULL ELSE t.stage END,
             progress_pct = CASE WHEN c.again OR c.over THEN NULL ELSE t.progress_pct END,
             not_before = CASE WHEN c.again THEN c.not_before ELSE t.not_before END,
             error = coalesce(c.error, t.error), message = coalesce(c.message, t.message),
             finished_at = CASE WHEN c.over THEN $2::timestamptz END, changed_at = clock_timestamp()
         FROM UNNEST($3::uuid[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::boolean[], $9::timestamptz[], $10::boolean[],
             $11::text[], $12::text[], $13::text[])
             AS c(device_id, before, attempts, state, reason, again, not_before, over, error, message, detail)
         WHERE t.deployment_id = $1 AND t.device_id = c.device_id AND t.state = c.before AND t.attempts = c.attempts
         RETURNING t.device_id, t.attempts, t.command_id, c.before, t.state, t.reason, t.reason_detail",
        plan.id.0,
        plan.now,
        &devices,
        &from as &[&str],
        &attempts,
        &states as &[&str],
        &reasons as &[&str],
        &again,
        &not_before as &[Option<Timestamp>],
        &over,
        &errors as &[Option<&str>],
        &messages as &[Option<&str>],
        &details as &[Option<&str>]
    )
    .fetch_all(&mut **tx)
    .await?;
    expect_many(tx, false).await?;
    applied.finished.extend(changed.iter().filter_map(|row| {
        let state = TaskState::parse(&row.state).filter(|state| state.is_finished())?;
        Some((state, row.reason.as_deref().and_then(Reason::parse)?))
    }));
    let reported = [TaskState::Confirming, TaskState::Succeeded].map(TaskState::as_str);
    let mut contradicted: Vec<_> = changed
        .iter()
        .filter(|row| row.state == TaskState::Failed.as_str() && row.before.as_deref().is_some_and(|before| reported.contains(&before)))
        .collect();
    contradicted.sort_unstable_by_key(|row| row.device_id);
    let (devices, attempts): (Vec<_>, Vec<_>) = contradicted.iter().map(|row| (row.device_id, row.attempts)).unzip();
    fail_attempts(tx, plan.id, &devices, &attempts).await?;
    for row in contradicted.into_iter().take(FAILURES_TOLD_MAX) {
        let kind = match row.reason.as_deref().and_then(Reason::parse) {
            Some(Reason::Device(ErrorCode::Reverted)) => DeploymentEventKind::TaskReverted,
            _ => DeploymentEventKind::TaskFailed,
        };
        let detail = row.reason_detail.as_deref().or(row.reason.as_deref()).unwrap_or_default();
        note(tx, plan.id, plan.now, kind, Some(DeviceId(row.device_id)), detail, None).await?;
    }
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
            let before = row.before.as_deref().and_then(TaskState::parse).filter(|before| before.is_busy())?;
            let was_sending = before == TaskState::Sending;
            let (outcome, reason) = (outcome_of(&row.state), row.reason.unwrap_or_default());
            Some(Ended { device: row.device_id, attempt: row.attempts, command: row.command_id, was_sending, outcome, reason })
        })
        .collect();
    for outcome in ["succeeded", "failed", "taken_back"] {
        let of = ended.iter().filter(|ended| ended.outcome == outcome);
        let (devices, attempts): (Vec<_>, Vec<_>) = of.map(|ended| (ended.device, ended.attempt)).unzip();
        end_attempts(tx, &vec![plan.id.0; devices.len()], &devices, &attempts, outcome, plan.now).await?;
    }
    for failed in ended.iter().filter(|ended| ended.outcome == "failed").take(FAILURES_TOLD_MAX) {
        note(tx, plan.id, plan.now, DeploymentEventKind::TaskFailed, Some(DeviceId(failed.device)), &failed.reason, None).await?;
    }
    let commands = ended.iter().filter(|ended| ended.was_sending).filter_map(|ended| ended.command).collect();
    applied.taken_back = cancel_commands(tx, commands, plan.now).await?;
    Ok(())
}

fn outcome_of(state: &str) -> &'static str {
    match TaskState::parse(state) {
        Some(TaskState::Succeeded) => "succeeded",
        Some(TaskState::Failed) => "failed",
        _ => "taken_back",
    }
}

/// Number of tasks that may start. Counted anew: a change that should have freed a slot may not have been applied, as when its
/// device accepted the task just then.
async fn free_slots(tx: &mut Transaction, plan: &ApplyPlan) -> Result<usize, StoreError> {
    let busy = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM deployment_task WHERE deployment_id = $1 AND state IN ('sending', 'installing')"#,
        plan.id.0
    )
    .fetch_one(&mut **tx)
    .await?;
    Ok((plan.concurrency as usize).saturating_sub(usize::try_from(busy).unwrap_or(usize::MAX)))
}

async fn start_tasks(tx: &mut Transaction, plan: &ApplyPlan, most: usize, now: Timestamp) -> Result<Vec<DeviceId>, StoreError> {
    let mut starts: Vec<_> = plan.starts.iter().take(most).collect();
    starts.sort_unstable_by_key(|start| start.device);
    let devices: Vec<Uuid> = starts.iter().map(|start| start.device.0).collect();
    let commands: Vec<Uuid> = starts.iter().map(|start| start.command.0).collect();
    let attempts: Vec<i32> = starts.iter().map(|start| start.attempt as i32).collect();
    let before: Vec<Option<i64>> = starts.iter().map(|start| start.version_before).collect();
    sqlx::query!(
        "SELECT FROM deployment_task WHERE deployment_id = $1 AND device_id = ANY($2) ORDER BY device_id FOR NO KEY UPDATE",
        plan.id.0,
        &devices
    )
    .execute(&mut **tx)
    .await?;
    expect_many(tx, true).await?;
    let started = sqlx::query_scalar!(
        "UPDATE deployment_task t SET state = 'sending', reason = NULL, reason_detail = NULL, stage = NULL, progress_pct = NULL, not_before = NULL,
             attempts = s.attempt, command_id = s.command_id, started_at = $2, accepted_at = NULL, reported_at = NULL, error = NULL,
             message = NULL, version_before = coalesce(t.version_before, s.version_before), changed_at = clock_timestamp()
         FROM UNNEST($3::uuid[], $4::uuid[], $5::integer[], $6::bigint[]) AS s(device_id, command_id, attempt, version_before)
         WHERE t.deployment_id = $1 AND t.device_id = s.device_id AND t.attempts = s.attempt - 1
             AND t.state IN ('queued', 'waiting_window', 'throttled')
             -- One installation of a package at a time on a device.
             AND NOT EXISTS (SELECT FROM deployment_task o WHERE o.device_id = t.device_id AND o.package = t.package
                             AND o.state IN ('sending', 'installing'))
         RETURNING t.device_id",
        plan.id.0,
        now,
        &devices,
        &commands,
        &attempts,
        &before as &[Option<i64>]
    )
    .fetch_all(&mut **tx)
    .await?;
    expect_many(tx, false).await?;
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
        plan.id.0,
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
        plan.id.0,
        now,
        plan.commands_expire_at,
        &commands,
        &devices,
        &shards,
        &params as &[&str],
        &shown as &[&str]
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!("SELECT pg_notify($1, $2)", channels::COMMAND, format!("deployment:{}", plan.id)).execute(&mut **tx).await?;
    Ok(started.into_iter().map(DeviceId).collect())
}

async fn change_deployment(
    tx: &mut Transaction,
    plan: &ApplyPlan,
    state: DeploymentState,
    change: DeploymentChange,
) -> Result<Option<AuditEntry>, StoreError> {
    let (kind, action, detail) = match change {
        DeploymentChange::Pause(_) | DeploymentChange::OpenGate if state != DeploymentState::Running => return Ok(None),
        DeploymentChange::Pause(reason) => (DeploymentEventKind::Paused, AuditAction::DeploymentPaused, reason.as_str()),
        DeploymentChange::OpenGate => (DeploymentEventKind::GateOpened, AuditAction::DeploymentGateOpened, ""),
        DeploymentChange::Finish => (DeploymentEventKind::Finished, AuditAction::DeploymentFinished, ""),
    };
    let changed = match change {
        DeploymentChange::Pause(reason) => {
            sqlx::query_scalar!(
                "UPDATE deployment SET state = 'paused', pause_reason = $2, paused_at = $3, canary_ms = greatest(canary_ms, $4)
             WHERE deployment_id = $1 RETURNING name",
                plan.id.0,
                PauseReason::as_str(reason),
                plan.now,
                plan.canary_ms
            )
            .fetch_optional(&mut **tx)
            .await?
        }
        DeploymentChange::OpenGate => {
            sqlx::query_scalar!(
                "UPDATE deployment SET phase = 'rollout', phase_since = $2, judged_since = $2, canary_ms = greatest(canary_ms, $3)
             WHERE deployment_id = $1 AND phase = 'canary' RETURNING name",
                plan.id.0,
                plan.now,
                plan.canary_ms
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
                     AND t.state IN ('queued', 'waiting_window', 'throttled', 'sending', 'installing', 'confirming')) RETURNING name",
                plan.id.0,
                plan.now
            )
            .fetch_optional(&mut **tx)
            .await?
        }
    };
    let Some(name) = changed else { return Ok(None) };
    note(tx, plan.id, plan.now, kind, None, detail, None).await?;
    sqlx::query!("SELECT pg_notify($1, $2)", channels::DEPLOYMENT, plan.id.to_string()).execute(&mut **tx).await?;
    let entry = AuditEntry::new(&Principal::system(), action, target(plan.id, &name));
    Ok(Some(if detail.is_empty() { entry } else { entry.after(json!({ "reason": detail })) }))
}
