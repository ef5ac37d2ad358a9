//! Reads of deployments for display: lists, details with counters, tasks, events, and the export of tasks.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::SecondsFormat;
use domain::access::{Permission, Principal};
use domain::audit::{AuditAction, Target};
use domain::deployment::{
    BlockReason, Deployment, DeploymentEvent, DeploymentQuery, Reason, Tally, TaskEnding, TaskQuery, TaskState, TaskView, problems,
};
use domain::invalid::in_range;
use domain::query::{PAGE_DEFAULT, PAGE_MAX};
use domain::spreadsheet::neutralised;
use domain::{DeploymentId, ServiceError, Timestamp};
use futures_util::{Stream, StreamExt, stream};
use serde_json::json;

use super::access_trail::given;
use super::deployments::{DeploymentService, RollbackOffer};

/// Tasks that are read at a time for an export.
const TABLE_BATCH: i64 = 500;

/// A deployment and its progress.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentDetails {
    /// The deployment itself.
    pub deployment: Deployment,
    /// Numbers of tasks by state.
    pub states: HashMap<TaskState, i64>,
    /// Outcomes of the canary.
    pub canary: Tally,
    /// Starts within the last minute.
    pub starts_last_minute: i64,
    /// Reason for blocking all deployments.
    pub blocked: Option<BlockReason>,
    /// What devices lack it for, the most frequent first; of a finished deployment.
    pub problems: Vec<TaskEnding>,
    /// Availability of a rollback; only for a single deployment.
    pub rollback: Option<RollbackOffer>,
}

impl DeploymentDetails {
    /// Number of tasks in this state.
    pub fn count(&self, state: TaskState) -> i64 {
        self.states.get(&state).copied().unwrap_or_default()
    }
}

/// Cursor of a page of deployments.
pub type DeploymentCursor = (Timestamp, DeploymentId);

impl DeploymentService {
    /// A page of deployments, newest first, and the cursor of the next page.
    ///
    /// # Errors
    /// Forbidden, or the page size is out of its limits.
    pub async fn list(
        &self,
        principal: &Principal,
        query: &DeploymentQuery,
        after: Option<DeploymentCursor>,
        limit: Option<i64>,
    ) -> Result<(Vec<DeploymentDetails>, Option<DeploymentCursor>), ServiceError> {
        principal.require(Permission::ViewDeployments)?;
        query.checked()?;
        let limit = in_range("limit", limit.unwrap_or(PAGE_DEFAULT), 1, PAGE_MAX)?;
        let mut rows = self.store.deployments(query, after, limit + 1).await?;
        let more = rows.len() as i64 > limit;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|last| (last.created_at, last.id));
        Ok((self.counted(rows).await?, next))
    }

    /// A deployment, with the availability of a rollback.
    ///
    /// # Errors
    /// Forbidden, or there is no such deployment.
    pub async fn one(&self, principal: &Principal, id: DeploymentId) -> Result<DeploymentDetails, ServiceError> {
        principal.require(Permission::ViewDeployments)?;
        let row = self.store.deployment(id).await?.ok_or(ServiceError::NotFound("deployment"))?;
        let mut details = self.counted(vec![row]).await?.pop().ok_or(ServiceError::Internal)?;
        let (failed, succeeded) = (details.count(TaskState::Failed), details.count(TaskState::Succeeded));
        details.rollback = Some(self.rollback_offer(&details.deployment, failed, succeeded).await?);
        Ok(details)
    }

    async fn counted(&self, rows: Vec<Deployment>) -> Result<Vec<DeploymentDetails>, ServiceError> {
        let ids: Vec<DeploymentId> = rows.iter().map(|row| row.id).collect();
        let counts = self.store.task_counts(&ids).await?;
        let finished: Vec<DeploymentId> = rows.iter().filter(|row| row.finished_at.is_some()).map(|row| row.id).collect();
        let (starts, flags, endings) =
            tokio::try_join!(self.store.recent_start_counts(&ids), self.store.flags(), self.store.task_endings(&finished))?;
        let details = |row: Deployment| {
            let (mut states, mut canary) = (HashMap::new(), Tally::default());
            for count in counts.iter().filter(|count| count.deployment == row.id) {
                *states.entry(count.state).or_default() += count.tasks;
                let tasks = if count.canary { u32::try_from(count.tasks).unwrap_or(u32::MAX) } else { 0 };
                match count.state {
                    TaskState::Succeeded => canary.succeeded += tasks,
                    TaskState::Failed => canary.failed += tasks,
                    state if !state.is_finished() => canary.open += tasks,
                    _ => {}
                }
            }
            let starts_last_minute = starts.get(&row.id).copied().unwrap_or_default();
            let ended = endings.iter().filter(|(deployment, _)| *deployment == row.id).map(|(_, ending)| *ending);
            let problems = problems(ended.collect());
            DeploymentDetails { deployment: row, states, canary, starts_last_minute, blocked: flags.blocked(), problems, rollback: None }
        };
        Ok(rows.into_iter().map(details).collect())
    }

    /// A page of tasks in the order of the targets, and the cursor of the next page.
    ///
    /// # Errors
    /// Forbidden, no such deployment, or the page size is out of its limits.
    pub async fn tasks(
        &self,
        principal: &Principal,
        id: DeploymentId,
        query: TaskQuery,
        after: Option<i32>,
        limit: Option<i64>,
    ) -> Result<(Vec<TaskView>, Option<i32>), ServiceError> {
        self.exists(principal, id).await?;
        let limit = in_range("limit", limit.unwrap_or(PAGE_DEFAULT), 1, PAGE_MAX)?;
        let _permit = self.tables.read(principal).await?;
        let mut rows = self.store.deployment_tasks(id, query, after, limit + 1).await?;
        let more = rows.len() as i64 > limit;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|last| last.position);
        Ok((rows, next))
    }

    /// Tasks of a long list around the visible ones: the total, and `limit` of them after the first `skip`.
    ///
    /// # Errors
    /// Forbidden, no such deployment, or the page size is out of its limits.
    pub async fn task_window(
        &self,
        principal: &Principal,
        id: DeploymentId,
        query: TaskQuery,
        skip: i64,
        limit: i64,
    ) -> Result<(i64, Vec<TaskView>), ServiceError> {
        self.exists(principal, id).await?;
        let limit = in_range("limit", limit, 1, PAGE_MAX)?;
        let (all, first) = self.store.deployment_task_at(id, query, skip.max(0)).await?;
        let rows = match first {
            Some(first) => self.store.deployment_tasks(id, query, Some(first - 1), limit).await?,
            None => Vec::new(),
        };
        Ok((all, rows))
    }

    /// A page of events, newest first, and the cursor of the next page.
    ///
    /// # Errors
    /// Forbidden, no such deployment, or the page size is out of its limits.
    pub async fn events(
        &self,
        principal: &Principal,
        id: DeploymentId,
        before: Option<i64>,
        limit: Option<i64>,
    ) -> Result<(Vec<DeploymentEvent>, Option<i64>), ServiceError> {
        self.exists(principal, id).await?;
        let limit = in_range("limit", limit.unwrap_or(PAGE_DEFAULT), 1, PAGE_MAX)?;
        let mut rows = self.store.deployment_events(id, before, limit + 1).await?;
        let more = rows.len() as i64 > limit;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|last| last.id);
        Ok((rows, next))
    }

    async fn exists(&self, principal: &Principal, id: DeploymentId) -> Result<(), ServiceError> {
        principal.require(Permission::ViewDeployments)?;
        self.store.deployment(id).await?.map(drop).ok_or(ServiceError::NotFound("deployment"))
    }

    /// Exports the tasks of a deployment as CSV (RFC 4180), in the order of the targets.
    ///
    /// # Errors
    /// Forbidden, no such deployment, or too many exports are under way.
    pub async fn table(
        self: &Arc<Self>,
        principal: &Principal,
        id: DeploymentId,
    ) -> Result<impl Stream<Item = Result<Bytes, ServiceError>> + Send + 'static, ServiceError> {
        self.exists(principal, id).await?;
        let permit = self.tables.export(principal)?;
        let head = Bytes::from(super::device_csv::table([TABLE_COLUMNS.map(str::to_owned)])?);
        let target = Target::Other { kind: "deployment", id: Some(id.to_string()), name: None };
        given(&self.store, principal, AuditAction::DeploymentExported, target, json!({ "format": "csv" }), self.clock.now()).await?;
        let service = Arc::clone(self);
        let pieces = stream::try_unfold(Some((service, principal.clone(), None::<i32>)), move |left| async move {
            let Some((service, principal, after)) = left else { return Ok(None) };
            let _permit = service.tables.read(&principal).await?;
            let rows = service.store.deployment_tasks(id, TaskQuery::default(), after, TABLE_BATCH).await?;
            let next = rows.last().filter(|_| rows.len() as i64 == TABLE_BATCH).map(|last| last.position);
            let piece = Bytes::from(super::device_csv::table(rows.iter().map(cells))?);
            Ok(Some((piece, next.map(|next| (service, principal, Some(next))))))
        });
        Ok(self.tables.stream(permit, principal, stream::iter([Ok(head)]).chain(pieces)))
    }
}

const TABLE_COLUMNS: [&str; 15] = [
    "position",
    "device_id",
    "alias",
    "canary",
    "state",
    "reason",
    "attempts",
    "started_at",
    "accepted_at",
    "finished_at",
    "error",
    "message",
    "version_before",
    "installed_version",
    "reason_detail",
];

fn cells(row: &TaskView) -> [String; 15] {
    let time = |at: Option<Timestamp>| at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true)).unwrap_or_default();
    [
        row.position.to_string(),
        row.device_id.to_string(),
        neutralised(&row.alias),
        row.canary.to_string(),
        row.state.as_str().to_owned(),
        row.reason.map_or("", Reason::as_str).to_owned(),
        row.attempts.to_string(),
        time(row.started_at),
        time(row.accepted_at),
        time(row.finished_at),
        row.error.clone().unwrap_or_default(),
        neutralised(row.message.as_deref().unwrap_or_default()),
        row.version_before.map(|code| code.to_string()).unwrap_or_default(),
        neutralised(row.installed_version.as_deref().unwrap_or_default()),
        neutralised(row.detail.as_deref().unwrap_or_default()),
    ]
}
