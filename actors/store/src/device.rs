//! Devices and their credentials.

use std::collections::HashMap;
use std::sync::Arc;

use domain::condition::Condition;
use domain::device::{DeviceIdentity, DeviceListScope, IdentityConflict, LastStatus, MonitoredApp, PersistedDevice};
use domain::enrollment::Registration;
use domain::name::CanonicalName;
use domain::query::{Cursor, DeviceFilter, Sort};
use domain::shard::ShardId;
use domain::{DeviceId, DeviceTokenId, Timestamp};
use futures_util::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{Postgres, QueryBuilder, Row};

use crate::canonical::canonical_labels;
use crate::details::read_details;
use crate::device_filter::{StatusThresholds, push_filter};
use crate::device_search::{condition_of, push_page};
use crate::pool::Connection;
use crate::telemetry_column::{SELECTED, read_columns};
use crate::{Store, StoreError};

/// New device.
pub struct NewDevice {
    /// Id.
    pub id: DeviceId,
    /// Alias.
    pub alias: String,
    /// Registration.
    pub registration: Registration,
    /// Public half of the device token.
    pub token_id: DeviceTokenId,
    /// bcrypt of the secret half.
    pub token_secret_bcrypt: String,
}

/// Stored device.
#[derive(Debug, Clone)]
pub struct StoredDevice {
    /// Identity and labels of the device.
    pub identity: DeviceIdentity,
    /// Generation of the valid credentials.
    pub credential_generation: i32,
    /// Push token.
    pub fcm_token: Option<String>,
    /// Version of the key that its commands are signed with.
    pub key_version: i32,
    /// The newest heartbeat.
    pub last: Option<LastStatus>,
    /// Last seen.
    pub last_seen_at: Option<Timestamp>,
    /// Time of deletion.
    pub deleted_at: Option<Timestamp>,
    /// Monitored app.
    pub monitored: Option<MonitoredApp>,
    /// The condition up to which its events are recorded, and its version.
    pub condition: Option<(i64, Condition)>,
}

impl StoredDevice {
    /// Stored state, for the device actor.
    pub fn known(self) -> PersistedDevice {
        PersistedDevice {
            identity: self.identity,
            monitored: self.monitored,
            credential_generation: self.credential_generation,
            deleted: self.deleted_at.is_some(),
            last: self.last.map(Arc::new),
            last_seen_at: self.last_seen_at,
            conflict: self.condition.and_then(|(_, condition)| condition.conflict),
        }
    }
}

/// Stored credential, for checking a device token.
#[derive(Clone)]
pub struct Credential {
    /// Device of the token.
    pub device_id: DeviceId,
    /// bcrypt of the secret half.
    pub secret_bcrypt: String,
    /// Generation of the token.
    pub generation: i32,
    /// Generation of the valid credentials.
    pub current_generation: i32,
    /// Whether the device is deleted.
    pub deleted: bool,
    /// Whether the token was used before.
    pub used: bool,
}

/// Access of a device: valid credentials, and whether it is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceAccess {
    /// The device.
    pub id: DeviceId,
    /// Generation of the valid credentials.
    pub generation: i32,
    /// Whether the device is deleted.
    pub deleted: bool,
}

const COLUMNS: &str = "d.device_id, d.alias, d.tags, d.groups, d.hardware_id, d.model AS enrolled_model, d.manufacturer AS \
     enrolled_manufacturer, d.enrolled_at, d.credential_generation, d.fcm_token, d.key_version, d.deleted_at, s.bucket_at, s.received_at, \
     s.last_seen_at, s.device_time, s.clock_rejected, s.details, d.monitored_package, \
     d.monitored_stale_after_s, c.version AS condition_version, c.online, c.low_battery, c.app_down, c.boot_id AS condition_boot_id, \
     c.agent_version AS condition_agent_version, c.agent_version_code AS condition_agent_version_code, \
     c.app_package AS condition_app_package, c.app_version AS condition_app_version, c.conflict_at, c.conflict_generation, \
     c.conflict_dismissed_at";

fn select_devices() -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new("SELECT ");
    query.push(COLUMNS);
    query.push(SELECTED);
    query.push(" FROM device d LEFT JOIN device_last_status s USING (device_id) LEFT JOIN device_condition c USING (device_id) WHERE ");
    query
}

fn read(row: &PgRow) -> Result<StoredDevice, StoreError> {
    let received_at: Option<Timestamp> = row.try_get("received_at")?;
    let last = match received_at {
        None => None,
        Some(received_at) => {
            let mut telemetry = read_columns(row)?;
            if let Some(details) = row.try_get::<Option<serde_json::Value>, _>("details")? {
                read_details(&details, &mut telemetry);
            }
            Some(LastStatus {
                bucket_at: row.try_get("bucket_at")?,
                received_at,
                device_time: row.try_get("device_time")?,
                clock_rejected: row.try_get("clock_rejected")?,
                telemetry,
            })
        }
    };
    Ok(StoredDevice {
        identity: DeviceIdentity {
            id: DeviceId(row.try_get("device_id")?),
            alias: row.try_get("alias")?,
            tags: row.try_get("tags")?,
            groups: row.try_get("groups")?,
            hardware_id: row.try_get("hardware_id")?,
            model: row.try_get("enrolled_model")?,
            manufacturer: row.try_get("enrolled_manufacturer")?,
            enrolled_at: row.try_get("enrolled_at")?,
        },
        credential_generation: row.try_get("credential_generation")?,
        fcm_token: row.try_get("fcm_token")?,
        key_version: row.try_get("key_version")?,
        last,
        last_seen_at: row.try_get("last_seen_at")?,
        deleted_at: row.try_get("deleted_at")?,
        monitored: monitored_app(row.try_get("monitored_package")?, row.try_get("monitored_stale_after_s")?),
        condition: read_condition(row)?,
    })
}

fn read_condition(row: &PgRow) -> Result<Option<(i64, Condition)>, StoreError> {
    let Some(version) = row.try_get("condition_version")? else { return Ok(None) };
    let condition = Condition {
        online: row.try_get("online")?,
        low_battery: row.try_get("low_battery")?,
        app_down: row.try_get("app_down")?,
        boot_id: row.try_get("condition_boot_id")?,
        agent_version: row.try_get("condition_agent_version")?,
        agent_version_code: row.try_get("condition_agent_version_code")?,
        app_package: row.try_get("condition_app_package")?,
        app_version: row.try_get("condition_app_version")?,
        conflict: read_conflict(row)?,
    };
    Ok(Some((version, condition)))
}

fn read_conflict(row: &PgRow) -> Result<Option<IdentityConflict>, StoreError> {
    let noticed: (Option<Timestamp>, Option<i32>) = (row.try_get("conflict_at")?, row.try_get("conflict_generation")?);
    let dismissed = row.try_get::<Option<Timestamp>, _>("conflict_dismissed_at")?.is_some();
    Ok(noticed.0.zip(noticed.1).map(|(noticed_at, generation)| IdentityConflict { noticed_at, generation, dismissed }))
}

/// A monitored app from its columns.
pub(crate) fn monitored_app(package: Option<String>, stale_after_s: Option<i32>) -> Option<MonitoredApp> {
    package.map(|package| MonitoredApp { package, stale_after_s })
}

impl NewDevice {
    pub(crate) async fn insert(
        &self,
        connection: &mut Connection,
        tags: &[String],
        groups: &[String],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let told = &self.registration;
        let alias_canonical = CanonicalName::of(&self.alias);
        let (tags_canonical, groups_canonical) = (canonical_labels(tags), canonical_labels(groups));
        sqlx::query!(
            "INSERT INTO device (device_id, alias, tags, groups, hardware_id, model, manufacturer, android_version, sdk_int,
                 app_version, app_version_code, fcm_token, enrolled_at, alias_canonical, tags_canonical, groups_canonical)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
            self.id.0,
            self.alias,
            tags,
            groups,
            told.hardware_id,
            told.model,
            told.manufacturer,
            told.android_version,
            told.sdk_int,
            told.app_version,
            told.app_version_code,
            told.fcm_token,
            now,
            alias_canonical.as_str(),
            &tags_canonical,
            &groups_canonical
        )
        .execute(&mut *connection)
        .await?;
        sqlx::query!(
            "INSERT INTO device_token (device_token_id, device_id, secret_bcrypt, generation, created_at) VALUES ($1, $2, $3, 1, $4)",
            self.token_id.0,
            self.id.0,
            self.token_secret_bcrypt,
            now
        )
        .execute(&mut *connection)
        .await?;
        // From the first heartbeat on, what happens to it is told as a difference to this.
        sqlx::query!(
            "WITH recorded AS (INSERT INTO device_condition (device_id, version, online, low_battery, app_down)
                 VALUES ($1, 1, false, false, false))
             INSERT INTO device_event (device_id, at, kind, detail)
             VALUES ($1, $2, 'enrolled', jsonb_strip_nulls(jsonb_build_object('alias', $3::text, 'model', $4::text)))",
            self.id.0,
            now,
            self.alias,
            told.model
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

impl Store {
    /// Every device of these shards that is not deleted, one query, handed to `take` row by row.
    ///
    /// # Errors
    /// The database is unavailable; some rows may have been handed over.
    pub async fn for_each_device(&self, shards: &[ShardId], mut take: impl FnMut(StoredDevice)) -> Result<(), StoreError> {
        let shards: Vec<i32> = shards.iter().map(|shard| i32::from(shard.0)).collect();
        let mut query = select_devices();
        query.push("d.deleted_at IS NULL AND d.shard = ANY(").push_bind(shards).push(")");
        let mut connection = self.pool.acquire().await?;
        let mut rows = query.build().fetch(&mut *connection);
        while let Some(row) = rows.try_next().await? {
            take(read(&row)?);
        }
        Ok(())
    }

    /// Number of the devices that are not deleted.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn device_count(&self) -> Result<u64, StoreError> {
        let count =
            sqlx::query_scalar!(r#"SELECT count(*) AS "devices!" FROM device WHERE deleted_at IS NULL"#).fetch_one(&self.pool).await?;
        Ok(count.unsigned_abs())
    }

    /// One device, deleted or not.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn device(&self, id: DeviceId) -> Result<Option<StoredDevice>, StoreError> {
        let mut query = select_devices();
        query.push("d.device_id = ").push_bind(id.0);
        query.build().fetch_optional(&self.pool).await?.map(|row| read(&row)).transpose()
    }

    /// Existing ones of these devices, deleted or not.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn devices_by_id(&self, ids: &[DeviceId]) -> Result<Vec<StoredDevice>, StoreError> {
        let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
        let mut query = select_devices();
        query.push("d.device_id = ANY(").push_bind(ids).push(")");
        query.build().fetch_all(&self.pool).await?.iter().map(read).collect()
    }

    /// The devices of these shards, deleted or not, that people changed within the last `seconds` by
    /// the database's clock.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn devices_changed_within(&self, shards: &[ShardId], seconds: i32) -> Result<Vec<StoredDevice>, StoreError> {
        let shards: Vec<i32> = shards.iter().map(|shard| i32::from(shard.0)).collect();
        let mut query = select_devices();
        query.push("d.changed_at > clock_timestamp() - make_interval(secs => ").push_bind(f64::from(seconds));
        query.push(") AND d.shard = ANY(").push_bind(shards).push(")");
        query.build().fetch_all(&self.pool).await?.iter().map(read).collect()
    }

    /// The ids of at most `limit` devices that match.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn device_ids(
        &self,
        filter: &DeviceFilter,
        scope: DeviceListScope,
        thresholds: StatusThresholds,
        limit: i64,
    ) -> Result<Vec<DeviceId>, StoreError> {
        if filter.text.is_some() {
            let mut ids = self.search_devices(filter, scope, Sort::default(), None, thresholds, limit).await?;
            ids.sort_unstable();
            return Ok(ids);
        }
        let mut query = QueryBuilder::new("SELECT d.device_id FROM device d LEFT JOIN device_last_status s USING (device_id) WHERE ");
        query.push(condition_of(scope));
        push_filter(&mut query, filter, thresholds);
        query.push(" ORDER BY d.device_id LIMIT ").push_bind(limit);
        Ok(query.build_query_scalar().fetch_all(&self.pool).await?.into_iter().map(DeviceId).collect())
    }

    /// A page of devices.
    ///
    /// # Errors
    /// The cursor's key does not read as the sort key's type, or the database is
    /// unavailable.
    pub async fn devices_page(
        &self,
        filter: &DeviceFilter,
        scope: DeviceListScope,
        sort: Sort,
        after: Option<&Cursor>,
        thresholds: StatusThresholds,
        limit: i64,
    ) -> Result<Vec<StoredDevice>, StoreError> {
        if filter.text.is_some() {
            let ids = self.search_devices(filter, scope, sort, after, thresholds, limit).await?;
            let mut found: HashMap<_, _> = self.devices_by_id(&ids).await?.into_iter().map(|device| (device.identity.id, device)).collect();
            return Ok(ids.into_iter().filter_map(|id| found.remove(&id)).collect());
        }
        let mut query = select_devices();
        query.push(condition_of(scope));
        push_filter(&mut query, filter, thresholds);
        push_page(&mut query, sort, after, limit);
        query.build().fetch_all(&self.pool).await?.iter().map(read).collect()
    }

    /// Finds the credential of a device token by its public half.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn credential(&self, token_id: DeviceTokenId) -> Result<Option<Credential>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT t.device_id, t.secret_bcrypt, t.generation, d.credential_generation, d.deleted_at IS NOT NULL AS "deleted!",
                   t.first_used_at IS NOT NULL AS "used!"
               FROM device_token t JOIN device d USING (device_id) WHERE t.device_token_id = $1"#,
            token_id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| Credential {
            device_id: DeviceId(row.device_id),
            secret_bcrypt: row.secret_bcrypt,
            generation: row.generation,
            current_generation: row.credential_generation,
            deleted: row.deleted,
            used: row.used,
        }))
    }

    /// Credential generation of a device and whether it is deleted; `None`: unknown device.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn device_access(&self, id: DeviceId) -> Result<Option<DeviceAccess>, StoreError> {
        Ok(sqlx::query!(r#"SELECT credential_generation, deleted_at IS NOT NULL AS "deleted!" FROM device WHERE device_id = $1"#, id.0)
            .fetch_optional(&self.pool)
            .await?
            .map(|row| DeviceAccess { id, generation: row.credential_generation, deleted: row.deleted }))
    }

    /// The same for every device of these shards whose credentials were ever revoked or which is deleted.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn revoked_devices(&self, shards: &[ShardId]) -> Result<Vec<DeviceAccess>, StoreError> {
        let shards: Vec<i32> = shards.iter().map(|shard| i32::from(shard.0)).collect();
        Ok(sqlx::query!(
            r#"SELECT device_id, credential_generation, deleted_at IS NOT NULL AS "deleted!" FROM device
               WHERE shard = ANY($1) AND (credential_generation > 1 OR deleted_at IS NOT NULL)"#,
            &shards
        )
        .fetch_all(&self.pool)
        .await?
        .into_iter()
        .map(|row| DeviceAccess { id: DeviceId(row.device_id), generation: row.credential_generation, deleted: row.deleted })
        .collect())
    }

    /// Replaces a device's push token.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn set_fcm_token(&self, id: DeviceId, fcm_token: &str) -> Result<(), StoreError> {
        sqlx::query!("UPDATE device SET fcm_token = $2 WHERE device_id = $1", id.0, fcm_token).execute(&self.pool).await?;
        Ok(())
    }
}
