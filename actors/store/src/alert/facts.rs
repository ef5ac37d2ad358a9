//! Facts about deployments, nodes and the cluster, for the rules that are not about devices.

use chrono::{SubsecRound, TimeDelta};
use domain::alert::{DeploymentFacts, NodeFacts};
use domain::shard::ShardId;
use domain::{DeploymentId, DeviceId, Timestamp};

use crate::{Store, StoreError};

/// Deployment, as rules see it, but for its tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedDeployment {
    /// Id.
    pub id: DeploymentId,
    /// Name.
    pub name: String,
    /// Number of its tasks.
    pub tasks: u64,
    /// When a task was last written; `None`: it has none.
    pub changed_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Verdict of the canary: whether it failed; `None`: none yet.
    pub canary_failed: Option<bool>,
    /// Since when it is paused.
    pub paused_at: Option<Timestamp>,
    /// Whether it is over: canceled or finished.
    pub over: bool,
    /// Reports of the last hour that could not be used.
    pub report_errors: u64,
}

impl JudgedDeployment {
    /// Facts about it, once its tasks are counted.
    pub fn facts(&self, tasks: &TaskTotals) -> DeploymentFacts {
        DeploymentFacts {
            canary_failed: self.canary_failed,
            succeeded: tasks.succeeded,
            failed: tasks.failed,
            open: tasks.open,
            progress_at: tasks.progress_at.or(Some(self.created_at)),
            paused_at: self.paused_at,
            over: self.over,
            report_errors: Some(self.report_errors),
        }
    }
}

/// Tasks of a deployment, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskTotals {
    /// Tasks that succeeded.
    pub succeeded: u64,
    /// Tasks that failed.
    pub failed: u64,
    /// Tasks that wait or run.
    pub open: u64,
    /// When a task last started, reported or ended.
    pub progress_at: Option<Timestamp>,
}

/// What a node sees of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeHealth {
    /// Free disk space, percent.
    pub disk_free_pct: Option<i16>,
    /// Since when every connection to the database is in use.
    pub pool_full_since: Option<Timestamp>,
    /// Whether the push service refuses the credentials.
    pub push_refused: Option<bool>,
    /// Whether the quota of the push service is used up.
    pub push_quota_used_up: Option<bool>,
    /// Time within which 99 % of the transactions of the last minute ended, ms.
    pub database_p99_ms: Option<i64>,
    /// When the first of its certificates expires.
    pub certificate_expires_at: Option<Timestamp>,
}

/// Reports of a device about a deployment that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportErrors {
    /// Deployment.
    pub deployment: DeploymentId,
    /// Device.
    pub device: DeviceId,
    /// How many.
    pub errors: u32,
}

/// Length of the periods by which reports that could not be used are counted, s.
const ERROR_BUCKET_S: i64 = 300;
/// Most of a period that are counted.
const ERRORS_MAX: i32 = 1_000_000;

impl Store {
    /// Counts reports of devices about open deployments that could not be used, each deployment and device once; none of a device that the deployment
    /// is not for.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn note_report_errors(&self, errors: &[ReportErrors], now: Timestamp) -> Result<(), StoreError> {
        let bucket_at = now - TimeDelta::seconds(now.timestamp().rem_euclid(ERROR_BUCKET_S));
        let bucket_at = bucket_at.trunc_subsecs(0);
        sqlx::query!(
            "WITH old AS (DELETE FROM deployment_report_error WHERE deployment_id = ANY ($1) AND bucket_at < $5)
             INSERT INTO deployment_report_error AS e (deployment_id, bucket_at, errors)
             SELECT d.deployment_id, $4::timestamptz, least(sum(g.errors), $6::integer)::integer
             FROM UNNEST($1::uuid[], $2::uuid[], $3::integer[]) AS g(deployment_id, device_id, errors)
                 JOIN deployment d USING (deployment_id) JOIN deployment_task t USING (deployment_id, device_id)
             WHERE d.finished_at IS NULL GROUP BY d.deployment_id ORDER BY d.deployment_id
             ON CONFLICT (deployment_id, bucket_at) DO UPDATE SET errors = least(e.errors + excluded.errors, $6::integer)",
            &errors.iter().map(|one| one.deployment.0).collect::<Vec<_>>(),
            &errors.iter().map(|one| one.device.0).collect::<Vec<_>>(),
            &errors.iter().map(|one| i32::try_from(one.errors).unwrap_or(ERRORS_MAX).min(ERRORS_MAX)).collect::<Vec<_>>(),
            bucket_at,
            now - TimeDelta::hours(2),
            ERRORS_MAX
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The open deployments of these shards, and these ones whether or not they have finished. Reads no task but the last that was written of each.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn judged_deployments(
        &self,
        shards: &[ShardId],
        also: &[DeploymentId],
        now: Timestamp,
    ) -> Result<Vec<JudgedDeployment>, StoreError> {
        let shards: Vec<_> = shards.iter().map(|shard| i32::from(shard.0)).collect();
        let also: Vec<_> = also.iter().map(|id| id.0).collect();
        let rows = sqlx::query!(
            r#"SELECT d.deployment_id, d.name, d.state, d.phase, d.pause_reason, d.paused_at, d.created_at, d.devices,
                 (SELECT t.changed_at FROM deployment_task t WHERE t.deployment_id = d.deployment_id ORDER BY t.changed_at DESC LIMIT 1)
                     AS "changed_at?",
                 (SELECT coalesce(sum(e.errors), 0) FROM deployment_report_error e
                  WHERE e.deployment_id = d.deployment_id AND e.bucket_at > $3) AS "report_errors!"
             FROM deployment d WHERE (d.finished_at IS NULL AND d.shard_id = ANY($1)) OR d.deployment_id = ANY($2)"#,
            &shards,
            &also,
            now - TimeDelta::hours(1)
        )
        .fetch_all(&self.pool)
        .await?;
        let judged = rows.into_iter().map(|row| {
            let paused_by_canary = matches!(row.pause_reason.as_deref(), Some("canary_failed" | "canary_timeout"));
            JudgedDeployment {
                id: DeploymentId(row.deployment_id),
                name: row.name,
                tasks: u64::from(row.devices.unsigned_abs()),
                changed_at: row.changed_at,
                created_at: row.created_at,
                canary_failed: if paused_by_canary { Some(true) } else { (row.phase == "rollout").then_some(false) },
                paused_at: row.paused_at,
                over: matches!(row.state.as_str(), "canceled" | "finished"),
                report_errors: row.report_errors.unsigned_abs(),
            }
        });
        Ok(judged.collect())
    }

    /// Tasks of these deployments, counted. Reads all of them.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn task_totals(&self, ids: &[DeploymentId]) -> Result<Vec<(DeploymentId, TaskTotals)>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT deployment_id, count(*) FILTER (WHERE state = 'succeeded') AS "succeeded!", count(*) FILTER (WHERE state = 'failed') AS "failed!",
                 count(*) FILTER (WHERE finished_at IS NULL) AS "open!", max(greatest(started_at, reported_at, finished_at)) AS progress_at
             FROM deployment_task WHERE deployment_id = ANY($1) GROUP BY deployment_id"#,
            &ids.iter().map(|id| id.0).collect::<Vec<_>>()
        )
        .fetch_all(&self.pool)
        .await?;
        let totals = rows.into_iter().map(|row| {
            let totals = TaskTotals {
                succeeded: row.succeeded.unsigned_abs(),
                failed: row.failed.unsigned_abs(),
                open: row.open.unsigned_abs(),
                progress_at: row.progress_at,
            };
            (DeploymentId(row.deployment_id), totals)
        });
        Ok(totals.collect())
    }

    /// The newest node of each name.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn judged_nodes(&self) -> Result<Vec<(String, NodeFacts)>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT n.name AS "name!", CASE WHEN n.state = 'expired' THEN least(n.ended_at, n.expires_at) END AS expired_at,
                 (SELECT count(*) FROM shard_move m
                  WHERE n.state = 'expired' AND m.from_node = n.name AND m.reason = 'expired' AND m.moved_at >= n.joined_at) AS "shards!"
             FROM (SELECT DISTINCT ON (name) name, state, joined_at, ended_at, expires_at FROM cluster_node
                   ORDER BY name, joined_at DESC) n"#
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (row.name, NodeFacts { expired_at: row.expired_at, shards: row.shards.unsigned_abs() })).collect())
    }

    /// When the cluster last started: a node joined, and no other one's lease held.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn cluster_started_at(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(sqlx::query_scalar!(
            "SELECT max(n.joined_at) FROM cluster_node n WHERE NOT EXISTS (
                 SELECT FROM cluster_node o WHERE o.node_id <> n.node_id AND o.joined_at < n.joined_at
                   AND least(o.ended_at, o.expires_at) > n.joined_at)"
        )
        .fetch_one(&self.pool)
        .await?)
    }

    /// Stores what a node sees of itself.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn note_node_health(&self, name: &str, health: &NodeHealth, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO node_health (name, observed_at, disk_free_pct, pool_full_since, push_refused, push_quota_used_up, database_p99_ms,
                 certificate_expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (name) DO UPDATE SET observed_at = excluded.observed_at, disk_free_pct = excluded.disk_free_pct,
                 pool_full_since = excluded.pool_full_since, push_refused = excluded.push_refused,
                 push_quota_used_up = excluded.push_quota_used_up, database_p99_ms = excluded.database_p99_ms,
                 certificate_expires_at = excluded.certificate_expires_at",
            name,
            now,
            health.disk_free_pct,
            health.pool_full_since,
            health.push_refused,
            health.push_quota_used_up,
            health.database_p99_ms,
            health.certificate_expires_at
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// What nodes saw of themselves since.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn node_health(&self, since: Timestamp) -> Result<Vec<(String, NodeHealth)>, StoreError> {
        let rows = sqlx::query!(
            "SELECT name, disk_free_pct, pool_full_since, push_refused, push_quota_used_up, database_p99_ms, certificate_expires_at
             FROM node_health WHERE observed_at >= $1 ORDER BY name",
            since
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| {
                let seen = NodeHealth {
                    disk_free_pct: row.disk_free_pct,
                    pool_full_since: row.pool_full_since,
                    push_refused: row.push_refused,
                    push_quota_used_up: row.push_quota_used_up,
                    database_p99_ms: row.database_p99_ms,
                    certificate_expires_at: row.certificate_expires_at,
                };
                (row.name, seen)
            })
            .collect())
    }
}
