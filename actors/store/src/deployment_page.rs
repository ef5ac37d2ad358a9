//! Reads of a deployment for display: pages of tasks, counters, events and earlier versions.

use std::collections::HashMap;

use domain::deployment::{Candidate, DeploymentEvent, Reason, Stage, TaskEnding, TaskQuery, TaskState, TaskView};
use domain::{ApkId, DeploymentId, DeviceId, Timestamp};

use crate::pool::Connection;
use crate::{Store, StoreError};

/// Number of tasks of a deployment in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskCount {
    /// The deployment.
    pub deployment: DeploymentId,
    /// The state.
    pub state: TaskState,
    /// Whether the tasks belong to the canary.
    pub canary: bool,
    /// Number of tasks.
    pub tasks: i64,
}

impl Store {
    /// Numbers of tasks of these deployments by state.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn task_counts(&self, ids: &[DeploymentId]) -> Result<Vec<TaskCount>, StoreError> {
        let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
        let rows = sqlx::query!(
            r#"SELECT deployment_id, state, canary, count(*) AS "tasks!" FROM deployment_task WHERE deployment_id = ANY($1)
               GROUP BY deployment_id, state, canary"#,
            &ids
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(TaskCount {
                    deployment: DeploymentId(row.deployment_id),
                    state: TaskState::parse(&row.state).ok_or(StoreError::Corrupt("deployment_task.state"))?,
                    canary: row.canary,
                    tasks: row.tasks,
                })
            })
            .collect()
    }

    /// How the tasks of these deployments ended that did not succeed.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn task_endings(&self, ids: &[DeploymentId]) -> Result<Vec<(DeploymentId, TaskEnding)>, StoreError> {
        let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
        let rows = sqlx::query!(
            r#"SELECT deployment_id, state, reason, count(*) AS "tasks!" FROM deployment_task
               WHERE deployment_id = ANY($1) AND state IN ('failed', 'skipped', 'canceled')
               GROUP BY deployment_id, state, reason"#,
            &ids
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let ending = TaskEnding {
                    state: TaskState::parse(&row.state).ok_or(StoreError::Corrupt("deployment_task.state"))?,
                    reason: row.reason.as_deref().and_then(Reason::parse),
                    tasks: row.tasks.max(0).unsigned_abs(),
                };
                Ok((DeploymentId(row.deployment_id), ending))
            })
            .collect()
    }

    /// A page of tasks in the order of the targets, after `after`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn deployment_tasks(
        &self,
        id: DeploymentId,
        query: TaskQuery,
        after: Option<i32>,
        limit: i64,
    ) -> Result<Vec<TaskView>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT t.position, t.device_id, coalesce(d.alias, g.alias) AS "alias!", t.canary, t.state, t.reason, t.reason_detail,
                   t.stage, t.progress_pct,
                   t.attempts, t.not_before, t.started_at, t.accepted_at, t.finished_at, t.error, t.message, t.version_before,
                   t.installed_version
               FROM deployment_task t JOIN deployment_target g USING (deployment_id, device_id) LEFT JOIN device d USING (device_id)
               WHERE t.deployment_id = $1 AND t.position > $2 AND ($3::text IS NULL OR t.state = $3)
                   AND ($4::text IS NULL OR t.reason = $4) AND ($5::uuid IS NULL OR t.device_id = $5)
               ORDER BY t.position LIMIT $6"#,
            id.0,
            after.unwrap_or(-1),
            query.state.map(TaskState::as_str),
            query.reason.map(Reason::as_str),
            query.device.map(|device| device.0),
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(TaskView {
                    position: row.position,
                    device_id: DeviceId(row.device_id),
                    alias: row.alias,
                    canary: row.canary,
                    state: TaskState::parse(&row.state).ok_or(StoreError::Corrupt("deployment_task.state"))?,
                    reason: row.reason.as_deref().and_then(Reason::parse),
                    detail: row.reason_detail,
                    stage: row.stage.as_deref().and_then(Stage::parse),
                    progress_pct: row.progress_pct,
                    attempts: row.attempts,
                    not_before: row.not_before,
                    started_at: row.started_at,
                    accepted_at: row.accepted_at,
                    finished_at: row.finished_at,
                    error: row.error,
                    message: row.message,
                    version_before: row.version_before,
                    installed_version: row.installed_version,
                })
            })
            .collect()
    }

    /// Number of tasks that match, and the index of the one after the first `skip` of them.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn deployment_task_at(&self, id: DeploymentId, query: TaskQuery, skip: i64) -> Result<(i64, Option<i32>), StoreError> {
        let row = sqlx::query!(
            r#"SELECT count(*) AS "tasks!", (array_agg(position ORDER BY position))[$5::bigint + 1] AS position FROM deployment_task
               WHERE deployment_id = $1 AND ($2::text IS NULL OR state = $2) AND ($3::text IS NULL OR reason = $3)
                   AND ($4::uuid IS NULL OR device_id = $4)"#,
            id.0,
            query.state.map(TaskState::as_str),
            query.reason.map(Reason::as_str),
            query.device.map(|device| device.0),
            skip
        )
        .fetch_one(&self.pool)
        .await?;
        Ok((row.tasks, row.position))
    }

    /// A page of events of a deployment, newest first, before `before`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn deployment_events(&self, id: DeploymentId, before: Option<i64>, limit: i64) -> Result<Vec<DeploymentEvent>, StoreError> {
        let rows = sqlx::query!(
            "SELECT event_id, at, kind, device_id, detail, by_whom FROM deployment_event
             WHERE deployment_id = $1 AND event_id < $2 ORDER BY event_id DESC LIMIT $3",
            id.0,
            before.unwrap_or(i64::MAX),
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| DeploymentEvent {
                id: row.event_id,
                at: row.at,
                kind: row.kind,
                device_id: row.device_id.map(DeviceId),
                detail: row.detail,
                by_whom: row.by_whom,
            })
            .collect())
    }

    /// Starts within the last minute of each of these deployments.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn recent_start_counts(&self, ids: &[DeploymentId]) -> Result<HashMap<DeploymentId, i64>, StoreError> {
        let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
        let rows = sqlx::query!(
            r#"SELECT deployment_id, count(*) AS "starts!" FROM deployment_attempt
               WHERE deployment_id = ANY($1) AND started_at > clock_timestamp() - interval '1 minute' GROUP BY deployment_id"#,
            &ids
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (DeploymentId(row.deployment_id), row.starts)).collect())
    }

    /// Version codes that were installed before a deployment, the most frequent first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn versions_before(&self, id: DeploymentId) -> Result<Vec<i64>, StoreError> {
        Ok(sqlx::query_scalar!(
            r#"SELECT version_before AS "version_before!" FROM deployment_task WHERE deployment_id = $1 AND version_before IS NOT NULL
               GROUP BY version_before ORDER BY count(*) DESC, version_before DESC"#,
            id.0
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Unfinished deployment that rolls this one back.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn taken_back_by(&self, id: DeploymentId) -> Result<Option<DeploymentId>, StoreError> {
        taken_back_by(&mut *self.pool.acquire().await?, id).await
    }

    /// Devices on which a deployment has installed, or may have, in the order of its targets.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn devices_installed_by(&self, id: DeploymentId) -> Result<Vec<DeviceId>, StoreError> {
        let rows = sqlx::query_scalar!(
            "SELECT t.device_id FROM deployment_task t JOIN device d USING (device_id)
             WHERE t.deployment_id = $1 AND t.state IN ('succeeded', 'confirming', 'installing') AND d.deleted_at IS NULL ORDER BY t.position",
            id.0
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(DeviceId).collect())
    }

    /// APKs of a package whose files exist, as candidates of a rollback.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn rollback_candidates(&self, package: &str) -> Result<Vec<Candidate>, StoreError> {
        let rows = sqlx::query!("SELECT apk_id, version_code, rollback_of FROM apk WHERE package = $1 AND deleted_at IS NULL", package)
            .fetch_all(&self.pool)
            .await?;
        let candidate = |id, version_code, of: Option<uuid::Uuid>| Candidate { id: ApkId(id), version_code, rollback_of: of.map(ApkId) };
        Ok(rows.into_iter().map(|row| candidate(row.apk_id, row.version_code, row.rollback_of)).collect())
    }

    /// Deletes at most `limit` deployments that finished before this time. Returns how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_deployments(&self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        Ok(sqlx::query!(
            "DELETE FROM deployment WHERE deployment_id IN (
                 SELECT d.deployment_id FROM deployment d WHERE d.finished_at < $1
                     AND NOT EXISTS (SELECT FROM deployment r WHERE r.rolls_back = d.deployment_id AND r.finished_at IS NULL)
                 ORDER BY d.finished_at LIMIT $2)",
            before,
            limit
        )
        .execute(&self.pool)
        .await?
        .rows_affected())
    }
}

pub(crate) async fn taken_back_by(connection: &mut Connection, id: DeploymentId) -> Result<Option<DeploymentId>, StoreError> {
    let found = sqlx::query_scalar!("SELECT deployment_id FROM deployment WHERE rolls_back = $1 AND finished_at IS NULL LIMIT 1", id.0);
    Ok(found.fetch_optional(connection).await?.map(DeploymentId))
}
