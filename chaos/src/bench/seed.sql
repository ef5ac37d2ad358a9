-- Devices that were enrolled and heard from before: :first to :last of a fleet.
-- They have a row wherever a real one has, but nobody knows their tokens.
WITH seeded AS (
    SELECT n, gen_random_uuid() AS device_id FROM generate_series(:first, :last) AS n
), devices AS (
    INSERT INTO device (device_id, alias, tags, groups, hardware_id, model, manufacturer, android_version, sdk_int, app_version, app_version_code, enrolled_at)
    SELECT device_id, 'seeded-' || n, ARRAY['seeded'], ARRAY['site-' || n % 50], 'SEED' || n,
           (ARRAY['Orbic Joy 2', 'Pixel 7a', 'SM-T225', 'TC26'])[1 + n % 4], 'Orbic', '13', 33, '1.4.0', 140, now() - interval '30 days'
    FROM seeded
), tokens AS (
    INSERT INTO device_token (device_token_id, device_id, secret_bcrypt, generation, created_at)
    SELECT gen_random_uuid(), device_id, '$2b$04$nobodyknowsthissecretnobodyknowsthissecretnobodyknows0', 1, now() - interval '30 days'
    FROM seeded
)
INSERT INTO device_last_status (device_id, bucket_at, received_at, last_seen_at, device_time, clock_rejected, battery_pct, charging, battery_temperature_c,
    app_version, agent_version_code, model, uptime_s, ram_available_mb, ram_pressure_pct, storage_free_mb, transport, net_validated, foreground_recent_s,
    app_running, queue_depth, boot_id, seq, details)
SELECT device_id, date_bin('10 seconds', at, timestamptz 'epoch'), at, at, at, false, n % 101, n % 3 = 0, 30.5,
    '1.4.0', 140, (ARRAY['Orbic Joy 2', 'Pixel 7a', 'SM-T225', 'TC26'])[1 + n % 4], 86400, 1210, 69, 5120, 'wifi', true, 12,
    true, 0, gen_random_uuid()::text, n,
    jsonb_build_object('android_version', '13', 'sdk_int', 33, 'patch_level', '2025-08-05', 'build_id', 'TQ3A', 'ssid', 'shop', 'ip', '192.0.2.7',
        'ram_total_mb', 3891, 'is_device_owner', true, 'power_ok', true, 'doze_whitelisted', true, 'metered', false, 'in_call', false)
FROM (SELECT n, device_id, now() - interval '1 hour' - n % 86400 * interval '1 second' AS at FROM seeded) AS s;
