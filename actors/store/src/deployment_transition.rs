//! Transitions of a deployment that people ask for: pause, resume, cancel.

use domain::access::Principal;
use domain::audit::AuditAction;
use domain::deployment::{DeploymentEventKind, DeploymentState, DeploymentTransition, Phase};
use domain::{CommandId, DeploymentId, DeviceId, Timestamp};
use serde_json::json;

use crate::audit::{AuditEntry, append};
use crate::channels;
use crate::deployment_record::{cancel_commands, end_attempts, note, target};
use crate::pool::Transaction;
use crate::{Store, StoreError};

/// Outcome of a transition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransitionOutcome {
    /// The transition is stored, and these commands were canceled.
    Done(Vec<(DeviceId, CommandId)>),
    /// The deployment was in that state already.
    Already,
    /// The deployment has finished.
    Over,
    /// There is no such deployment.
    Unknown,
}

impl Store {
    /// Pauses, resumes or cancels a deployment. After the commit of a pause or cancellation no installation of it begins on any
    /// device, whatever is still under way: a device asks before it installs.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn transition_deployment(
        &self,
        id: DeploymentId,
        transition: DeploymentTransition,
        by: &Principal,
        now: Timestamp,
    ) -> Result<TransitionOutcome, StoreError> {
        let mut tx = self.begin().await?;
        let (outcome, entry) = transition_in(&mut tx, id, transition, by, now).await?;
        if let Some(entry) = entry {
            append(&mut tx, &entry, now).await?;
            tx.commit().await?;
        }
        Ok(outcome)
    }
}

/// [`Store::transition_deployment`] within a transaction of the caller, who writes the audit entry and commits.
pub(crate) async fn transition_in(
    tx: &mut Transaction,
    id: DeploymentId,
    transition: DeploymentTransition,
    by: &Principal,
    now: Timestamp,
) -> Result<(TransitionOutcome, Option<AuditEntry>), StoreError> {
    let found = sqlx::query!("SELECT state, phase, name, finished_at FROM deployment WHERE deployment_id = $1 FOR NO KEY UPDATE", id.0)
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = found else { return Ok((TransitionOutcome::Unknown, None)) };
    let state = DeploymentState::parse(&row.state).ok_or(StoreError::Corrupt("deployment.state"))?;
    match (transition, state) {
        (DeploymentTransition::Pause, DeploymentState::Paused) | (DeploymentTransition::Resume, DeploymentState::Running) => {
            return Ok((TransitionOutcome::Already, None));
        }
        (DeploymentTransition::Cancel, DeploymentState::Canceled) => return Ok((TransitionOutcome::Already, None)),
        (_, DeploymentState::Canceled | DeploymentState::Finished) => return Ok((TransitionOutcome::Over, None)),
        _ => {}
    }
    let (kind, action) = match transition {
        DeploymentTransition::Pause => (DeploymentEventKind::Paused, AuditAction::DeploymentPaused),
        DeploymentTransition::Resume => (DeploymentEventKind::Resumed, AuditAction::DeploymentResumed),
        DeploymentTransition::Cancel => (DeploymentEventKind::Canceled, AuditAction::DeploymentCanceled),
    };
    let mut taken_back = Vec::new();
    match transition {
        DeploymentTransition::Pause => {
            sqlx::query!(
                "UPDATE deployment SET state = 'paused', pause_reason = 'person', paused_at = $2 WHERE deployment_id = $1",
                id.0,
                now
            )
            .execute(&mut **tx)
            .await?;
            taken_back = take_back(tx, id, "paused", now).await?;
        }
        DeploymentTransition::Resume => {
            sqlx::query!(
                "UPDATE deployment SET state = 'running', pause_reason = NULL, paused_at = NULL, judged_since = $2, canary_ms = 0,
                     phase_since = $2 WHERE deployment_id = $1",
                id.0,
                now
            )
            .execute(&mut **tx)
            .await?;
            if row.phase == Phase::Canary.as_str() {
                // Only devices that succeed make a canary pass, so those that failed are retried.
                sqlx::query!(
                    "UPDATE deployment_task SET state = 'queued', reason = NULL, reason_detail = NULL, stage = NULL, progress_pct = NULL, not_before = NULL,
                         finished_at = NULL, error = NULL, message = NULL, changed_at = clock_timestamp()
                     WHERE deployment_id = $1 AND canary AND state = 'failed'",
                    id.0
                )
                .execute(&mut **tx)
                .await?;
            }
        }
        DeploymentTransition::Cancel => {
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
                "UPDATE deployment_task SET state = 'canceled', reason = 'canceled', reason_detail = NULL, finished_at = $2, changed_at = clock_timestamp()
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
    let state = match transition {
        DeploymentTransition::Pause => DeploymentState::Paused,
        DeploymentTransition::Resume => DeploymentState::Running,
        DeploymentTransition::Cancel => DeploymentState::Canceled,
    };
    let entry = entry.after(json!({ "state": state.as_str() }));
    Ok((TransitionOutcome::Done(taken_back), Some(entry)))
}

/// Cancels the commands that were sent and that no device has accepted.
async fn take_back(
    tx: &mut Transaction,
    id: DeploymentId,
    why: &'static str,
    now: Timestamp,
) -> Result<Vec<(DeviceId, CommandId)>, StoreError> {
    let over = why == "canceled";
    let rows = sqlx::query!(
        "UPDATE deployment_task t SET state = CASE WHEN $2 THEN 'canceled' ELSE 'queued' END, reason = $3, reason_detail = NULL, stage = NULL, not_before = NULL,
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
