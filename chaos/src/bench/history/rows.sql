-- Heartbeats of the day :day: the steps :first to :last of :steps, of each of the first :devices seeded devices, about as a fleet sends them: step by step,
-- with readings of which some change all the time and others hardly ever.
SET timezone = 'UTC';
WITH numbered AS MATERIALIZED (
    -- The inner query is a fence: no other alias ends in a number.
    SELECT device_id, n FROM (SELECT device_id, substring(alias FROM 8)::integer AS n FROM device WHERE alias ~ '^seeded-[0-9]+$' OFFSET 0) AS s
     WHERE n <= :devices
)
INSERT INTO heartbeats (device_id, bucket_at, received_at, device_time, clock_rejected, battery_pct, charging, battery_temperature_c, app_version,
    agent_version_code, uptime_s, ram_available_mb, ram_pressure_pct, storage_free_mb, transport, net_validated, foreground_recent_s, app_running,
    queue_depth, boot_id, seq, cpu_load_pct)
SELECT device_id, bucket_at, device_time + random() * interval '200 ms', device_time, false,
    100 - (k * greatest(1, 8640 / :steps) / 30 + n) % 90, (k / 100 + n) % 5 = 0, round((25 + random() * 8)::numeric, 1)::real, '1.4.' || n % 3,
    140 + n % 3, n * 100 + k * greatest(1, 8640 / :steps) * 10, (1000 + random() * 400)::integer, (50 + random() * 30)::smallint, 5120 - k / 50,
    CASE WHEN n % 10 = 0 THEN 'cellular' ELSE 'wifi' END, true, (random() * 30)::integer, true,
    0, md5('boot' || n || :'day')::uuid::text, n + k, (random() * 60)::smallint
FROM generate_series(:first, :last) AS k
CROSS JOIN numbered
CROSS JOIN LATERAL (SELECT :'day'::date::timestamptz + k * greatest(1, 8640 / :steps) * interval '10 seconds' AS bucket_at) AS b
CROSS JOIN LATERAL (SELECT bucket_at + (n * 7 + k) % 10 * interval '1 second' AS device_time) AS t
ON CONFLICT DO NOTHING;
