//! Deployments: made once with their set and its order, read by people, and steered by them.

use domain::access::Principal;
use domain::audit::Target;
use domain::deployment::{ConflictRule, DeploymentState, Options, PauseReason, Phase, Reason, Run, TaskState};
use domain::flag::Flags;
use domain::shard::shard_of_deployment;
use domain::{ApkId, CommandId, DeploymentId, DeviceId, Timestamp};
use serde_json::json;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use crate::audit::{AuditEntry, append};
use crate::command::{Created, OnceKey, take_key};
use crate::{Store, StoreError};

/// Something happened to a deployment, or to the flags: the deployment's id, or nothing for all of them.
pub(crate) const DEPLOYMENT_CHANNEL: &str = "nexmdm_deployment";

/// A deployment that is to be made.
#[derive(Debug, Clone)]
pub struct NewDeployment {
    /// Its id.
    pub id: DeploymentId,
    /// For people.
    pub name: String,
    /// What is installed.
    pub apk: ApkId,
    /// Its package.
    pub package: String,
    /// Its version code.
    pub version_code: i64,
    /// What was asked for, JSON.
    pub target: String,
    /// What may be done and when.
    pub options: Options,
    /// The flags of that moment.
    pub flags: Flags,
    /// What becomes of devices that an older one has.
    pub conflict: ConflictRule,
    /// The deployment that it takes back.
    pub rolls_back: Option<DeploymentId>,
    /// When what waits is skipped.
    pub expires_at: Timestamp,
    /// The set in its order, with what each task begins as.
    pub tasks: Vec<NewTask>,
}

/// A device of the set.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// The device.
    pub device: DeviceId,
    /// What people know it by.
    pub alias: String,
    /// Whether it is one of the first.
    pub canary: bool,
    /// Where it begins.
    pub state: TaskState,
    /// Why.
    pub reason: Option<Reason>,
}

/// A deployment as it is on record.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentRow {
    /// Its id.
    pub id: DeploymentId,
    /// For people.
    pub name: String,
    /// What is installed.
    pub apk: ApkId,
    /// Its package.
    pub package: String,
    /// Its version code.
    pub version_code: i64,
    /// Its version name.
    pub version_name: String,
    /// Oldest Android API level that it runs on.
    pub min_sdk: Option<i32>,
    /// What was asked for, JSON.
    pub target: String,
    /// What may be done and when.
    pub options: Options,
    /// The flags of the moment it was made, JSON.
    pub flags: String,
    /// Devices of the set.
    pub devices: i32,
    /// The first of them.
    pub canary_size: i32,
    /// Where it stands.
    pub state: DeploymentState,
    /// How far it may go.
    pub phase: Phase,
    /// Why it is paused.
    pub pause_reason: Option<PauseReason>,
    /// Since when.
    pub paused_at: Option<Timestamp>,
    /// Time that its first devices had, ms.
    pub canary_ms: i64,
    /// Failures from before do not count for the failure rate.
    pub judged_since: Timestamp,
    /// What becomes of devices that an older one has.
    pub conflict: ConflictRule,
    /// The deployment that it takes back.
    pub rolls_back: Option<DeploymentId>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When what waits is skipped.
    pub expires_at: Timestamp,
    /// Who called it off.
    pub canceled_by: Option<String>,
    /// When everything was over.
    pub finished_at: Option<Timestamp>,
}

impl DeploymentRow {
    /// As decisions see it.
    pub fn run(&self) -> Run {
        Run {
            state: self.state,
            phase: self.phase,
            canary_ran: chrono::TimeDelta::milliseconds(self.canary_ms),
            judged_since: self.judged_since,
            expires_at: self.expires_at,
            version_code: self.version_code,
            min_sdk: self.min_sdk,
        }
    }
}

/// Which deployments a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeploymentQuery {
    /// Only in this state.
    pub state: Option<DeploymentState>,
    /// Only of this package.
    pub package: Option<String>,
    /// Only of this APK.
    pub apk: Option<ApkId>,
    /// Only this one.
    pub id: Option<DeploymentId>,
}

/// What people do to a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steer {
    /// Nothing starts any more.
    Pause,
    /// It goes on; first devices that failed are tried again.
    Resume,
    /// It is called off.
    Cancel,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Steered {
    /// Done; these commands were taken back.
    Done(Vec<(DeviceId, CommandId)>),
    /// It was so already.
    Already,
    /// It is over.
    Over,
    /// There is no such deployment.
    Unknown,
}

/// A deployment from its columns.
macro_rules! deployment_row {
    ($row:expr) => {{
        let row = $row;
        let corrupt = crate::StoreError::Corrupt;
        let pause = row.pause_reason.as_deref().map(|name| PauseReason::of_name(name).ok_or(corrupt("deployment.pause_reason")));
        DeploymentRow {
            id: DeploymentId(row.deployment_id),
            name: row.name,
            apk: ApkId(row.apk_id),
            package: row.package,
            version_code: row.version_code,
            version_name: row.version_name,
            min_sdk: row.min_sdk,
            target: row.target,
            options: serde_json::from_str(&row.options).map_err(|_| corrupt("deployment.options"))?,
            flags: row.flags,
            devices: row.devices,
            canary_size: row.canary_size,
            state: DeploymentState::of_name(&row.state).ok_or(corrupt("deployment.state"))?,
            phase: Phase::of_name(&row.phase).ok_or(corrupt("deployment.phase"))?,
            pause_reason: pause.transpose()?,
            paused_at: row.paused_at,
            canary_ms: row.canary_ms,
            judged_since: row.judged_since,
            conflict: ConflictRule::of_name(&row.conflict).ok_or(corrupt("deployment.conflict"))?,
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
    /// Puts a deployment on record with all its tasks, and tells every node. With [`ConflictRule::Supersede`], older open
    /// deployments of the package lose those of its devices that they are not installing on; the commands that were
    /// taken back with them are answered as well.
    ///
    /// # Errors
    /// The database is unavailable; nothing is on record then.
    pub async fn insert_deployment(
        &self,
        new: &NewDeployment,
        once: Option<&OnceKey>,
        by: &Principal,
        audit: &AuditEntry,
        now: Timestamp,
    ) -> Result<(Created, Vec<(DeviceId, CommandId)>), StoreError> {
        let mut tx = self.pool.begin().await?;
        if let Some(once) = once {
            match take_key(&mut tx, once, new.id.0, now).await? {
                Created::New(_) => {}
                known => return Ok((known, Vec::new())),
            }
        }
        // Held until this is committed: nobody deletes the file in between.
        let there = sqlx::query_scalar!("SELECT apk_id FROM apk WHERE apk_id = $1 AND deleted_at IS NULL FOR SHARE", new.apk.0)
            .fetch_optional(&mut *tx)
            .await?;
        if there.is_none() {
            return Ok((Created::New(0), Vec::new()));
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
        let taken_back = match new.conflict {
            ConflictRule::Supersede => supersede(&mut tx, new, now).await?,
            ConflictRule::Wait => Vec::new(),
        };
        insert_tasks(&mut tx, new, now).await?;
        let detail = format!("{} devices, {canary} of them first", new.tasks.len());
        note(&mut tx, new.id, now, "created", None, &detail, Some(by.username())).await?;
        sqlx::query!("SELECT pg_notify($1, $2)", DEPLOYMENT_CHANNEL, new.id.to_string()).execute(&mut *tx).await?;
        append(&mut tx, audit, now).await?;
        tx.commit().await?;
        Ok((Created::New(new.tasks.len() as u64), taken_back))
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
    ) -> Result<Vec<DeploymentRow>, StoreError> {
        let (at, id) = after.unzip();
        let rows = sqlx::query!(
            "SELECT d.deployment_id, d.name, d.apk_id, d.package, d.version_code, a.version_name, a.min_sdk, d.target, d.options, d.flags,
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
    pub async fn deployment(&self, id: DeploymentId) -> Result<Option<DeploymentRow>, StoreError> {
        Ok(self.deployments(&DeploymentQuery { id: Some(id), ..DeploymentQuery::default() }, None, 1).await?.pop())
    }

    /// Pauses, resumes or calls off a deployment. Once this is committed nothing of it begins on any device, whatever is
    /// still under way: a device asks before it installs.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn steer_deployment(&self, id: DeploymentId, steer: Steer, by: &Principal, now: Timestamp) -> Result<Steered, StoreError> {
        let mut tx = self.pool.begin().await?;
        let found = sqlx::query!("SELECT state, phase, name, finished_at FROM deployment WHERE deployment_id = $1 FOR NO KEY UPDATE", id.0)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = found else { return Ok(Steered::Unknown) };
        let state = DeploymentState::of_name(&row.state).ok_or(StoreError::Corrupt("deployment.state"))?;
        match (steer, state) {
            (Steer::Pause, DeploymentState::Paused) | (Steer::Resume, DeploymentState::Running) => return Ok(Steered::Already),
            (Steer::Cancel, DeploymentState::Canceled) => return Ok(Steered::Already),
            (_, DeploymentState::Canceled | DeploymentState::Finished) => return Ok(Steered::Over),
            _ => {}
        }
        let (kind, action) = match steer {
            Steer::Pause => ("paused", "deployment.paused"),
            Steer::Resume => ("resumed", "deployment.resumed"),
            Steer::Cancel => ("canceled", "deployment.canceled"),
        };
        let mut taken_back = Vec::new();
        match steer {
            Steer::Pause => {
                sqlx::query!(
                    "UPDATE deployment SET state = 'paused', pause_reason = 'person', paused_at = $2 WHERE deployment_id = $1",
                    id.0,
                    now
                )
                .execute(&mut *tx)
                .await?;
                taken_back = take_back(&mut tx, id, "paused", now).await?;
            }
            Steer::Resume => {
                sqlx::query!(
                    "UPDATE deployment SET state = 'running', pause_reason = NULL, paused_at = NULL, judged_since = $2, canary_ms = 0,
                         phase_since = $2 WHERE deployment_id = $1",
                    id.0,
                    now
                )
                .execute(&mut *tx)
                .await?;
                if row.phase == Phase::Canary.as_str() {
                    // The gate opens for devices that succeed, never by decree: those that failed get another chance.
                    sqlx::query!(
                        "UPDATE deployment_task SET state = 'queued', reason = NULL, stage = NULL, progress_pct = NULL, not_before = NULL,
                             finished_at = NULL, error = NULL, message = NULL, changed_at = clock_timestamp()
                         WHERE deployment_id = $1 AND canary AND state = 'failed'",
                        id.0
                    )
                    .execute(&mut *tx)
                    .await?;
                }
            }
            Steer::Cancel => {
                sqlx::query!(
                    "UPDATE deployment SET state = 'canceled', pause_reason = NULL, paused_at = NULL, canceled_by = $2
                     WHERE deployment_id = $1",
                    id.0,
                    by.username()
                )
                .execute(&mut *tx)
                .await?;
                taken_back = take_back(&mut tx, id, "canceled", now).await?;
                sqlx::query!(
                    "UPDATE deployment_task SET state = 'canceled', reason = 'canceled', finished_at = $2, changed_at = clock_timestamp()
                     WHERE deployment_id = $1 AND state IN ('queued', 'waiting_window', 'throttled')",
                    id.0,
                    now
                )
                .execute(&mut *tx)
                .await?;
            }
        }
        note(&mut tx, id, now, kind, None, "", Some(by.username())).await?;
        sqlx::query!("SELECT pg_notify($1, $2)", DEPLOYMENT_CHANNEL, id.to_string()).execute(&mut *tx).await?;
        let entry = AuditEntry::new(by, action, target(id, &row.name)).before(json!({ "state": row.state }));
        append(&mut tx, &entry.after(json!({ "state": if kind == "resumed" { "running" } else { kind } })), now).await?;
        tx.commit().await?;
        Ok(Steered::Done(taken_back))
    }
}

/// What an audit entry about a deployment names.
pub fn target(id: DeploymentId, name: &str) -> Target {
    Target::Other { kind: "deployment", id: Some(id.to_string()), name: Some(name.to_owned()) }
}

async fn insert_tasks(tx: &mut Transaction<'static, Postgres>, new: &NewDeployment, now: Timestamp) -> Result<(), StoreError> {
    let devices: Vec<Uuid> = new.tasks.iter().map(|task| task.device.0).collect();
    let aliases: Vec<&str> = new.tasks.iter().map(|task| task.alias.as_str()).collect();
    let canary: Vec<bool> = new.tasks.iter().map(|task| task.canary).collect();
    let states: Vec<&str> = new.tasks.iter().map(|task| task.state.as_str()).collect();
    let reasons: Vec<Option<&str>> = new.tasks.iter().map(|task| task.reason.map(Reason::as_str)).collect();
    let over: Vec<bool> = new.tasks.iter().map(|task| task.state.is_over()).collect();
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
        "INSERT INTO deployment_task (deployment_id, position, device_id, package, canary, state, reason, finished_at, changed_at)
         SELECT $1, t.n - 1, t.device_id, $2, t.canary, t.state, t.reason, CASE WHEN t.over THEN $3::timestamptz END, clock_timestamp()
         FROM UNNEST($4::uuid[], $5::boolean[], $6::text[], $7::text[], $8::boolean[])
             WITH ORDINALITY AS t(device_id, canary, state, reason, over, n)",
        new.id.0,
        new.package,
        now,
        &devices,
        &canary,
        &states as &[&str],
        &reasons as &[Option<&str>],
        &over
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Takes the devices of `new` away from older open deployments of its package that are not installing there.
async fn supersede(
    tx: &mut Transaction<'static, Postgres>,
    new: &NewDeployment,
    now: Timestamp,
) -> Result<Vec<(DeviceId, CommandId)>, StoreError> {
    let devices: Vec<Uuid> = new.tasks.iter().filter(|task| !task.state.is_over()).map(|task| task.device.0).collect();
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
        "UPDATE deployment_task t SET state = 'canceled', reason = 'superseded', finished_at = $3, changed_at = clock_timestamp()
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
        note(tx, DeploymentId(id), now, "superseded", None, &detail, None).await?;
        sqlx::query!("SELECT pg_notify($1, $2)", DEPLOYMENT_CHANNEL, id.to_string()).execute(&mut **tx).await?;
    }
    cancel_commands(tx, sending.iter().filter_map(|row| row.command_id).collect(), now).await
}

/// Takes back what was sent and no device has taken.
async fn take_back(
    tx: &mut Transaction<'static, Postgres>,
    id: DeploymentId,
    why: &'static str,
    now: Timestamp,
) -> Result<Vec<(DeviceId, CommandId)>, StoreError> {
    let over = why == "canceled";
    let rows = sqlx::query!(
        "UPDATE deployment_task t SET state = CASE WHEN $2 THEN 'canceled' ELSE 'queued' END, reason = $3, stage = NULL, not_before = NULL,
             finished_at = CASE WHEN $2 THEN $4::timestamptz END, changed_at = clock_timestamp()
         FROM (SELECT device_id FROM deployment_task WHERE deployment_id = $1 AND state = 'sending'
               ORDER BY device_id FOR NO KEY UPDATE) o
         WHERE t.deployment_id = $1 AND t.device_id = o.device_id RETURNING t.device_id, t.attempts, t.command_id",
        id.0,
        over,
        why,
        now
    )
    .fetch_all(&mut **tx)
    .await?;
    let devices: Vec<_> = rows.iter().map(|row| row.device_id).collect();
    let attempts: Vec<_> = rows.iter().map(|row| row.attempts).collect();
    end_attempts(tx, &vec![id.0; rows.len()], &devices, &attempts, why, now).await?;
    cancel_commands(tx, rows.iter().filter_map(|row| row.command_id).collect(), now).await
}

/// Ends attempts with the same outcome.
pub(crate) async fn end_attempts(
    tx: &mut Transaction<'static, Postgres>,
    deployments: &[Uuid],
    devices: &[Uuid],
    attempts: &[i32],
    outcome: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    if devices.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE deployment_attempt a SET finished_at = $4, outcome = $5
         FROM UNNEST($1::uuid[], $2::uuid[], $3::integer[]) AS e(deployment_id, device_id, attempt)
         WHERE a.deployment_id = e.deployment_id AND a.device_id = e.device_id AND a.attempt = e.attempt AND a.finished_at IS NULL",
        deployments,
        devices,
        attempts,
        now,
        outcome
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Takes back commands that are not over. Answers which, and whose they are.
pub(crate) async fn cancel_commands(
    tx: &mut Transaction<'static, Postgres>,
    ids: Vec<Uuid>,
    now: Timestamp,
) -> Result<Vec<(DeviceId, CommandId)>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        "UPDATE command c SET state = 'canceled', finished_at = $2, canceled_by = 'server', params = params_shown
         FROM (SELECT request_id FROM command WHERE request_id = ANY($1) AND state IN ('queued', 'sent', 'delivered')
               ORDER BY request_id FOR NO KEY UPDATE) o
         WHERE c.request_id = o.request_id RETURNING c.device_id, c.request_id",
        &ids,
        now
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|row| (DeviceId(row.device_id), CommandId(row.request_id))).collect())
}

/// Notes what happened to a deployment, for people.
pub(crate) async fn note(
    tx: &mut Transaction<'static, Postgres>,
    id: DeploymentId,
    at: Timestamp,
    kind: &str,
    device: Option<DeviceId>,
    detail: &str,
    by_whom: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO deployment_event (deployment_id, at, kind, device_id, detail, by_whom) VALUES ($1, $2, $3, $4, $5, $6)",
        id.0,
        at,
        kind,
        device.map(|device| device.0),
        detail,
        by_whom
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
