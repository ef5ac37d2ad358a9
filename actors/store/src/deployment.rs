//! Deployments: made once with their set and its order, and read by people.

use domain::access::Principal;
use domain::deployment::{ConflictRule, DeploymentState, Options, PauseReason, Phase, Reason, Run, TaskState};
use domain::flag::Flags;
use domain::shard::shard_of_deployment;
use domain::{ApkId, CommandId, DeploymentId, DeviceId, Timestamp};
use serde_json::json;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use crate::audit::{AuditEntry, append};
use crate::channels;
use crate::command::{Created, OnceKey, take_key};
use crate::deployment_page::taken_back_by;
use crate::deployment_record::{cancel_commands, end_attempts, note};
use crate::deployment_steer::{Steer, Steered, steer_in};
use crate::{Store, StoreError};

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

/// What became of a deployment that was to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// It is made; these commands of others were taken back for it.
    New(Vec<(DeviceId, CommandId)>),
    /// An earlier call with the same key made this one.
    Known(DeploymentId),
    /// The key was used for something else.
    OtherBody,
    /// The file of the APK was deleted.
    NoApk,
    /// This one, which is under way, takes the same deployment back.
    TakenBackAlready(DeploymentId),
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
    /// Puts a deployment on record with all its tasks, and tells every node. One that takes another back calls that off
    /// with it. With [`ConflictRule::Supersede`], older open deployments of the package lose those of its devices that they are
    /// not installing on.
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
    ) -> Result<Made, StoreError> {
        let mut tx = self.pool.begin().await?;
        if let Some(once) = once {
            match take_key(&mut tx, once, new.id.0, now).await? {
                Created::New(_) => {}
                Created::Known(id) => return Ok(Made::Known(DeploymentId(id))),
                Created::OtherBody => return Ok(Made::OtherBody),
            }
        }
        // Held until this is committed: nobody deletes the file in between.
        let there = sqlx::query_scalar!("SELECT apk_id FROM apk WHERE apk_id = $1 AND deleted_at IS NULL FOR SHARE", new.apk.0)
            .fetch_optional(&mut *tx)
            .await?;
        if there.is_none() {
            return Ok(Made::NoApk);
        }
        let mut taken_back = Vec::new();
        let mut called_off = None;
        if let Some(old) = new.rolls_back {
            hold_package(&mut tx, old, &new.package).await?;
            if let Some(by) = taken_back_by(&mut tx, old).await? {
                return Ok(Made::TakenBackAlready(by));
            }
            let (steered, entry) = steer_in(&mut tx, old, Steer::Cancel, by, now).await?;
            if let Steered::Done(commands) = steered {
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
        note(&mut tx, new.id, now, "created", None, &detail, Some(by.username())).await?;
        sqlx::query!("SELECT pg_notify($1, $2)", channels::DEPLOYMENT, new.id.to_string()).execute(&mut *tx).await?;
        if let Some(entry) = called_off {
            append(&mut tx, &entry, now).await?;
        }
        append(&mut tx, audit, now).await?;
        tx.commit().await?;
        Ok(Made::New(taken_back))
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

/// Holds `old` and every open deployment of its package, in the order in which everybody locks them.
async fn hold_package(tx: &mut Transaction<'static, Postgres>, old: DeploymentId, package: &str) -> Result<(), StoreError> {
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
        sqlx::query!("SELECT pg_notify($1, $2)", channels::DEPLOYMENT, id.to_string()).execute(&mut **tx).await?;
    }
    cancel_commands(tx, sending.iter().filter_map(|row| row.command_id).collect(), now).await
}
