-- Heartbeats of the day :day: the steps :first to :last of :steps, of each of the first :devices seeded devices, about as a fleet sends them: step by step,
-- with readings of which some change all the time and others hardly ever. They are narrow rows, as nodes write them.
SET timezone = 'UTC';
INSERT INTO heartbeat_session (session_key, boot_id, app_version, agent_version_code, used_on)
SELECT format('["%s","1.4.%s",%s]', boot_id, n % 3, 140 + n % 3), boot_id, '1.4.' || n % 3, 140 + n % 3, :'day'::date
  FROM (SELECT n, md5('boot' || n || :'day')::uuid::text AS boot_id FROM generate_series(1, :devices) AS n) AS b
ON CONFLICT DO NOTHING;
WITH numbered AS MATERIALIZED (
    -- The inner query is a fence: no other alias ends in a number.
    SELECT device_id, n, session_id
      FROM (SELECT device_id, substring(alias FROM 8)::integer AS n FROM device WHERE alias ~ '^seeded-[0-9]+$' OFFSET 0) AS s
      JOIN heartbeat_session ON session_key = format('["%s","1.4.%s",%s]', md5('boot' || n || :'day')::uuid, n % 3, 140 + n % 3)
     WHERE n <= :devices
)
INSERT INTO heartbeats (device_id, bucket_at, received_us, session_id, readings, seq_int, uptime_int, storage_free_int, temperature_tenths,
    device_time_ms, ram_available_small, foreground_recent_small)
SELECT device_id, bucket_at, device_ms * 1000 + (random() * 200000)::integer, session_id,
    -- charging, net_validated, app_running, transport; battery_pct, ram_pressure_pct, cpu_load_pct; an empty queue
    (CASE WHEN (k / 100 + n) % 5 = 0 THEN 2 ELSE 1 END << 1) | (2 << 3) | (2 << 5) | (CASE WHEN n % 10 = 0 THEN 2 ELSE 1 END << 7)
        | ((101 - (k * greatest(1, 8640 / :steps) / 30 + n) % 90) << 10) | ((51 + random() * 30)::integer << 17)
        | ((1 + random() * 60)::integer << 24) | (1 << 31),
    n + k, n * 100 + k * greatest(1, 8640 / :steps) * 10, 5120 - k / 50, (250 + random() * 80)::smallint, device_ms,
    (1000 + random() * 400)::smallint, (random() * 30)::smallint
FROM generate_series(:first, :last) AS k
CROSS JOIN numbered
CROSS JOIN LATERAL (SELECT :'day'::date::timestamptz + k * greatest(1, 8640 / :steps) * interval '10 seconds' AS bucket_at) AS b
CROSS JOIN LATERAL (SELECT (n * 7 + k) % 10 * 1000 AS device_ms) AS t
ON CONFLICT DO NOTHING;
