//! The dual write: history and newest status of a batch of heartbeats, together or not at all.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use domain::DeviceId;
use domain::device::LastStatus;
use domain::heartbeat::{Telemetry, Transport, WatchedApp};
use domain::history::is_after_settling;
use serde_json::{Map, Value, json};

use crate::{Store, StoreError};

/// Row of a heartbeat.
#[derive(Debug, Clone)]
pub struct HeartbeatRow {
    /// Device that sent the heartbeat.
    pub device_id: DeviceId,
    /// The heartbeat.
    pub status: Arc<LastStatus>,
    /// Changed push token.
    pub fcm_token: Option<String>,
    /// Whether a newer heartbeat of the device was stored before.
    pub late: bool,
    /// Whether its details should equal the stored ones, so that they are not sent again.
    /// If they differ, none are shown rather than wrong ones.
    pub same_details: bool,
    /// Digest of the details.
    details_hash: i64,
}

impl HeartbeatRow {
    /// The row of a checked heartbeat, with all its details.
    pub fn new(device_id: DeviceId, status: Arc<LastStatus>, fcm_token: Option<String>, late: bool) -> Self {
        let details_hash = details_hash(&status.telemetry);
        Self { device_id, status, fcm_token, late, same_details: false, details_hash }
    }
}

impl Store {
    /// Writes a batch: each row into its day's partition, of a (device, bucket)
    /// the newest, and each device's newest into `device_last_status`. Repeats
    /// change nothing. One transaction; after an error nothing of the batch may
    /// be taken for stored.
    ///
    /// # Errors
    /// The database is unavailable, or refused a value.
    pub async fn write_heartbeats(&self, rows: &mut [HeartbeatRow]) -> Result<(), StoreError> {
        // One order for all writers, so that two batches with the same devices cannot deadlock.
        rows.sort_by_key(|row| (row.device_id, row.status.order()));
        let late: Vec<_> = rows.iter().filter(|row| row.late).collect();
        let tokens: BTreeMap<_, _> = rows.iter().filter_map(|row| Some((row.device_id.0, row.fcm_token.as_deref()?))).collect();
        if late.is_empty() && tokens.is_empty() {
            return dual_write(&self.pool, rows).await;
        }
        let mut tx = self.pool.begin().await?;
        dual_write(&mut *tx, rows).await?;
        if !late.is_empty() {
            let devices: Vec<_> = late.iter().map(|row| row.device_id.0).collect();
            let seen: Vec<_> = late.iter().map(|row| row.status.received_at).collect();
            sqlx::query!(
                "UPDATE device_last_status d SET last_seen_at = r.seen_at
                 FROM (SELECT device_id, max(seen_at) AS seen_at FROM UNNEST($1::uuid[], $2::timestamptz[]) AS r(device_id, seen_at)
                       GROUP BY device_id) r
                 WHERE d.device_id = r.device_id AND d.last_seen_at < r.seen_at",
                &devices,
                &seen
            )
            .execute(&mut *tx)
            .await?;
        }
        if !tokens.is_empty() {
            let (devices, tokens): (Vec<_>, Vec<_>) = tokens.into_iter().map(|(id, token)| (id, token.to_owned())).unzip();
            sqlx::query!(
                "UPDATE device d SET fcm_token = r.fcm_token
                 FROM (SELECT device_id, t.fcm_token FROM UNNEST($1::uuid[], $2::text[]) AS t(device_id, fcm_token)
                       JOIN device USING (device_id) ORDER BY device_id FOR NO KEY UPDATE OF device) r
                 WHERE d.device_id = r.device_id AND d.fcm_token IS DISTINCT FROM r.fcm_token",
                &devices,
                &tokens
            )
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// The newest row of each bucket of a sorted batch: a statement may not write the same row twice. Of repeats the first counts,
/// as it does in the history.
fn newest_of_buckets(rows: &[HeartbeatRow]) -> Vec<&HeartbeatRow> {
    rows.chunk_by(|a, b| (a.device_id, a.status.bucket_at) == (b.device_id, b.status.bucket_at))
        .filter_map(|bucket| bucket.iter().rev().max_by_key(|row| row.status.order()))
        .collect()
}

/// For each row of [`newest_of_buckets`], whether it is its device's newest.
fn newest_flags(rows: &[&HeartbeatRow]) -> Vec<bool> {
    (0..rows.len()).map(|at| rows.get(at + 1).is_none_or(|next| next.device_id != rows[at].device_id)).collect()
}

async fn dual_write(executor: impl sqlx::PgExecutor<'_>, rows: &[HeartbeatRow]) -> Result<(), StoreError> {
    macro_rules! column {
        ($row:ident => $value:expr) => {
            rows.iter().map(|$row| $value).collect::<Vec<_>>()
        };
    }
    let rows = newest_of_buckets(rows);
    let newest = newest_flags(&rows);
    let details: Vec<Option<String>> = rows
        .iter()
        .zip(&newest)
        // Only the newest status shows details; the rest would be parsed for nothing.
        .map(|(row, newest)| (*newest && !row.same_details).then(|| details(&row.status.telemetry)))
        .collect();
    let device_id = column!(row => row.device_id.0);
    let bucket_at = column!(row => row.status.bucket_at);
    let received_at = column!(row => row.status.received_at);
    let device_time = column!(row => row.status.device_time);
    let clock_rejected = column!(row => row.status.clock_rejected);
    let battery_pct = column!(row => row.status.telemetry.battery_pct);
    let charging = column!(row => row.status.telemetry.charging);
    let battery_temperature_c = column!(row => row.status.telemetry.battery_temperature_c);
    let app_version = column!(row => row.status.telemetry.app_version.as_deref());
    let agent_version_code = column!(row => row.status.telemetry.agent_version_code);
    let model = column!(row => row.status.telemetry.model.as_deref());
    let uptime_s = column!(row => row.status.telemetry.uptime_s);
    let ram_available_mb = column!(row => row.status.telemetry.ram_available_mb);
    let ram_pressure_pct = column!(row => row.status.telemetry.ram_pressure_pct);
    let storage_free_mb = column!(row => row.status.telemetry.storage_free_mb);
    let transport = column!(row => row.status.telemetry.transport.map(Transport::as_str));
    let net_validated = column!(row => row.status.telemetry.net_validated);
    let foreground_recent_s = column!(row => row.status.telemetry.foreground_recent_s);
    let app_running = column!(row => row.status.telemetry.app_running);
    let queue_depth = column!(row => row.status.telemetry.queue_depth);
    let boot_id = column!(row => row.status.telemetry.boot_id.as_deref());
    let seq = column!(row => row.status.telemetry.seq);
    let details_hash = column!(row => row.details_hash);
    let recount_day =
        column!(row => is_after_settling(row.status.bucket_at, row.status.received_at).then(|| row.status.bucket_at.date_naive()));
    sqlx::query!(
        "WITH batch AS MATERIALIZED (
             SELECT * FROM UNNEST(
                 $1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::boolean[], $6::smallint[], $7::boolean[],
                 $8::real[], $9::text[], $10::bigint[], $11::text[], $12::bigint[], $13::integer[], $14::smallint[], $15::bigint[],
                 $16::text[], $17::boolean[], $18::integer[], $19::boolean[], $20::integer[], $21::text[], $22::bigint[],
                 $23::text[], $24::boolean[], $25::bigint[], $26::date[]
             ) AS r(device_id, bucket_at, received_at, device_time, clock_rejected, battery_pct, charging, battery_temperature_c,
                    app_version, agent_version_code, model, uptime_s, ram_available_mb, ram_pressure_pct, storage_free_mb,
                    transport, net_validated, foreground_recent_s, app_running, queue_depth, boot_id, seq, details, is_newest, details_hash,
                    recount_day)
         ), history AS (
             INSERT INTO heartbeats AS h (device_id, bucket_at, received_at, device_time, clock_rejected, battery_pct, charging,
                 battery_temperature_c, app_version, agent_version_code, uptime_s, ram_available_mb, ram_pressure_pct,
                 storage_free_mb, transport, net_validated, foreground_recent_s, app_running, queue_depth, boot_id, seq)
             SELECT device_id, bucket_at, received_at, device_time, clock_rejected, battery_pct, charging,
                 battery_temperature_c, app_version, agent_version_code, uptime_s, ram_available_mb, ram_pressure_pct,
                 storage_free_mb, transport, net_validated, foreground_recent_s, app_running, queue_depth, boot_id, seq
             FROM batch
             ON CONFLICT (device_id, bucket_at) DO UPDATE SET
                 received_at = excluded.received_at, device_time = excluded.device_time,
                 clock_rejected = excluded.clock_rejected, battery_pct = excluded.battery_pct, charging = excluded.charging,
                 battery_temperature_c = excluded.battery_temperature_c, app_version = excluded.app_version,
                 agent_version_code = excluded.agent_version_code, uptime_s = excluded.uptime_s,
                 ram_available_mb = excluded.ram_available_mb, ram_pressure_pct = excluded.ram_pressure_pct,
                 storage_free_mb = excluded.storage_free_mb, transport = excluded.transport,
                 net_validated = excluded.net_validated, foreground_recent_s = excluded.foreground_recent_s,
                 app_running = excluded.app_running, queue_depth = excluded.queue_depth, boot_id = excluded.boot_id,
                 seq = excluded.seq
             -- The newest of a bucket stands, in whatever order they come; a repeat is acknowledged and not written.
             WHERE (coalesce(excluded.device_time, '-infinity'), coalesce(excluded.seq, -1))
                 > (coalesce(h.device_time, '-infinity'), coalesce(h.seq, -1))
         ), recount AS (
             INSERT INTO history_recount (device_id, day)
             SELECT DISTINCT device_id, recount_day FROM batch WHERE recount_day IS NOT NULL
         )
         INSERT INTO device_last_status AS d (device_id, bucket_at, received_at, last_seen_at, device_time, clock_rejected,
             battery_pct, charging, battery_temperature_c, app_version, agent_version_code, model, uptime_s, ram_available_mb,
             ram_pressure_pct, storage_free_mb, transport, net_validated, foreground_recent_s, app_running, queue_depth,
             boot_id, seq, details, details_hash)
         SELECT device_id, bucket_at, received_at, received_at, device_time, clock_rejected,
             battery_pct, charging, battery_temperature_c, app_version, agent_version_code, model, uptime_s, ram_available_mb,
             ram_pressure_pct, storage_free_mb, transport, net_validated, foreground_recent_s, app_running, queue_depth,
             boot_id, seq, details::jsonb, details_hash
         FROM batch WHERE is_newest
         ON CONFLICT (device_id) DO UPDATE SET
             bucket_at = excluded.bucket_at, received_at = excluded.received_at,
             last_seen_at = greatest(d.last_seen_at, excluded.last_seen_at),
             device_time = excluded.device_time, clock_rejected = excluded.clock_rejected,
             battery_pct = excluded.battery_pct, charging = excluded.charging,
             battery_temperature_c = excluded.battery_temperature_c, app_version = excluded.app_version,
             agent_version_code = excluded.agent_version_code, model = excluded.model, uptime_s = excluded.uptime_s,
             ram_available_mb = excluded.ram_available_mb, ram_pressure_pct = excluded.ram_pressure_pct,
             storage_free_mb = excluded.storage_free_mb, transport = excluded.transport,
             net_validated = excluded.net_validated, foreground_recent_s = excluded.foreground_recent_s,
             app_running = excluded.app_running, queue_depth = excluded.queue_depth, boot_id = excluded.boot_id,
             seq = excluded.seq, details_hash = excluded.details_hash,
             -- Left out because they are stored: true only if nobody else wrote in between.
             details = CASE WHEN excluded.details IS NOT NULL THEN excluded.details
                            WHEN d.details_hash = excluded.details_hash THEN d.details END
         -- Newer wins, in whatever order batches commit and from whichever node.
         WHERE (excluded.bucket_at, coalesce(excluded.device_time, '-infinity'), coalesce(excluded.seq, -1))
             > (d.bucket_at, coalesce(d.device_time, '-infinity'), coalesce(d.seq, -1))",
        &device_id,
        &bucket_at,
        &received_at,
        &device_time as &[Option<domain::Timestamp>],
        &clock_rejected,
        &battery_pct as &[Option<i16>],
        &charging as &[Option<bool>],
        &battery_temperature_c as &[Option<f32>],
        &app_version as &[Option<&str>],
        &agent_version_code as &[Option<i64>],
        &model as &[Option<&str>],
        &uptime_s as &[Option<i64>],
        &ram_available_mb as &[Option<i32>],
        &ram_pressure_pct as &[Option<i16>],
        &storage_free_mb as &[Option<i64>],
        &transport as &[Option<&str>],
        &net_validated as &[Option<bool>],
        &foreground_recent_s as &[Option<i32>],
        &app_running as &[Option<bool>],
        &queue_depth as &[Option<i32>],
        &boot_id as &[Option<&str>],
        &seq as &[Option<i64>],
        &details as &[Option<String>],
        &newest,
        &details_hash,
        &recount_day as &[Option<chrono::NaiveDate>]
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Passes the names of the detail fields to another macro.
macro_rules! with_details {
    ($macro:ident) => {
        $macro!(
            android_version,
            sdk_int,
            patch_level,
            build_id,
            manufacturer,
            ram_total_mb,
            ssid,
            carrier,
            ip,
            metered,
            speedtest_service_running,
            speedtest_foreground_recent_s,
            power_ok,
            doze_whitelisted,
            is_device_owner,
            in_call,
            self_heal_hints
        )
    };
}

/// Details: values of a device that are never searched, sorted or plotted, as JSON text.
/// What was not told is left out.
fn details(telemetry: &Telemetry) -> String {
    let mut details = Map::new();
    macro_rules! put {
        ($($field:ident),*) => {{
            $(if let Some(value) = &telemetry.$field { details.insert(stringify!($field).into(), json!(value)); })*
        }};
    }
    with_details!(put);
    if !telemetry.apps.is_empty() {
        let apps: Vec<_> =
            telemetry.apps.iter().map(|app| json!([app.package, app.installed, app.version_name, app.version_code])).collect();
        details.insert("apps".into(), Value::Array(apps));
    }
    Value::Object(details).to_string()
}

/// Whether two heartbeats tell the same [`details`].
pub fn same_details(a: &Telemetry, b: &Telemetry) -> bool {
    macro_rules! same {
        ($($field:ident),*) => { $(a.$field == b.$field)&&* };
    }
    with_details!(same) && a.apps == b.apps
}

/// Digest of [`details`]: FNV-1a, the same on every build and machine.
fn details_hash(telemetry: &Telemetry) -> i64 {
    struct Fnv(u64);
    impl Hasher for Fnv {
        fn write(&mut self, bytes: &[u8]) {
            self.0 = bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        }
        fn finish(&self) -> u64 {
            self.0
        }
    }
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    macro_rules! hash {
        ($($field:ident),*) => {{ $(telemetry.$field.hash(&mut hasher);)* }};
    }
    with_details!(hash);
    for app in &telemetry.apps {
        (&app.package, app.installed, &app.version_name, app.version_code).hash(&mut hasher);
    }
    hasher.finish() as i64
}

/// Reads [`details`] back into `telemetry`.
pub(crate) fn read_details(details: &Value, telemetry: &mut Telemetry) {
    let text = |name: &str| details[name].as_str().map(str::to_owned);
    let flag = |name: &str| details[name].as_bool();
    let number = |name: &str| details[name].as_i64().and_then(|n| i32::try_from(n).ok());
    telemetry.android_version = text("android_version");
    telemetry.sdk_int = number("sdk_int");
    telemetry.patch_level = text("patch_level");
    telemetry.build_id = text("build_id");
    telemetry.manufacturer = text("manufacturer");
    telemetry.ram_total_mb = number("ram_total_mb");
    telemetry.ssid = text("ssid");
    telemetry.carrier = text("carrier");
    telemetry.ip = text("ip");
    telemetry.metered = flag("metered");
    telemetry.speedtest_service_running = flag("speedtest_service_running");
    telemetry.speedtest_foreground_recent_s = number("speedtest_foreground_recent_s");
    telemetry.power_ok = flag("power_ok");
    telemetry.doze_whitelisted = flag("doze_whitelisted");
    telemetry.is_device_owner = flag("is_device_owner");
    telemetry.in_call = flag("in_call");
    telemetry.self_heal_hints = text("self_heal_hints");
    telemetry.apps = details["apps"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|app| {
            Some(WatchedApp {
                package: app[0].as_str()?.to_owned(),
                installed: app[1].as_bool(),
                version_name: app[2].as_str().map(str::to_owned),
                version_code: app[3].as_i64(),
            })
        })
        .collect();
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Timestamp;
    use domain::heartbeat::Heartbeat;

    fn row(device: u128, bucket: i64, seq: i64) -> HeartbeatRow {
        let at: Timestamp = chrono::DateTime::from_timestamp(1_780_000_000 + bucket, 0).unwrap();
        let telemetry = Telemetry { seq: Some(seq), ..Default::default() };
        let id = DeviceId(uuid::Uuid::from_u128(device));
        HeartbeatRow::new(id, Arc::new(Heartbeat::new(id, Some(at), telemetry, at).into()), None, false)
    }

    #[test]
    fn the_newest_of_each_bucket_and_one_newest_per_device() {
        let repeat = HeartbeatRow { fcm_token: Some("the first".into()), ..row(1, 20, 3) };
        let mut rows = [row(2, 10, 1), repeat, row(1, 20, 2), row(1, 20, 3), row(1, 0, 4), row(2, 30, 5)];
        rows.sort_by_key(|row| (row.device_id, row.status.order()));
        let rows = newest_of_buckets(&rows);
        let told: Vec<_> =
            rows.iter().zip(newest_flags(&rows)).map(|(row, n)| (row.status.telemetry.seq, row.fcm_token.is_some(), n)).collect();
        assert_eq!(told, [(Some(4), false, false), (Some(3), true, true), (Some(1), false, false), (Some(5), false, true)]);
    }

    #[test]
    fn details_read_back_as_they_were() {
        let told = Telemetry {
            sdk_int: Some(33),
            ssid: Some("shop \"1\"".into()),
            metered: Some(false),
            ram_total_mb: Some(3891),
            self_heal_hints: Some("{\"a\":1}".into()),
            apps: vec![WatchedApp { package: "a.b".into(), installed: Some(true), version_name: None, version_code: Some(321) }],
            ..Default::default()
        };
        assert!(same_details(&told, &told) && !same_details(&told, &Telemetry::default()));
        assert!(!same_details(&told, &Telemetry { metered: None, ..told.clone() }));
        assert!(same_details(&told, &Telemetry { battery_pct: Some(3), ..told.clone() }), "the battery is not among them");
        assert_eq!(details_hash(&told), details_hash(&Telemetry { battery_pct: Some(3), ..told.clone() }));
        assert_ne!(details_hash(&told), details_hash(&Telemetry { metered: None, ..told.clone() }));
        let mut read = Telemetry::default();
        read_details(&serde_json::from_str(&details(&told)).unwrap(), &mut read);
        assert_eq!(read, told);
    }
}
