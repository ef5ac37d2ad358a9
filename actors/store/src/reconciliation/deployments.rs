//! Numbers of deployments beside their tasks.

use domain::reconciliation::{Drift, DriftKind, FieldDrift};
use domain::{DeploymentId, Timestamp};
use uuid::Uuid;

use crate::{Store, StoreError};

impl Store {
    /// Compares the next deployment, in the order of ids behind `after`, that is not over or ended after `since`, with its tasks. `None`: there is none.
    ///
    /// Nothing of it is mended: a task that is missing would install something.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn compare_deployment(
        &self,
        after: Option<DeploymentId>,
        since: Timestamp,
    ) -> Result<Option<(DeploymentId, Vec<Drift>)>, StoreError> {
        let row = sqlx::query!(
            r#"WITH d AS (
                 SELECT deployment_id, devices, canary_size, finished_at FROM deployment
                 WHERE deployment_id > $1 AND (finished_at IS NULL OR finished_at > $2) ORDER BY deployment_id LIMIT 1
             )
             SELECT d.deployment_id, d.devices, d.canary_size, d.finished_at,
                 (SELECT count(*) FROM deployment_target t WHERE t.deployment_id = d.deployment_id) AS "targets!",
                 (SELECT count(*) FROM deployment_target t WHERE t.deployment_id = d.deployment_id AND t.canary) AS "canary!",
                 (SELECT count(*) FROM deployment_task t WHERE t.deployment_id = d.deployment_id) AS "tasks!",
                 (SELECT count(*) FROM deployment_task t WHERE t.deployment_id = d.deployment_id AND t.finished_at IS NULL) AS "open!"
             FROM d"#,
            after.map_or(Uuid::nil(), |id| id.0),
            since
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let id = DeploymentId(row.deployment_id);
        let mut drifts = Vec::new();
        let mut compare = |kind, field: &str, stored: i64, expected: i64| {
            if stored != expected {
                let fields = vec![FieldDrift::new(field, Some(stored.to_string()), Some(expected.to_string()))];
                drifts.push(Drift { kind, subject: id.to_string(), fields, healed: false });
            }
        };
        compare(DriftKind::DeploymentDevices, "devices", i64::from(row.devices), row.targets);
        compare(DriftKind::DeploymentCanary, "canary_size", i64::from(row.canary_size), row.canary);
        compare(DriftKind::DeploymentTasks, "tasks", row.tasks, row.targets);
        if row.finished_at.is_some() {
            compare(DriftKind::DeploymentOpenTasks, "open_tasks", row.open, 0);
        }
        Ok(Some((id, drifts)))
    }
}
