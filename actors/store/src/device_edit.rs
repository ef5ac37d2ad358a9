//! Changes of devices by people: read under a lock and written as a set; the decisions are made by the caller.
//!
//! However many devices a call touches, it takes the same few statements. What happened to each is
//! recorded in the same transaction, and every node is notified of it when it commits.

use std::collections::HashMap;

use domain::access::Principal;
use domain::audit::{AuditAction, Target};
use domain::bulk::DeviceRecord;
use domain::edit::Editable;
use domain::event::EventKind;
use domain::name::CanonicalName;
use domain::{DeviceId, Timestamp};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::audit::{AuditEntry, append};
use crate::canonical::canonical_labels;
use crate::device::monitored_app;
use crate::pool::{Connection, Transaction};
use crate::{Store, StoreError};

/// Transaction over devices; ends with [`Self::commit`].
pub struct DeviceWork {
    tx: Transaction,
}

impl Store {
    /// Begins a transaction over devices.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn device_work(&self) -> Result<DeviceWork, StoreError> {
        Ok(DeviceWork { tx: self.begin().await? })
    }

    /// The devices that have these aliases, by their canonical form; before it by an alias that is written exactly so, as those
    /// of earlier builds may share a form.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn devices_by_alias(&self, aliases: &[String]) -> Result<HashMap<String, DeviceId>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let held = held_aliases(&mut connection, aliases).await?;
        let mut by_form: HashMap<CanonicalName, DeviceId> = HashMap::with_capacity(held.len());
        for (alias, id) in &held {
            by_form.entry(CanonicalName::of(alias)).or_insert(*id);
        }
        let exact: HashMap<&str, DeviceId> = held.iter().map(|(alias, id)| (alias.as_str(), *id)).collect();
        let found = |alias: &String| exact.get(alias.as_str()).or_else(|| by_form.get(&CanonicalName::of(alias))).copied();
        Ok(aliases.iter().filter_map(|alias| Some((alias.clone(), found(alias)?))).collect())
    }

    /// Removes at most `limit` devices for good that were deleted at or before this time, and tells all
    /// nodes. Returns how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_devices(&self, deleted_until: Timestamp, limit: i64, now: Timestamp) -> Result<u64, StoreError> {
        let mut tx = self.begin().await?;
        let purged = sqlx::query!(
            "WITH purged AS (DELETE FROM device WHERE device_id IN (
                 SELECT device_id FROM device WHERE deleted_at <= $1 ORDER BY deleted_at LIMIT $2 FOR UPDATE SKIP LOCKED)
                 RETURNING device_id, alias)
             SELECT device_id, alias, pg_notify('nexmdm_device', device_id::text) FROM purged",
            deleted_until,
            limit
        )
        .fetch_all(&mut *tx)
        .await?;
        if !purged.is_empty() {
            let devices: Vec<_> = purged.iter().map(|device| json!({ "id": device.device_id, "alias": device.alias })).collect();
            let entry = AuditEntry::new(&Principal::system(), AuditAction::DevicesPurged, Target::Devices(purged.len()));
            append(&mut tx, &entry.before(json!({ "devices": devices })), now).await?;
        }
        tx.commit().await?;
        Ok(purged.len() as u64)
    }
}

/// Aliases that devices have and that are one of these, however they are written.
async fn held_aliases(connection: &mut Connection, aliases: &[String]) -> Result<Vec<(String, DeviceId)>, StoreError> {
    let rows = sqlx::query!(
        "SELECT alias, device_id FROM device WHERE (alias_canonical = ANY($1) OR alias = ANY($2)) AND deleted_at IS NULL
         ORDER BY enrolled_at, device_id",
        &canonical_labels(aliases),
        aliases
    );
    Ok(rows.fetch_all(connection).await?.into_iter().map(|row| (row.alias, DeviceId(row.device_id))).collect())
}

fn uuids<'a>(ids: impl IntoIterator<Item = &'a DeviceId>) -> Vec<Uuid> {
    ids.into_iter().map(|id| id.0).collect()
}

impl DeviceWork {
    pub(crate) fn connection(&mut self) -> &mut Connection {
        &mut self.tx
    }

    /// Marks devices as changed, for nodes that miss the notification.
    pub(crate) async fn touch(&mut self, ids: &[DeviceId]) -> Result<(), StoreError> {
        sqlx::query!("UPDATE device SET changed_at = clock_timestamp() WHERE device_id = ANY($1)", &uuids(ids))
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Locks these devices until the transaction ends.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn hold(&mut self, ids: &[DeviceId]) -> Result<(), StoreError> {
        // One order for all, so that two calls over the same devices cannot deadlock. Rows that refer to a
        // device, such as its events, go on being written: no key is changed.
        sqlx::query!("SELECT FROM device WHERE device_id = ANY($1) ORDER BY device_id FOR NO KEY UPDATE", &uuids(ids))
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Stored values of these devices.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn device_records(&mut self, ids: &[DeviceId]) -> Result<HashMap<DeviceId, DeviceRecord>, StoreError> {
        let rows = sqlx::query!(
            "SELECT device_id, alias, tags, groups, monitored_package, monitored_stale_after_s, deleted_at FROM device
             WHERE device_id = ANY($1)",
            &uuids(ids)
        )
        .fetch_all(&mut *self.tx)
        .await?;
        let read = rows.into_iter().map(|row| DeviceRecord {
            id: DeviceId(row.device_id),
            editable: Editable {
                alias: row.alias,
                tags: row.tags,
                groups: row.groups,
                monitored: monitored_app(row.monitored_package, row.monitored_stale_after_s),
            },
            deleted_at: row.deleted_at,
        });
        Ok(read.map(|device| (device.id, device)).collect())
    }

    /// Devices that have these aliases, however they are written.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn holders(&mut self, aliases: &[String]) -> Result<HashMap<CanonicalName, Vec<DeviceId>>, StoreError> {
        let mut holders: HashMap<_, Vec<_>> = HashMap::new();
        for (alias, id) in held_aliases(&mut self.tx, aliases).await? {
            holders.entry(CanonicalName::of(&alias)).or_default().push(id);
        }
        Ok(holders)
    }

    /// Edits devices; each pair is the state before and after.
    ///
    /// # Errors
    /// [`crate::Conflict::AliasInUse`], or the database is unavailable.
    pub async fn edit(&mut self, devices: &[(&DeviceRecord, &Editable)], by: Option<&str>, now: Timestamp) -> Result<(), StoreError> {
        let ids = uuids(devices.iter().map(|(before, _)| &before.id));
        let renamed = uuids(devices.iter().filter(|(before, after)| before.editable.alias != after.alias).map(|(before, _)| &before.id));
        if renamed.len() > 1 {
            // Two devices may swap their aliases, and each row is checked by itself.
            sqlx::query!(
                "UPDATE device SET alias = '~' || device_id, alias_canonical = '~' || device_id WHERE device_id = ANY($1)",
                &renamed
            )
            .execute(&mut *self.tx)
            .await?;
        }
        let labels = |labels: &[String]| json!(labels).to_string();
        let aliases: Vec<_> = devices.iter().map(|(_, after)| after.alias.clone()).collect();
        let tags: Vec<_> = devices.iter().map(|(_, after)| labels(&after.tags)).collect();
        let groups: Vec<_> = devices.iter().map(|(_, after)| labels(&after.groups)).collect();
        let aliases_canonical = canonical_labels(&aliases);
        let tags_canonical: Vec<_> = devices.iter().map(|(_, after)| labels(&canonical_labels(&after.tags))).collect();
        let groups_canonical: Vec<_> = devices.iter().map(|(_, after)| labels(&canonical_labels(&after.groups))).collect();
        let packages: Vec<_> = devices.iter().map(|(_, after)| after.monitored.as_ref().map(|app| app.package.clone())).collect();
        let stale: Vec<_> = devices.iter().map(|(_, after)| after.monitored.as_ref().and_then(|app| app.stale_after_s)).collect();
        sqlx::query!(
            // An alias that stays keeps its form, which may be set apart from that of another.
            "UPDATE device d SET alias = e.alias, tags = ARRAY(SELECT jsonb_array_elements_text(e.tags::jsonb)),
                 groups = ARRAY(SELECT jsonb_array_elements_text(e.groups::jsonb)), monitored_package = e.package,
                 monitored_stale_after_s = e.stale_after_s, changed_at = clock_timestamp(),
                 alias_canonical = CASE WHEN d.alias = e.alias THEN d.alias_canonical ELSE e.alias_canonical END,
                 tags_canonical = ARRAY(SELECT jsonb_array_elements_text(e.tags_canonical::jsonb)),
                 groups_canonical = ARRAY(SELECT jsonb_array_elements_text(e.groups_canonical::jsonb))
             FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::text[], $8::text[], $9::text[])
                 AS e(device_id, alias, tags, groups, package, stale_after_s, alias_canonical, tags_canonical, groups_canonical)
             WHERE d.device_id = e.device_id",
            &ids,
            &aliases,
            &tags,
            &groups,
            &packages as &[Option<String>],
            &stale as &[Option<i32>],
            &aliases_canonical,
            &tags_canonical,
            &groups_canonical
        )
        .execute(&mut *self.tx)
        .await?;
        let details: Vec<_> = devices.iter().map(|(before, after)| differences(&before.editable, after)).collect();
        self.record(&ids, EventKind::Edited, by, now, &details).await
    }

    /// Revokes the credentials of these devices. Returns the generations that are valid from now on.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn revoke_credentials(
        &mut self,
        devices: &[DeviceId],
        by: Option<&str>,
        now: Timestamp,
    ) -> Result<HashMap<DeviceId, i32>, StoreError> {
        let ids = uuids(devices);
        let rows = sqlx::query!(
            "UPDATE device SET credential_generation = credential_generation + 1, changed_at = clock_timestamp()
             WHERE device_id = ANY($1) RETURNING device_id, credential_generation",
            &ids
        )
        .fetch_all(&mut *self.tx)
        .await?;
        self.record(&ids, EventKind::CredentialsRevoked, by, now, &[]).await?;
        Ok(rows.into_iter().map(|row| (DeviceId(row.device_id), row.credential_generation)).collect())
    }

    /// Marks devices as deleted.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn delete(&mut self, devices: &[DeviceId], by: Option<&str>, now: Timestamp) -> Result<(), StoreError> {
        let ids = uuids(devices);
        sqlx::query!("UPDATE device SET deleted_at = $2, changed_at = clock_timestamp() WHERE device_id = ANY($1)", &ids, now)
            .execute(&mut *self.tx)
            .await?;
        self.record(&ids, EventKind::Deleted, by, now, &[]).await
    }

    /// Restores deleted devices, each under an alias.
    ///
    /// # Errors
    /// [`crate::Conflict::AliasInUse`], or the database is unavailable.
    pub async fn restore(&mut self, devices: &[(&DeviceRecord, &str)], by: Option<&str>, now: Timestamp) -> Result<(), StoreError> {
        let ids = uuids(devices.iter().map(|(device, _)| &device.id));
        let aliases: Vec<_> = devices.iter().map(|(_, alias)| (*alias).to_owned()).collect();
        sqlx::query!(
            "UPDATE device d SET deleted_at = NULL, alias = r.alias, alias_canonical = r.alias_canonical, changed_at = clock_timestamp()
             FROM UNNEST($1::uuid[], $2::text[], $3::text[]) AS r(device_id, alias, alias_canonical) WHERE d.device_id = r.device_id",
            &ids,
            &aliases,
            &canonical_labels(&aliases)
        )
        .execute(&mut *self.tx)
        .await?;
        let details: Vec<_> = devices
            .iter()
            .map(|(device, alias)| differences(&device.editable, &Editable { alias: (*alias).to_owned(), ..device.editable.clone() }))
            .collect();
        self.record(&ids, EventKind::Restored, by, now, &details).await
    }

    /// Records what happened, and notifies all nodes of it once it holds.
    pub(crate) async fn record(
        &mut self,
        ids: &[Uuid],
        kind: EventKind,
        by: Option<&str>,
        now: Timestamp,
        details: &[String],
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO device_event (device_id, at, kind, actor, detail)
             SELECT e.device_id, $2, $3, $4, coalesce(e.detail::jsonb, '{}') FROM UNNEST($1::uuid[], $5::text[]) AS e(device_id, detail)",
            ids,
            now,
            kind.as_str(),
            by,
            details
        )
        .execute(&mut *self.tx)
        .await?;
        sqlx::query!("SELECT pg_notify('nexmdm_device', id::text) FROM UNNEST($1::uuid[]) AS id", ids).execute(&mut *self.tx).await?;
        Ok(())
    }

    /// Adds an audit entry; the last step before [`Self::commit`].
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn audit(&mut self, entry: &AuditEntry, now: Timestamp) -> Result<(), StoreError> {
        append(&mut self.tx, entry, now).await
    }

    /// Commits the transaction.
    ///
    /// # Errors
    /// The database is unavailable; whether it holds is then unknown.
    pub async fn commit(self) -> Result<(), StoreError> {
        Ok(self.tx.commit().await?)
    }
}

/// Difference that an edit made, as `{"tags": {"before": [..], "after": [..]}}`.
fn differences(before: &Editable, after: &Editable) -> String {
    let app = |device: &Editable| device.monitored.as_ref().map(|app| json!({"package": app.package, "stale_after_s": app.stale_after_s}));
    let fields = [
        ("alias", json!(before.alias), json!(after.alias)),
        ("tags", json!(before.tags), json!(after.tags)),
        ("groups", json!(before.groups), json!(after.groups)),
        ("monitored_app", json!(app(before)), json!(app(after))),
    ];
    let changed = fields.into_iter().filter(|(_, before, after)| before != after);
    let detail: Map<String, Value> =
        changed.map(|(field, before, after)| (field.to_owned(), json!({"before": before, "after": after}))).collect();
    Value::Object(detail).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::device::MonitoredApp;

    #[test]
    fn an_edit_tells_what_changed_and_nothing_else() {
        let before = Editable { alias: "a".into(), tags: vec!["x".into()], groups: vec![], monitored: None };
        let app = MonitoredApp { package: "a.b".into(), stale_after_s: None };
        let after = Editable { tags: vec![], monitored: Some(app), ..before.clone() };
        let notified: Value = serde_json::from_str(&differences(&before, &after)).unwrap();
        let wanted = json!({
            "tags": {"before": ["x"], "after": []},
            "monitored_app": {"before": null, "after": {"package": "a.b", "stale_after_s": null}},
        });
        assert_eq!(notified, wanted);
    }
}
