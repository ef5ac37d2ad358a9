//! Channels. Their secrets come sealed and go sealed: the key is above the store.

use std::collections::BTreeSet;

use domain::name::CanonicalName;
use domain::notification::{Channel, ChannelKind};
use domain::{ChannelId, Timestamp};
use serde_json::{Map, Value, json};

use crate::audit::{AuditEntry, append};
use crate::channels;
use crate::{Store, StoreError};

/// Channel with its sealed secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ChannelRow {
    /// The channel.
    pub channel: Channel,
    /// Its secret, sealed.
    pub sealed_secret: Option<Vec<u8>>,
}

impl std::fmt::Debug for ChannelRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChannelRow").field("channel", &self.channel).finish_non_exhaustive()
    }
}

/// What becomes of the secret of a channel.
#[derive(Clone, PartialEq, Eq)]
pub enum NewSecret {
    /// It stays as it is.
    Kept,
    /// There is none any more.
    Removed,
    /// This one, sealed.
    Sealed(Vec<u8>),
}

macro_rules! channel {
    ($row:expr) => {{
        let row = $row;
        row.kind.parse::<ChannelKind>().ok().map(|kind| ChannelRow {
            channel: Channel {
                id: ChannelId(row.channel_id),
                name: row.name,
                kind,
                settings: row
                    .settings
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                    .collect(),
                has_secret: row.sealed_secret.is_some(),
                enabled: row.enabled,
                changed_at: row.changed_at,
            },
            sealed_secret: row.sealed_secret,
        })
    }};
}

fn settings(channel: &Channel) -> Value {
    let fields: Map<String, Value> = channel.settings.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    Value::Object(fields)
}

impl Store {
    /// Channels by name, at most `limit`. Those of kinds of a later build are left out.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn alert_channels(&self, limit: i64) -> Result<Vec<Channel>, StoreError> {
        let rows = sqlx::query!(
            "SELECT channel_id, name, name_canonical, kind, settings, sealed_secret, enabled, created_by, created_at,
                changed_at
             FROM alert_channel ORDER BY name_canonical LIMIT $1",
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().filter_map(|row| channel!(row)).map(|row| row.channel).collect())
    }

    /// Ids of all channels, on or off, of whatever kind; at most `limit`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn alert_channel_ids(&self, limit: i64) -> Result<BTreeSet<ChannelId>, StoreError> {
        let ids = sqlx::query_scalar!("SELECT channel_id FROM alert_channel ORDER BY channel_id LIMIT $1", limit).fetch_all(&self.pool);
        Ok(ids.await?.into_iter().map(ChannelId).collect())
    }

    /// A channel with its sealed secret, for whoever sends.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn alert_channel(&self, id: ChannelId) -> Result<Option<ChannelRow>, StoreError> {
        let row = sqlx::query!(
            "SELECT channel_id, name, name_canonical, kind, settings, sealed_secret, enabled, created_by, created_at,
                changed_at
             FROM alert_channel WHERE channel_id = $1",
            id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.and_then(|row| channel!(row)))
    }

    /// Stores a new channel, unless there are so many already. Returns whether it is stored.
    ///
    /// # Errors
    /// [`crate::Conflict::ChannelNameInUse`], or the database is unavailable.
    pub async fn insert_alert_channel(
        &self,
        channel: &Channel,
        sealed_secret: Option<&[u8]>,
        most: i64,
        by: &str,
        entry: &AuditEntry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let stored = sqlx::query!(
            "INSERT INTO alert_channel (channel_id, name, name_canonical, kind, settings, sealed_secret, enabled, created_by, created_at, changed_at)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $9 WHERE (SELECT count(*) FROM alert_channel) < $10",
            channel.id.0,
            channel.name,
            CanonicalName::of(&channel.name).into_string(),
            channel.kind.as_str(),
            settings(channel),
            sealed_secret,
            channel.enabled,
            by,
            now,
            most
        )
        .execute(&mut *tx)
        .await?;
        if stored.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query!("SELECT pg_notify($1, '')", channels::ALERT).execute(&mut *tx).await?;
        append(&mut tx, entry, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Changes name, settings, secret and switch of a channel; its kind stays. Returns whether there is one.
    ///
    /// # Errors
    /// [`crate::Conflict::ChannelNameInUse`], or the database is unavailable.
    pub async fn update_alert_channel(
        &self,
        channel: &Channel,
        secret: &NewSecret,
        entry: &AuditEntry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (kept, sealed) = match secret {
            NewSecret::Kept => (true, None),
            NewSecret::Removed => (false, None),
            NewSecret::Sealed(sealed) => (false, Some(sealed.as_slice())),
        };
        let mut tx = self.begin().await?;
        let changed = sqlx::query!(
            "UPDATE alert_channel SET name = $2, name_canonical = $3, settings = $4, enabled = $5, changed_at = $6,
                 sealed_secret = CASE WHEN $7 THEN sealed_secret ELSE $8 END
             WHERE channel_id = $1",
            channel.id.0,
            channel.name,
            CanonicalName::of(&channel.name).into_string(),
            settings(channel),
            channel.enabled,
            now,
            kept,
            sealed
        )
        .execute(&mut *tx)
        .await?;
        if changed.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query!("SELECT pg_notify($1, '')", channels::ALERT).execute(&mut *tx).await?;
        append(&mut tx, entry, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Deletes a channel with its routes and what waits for it. Returns whether there was one.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn delete_alert_channel(&self, id: ChannelId, entry: &AuditEntry, now: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let deleted = sqlx::query!("DELETE FROM alert_channel WHERE channel_id = $1", id.0).execute(&mut *tx).await?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query!("SELECT pg_notify($1, '')", channels::ALERT).execute(&mut *tx).await?;
        append(&mut tx, entry, now).await?;
        tx.commit().await?;
        Ok(true)
    }
}
