//! Writes that go with every change of a deployment: ends of attempts, canceled commands, events.

use domain::audit::Target;
use domain::deployment::DeploymentEventKind;
use domain::{CommandId, DeploymentId, DeviceId, Timestamp};
use uuid::Uuid;

use crate::StoreError;
use crate::pool::Transaction;

/// Target of an audit entry about a deployment.
pub fn target(id: DeploymentId, name: &str) -> Target {
    Target::Other { kind: "deployment", id: Some(id.to_string()), name: Some(name.to_owned()) }
}

/// Makes the planner expect many rows in the joins of this transaction, or few again. A statement is planned once per connection,
/// perhaps while its table was empty, and a nested loop takes seconds for thousands of rows.
pub(crate) async fn expect_many(tx: &mut Transaction, many: bool) -> Result<(), StoreError> {
    let nested_loops = if many { "off" } else { "on" };
    sqlx::query_scalar!("SELECT set_config('enable_nestloop', $1, true)", nested_loops).fetch_one(&mut **tx).await?;
    Ok(())
}

/// Ends attempts with the same outcome.
pub(crate) async fn end_attempts(
    tx: &mut Transaction,
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

/// Turns the outcome of attempts that had succeeded, as their devices reported, into a failure.
pub(crate) async fn fail_attempts(tx: &mut Transaction, id: DeploymentId, devices: &[Uuid], attempts: &[i32]) -> Result<(), StoreError> {
    if devices.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE deployment_attempt a SET outcome = 'failed' FROM UNNEST($2::uuid[], $3::integer[]) AS e(device_id, attempt)
         WHERE a.deployment_id = $1 AND a.device_id = e.device_id AND a.attempt = e.attempt",
        id.0,
        devices,
        attempts
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Cancels unfinished commands. Returns them with their devices.
pub(crate) async fn cancel_commands(
    tx: &mut Transaction,
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

/// Inserts an event of a deployment.
pub(crate) async fn note(
    tx: &mut Transaction,
    id: DeploymentId,
    at: Timestamp,
    kind: DeploymentEventKind,
    device: Option<DeviceId>,
    detail: &str,
    by_whom: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO deployment_event (deployment_id, at, kind, device_id, detail, by_whom) VALUES ($1, $2, $3, $4, $5, $6)",
        id.0,
        at,
        kind.as_str(),
        device.map(|device| device.0),
        detail,
        by_whom
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
