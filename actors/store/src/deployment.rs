//! Deployments: creation with all tasks, and reads for lists.

use domain::abi::AbiSet;
use domain::access::Principal;
use domain::deployment::{
    ConflictRule, Deployment, DeploymentEventKind, DeploymentQuery, DeploymentState, DeploymentTransition, Options, PauseReason, Phase,
    Reason, TaskState,
};
use domain::flag::Flags;
use domain::shard::shard_of_deployment;
use domain::{ApkId, CommandId, DeploymentId, DeviceId, Timestamp};
use serde_json::json;
use uuid::Uuid;

use crate::audit::{AuditEntry, append};
use crate::channels;
use crate::cluster_lock::hold_limit;
use crate::command::{IdempotencyRecord, InsertOutcome, claim_key};
use crate::deployment_page::taken_back_by;
use crate::deployment_record::{cancel_commands, end_attempts, note};
use crate::deployment_transition::{TransitionOutcome, transition_in};
use crate::pool::Transaction;
use crate::{Store, StoreError};

/// New deployment.
#[derive(Debug, Clone)]
pub struct NewDeployment {
    /// Id of the deployment.
    pub id: DeploymentId,
    /// Display name.
    pub name: String,
    /// APK to install.
    pub apk: ApkId,
    /// Package of the APK.
    pub package: String,
    /// Version code of the APK.
    pub version_code: i64,
    /// Requested target, JSON.
    pub target: String,
    /// Options.
    pub options: Options,
    /// Feature flags at the creation.
    pub flags: Flags,
    /// Rule for devices that an older deployment has.
    pub conflict: ConflictRule,
    /// Deployment that this one rolls back.
    pub rolls_back: Option<DeploymentId>,
    /// Deadline.
    pub expires_at: Timestamp,
    /// Most unfinished deployments; one that rolls another back may always be.
    pub open_max: i64,
    /// Tasks, in the order of the targets.
    pub tasks: Vec<NewTask>,
}

/// New task.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// The device.
    pub device: DeviceId,
    /// Alias of the device.
    pub alias: String,
    /// Whether the device belongs to the canary.
    pub canary: bool,
    /// First state of the task.
    pub state: TaskState,
    /// Reason of the state.
    pub reason: Option<Reason>,
    /// Values behind the reason, for display.
    pub detail: Option<String>,
}

/// Outcome of creating a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateOutcome {
    /// Created; these commands of older deployments were canceled.
    New(Vec<(DeviceId, CommandId)>),
    /// An earlier call with the same idempotency key created this one.
    Existing(DeploymentId),
    /// The idempotency key was used for another request.
    OtherBody,
    /// There are as many unfinished deployments as there may be.
    TooManyOpen,
    /// The file of the APK was deleted.
    NoApk,
    /// This deployment, which has not finished, rolls the same deployment back.
    TakenBackAlready(DeploymentId),
}

/// Builds a deployment from its columns.
macro_rules! deployment_row {
    ($row:expr) => {{
        let row = $row;
        let corrupt = crate::StoreError::Corrupt;
        let pause = row.pause_reason.as_deref().map(|name| PauseReason::parse(name).ok_or(corrupt("deployment.pause_reason")));
        Deployment {
            id: DeploymentId(row.deployment_id),
            name: row.name,
            apk: ApkId(row.apk_id),
            package: row.package,
            version_code: row.version_code,
            version_name: row.version_name,
            min_sdk: row.min_sdk,
            target_sdk: row.target_sdk,
            native_abis: AbiSet::of(row.native_abis.iter().map(String::as_str)),
            target: row.target,
            options: serde_json::from_str(&row.options).map_err(|_| corrupt("deployment.options"))?,
            flags: row.flags,
            devices: row.devices,
            canary_size: row.canary_size,
            state: DeploymentState::parse(&row.state).ok_or(corrupt("deployment.state"))?,
            phase: Phase::parse(&row.phase).ok_or(corrupt("deployment.phase"))?,
            pause_reason: pause.transpose()?,
            paused_at: row.paused_at,
            canary_ms: row.canary_ms,
            judged_since: row.judged_since,
            conflict: ConflictRule::parse(&row.conflict).ok_or(corrupt("deployment.conflict"))?,
            rolls_back: row.rolls_back.map(DeploymentId),
            created_by: row.created_by,
            created_at: row.created_at,
            expires_at: row.expires_at,
            canceled_by: row.canceled_by,
            finished_at: row.finished_at,
        }
    }};
}

impl Store {
    /// Inserts a deployment with all its tasks, and notifies every node. A rollback cancels the deployment that it rolls back.
    /// With [`ConflictRule::Supersede`], older open deployments of the package lose those of its devices that they are
    /// not installing on.
    ///
    /// # Errors
    /// The database is unavailable; nothing is inserted then.
    pub async fn insert_deployment(
        &self,
        new: &NewDeployment,
        idempotency_key: Option<&IdempotencyRecord>,
        by: &Principal,
        audit: &AuditEntry,
        now: Timestamp,
    ) -> Result<CreateOutcome, StoreError> {
        let mut tx = self.begin().await?;
        if let Some(idempotency_key) = idempotency_key {
            match claim_key(&mut tx, idempotency_key, new.id.0, now).await? {
                InsertOutcome::New(_) => {}
                InsertOutcome::Existing(id) => return Ok(CreateOutcome::Existing(DeploymentId(id))),
                _ => return Ok(CreateOutcome::OtherBody),
            }
        }
        // Held until this is committed: nobody deletes the file in between.
        let there = sqlx::query_scalar!("SELECT apk_id FROM apk WHERE apk_id = $1 AND deleted_at IS NULL FOR SHARE", new.apk.0)
            .fetch_optional(&mut *tx)
            .await?;
        if there.is_none() {
            return Ok(CreateOutcome::NoApk);
        }
        if new.rolls_back.is_none() {
            hold_limit(&mut tx, "deployment").await?;
            let open = sqlx::query_scalar!(r#"SELECT count(*) AS "open!" FROM deployment WHERE finished_at IS NULL"#);
            if open.fetch_one(&mut *tx).await? >= new.open_max {
                return Ok(CreateOutcome::TooManyOpen);
            }
        }
        let mut taken_back = Vec::new();
        let mut called_off = None;
        if let Some(old) = new.rolls_back {
            hold_package(&mut tx, old, &new.package).await?;
            if let Some(by) = taken_back_by(&mut tx, old).await? {
                return Ok(CreateOutcome::TakenBackAlready(by));
            }
            let (outcome, entry) = transition_in(&mut tx, old, DeploymentTransition::Cancel, by, now).await?;
            if let TransitionOutcome::Done(commands) = outcome {
                taken_back.extend(commands);
            }
            called_off = entry;
        }
        let options = serde_json::to_string(&new.options).map_err(|_| StoreError::Corrupt("deployment.options"))?;
        let canary = new.tasks.iter().filter(|task| task.canary).count() as i32;
        let phase = if canary > 0 { Phase::Canary } else { Phase::Rollout };
        let flags = json!({ "deployments.enabled": new.flags.deployments_enabled, "deployments.kill_switch": new.flags.kill_switch });
        sqlx::query!(
            "INSERT INTO deployment (deployment_id, shard_id, apk_id, package, version_code, name, target, options, flags, devices,
                 canary_size, state, phase, phase_since, judged_since, conflict, rolls_back, created_by, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'running', $12, $13, $13, $14, $15, $16, $13, $17)",
            new.id.0,
            i32::from(shard_of_deployment(new.id).0),
            new.apk.0,
            new.package,
            new.version_code,
            new.name,
            new.target,
            options,
            flags.to_string(),
            new.tasks.len() as i32,
            canary,
            phase.as_str(),
            now,
            new.conflict.as_str(),
            new.rolls_back.map(|id| id.0),
            by.username(),
            new.expires_at
        )
        .execute(&mut *tx)
        .await?;
        if new.conflict == ConflictRule::Supersede {
            taken_back.extend(supersede(&mut tx, new, now).await?);
        }
        insert_tasks(&mut tx, new, now).await?;
        let detail = format!("{} devices, canary of {canary}", new.tasks.len());
        note(&mut tx, new.id, now, DeploymentEventKind::Created, None, &detail, Some(by.username())).await?;
        sqlx::query!("SELECT pg_notify($1, $2)", channels::DEPLOYMENT, new.id.to_string()).execute(&mut *tx).await?;
        if let Some(entry) = called_off {
            append(&mut tx, &entry, now).await?;
        }
        append(&mut tx, audit, now).await?;
        tx.commit().await?;
        Ok(CreateOutcome::New(taken_back))
    }

    /// A page of deployments, newest first, behind `after`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn deployments(
        &self,
        query: &DeploymentQuery,
        after: Option<(Timestamp, DeploymentId)>,
        limit: i64,
    ) -> Result<Vec<Deployment>, StoreError> {
        let (at, id) = after.unzip();
        let rows = sqlx::query!(
            "SELECT d.deployment_id, d.name, d.apk_id, d.package, d.version_code, a.version_name, a.min_sdk, a.target_sdk,
                 a.native_abis, d.target, d.options, d.flags,
                 d.devices, d.canary_size, d.state, d.phase, d.pause_reason, d.paused_at, d.canary_ms, d.judged_since, d.conflict,
                 d.rolls_back, d.created_by, d.created_at, d.expires_at, d.canceled_by, d.finished_at
             FROM deployment d JOIN apk a USING (apk_id)
             WHERE ($1::text IS NULL OR d.state = $1) AND ($2::text IS NULL OR d.package = $2) AND ($3::uuid IS NULL OR d.apk_id = $3)
                 AND ($4::uuid IS NULL OR d.deployment_id = $4)
                 AND ($5::timestamptz IS NULL OR (d.created_at, d.deployment_id) < ($5, $6::uuid))
             ORDER BY d.created_at DESC, d.deployment_id DESC LIMIT $7",
            query.state.map(DeploymentState::as_str),
            query.package,
            query.apk.map(|apk| apk.0),
            query.id.map(|id| id.0),
            at,
            id.map(|id| id.0),
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(|row| Ok(deployment_row!(row))).collect()
    }

    /// A deployment.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn deployment(&self, id: DeploymentId) -> Result<Option<Deployment>, StoreError> {
        Ok(self.deployments(&DeploymentQuery { id: Some(id), ..DeploymentQuery::default() }, None, 1).await?.pop())
    }
}

async fn insert_tasks(tx: &mut Transaction, new: &NewDeployment, now: Timestamp) -> Result<(), StoreError> {
    let devices: Vec<Uuid> = new.tasks.iter().map(|task| task.device.0).collect();
    let aliases: Vec<&str> = new.tasks.iter().map(|task| task.alias.as_str()).collect();
    let canary: Vec<bool> = new.tasks.iter().map(|task| task.canary).collect();
    let states: Vec<&str> = new.tasks.iter().map(|task| task.state.as_str()).collect();
    let reasons: Vec<Option<&str>> = new.tasks.iter().map(|task| task.reason.map(Reason::as_str)).collect();
    let details: Vec<Option<&str>> = new.tasks.iter().map(|task| task.detail.as_deref()).collect();
    let over: Vec<bool> = new.tasks.iter().map(|task| task.state.is_finished()).collect();
    sqlx::query!(
        "INSERT INTO deployment_target (deployment_id, position, device_id, alias, canary)
         SELECT $1, t.n - 1, t.device_id, t.alias, t.canary
         FROM UNNEST($2::uuid[], $3::text[], $4::boolean[]) WITH ORDINALITY AS t(device_id, alias, canary, n)",
        new.id.0,
        &devices,
        &aliases as &[&str],
        &canary
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!(
        "INSERT INTO deployment_task (deployment_id, position, device_id, package, canary, state, reason, reason_detail, finished_at,
             changed_at)
         SELECT $1, t.n - 1, t.device_id, $2, t.canary, t.state, t.reason, t.detail, CASE WHEN t.over THEN $3::timestamptz END,
             clock_timestamp()
         FROM UNNEST($4::uuid[], $5::boolean[], $6::text[], $7::text[], $8::boolean[], $9::text[])
             WITH ORDINALITY AS t(device_id, canary, state, reason, over, detail, n)",
        new.id.0,
        new.package,
        now,
        &devices,
        &canary,
        &states as &[&str],
        &reasons as &[Option<&str>],
        &over,
        &details as &[Option<&str>]
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Locks `old` and every open deployment of its package, in the lock order of deployments.
async fn hold_package(tx: &mut Transaction, old: DeploymentId, package: &str) -> Result<(), StoreError> {
    sqlx::query!(
        "SELECT FROM deployment WHERE deployment_id = $1 OR (package = $2 AND finished_at IS NULL)
         ORDER BY deployment_id FOR NO KEY UPDATE",
        old.0,
        package
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Supersedes the tasks of older open deployments of the package for the devices of `new`, unless they are installing.
async fn supersede(tx: &mut Transaction, new: &NewDeployment, now: Timestamp) -> Result<Vec<(DeviceId, CommandId)>, StoreError> {
    let devices: Vec<Uuid> = new.tasks.iter().filter(|task| !task.state.is_finished()).map(|task| task.device.0).collect();
    // The order in which everybody locks: deployments, then tasks.
    let older = sqlx::query_scalar!(
        "SELECT deployment_id FROM deployment WHERE package = $1 AND finished_at IS NULL AND deployment_id <> $2
         ORDER BY deployment_id FOR SHARE",
        new.package,
        new.id.0
    )
    .fetch_all(&mut **tx)
    .await?;
    let lost = sqlx::query!(
        "UPDATE deployment_task t SET state = 'canceled', reason = 'superseded', reason_detail = NULL, finished_at = $3, changed_at = clock_timestamp()
         FROM (SELECT deployment_id, device_id, state FROM deployment_task
               WHERE deployment_id = ANY($1) AND device_id = ANY($2) AND state IN ('queued', 'waiting_window', 'throttled', 'sending')
               ORDER BY deployment_id, device_id FOR NO KEY UPDATE) o
         WHERE t.deployment_id = o.deployment_id AND t.device_id = o.device_id
         RETURNING t.deployment_id, t.device_id, t.attempts, t.command_id, o.state AS before",
        &older,
        &devices,
        now
    )
    .fetch_all(&mut **tx)
    .await?;
    let sending: Vec<_> = lost.iter().filter(|row| row.before == TaskState::Sending.as_str()).collect();
    let (ids, (devices, attempts)): (Vec<_>, (Vec<_>, Vec<_>)) =
        sending.iter().map(|row| (row.deployment_id, (row.device_id, row.attempts))).unzip();
    end_attempts(tx, &ids, &devices, &attempts, "superseded", now).await?;
    let mut counts: Vec<(Uuid, usize)> = Vec::new();
    for row in &lost {
        match counts.iter_mut().find(|(id, _)| *id == row.deployment_id) {
            Some((_, count)) => *count += 1,
            None => counts.push((row.deployment_id, 1)),
        }
    }
    for (id, count) in counts {
        let detail = format!("{count} devices, by deployment {}", new.id);
        note(tx, DeploymentId(id), now, DeploymentEventKind::Superseded, None, &detail, None).await?;
        sqlx::query!("SELECT pg_notify($1, $2)", channels::DEPLOYMENT, id.to_string()).execute(&mut **tx).await?;
    }
    cancel_commands(tx, sending.iter().filter_map(|row| row.command_id).collect(), now).await
}
