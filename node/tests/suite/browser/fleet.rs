//! Fleets to look at: a simulated one in a process of its own, and a large one made by statements.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::Bench;

/// A simulated fleet in a process of its own.
pub(crate) struct Fleet(Child);

impl Fleet {
    pub(crate) fn start(url: &str, password: &str, state: &Path) -> Self {
        let chaos = PathBuf::from(env!("CARGO_BIN_EXE_nexmdm")).with_file_name("chaos");
        assert!(chaos.exists(), "{} is not built: cargo build -p chaos", chaos.display());
        let child = Command::new(chaos)
            .args(["fleet", "--server", url, "--devices", "3", "--interval", "1s", "--transport", "mix", "--model-speed", "1200"])
            .args(["--alias-prefix", "browser", "--duration", "5m", "--state-dir"])
            .arg(state)
            .env("NEXMDM_ENROLL_WITH", format!("admin:{password}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

/// Devices that have a past, with names of all lengths and states of all kinds, made in a few
/// statements: the pages are under test here, not the way in. The node is started anew, so that it knows them.
pub(crate) async fn large(bench: &mut Bench, devices: u32) {
    bench.sql(&format!(
        "INSERT INTO device (device_id, alias, tags, groups, hardware_id, model, manufacturer, enrolled_at)
         SELECT gen_random_uuid(),
             (CASE n % 97 WHEN 0 THEN 'flagship-store-with-a-name-that-nobody-would-ever-want-to-read-in-a-table-but-somebody-typed-'
                  WHEN 1 THEN 'Käfer-グループ-' ELSE 'shop-' || (n % 40) || '-till-' END) || lpad(n::text, 5, '0'),
             CASE n % 5 WHEN 0 THEN ARRAY['till'] WHEN 1 THEN ARRAY['till', 'ground-floor', 'a-tag-that-is-rather-long-for-a-tag'] ELSE ARRAY[]::text[] END,
             ARRAY[(ARRAY['berlin', 'hamburg', 'munich', 'cologne'])[1 + n % 4]],
             'HW' || n, (ARRAY['TC26', 'Orbic Joy 2', 'SM-T225', 'Pixel 7a', 'Lenovo TB-8505F'])[1 + n % 5], 'Zebra Technologies',
             now() - make_interval(days => 40)
         FROM generate_series(0, {devices} - 1) n"
    ));
    bench.sql(
        "WITH numbered AS (SELECT device_id, model, row_number() OVER (ORDER BY alias) n FROM device)
         INSERT INTO device_last_status (device_id, bucket_at, received_at, last_seen_at, clock_rejected, battery_pct, charging,
             battery_temperature_c, app_version, agent_version_code, model, uptime_s, ram_available_mb, ram_pressure_pct,
             storage_free_mb, transport, net_validated, foreground_recent_s, app_running, details)
         SELECT device_id, seen, seen, seen, false, (n * 37) % 101, n % 3 = 0, 31.5, (ARRAY['1.4.0', '1.3.2', '1.2.9'])[1 + n % 3], 140, model,
             86400 + n, 900 + n % 900, 60, 5000 + n, (ARRAY['wifi', 'wifi', 'wifi', 'cellular', 'ethernet'])[1 + n % 5], true, n % 300, n % 11 <> 0,
             jsonb_build_object('ssid', 'shop', 'ram_total_mb', 2850, 'android_version', '13', 'sdk_int', 33,
                 'apps', jsonb_build_array(jsonb_build_array('com.example.kiosk', true, '3.2.1', 321)))
         FROM numbered, LATERAL (SELECT now() - CASE WHEN n % 9 = 0 THEN make_interval(hours => (n % 50)::int + 1) ELSE make_interval(secs => n % 300) END AS seen) t
         WHERE n % 29 <> 0",
    );
    bench.sql(
        "INSERT INTO heartbeats (device_id, bucket_at, received_at, clock_rejected, battery_pct, charging, battery_temperature_c, app_version,
             uptime_s, ram_available_mb, ram_pressure_pct, storage_free_mb, transport, net_validated, app_running, cpu_load_pct)
         SELECT d.device_id, at, at, false, (55 + 40 * sin(extract(epoch FROM at) / 14000))::smallint, cos(extract(epoch FROM at) / 14000) > 0,
             30 + 4 * sin(extract(epoch FROM at) / 9000), '1.4.0', 1000, (1400 + 500 * sin(extract(epoch FROM at) / 5000))::int, 60,
             5200 - (extract(epoch FROM at)::bigint / 3000) % 1000,
             CASE WHEN sin(extract(epoch FROM at) / 20000) > 0.6 THEN 'cellular' ELSE 'wifi' END, true, true,
             (30 + 20 * sin(extract(epoch FROM at) / 7000))::smallint
         FROM (SELECT device_id FROM device_last_status WHERE last_seen_at > now() - interval '4 minutes' ORDER BY device_id LIMIT 1) d,
             generate_series(date_trunc('hour', now()) - interval '6 days', now() - interval '5 minutes', interval '5 minutes') at
         WHERE at NOT BETWEEN now() - interval '9 hours' AND now() - interval '6 hours'",
    );
    bench.sql(
        "INSERT INTO device_event (device_id, at, kind, actor, detail)
         SELECT d.device_id, now() - make_interval(mins => minutes), kind, actor, detail::jsonb
         FROM (SELECT device_id FROM device_last_status WHERE last_seen_at > now() - interval '4 minutes' ORDER BY device_id LIMIT 1) d,
             (VALUES (5, 'edited', 'admin', '{\"tags\": {\"before\": [], \"after\": [\"till\"]}}'), (90, 'low_battery_ended', NULL, '{\"battery_pct\": 45}'),
                     (200, 'low_battery_began', NULL, '{\"battery_pct\": 17}'), (365, 'came_online', NULL, '{}'), (525, 'went_offline', NULL, '{}'),
                     (700, 'agent_version_changed', NULL, '{\"before\": \"1.3.2\", \"after\": \"1.4.0\"}'), (57600, 'enrolled', NULL, '{}')) e (minutes, kind, actor, detail)",
    );
    bench.sql(&format!(
        "INSERT INTO fleet_sample
         SELECT to_timestamp(floor(extract(epoch FROM at) / 300) * 300), {devices}, ({devices} * (0.85 + 0.08 * sin(extract(epoch FROM at) / 14000)))::bigint,
             {devices} / 9, {devices} / 29, {devices} / 60, {devices} / 12, {devices} / 300
         FROM generate_series(now() - interval '24 hours', now() - interval '6 minutes', interval '5 minutes') at
         ON CONFLICT DO NOTHING"
    ));
    bench.node.restart().await.unwrap();
}

/// A device that [`large`] gave a past.
pub(crate) fn with_a_past(bench: &Bench) -> String {
    bench.sql("SELECT device_id FROM heartbeats LIMIT 1")
}

/// Alerts in every state, of rules whose condition nothing tells apart from unknown, so that they stay as they are: devices whose commands
/// fail, and the archive.
pub(crate) fn alerts(bench: &Bench) {
    bench.sql(
        "INSERT INTO alert
         SELECT gen_random_uuid(), 0, 'command_failures', 'device', device_id::text, alias, ARRAY['north', groups[1]], tags, 'warning', 'firing',
             '3 commands in a row have failed', now() - make_interval(mins => n::int), NULL, NULL, NULL, NULL, NULL, 1
         FROM (SELECT *, row_number() OVER (ORDER BY alias) n FROM device LIMIT 60) d",
    );
    bench.sql(
        "INSERT INTO alert
         SELECT gen_random_uuid(), 0, 'archive_failed', 'system', 'archive', 'archive', ARRAY[]::text[], ARRAY[]::text[], 'critical', 'resolved',
             '3 failures in a row: no space left on the device', now() - make_interval(days => n), 'admin', 'Looking at it',
             now() - make_interval(days => n) + interval '5 minutes', now() - make_interval(days => n) + interval '42 minutes', 'cleared', 3
         FROM generate_series(1, 4) n",
    );
    bench.sql(
        "INSERT INTO alert_transition (alert_id, revision, kind, at, severity, actor, detail, taken_at, settled_at, suppressed_by)
         SELECT alert_id, 1, 'raised', opened_at, severity, NULL, reason, opened_at, opened_at, 'no_route' FROM alert
         WHERE rule IN ('command_failures', 'archive_failed')",
    );
    bench.sql(
        "INSERT INTO alert_transition (alert_id, revision, kind, at, severity, actor, detail, taken_at, settled_at)
         SELECT alert_id, 2, 'acknowledged', acknowledged_at, severity, 'admin', acknowledged_note, acknowledged_at, acknowledged_at FROM alert
         WHERE rule = 'archive_failed'",
    );
}
