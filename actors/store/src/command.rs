//! Commands: made once, read by whoever drives them, removed when they are old.

use std::collections::HashMap;

use domain::access::Principal;
use domain::audit::{AuditAction, Target};
use domain::command::{CommandState, Path, Progress};
use domain::shard::{ShardId, shard_of};
use domain::{CommandBatchId, CommandId, DeploymentId, DeviceId, Timestamp};
use serde_json::json;
use uuid::Uuid;

use crate::audit::{AuditEntry, append};
use crate::channels;
use crate::cluster_lock::hold_commands;
use crate::pool::Transaction;
use crate::{Store, StoreError};

/// Common values of the commands of a call.
#[derive(Debug, Clone)]
pub struct NewCommands {
    /// Name of the action.
    pub action: String,
    /// Parameters that are sent, JSON; may hold secrets.
    pub params: String,
    /// Parameters without secrets, for display.
    pub params_shown: String,
    /// Caller that created the commands.
    pub created_by: String,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Expiry of the commands.
    pub expires_at: Timestamp,
    /// Devices, each with the id of its command and the earliest time of sending.
    pub devices: Vec<(DeviceId, CommandId, Timestamp)>,
    /// Batch of the commands.
    pub batch: Option<NewBatch>,
    /// Most open commands of a device.
    pub open_per_device_max: i64,
}

/// New batch, without its commands.
#[derive(Debug, Clone)]
pub struct NewBatch {
    /// Id of the batch.
    pub id: CommandBatchId,
    /// Requested target, for display.
    pub target: String,
    /// Rate of sending, commands per second.
    pub rate_per_second: i32,
    /// Devices without a command and why, as JSON.
    pub refused: String,
    /// Number of refused devices.
    pub refused_count: i32,
}

/// Idempotency key with its owner.
#[derive(Debug, Clone)]
pub struct IdempotencyRecord {
    /// User or API token that sent the request.
    pub owner: Uuid,
    /// Key, chosen by the caller.
    pub key: String,
    /// SHA-256 of the request body.
    pub body_sha256: [u8; 32],
}

/// Outcome of inserting commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsertOutcome {
    /// Inserted, with this many commands.
    New(u64),
    /// An earlier request with the same idempotency key created this command or batch.
    Existing(Uuid),
    /// The idempotency key was used for another request.
    OtherBody,
    /// The device has as many open commands as it may have; nothing was inserted.
    TooManyOpen,
}

/// Unfinished command, as the owner of its device loads it.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenCommand {
    /// Id of the command.
    pub id: CommandId,
    /// Device of the command.
    pub device_id: DeviceId,
    /// Name of the action.
    pub action: String,
    /// Parameters that are sent, JSON.
    pub params: String,
    /// State of the command.
    pub state: CommandState,
    /// When the command was created.
    pub created_at: Timestamp,
    /// Earliest time of sending.
    pub release_at: Timestamp,
    /// Expiry.
    pub expires_at: Timestamp,
}

/// Scope of a read of open commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenCommandScope {
    /// All commands of the shards.
    Shards,
    /// Commands that were created within this time, s.
    MadeWithin(i32),
    /// Commands of one device.
    Device(DeviceId),
    /// Commands of one batch.
    Batch(CommandBatchId),
    /// Commands of one deployment that were created within the last half minute.
    Deployment(DeploymentId),
}

pub(crate) fn state(name: &str) -> Result<CommandState, StoreError> {
    CommandState::parse(name).ok_or(StoreError::Corrupt("command.state"))
}

pub(crate) fn path(name: Option<&str>) -> Result<Option<Path>, StoreError> {
    name.map(|name| Path::parse(name).ok_or(StoreError::Corrupt("command.path"))).transpose()
}

/// A command's progress from its columns.
macro_rules! progress {
    ($row:expr) => {{
        let row = &$row;
        let ending =
            row.outcome.as_deref().map(|name| domain::command::CommandOutcome::parse(name).ok_or(StoreError::Corrupt("command.outcome")));
        domain::command::Progress {
            state: $crate::command::state(&row.state)?,
            attempts: row.attempts,
            path: $crate::command::path(row.path.as_deref())?,
            sent_at: row.sent_at,
            delivered_at: row.delivered_at,
            finished_at: row.finished_at,
            ending: ending.transpose()?,
        }
    }};
}
pub(crate) use progress;

/// Takes a key, or says what it was taken for.
pub(crate) async fn claim_key(
    tx: &mut Transaction,
    idempotency_key: &IdempotencyRecord,
    resource: Uuid,
    now: Timestamp,
) -> Result<InsertOutcome, StoreError> {
    let taken = sqlx::query!(
        "INSERT INTO command_idempotency (owner_id, key, body_sha256, resource_id, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (owner_id, key) DO NOTHING",
        idempotency_key.owner,
        idempotency_key.key,
        &idempotency_key.body_sha256[..],
        resource,
        now
    );
    if taken.execute(&mut **tx).await?.rows_affected() > 0 {
        return Ok(InsertOutcome::New(0));
    }
    let known = sqlx::query!(
        "SELECT body_sha256, resource_id FROM command_idempotency WHERE owner_id = $1 AND key = $2",
        idempotency_key.owner,
        idempotency_key.key
    )
    .fetch_one(&mut **tx)
    .await?;
    Ok(if known.body_sha256 == idempotency_key.body_sha256 { InsertOutcome::Existing(known.resource_id) } else { InsertOutcome::OtherBody })
}

impl Store {
    /// Inserts commands, and notifies every node. A device that is deleted by now gets none, nor does one with as many open
    /// commands as it may have; a batch counts both as refused.
    ///
    /// # Errors
    /// The database is unavailable; nothing is stored then, or all of it.
    pub async fn insert_commands(
        &self,
        new: &NewCommands,
        idempotency_key: Option<&IdempotencyRecord>,
        audit: &AuditEntry,
    ) -> Result<InsertOutcome, StoreError> {
        let mut tx = self.begin().await?;
        let resource = new.batch.as_ref().map(|batch| batch.id.0).or(new.devices.first().map(|(_, id, _)| id.0)).unwrap_or_default();
        if let Some(idempotency_key) = idempotency_key {
            match claim_key(&mut tx, idempotency_key, resource, new.created_at).await? {
                InsertOutcome::New(_) => {}
                known => return Ok(known),
            }
        }
        if let Some(batch) = &new.batch {
            sqlx::query!(
                "INSERT INTO command_batch (batch_id, action, params_shown, target, rate_per_second, devices, refused, refused_count,
                     created_by, created_at, expires_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                batch.id.0,
                new.action,
                new.params_shown,
                batch.target,
                batch.rate_per_second,
                new.devices.len() as i32,
                batch.refused,
                batch.refused_count,
                new.created_by,
                new.created_at,
                new.expires_at
            )
            .execute(&mut *tx)
            .await?;
        }
        let (devices, rest): (Vec<_>, Vec<_>) = new.devices.iter().map(|(device, id, release)| (device.0, (id.0, *release))).unzip();
        let (ids, releases): (Vec<_>, Vec<_>) = rest.into_iter().unzip();
        let shards: Vec<_> = new.devices.iter().map(|(device, ..)| i32::from(shard_of(*device).0)).collect();
        hold_commands(&mut tx, &shards).await?;
        let made = sqlx::query!(
            "INSERT INTO command (request_id, device_id, shard_id, batch_id, action, params, params_shown, state, created_by, created_at,
                 release_at, expires_at)
             SELECT n.request_id, n.device_id, n.shard_id, $5, $6,
                 -- Which key is next differs from device to device.
                 CASE $6 WHEN 'rotate_key' THEN json_build_object('key_version', d.key_version + 1)::text ELSE $7 END,
                 CASE $6 WHEN 'rotate_key' THEN json_build_object('key_version', d.key_version + 1)::text ELSE $8 END,
                 'queued', $9, $10, n.release_at, $11
             FROM UNNEST($1::uuid[], $2::uuid[], $3::integer[], $4::timestamptz[]) AS n(request_id, device_id, shard_id, release_at)
             JOIN device d ON d.device_id = n.device_id AND d.deleted_at IS NULL
             LEFT JOIN (
                 SELECT device_id, count(*) AS open FROM command
                 WHERE state IN ('queued', 'sent', 'delivered') AND shard_id = ANY($3) AND device_id = ANY($2) GROUP BY device_id
             ) c ON c.device_id = n.device_id
             WHERE coalesce(c.open, 0) < $12",
            &ids,
            &devices,
            &shards,
            &releases,
            new.batch.as_ref().map(|batch| batch.id.0),
            new.action,
            new.params,
            new.params_shown,
            new.created_by,
            new.created_at,
            new.expires_at,
            new.open_per_device_max
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        let told = match &new.batch {
            Some(batch) if made < new.devices.len() as u64 => {
                sqlx::query!(
                    "UPDATE command_batch SET devices = $2, refused_count = refused_count + devices - $2 WHERE batch_id = $1",
                    batch.id.0,
                    made as i32
                )
                .execute(&mut *tx)
                .await?;
                format!("batch:{}", batch.id)
            }
            Some(batch) => format!("batch:{}", batch.id),
            None => devices.first().copied().unwrap_or_default().to_string(),
        };
        if made == 0 && new.batch.is_none() {
            let there = sqlx::query!("SELECT FROM device WHERE device_id = ANY($1) AND deleted_at IS NULL", &devices);
            let there = there.fetch_optional(&mut *tx).await?.is_some();
            return Ok(if there { InsertOutcome::TooManyOpen } else { InsertOutcome::New(0) });
        }
        sqlx::query!("SELECT pg_notify($1, $2)", channels::COMMAND, told).execute(&mut *tx).await?;
        append(&mut tx, audit, new.created_at).await?;
        tx.commit().await?;
        Ok(InsertOutcome::New(made))
    }

    /// At most `limit` open commands for devices of these shards, in the order of their ids, behind `after`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn open_commands(
        &self,
        shards: &[ShardId],
        of: OpenCommandScope,
        after: Option<CommandId>,
        limit: i64,
    ) -> Result<Vec<OpenCommand>, StoreError> {
        let shards: Vec<_> = shards.iter().map(|shard| i32::from(shard.0)).collect();
        let (device, batch, deployment, within) = match of {
            OpenCommandScope::Shards => (None, None, None, None),
            OpenCommandScope::MadeWithin(seconds) => (None, None, None, Some(f64::from(seconds))),
            OpenCommandScope::Device(id) => (Some(id.0), None, None, None),
            OpenCommandScope::Batch(id) => (None, Some(id.0), None, None),
            OpenCommandScope::Deployment(id) => (None, None, Some(id.0), Some(30.0)),
        };
        let rows = sqlx::query!(
            "SELECT request_id, device_id, action, params, state, created_at, release_at, expires_at FROM command
             WHERE shard_id = ANY($1) AND state IN ('queued', 'sent', 'delivered') AND request_id > $2
                 AND ($3::uuid IS NULL OR device_id = $3) AND ($4::uuid IS NULL OR batch_id = $4)
                 AND ($6::float8 IS NULL OR created_at > now() - make_interval(secs => $6))
                 AND ($7::uuid IS NULL OR deployment_id = $7)
             ORDER BY request_id LIMIT $5",
            &shards,
            after.map_or(Uuid::nil(), |id| id.0),
            device,
            batch,
            limit,
            within,
            deployment
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(OpenCommand {
                    id: CommandId(row.request_id),
                    device_id: DeviceId(row.device_id),
                    action: row.action,
                    params: row.params,
                    state: state(&row.state)?,
                    created_at: row.created_at,
                    release_at: row.release_at,
                    expires_at: row.expires_at,
                })
            })
            .collect()
    }

    /// How many commands are open for each of these devices that has any.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn open_command_counts_of(&self, ids: &[DeviceId]) -> Result<HashMap<DeviceId, i64>, StoreError> {
        let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
        let shards: Vec<_> = ids.iter().map(|id| i32::from(shard_of(DeviceId(*id)).0)).collect();
        let rows = sqlx::query!(
            r#"SELECT device_id, count(*) AS "open!" FROM command
               WHERE state IN ('queued', 'sent', 'delivered') AND shard_id = ANY($2) AND device_id = ANY($1) GROUP BY device_id"#,
            &ids,
            &shards
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (DeviceId(row.device_id), row.open)).collect())
    }

    /// Ends at most `limit` open commands whose time was over at this moment. Returns how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn expire_commands(&self, over_at: Timestamp, now: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let expired = sqlx::query!(
            "UPDATE command SET state = 'expired', finished_at = $2, params = params_shown WHERE request_id IN (
                 SELECT request_id FROM command WHERE state IN ('queued', 'sent', 'delivered') AND expires_at <= $1
                 ORDER BY request_id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED)",
            over_at,
            now,
            limit
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if expired > 0 {
            append(&mut tx, &by_system(AuditAction::CommandsExpired, expired), now).await?;
        }
        tx.commit().await?;
        Ok(expired)
    }

    /// Deletes at most `limit` commands that were made before this time, then batches that have none left,
    /// and keys of idempotent calls from before `keys_before`. Returns how many commands.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_commands(&self, before: Timestamp, keys_before: Timestamp, now: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let purged = sqlx::query!(
            "DELETE FROM command WHERE request_id IN (
                 SELECT request_id FROM command WHERE created_at < $1 AND finished_at IS NOT NULL ORDER BY created_at LIMIT $2)",
            before,
            limit
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        sqlx::query!(
            "DELETE FROM command_batch b WHERE created_at < $1 AND NOT EXISTS (SELECT FROM command c WHERE c.batch_id = b.batch_id)",
            before
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!("DELETE FROM command_idempotency WHERE created_at < $1", keys_before).execute(&mut *tx).await?;
        sqlx::query!("DELETE FROM request_idempotency WHERE created_at < $1", keys_before).execute(&mut *tx).await?;
        if purged > 0 {
            append(&mut tx, &by_system(AuditAction::CommandsPurged, purged), now).await?;
        }
        tx.commit().await?;
        Ok(purged)
    }

    /// Deletes a push token that its service knows no more, unless the device has told another one since.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn forget_fcm_token(&self, id: DeviceId, fcm_token: &str) -> Result<(), StoreError> {
        sqlx::query!("UPDATE device SET fcm_token = NULL WHERE device_id = $1 AND fcm_token = $2", id.0, fcm_token)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

/// Audit entry of the server's own action on that many commands.
fn by_system(action: AuditAction, commands: u64) -> AuditEntry {
    let target = Target::Other { kind: "commands", id: None, name: None };
    AuditEntry::new(&Principal::system(), action, target).after(json!({ "commands": commands }))
}

/// Stored state, path and outcome of a command's progress.
pub(crate) fn columns_of(progress: &Progress) -> (&'static str, Option<&'static str>, Option<&'static str>) {
    (progress.state.as_str(), progress.path.map(Path::as_str), progress.ending.map(domain::command::CommandOutcome::as_str))
}
