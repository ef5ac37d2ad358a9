//! Events of devices: recorded once, read newest first.

use std::collections::HashSet;

use domain::condition::{Condition, Occurrence};
use domain::event::{EventCursor, EventKind};
use domain::shard::{Epoch, shard_of};
use domain::{DeviceId, Timestamp};
use serde_json::{Map, Value, json};

use crate::{Store, StoreError};

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// Number of the event.
    pub id: i64,
    /// Time of the event.
    pub at: Timestamp,
    /// Name of an [`EventKind`], or one that a later build knows.
    pub kind: String,
    /// Person who caused it, if any.
    pub actor: Option<String>,
    /// Details, a JSON object.
    pub detail: Value,
}

/// A new condition of a device, and the events that lead to it.
#[derive(Debug, Clone)]
pub struct RecordedChange {
    /// The device.
    pub device_id: DeviceId,
    /// Epoch of the shard in which the owner records it.
    pub epoch: Epoch,
    /// The version of the condition that this one follows; 0 when none is stored.
    pub follows: i64,
    /// The new condition.
    pub condition: Condition,
    /// Events.
    pub occurrences: Vec<Occurrence>,
}

fn detail(occurrence: &Occurrence) -> String {
    let key = match occurrence.kind {
        EventKind::LowBatteryBegan | EventKind::LowBatteryEnded => "battery_pct",
        EventKind::Rebooted => "uptime_s",
        EventKind::EventsLeftOut => "count",
        EventKind::IdentityConflictBegan => "other",
        _ => "after",
    };
    let before = if occurrence.kind == EventKind::IdentityConflictBegan { "one" } else { "before" };
    // Numbers where they are numbers.
    let value = |text: &String| match text.parse::<i64>() {
        Ok(number) if !matches!(key, "after" | "other") => json!(number),
        _ => json!(text),
    };
    let mut detail = Map::new();
    detail.extend(occurrence.before.as_ref().map(|text| (before.to_owned(), json!(text))));
    detail.extend(occurrence.after.as_ref().map(|after| (key.to_owned(), value(after))));
    Value::Object(detail).to_string()
}

impl Store {
    /// Records changes of devices and their events. Answers for which of them: not for one whose
    /// shard has another epoch, nor for one that follows another version than it names.
    ///
    /// # Errors
    /// The database is unavailable; nothing is recorded then.
    pub async fn record_changes(&self, changes: &[RecordedChange]) -> Result<HashSet<DeviceId>, StoreError> {
        macro_rules! column {
            ($change:ident => $value:expr) => {
                changes.iter().map(|$change| $value).collect::<Vec<_>>()
            };
        }
        let happened: Vec<_> = changes.iter().flat_map(|change| change.occurrences.iter().map(|one| (change.device_id.0, one))).collect();
        let ids = column!(change => change.device_id.0);
        let shards = column!(change => i32::from(shard_of(change.device_id).0));
        let epochs = column!(change => change.epoch.0);
        let follows = column!(change => change.follows);
        let online = column!(change => change.condition.online);
        let low_battery = column!(change => change.condition.low_battery);
        let app_down = column!(change => change.condition.app_down);
        let boots = column!(change => change.condition.boot_id.clone());
        let agents = column!(change => change.condition.agent_version.clone());
        let agent_codes = column!(change => change.condition.agent_version_code);
        let packages = column!(change => change.condition.app_package.clone());
        let apps = column!(change => change.condition.app_version.clone());
        let conflicts = column!(change => change.condition.conflict.map(|conflict| conflict.noticed_at));
        let conflict_generations = column!(change => change.condition.conflict.map(|conflict| conflict.generation));
        let rows = sqlx::query_scalar!(
            r#"WITH told AS (
                 SELECT * FROM UNNEST($1::uuid[], $2::integer[], $3::bigint[], $4::bigint[], $5::boolean[], $6::boolean[], $7::boolean[],
                     $8::text[], $9::text[], $10::bigint[], $11::text[], $16::text[], $17::timestamptz[], $18::integer[])
                     AS t(device_id, shard_id, epoch, follows, online, low_battery, app_down, boot_id, agent_version,
                          agent_version_code, app_version, app_package, conflict_at, conflict_generation)
             ), owned AS (
                 -- Held until this is committed: nobody takes the shard in between.
                 SELECT shard_id, epoch FROM shard WHERE shard_id IN (SELECT shard_id FROM told) ORDER BY shard_id FOR SHARE
             ), changed AS (
                 INSERT INTO device_condition AS c (device_id, version, online, low_battery, app_down, boot_id, agent_version,
                     agent_version_code, app_version, app_package, conflict_at, conflict_generation)
                 SELECT t.device_id, t.follows + 1, t.online, t.low_battery, t.app_down, t.boot_id, t.agent_version,
                     t.agent_version_code, t.app_version, t.app_package, t.conflict_at, t.conflict_generation
                 FROM told t JOIN owned USING (shard_id, epoch) JOIN device d USING (device_id) WHERE d.deleted_at IS NULL
                 ORDER BY t.device_id
                 ON CONFLICT (device_id) DO UPDATE SET version = excluded.version, online = excluded.online,
                     low_battery = excluded.low_battery, app_down = excluded.app_down, boot_id = excluded.boot_id,
                     agent_version = excluded.agent_version, agent_version_code = excluded.agent_version_code,
                     app_version = excluded.app_version, app_package = excluded.app_package,
                     conflict_at = excluded.conflict_at, conflict_generation = excluded.conflict_generation,
                     conflict_dismissed_at = CASE WHEN c.conflict_generation = excluded.conflict_generation THEN c.conflict_dismissed_at END
                 WHERE c.version = excluded.version - 1
                 RETURNING c.device_id
             ), events AS (
                 INSERT INTO device_event (device_id, at, kind, detail)
                 SELECT e.device_id, e.at, e.kind, e.detail::jsonb
                 FROM UNNEST($12::uuid[], $13::timestamptz[], $14::text[], $15::text[]) WITH ORDINALITY AS e(device_id, at, kind, detail, n)
                 JOIN changed USING (device_id)
                 -- One order for all who lock devices, and for each device that of what happened.
                 ORDER BY e.device_id, e.n
             )
             SELECT device_id FROM changed"#,
            &ids,
            &shards,
            &epochs,
            &follows,
            &online,
            &low_battery,
            &app_down,
            &boots as &[Option<String>],
            &agents as &[Option<String>],
            &agent_codes as &[Option<i64>],
            &apps as &[Option<String>],
            &happened.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
            &happened.iter().map(|(_, one)| one.at).collect::<Vec<_>>(),
            &happened.iter().map(|(_, one)| one.kind.as_str().to_owned()).collect::<Vec<_>>(),
            &happened.iter().map(|(_, one)| detail(one)).collect::<Vec<_>>(),
            &packages as &[Option<String>],
            &conflicts as &[Option<Timestamp>],
            &conflict_generations as &[Option<i32>]
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(DeviceId).collect())
    }

    /// At most `limit` events of a device, newest first, those of `kinds` if any are named.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn device_events(
        &self,
        id: DeviceId,
        kinds: &[EventKind],
        after: Option<EventCursor>,
        limit: i64,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let kinds: Vec<_> = kinds.iter().map(|kind| kind.as_str().to_owned()).collect();
        let rows = sqlx::query!(
            "SELECT device_event_id, at, kind, actor, detail FROM device_event
             WHERE device_id = $1 AND (at, device_event_id) < (coalesce($2::timestamptz, 'infinity'), coalesce($3::bigint, 9223372036854775807))
               AND (cardinality($4::text[]) = 0 OR kind = ANY($4))
             ORDER BY at DESC, device_event_id DESC LIMIT $5",
            id.0,
            after.map(|cursor| cursor.at),
            after.map(|cursor| cursor.id),
            &kinds,
            limit
        )
        .fetch_all(&self.pool)
        .await?;
        let read = rows.into_iter().map(|row| StoredEvent {
            id: row.device_event_id,
            at: row.at,
            kind: row.kind,
            actor: row.actor,
            detail: row.detail,
        });
        Ok(read.collect())
    }

    /// Deletes at most `limit` events that happened before this time. Returns how many.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn purge_device_events(&self, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
        Ok(sqlx::query!(
            "DELETE FROM device_event WHERE ctid = ANY(ARRAY(SELECT ctid FROM device_event WHERE at < $1 LIMIT $2))",
            before,
            limit
        )
        .execute(&self.pool)
        .await?
        .rows_affected())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_numbers_where_they_count_something() {
        let at = chrono::DateTime::from_timestamp(0, 0).unwrap();
        let told = |kind, before: Option<&str>, after: &str| {
            detail(&Occurrence { at, kind, before: before.map(str::to_owned), after: Some(after.into()) })
        };
        assert_eq!(told(EventKind::LowBatteryBegan, None, "19"), r#"{"battery_pct":19}"#);
        assert_eq!(told(EventKind::Rebooted, None, "3"), r#"{"uptime_s":3}"#);
        assert_eq!(told(EventKind::EventsLeftOut, None, "197"), r#"{"count":197}"#);
        assert_eq!(told(EventKind::AgentVersionChanged, Some("1"), "2"), r#"{"after":"2","before":"1"}"#);
    }
}
