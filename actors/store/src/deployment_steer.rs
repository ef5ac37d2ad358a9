//! How people steer a deployment: pausing, resuming, calling off.

use domain::access::Principal;
use domain::deployment::{DeploymentState, Phase};
use domain::{CommandId, DeploymentId, DeviceId, Timestamp};
use serde_json::json;
use sqlx::{Postgres, Transaction};

use crate::audit::{AuditEntry, append};
use crate::channels;
use crate::deployment_record::{cancel_commands, end_attempts, note, target};
use crate::{Store, StoreError};

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

impl Store {
    /// Pauses, resumes or calls off a deployment. Once this is committed nothing of it begins on any device, whatever is
    /// still under way: a device asks before it installs.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn steer_deployment(&self, id: DeploymentId, steer: Steer, by: &Principal, now: Timestamp) -> Result<Steered, StoreError> {
        let mut tx = self.pool.begin().await?;
        let (steered, entry) = steer_in(&mut tx, id, steer, by, now).await?;
        if let Some(entry) = entry {
            append(&mut tx, &entry, now).await?;
            tx.commit().await?;
        }
        Ok(steered)
    }
}

/// [`Store::steer_deployment`] as a part of something larger, which writes the audit entry and commits.
pub(crate) async fn steer_in(
    tx: &mut Transaction<'static, Postgres>,
    id: DeploymentId,
    steer: Steer,
    by: &Principal,
    now: Timestamp,
) -> Result<(Steered, Option<AuditEntry>), StoreError> {
    let found = sqlx::query!("SELECT state, phase, name, finished_at FROM deployment WHERE deployment_id = $1 FOR NO KEY UPDATE", id.0)
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = found else { return Ok((Steered::Unknown, None)) };
    let state = DeploymentState::of_name(&row.state).ok_or(StoreError::Corrupt("deployment.state"))?;
    match (steer, state) {
        (Steer::Pause, DeploymentState::Paused) | (Steer::Resume, DeploymentState::Running) => return Ok((Steered::Already, None)),
        (Steer::Cancel, DeploymentState::Canceled) => return Ok((Steered::Already, None)),
        (_, DeploymentState::Canceled | DeploymentState::Finished) => return Ok((Steered::Over, None)),
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
            .execute(&mut **tx)
            .await?;
            taken_back = take_back(tx, id, "paused", now).await?;
        }
        Steer::Resume => {
            sqlx::query!(
                "UPDATE deployment SET state = 'running', pause_reason = NULL, paused_at = NULL, judged_since = $2, canary_ms = 0,
                     phase_since = $2 WHERE deployment_id = $1",
                id.0,
                now
            )
            .execute(&mut **tx)
            .await?;
            if row.phase == Phase::Canary.as_str() {
                // The gate opens for devices that succeed, never by decree: those that failed get another chance.
                sqlx::query!(
                    "UPDATE deployment_task SET state = 'queued', reason = NULL, stage = NULL, progress_pct = NULL, not_before = NULL,
                         finished_at = NULL, error = NULL, message = NULL, changed_at = clock_timestamp()
                     WHERE deployment_id = $1 AND canary AND state = 'failed'",
                    id.0
                )
                .execute(&mut **tx)
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
            .execute(&mut **tx)
            .await?;
            taken_back = take_back(tx, id, "canceled", now).await?;
            sqlx::query!(
                "UPDATE deployment_task SET state = 'canceled', reason = 'canceled', finished_at = $2, changed_at = clock_timestamp()
                 WHERE deployment_id = $1 AND state IN ('queued', 'waiting_window', 'throttled')",
                id.0,
                now
            )
            .execute(&mut **tx)
            .await?;
        }
    }
    note(tx, id, now, kind, None, "", Some(by.username())).await?;
    sqlx::query!("SELECT pg_notify($1, $2)", channels::DEPLOYMENT, id.to_string()).execute(&mut **tx).await?;
    let entry = AuditEntry::new(by, action, target(id, &row.name)).before(json!({ "state": row.state }));
    let entry = entry.after(json!({ "state": if kind == "resumed" { "running" } else { kind } }));
    Ok((Steered::Done(taken_back), Some(entry)))
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
