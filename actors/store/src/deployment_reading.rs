//! Reads of the owner of a deployment: the deployment, changed tasks, deleted targets and other deployments of the same devices.

use domain::deployment::{Deployment, Task};
use domain::flag::Flags;
use domain::shard::ShardId;
use domain::{DeploymentId, DeviceId, Timestamp};

use crate::flag::flags;
use crate::{Store, StoreError};

/// A deployment with everything a plan needs beside its tasks, at one time of the database's clock.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentReading {
    /// The deployment.
    pub row: Deployment,
    /// The flags.
    pub flags: Flags,
    /// Starts of the last minute, oldest first.
    pub starts: Vec<Timestamp>,
    /// The database's clock.
    pub now: Timestamp,
}

/// A task with its index among the targets.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexedTask {
    /// Index among the targets.
    pub position: i32,
    /// The task.
    pub task: Task,
}

/// A command of a deployment that its device refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedCommand {
    /// The device.
    pub device: DeviceId,
    /// Error code of the device.
    pub code: Option<String>,
    /// Error message of the device, for display.
    pub message: Option<String>,
}

/// A task from its columns.
macro_rules! task {
    ($row:expr, $reported_at:expr) => {{
        let row = &$row;
        domain::deployment::Task {
            device: domain::DeviceId(row.device_id),
            canary: row.canary,
            state: domain::deployment::TaskState::parse(&row.state).ok_or($crate::StoreError::Corrupt("deployment_task.state"))?,
            reason: row.reason.as_deref().and_then(domain::deployment::Reason::parse),
            stage: row.stage.as_deref().and_then(domain::deployment::Stage::parse),
            attempts: row.attempts.max(0) as u32,
            not_before: row.not_before,
            started_at: row.started_at,
            reported_at: $reported_at,
            finished_at: row.finished_at,
            error: row.error.as_deref().and_then(domain::deployment::ErrorCode::parse),
            detail: row.reason_detail.clone(),
        }
    }};
}
pub(crate) use task;

impl Store {
    /// Deployments of these shards that have not finished.
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

    /// Reads a deployment without its tasks. `None`: it has been removed.
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
    pub async fn tasks_changed(&self, id: DeploymentId, since: Option<Timestamp>) -> Result<Vec<IndexedTask>, StoreError> {
        let rows = sqlx::query!(
            "SELECT position, device_id, canary, state, reason, reason_detail, stage, attempts, not_before, started_at, reported_at,
                 finished_at, error
             FROM deployment_task WHERE deployment_id = $1 AND ($2::timestamptz IS NULL OR changed_at >= $2)",
            id.0,
            since
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let task = task!(row, row.reported_at);
                Ok(IndexedTask { position: row.position, task })
            })
            .collect()
    }

    /// Deleted devices with an open task.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn gone_targets(&self, id: DeploymentId) -> Result<Vec<DeviceId>, StoreError> {
        let rows = sqlx::query_scalar!(
            "SELECT t.device_id FROM deployment_task t
             WHERE t.deployment_id = $1 AND t.state IN ('queued', 'waiting_window', 'throttled', 'sending', 'installing', 'confirming')
                 AND NOT EXISTS (SELECT FROM device d WHERE d.device_id = t.device_id AND d.deleted_at IS NULL)",
            id.0
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(DeviceId).collect())
    }

    /// Devices of a deployment that another deployment of the package has first: it is installing there, or it is older.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn targets_elsewhere(&self, row: &Deployment) -> Result<Vec<DeviceId>, StoreError> {
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

    /// Devices whose command of a deployment failed before they accepted the task.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn refused_commands(&self, id: DeploymentId) -> Result<Vec<RefusedCommand>, StoreError> {
        let rows = sqlx::query!(
            "SELECT t.device_id, c.code, c.message FROM deployment_task t JOIN command c ON c.request_id = t.command_id
             WHERE t.deployment_id = $1 AND t.state = 'sending' AND c.state = 'failed'",
            id.0
        )
        .fetch_all(&self.pool)
        .await?;
        let refused = |device, code, message| RefusedCommand { device: DeviceId(device), code, message };
        Ok(rows.into_iter().map(|row| refused(row.device_id, row.code, row.message)).collect())
    }
}
