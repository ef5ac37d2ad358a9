//! Reads of commands and batches for display: pages, single ones, counts.

use domain::command::{BatchView, CommandCursor, CommandQuery, CommandState, CommandView, HoldReason, Progress};
use domain::{CommandBatchId, CommandId, DeviceId, Timestamp};
use futures_util::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{QueryBuilder, Row};

use crate::audit::{AuditEntry, append};
use crate::command::{path, state};
use crate::{Store, StoreError};

/// Number of commands of a batch in a state, by the path of their last attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchCount {
    /// The batch.
    pub batch: CommandBatchId,
    /// The state.
    pub state: CommandState,
    /// The path; `None` when none was tried.
    pub path: Option<domain::command::Path>,
    /// Number of commands.
    pub commands: i64,
}

const COLUMNS: &str = "c.request_id, c.device_id, d.alias, c.batch_id, c.action, c.params_shown, c.state, c.attempts, c.path, c.created_by, \
     c.created_at, c.release_at, c.expires_at, c.sent_at, c.delivered_at, c.finished_at, c.canceled_by, c.outcome, c.message, c.code, \
     c.data, c.device_finished_at, c.state IN ('queued', 'sent') AND EXISTS (SELECT FROM device_condition k \
     WHERE k.device_id = c.device_id AND k.conflict_at IS NOT NULL AND k.conflict_dismissed_at IS NULL) AS held FROM command c JOIN device d USING (device_id) WHERE ";

fn read(row: &PgRow) -> Result<CommandView, StoreError> {
    let outcome: Option<&str> = row.try_get("outcome")?;
    let ending = outcome.map(|name| domain::command::CommandOutcome::parse(name).ok_or(StoreError::Corrupt("command.outcome")));
    Ok(CommandView {
        id: CommandId(row.try_get("request_id")?),
        device_id: DeviceId(row.try_get("device_id")?),
        alias: row.try_get("alias")?,
        batch_id: row.try_get::<Option<_>, _>("batch_id")?.map(CommandBatchId),
        action: row.try_get("action")?,
        params: row.try_get("params_shown")?,
        progress: Progress {
            state: state(row.try_get("state")?)?,
            attempts: row.try_get("attempts")?,
            path: path(row.try_get("path")?)?,
            sent_at: row.try_get("sent_at")?,
            delivered_at: row.try_get("delivered_at")?,
            finished_at: row.try_get("finished_at")?,
            ending: ending.transpose()?,
        },
        created_by: row.try_get("created_by")?,
        created_at: row.try_get("created_at")?,
        release_at: row.try_get("release_at")?,
        expires_at: row.try_get("expires_at")?,
        canceled_by: row.try_get("canceled_by")?,
        message: row.try_get("message")?,
        code: row.try_get("code")?,
        data: row.try_get("data")?,
        device_finished_at: row.try_get("device_finished_at")?,
        held: row.try_get::<bool, _>("held")?.then_some(HoldReason::IdentityConflict),
    })
}

impl Store {
    /// At most `limit` commands, newest first, behind `after`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn commands_page(
        &self,
        query: &CommandQuery,
        after: Option<CommandCursor>,
        limit: i64,
    ) -> Result<Vec<CommandView>, StoreError> {
        let mut sql = QueryBuilder::new("SELECT ");
        sql.push(COLUMNS).push("true");
        if let Some(device) = query.device {
            sql.push(" AND c.device_id = ").push_bind(device.0);
        }
        if let Some(batch) = query.batch {
            sql.push(" AND c.batch_id = ").push_bind(batch.0);
        }
        if query.single {
            sql.push(" AND c.batch_id IS NULL");
        }
        if let Some(state) = query.state {
            sql.push(" AND c.state = ").push_bind(state.as_str());
        }
        if let Some(action) = &query.action {
            sql.push(" AND c.action = ").push_bind(action.clone());
        }
        if let Some(by) = &query.created_by {
            sql.push(" AND c.created_by = ").push_bind(by.clone());
        }
        if let Some(after) = after {
            sql.push(" AND (c.created_at, c.request_id) < (").push_bind(after.created_at).push(", ").push_bind(after.id.0).push(")");
        }
        sql.push(" ORDER BY c.created_at DESC, c.request_id DESC LIMIT ").push_bind(limit);
        let mut connection = self.pool.acquire().await?;
        sql.build().fetch(&mut *connection).map_err(StoreError::from).and_then(|row| std::future::ready(read(&row))).try_collect().await
    }

    /// A command.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn command(&self, id: CommandId) -> Result<Option<CommandView>, StoreError> {
        let mut sql = QueryBuilder::new("SELECT ");
        sql.push(COLUMNS).push("c.request_id = ").push_bind(id.0);
        sql.build().fetch_optional(&self.pool).await?.map(|row| read(&row)).transpose()
    }

    /// A batch.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn command_batch(&self, id: CommandBatchId) -> Result<Option<BatchView>, StoreError> {
        Ok(self.command_batches(Some(id), None, 1).await?.pop())
    }

    /// At most `limit` batches, newest first, behind the one of this time and id; or one of them.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn command_batches(
        &self,
        only: Option<CommandBatchId>,
        after: Option<(Timestamp, CommandBatchId)>,
        limit: i64,
    ) -> Result<Vec<BatchView>, StoreError> {
        let (after_at, after_id) = after.map_or((None, None), |(at, id)| (Some(at), Some(id.0)));
        let rows = sqlx::query!(
            "SELECT batch_id, action, params_shown, target, rate_per_second, devices, refused, refused_count, created_by, created_at,
                 expires_at, canceled_at
             FROM command_batch
             WHERE ($1::uuid IS NULL OR batch_id = $1) AND ($2::timestamptz IS NULL OR (created_at, batch_id) < ($2, $3))
             ORDER BY created_at DESC, batch_id DESC LIMIT $4",
            only.map(|id| id.0),
            after_at,
            after_id,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| BatchView {
                id: CommandBatchId(row.batch_id),
                action: row.action,
                params: row.params_shown,
                target: row.target,
                rate_per_second: row.rate_per_second,
                devices: row.devices,
                refused: row.refused,
                refused_count: row.refused_count,
                created_by: row.created_by,
                created_at: row.created_at,
                expires_at: row.expires_at,
                canceled_at: row.canceled_at,
            })
            .collect())
    }

    /// The commands of these batches, counted by state and path.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn batch_counts(&self, ids: &[CommandBatchId]) -> Result<Vec<BatchCount>, StoreError> {
        let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
        let rows = sqlx::query!(
            r#"SELECT batch_id AS "batch_id!", state, path, count(*) AS "commands!" FROM command WHERE batch_id = ANY($1)
               GROUP BY batch_id, state, path"#,
            &ids
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(BatchCount {
                    batch: CommandBatchId(row.batch_id),
                    state: state(&row.state)?,
                    path: path(row.path.as_deref())?,
                    commands: row.commands,
                })
            })
            .collect()
    }

    /// Marks a batch as canceled, and returns its open commands. `None`: there is no such batch.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn cancel_batch(&self, id: CommandBatchId, audit: &AuditEntry, now: Timestamp) -> Result<Option<Vec<CommandId>>, StoreError> {
        let mut tx = self.begin().await?;
        let noted = sqlx::query!("UPDATE command_batch SET canceled_at = coalesce(canceled_at, $2) WHERE batch_id = $1", id.0, now);
        if noted.execute(&mut *tx).await?.rows_affected() == 0 {
            return Ok(None);
        }
        append(&mut tx, audit, now).await?;
        tx.commit().await?;
        let open = sqlx::query_scalar!(
            "SELECT request_id FROM command WHERE batch_id = $1 AND state IN ('queued', 'sent', 'delivered') ORDER BY request_id",
            id.0
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(Some(open.into_iter().map(CommandId).collect()))
    }

    /// How many commands are open, by state, and since when the oldest that is due waits.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn open_command_counts(&self) -> Result<Vec<(CommandState, i64)>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT state, count(*) AS "commands!" FROM command WHERE state IN ('queued', 'sent', 'delivered') GROUP BY state"#
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(|row| Ok((state(&row.state)?, row.commands))).collect()
    }
}
