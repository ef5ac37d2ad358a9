//! Hourly aggregates beside the heartbeats that they add up.

use chrono::NaiveDate;
use domain::reconciliation::{Drift, DriftKind, FieldDrift};
use domain::{DeviceId, Timestamp};
use uuid::Uuid;

use crate::{Store, StoreError};

/// An hour of a device whose aggregate differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HourDrift {
    /// The device.
    pub device: DeviceId,
    /// What differs.
    pub drift: Drift,
}

/// What is compared of an hour.
#[derive(PartialEq)]
struct Hour {
    heartbeats: i64,
    first_at: Timestamp,
    last_at: Timestamp,
    battery_n: i64,
    battery_sum: f64,
}

impl Hour {
    fn fields(&self) -> [(&'static str, String); 5] {
        [
            ("heartbeats", self.heartbeats.to_string()),
            ("first_at", self.first_at.to_rfc3339()),
            ("last_at", self.last_at.to_rfc3339()),
            ("battery_n", self.battery_n.to_string()),
            ("battery_sum", self.battery_sum.to_string()),
        ]
    }
}

impl Store {
    /// At most `limit` devices, deleted ones included, drawn by the seed.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn sampled_devices(&self, seed: Uuid, limit: i64) -> Result<Vec<DeviceId>, StoreError> {
        let ids = sqlx::query_scalar!(
            "SELECT device_id FROM device ORDER BY sha256(uuid_send(device_id) || uuid_send($1)) LIMIT $2",
            seed,
            limit
        );
        Ok(ids.fetch_all(&self.pool).await?.into_iter().map(DeviceId).collect())
    }

    /// Compares the hourly aggregates of a day of these devices with their heartbeats, but for what is noted to be aggregated again. Returns the number of
    /// hours, and those that differ.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn compare_hours(&self, ids: &[DeviceId], day: NaiveDate) -> Result<(usize, Vec<HourDrift>), StoreError> {
        let from = day.and_time(chrono::NaiveTime::MIN).and_utc();
        let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
        let rows = sqlx::query!(
            r#"WITH counted AS (
                 SELECT device_id, date_bin('1 hour', bucket_at, 'epoch') AS hour_at, count(*) AS heartbeats,
                     min(bucket_at) AS first_at, max(bucket_at) AS last_at,
                     count(battery_pct) AS battery_n, coalesce(sum(battery_pct), 0)::float8 AS battery_sum
                 FROM heartbeats_unpacked WHERE device_id = ANY($1) AND bucket_at >= $2 AND bucket_at < $3 GROUP BY 1, 2
             ), kept AS (
                 SELECT device_id, hour_at, heartbeats::bigint AS heartbeats, first_at, last_at, battery_n::bigint AS battery_n,
                     coalesce(battery_sum, 0) AS battery_sum
                 FROM history_hour WHERE device_id = ANY($1) AND hour_at >= $2 AND hour_at < $3
             )
             SELECT coalesce(c.device_id, k.device_id) AS "device_id!", coalesce(c.hour_at, k.hour_at) AS "hour_at!",
                 c.heartbeats AS "heartbeats?", c.first_at AS "first_at?", c.last_at AS "last_at?", c.battery_n AS "battery_n?",
                 c.battery_sum AS "battery_sum?",
                 k.heartbeats AS "kept_heartbeats?", k.first_at AS "kept_first_at?", k.last_at AS "kept_last_at?",
                 k.battery_n AS "kept_battery_n?", k.battery_sum AS "kept_battery_sum?"
             FROM counted c FULL JOIN kept k ON k.device_id = c.device_id AND k.hour_at = c.hour_at
             WHERE NOT EXISTS (SELECT FROM history_recount n WHERE n.device_id = coalesce(c.device_id, k.device_id) AND n.day = $4)"#,
            &ids,
            from,
            from + chrono::TimeDelta::days(1),
            day
        )
        .fetch_all(&self.pool)
        .await?;
        let hours = rows.len();
        let drifts = rows.into_iter().filter_map(|row| {
            let hour = |heartbeats, first_at, last_at, battery_n, battery_sum| -> Option<Hour> {
                Some(Hour {
                    heartbeats: heartbeats?,
                    first_at: first_at?,
                    last_at: last_at?,
                    battery_n: battery_n?,
                    battery_sum: battery_sum?,
                })
            };
            let counted = hour(row.heartbeats, row.first_at, row.last_at, row.battery_n, row.battery_sum);
            let kept = hour(row.kept_heartbeats, row.kept_first_at, row.kept_last_at, row.kept_battery_n, row.kept_battery_sum);
            let kind = match (&kept, &counted) {
                (None, _) => DriftKind::HourMissing,
                (_, None) => DriftKind::HourExtra,
                (kept, counted) if kept != counted => DriftKind::HourDiffers,
                _ => return None,
            };
            let of = |hour: &Option<Hour>| hour.as_ref().map(Hour::fields);
            let (kept, counted) = (of(&kept), of(&counted));
            let mut fields = vec![FieldDrift::new("hour_at", Some(row.hour_at.to_rfc3339()), Some(row.hour_at.to_rfc3339()))];
            for at in 0..5 {
                let value = |hour: &Option<[(&'static str, String); 5]>| hour.as_ref().map(|fields| fields[at].1.clone());
                let name = kept.as_ref().or(counted.as_ref()).map_or("", |fields| fields[at].0);
                if value(&kept) != value(&counted) {
                    fields.push(FieldDrift::new(name, value(&kept), value(&counted)));
                }
            }
            let device = DeviceId(row.device_id);
            Some(HourDrift { device, drift: Drift { kind, subject: device.to_string(), fields, healed: false } })
        });
        Ok((hours, drifts.collect()))
    }

    /// Notes that the hours of a day of these devices are to be aggregated again.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn note_hours_to_aggregate(&self, ids: &[DeviceId], day: NaiveDate) -> Result<(), StoreError> {
        let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
        sqlx::query!(
            "INSERT INTO history_recount (device_id, day) SELECT device_id, $2 FROM UNNEST($1::uuid[]) AS r(device_id)",
            &ids,
            day
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
