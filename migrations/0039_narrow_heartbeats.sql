-- Heartbeats in narrow rows: the same values in about half the bytes.
--
-- A row is narrow where `received_at` is NULL. Then what it tells is in the columns that are added here, and of a value that does not fit there in its
-- wide column, as before; where `received_at` is set, the row is wide, and the columns that are added here mean nothing. Who reads takes the view
-- `heartbeats_unpacked`, which has the columns and types of wide rows.
--
-- Expand only. The build before does not look at the new columns; a heartbeat that it writes is a wide row, also over a narrow one of the same bucket,
-- since it sets `received_at`. It cannot read narrow rows: they look to it like heartbeats without a reading, its plots have gaps there, its
-- reconciliation fails on them instead of changing anything, and it archives no day, because it does not know the columns. So nodes write narrow
-- rows only while every live node reads them (0040), and `history.narrow_rows = false` holds them back for whoever wants to keep a way back.
--
-- No table is rewritten or scanned: columns without a default, a constraint that is not applied to rows that are there. The lock on `heartbeats` and its
-- partitions is short, but while it is waited for heartbeats wait behind it: so not for long. The start fails then, and is tried again.
SET LOCAL lock_timeout = '5s';

-- What a device says in every heartbeat and changes with a boot or an update of the agent only.
CREATE TABLE heartbeat_session (
    session_id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The three values, as a JSON array.
    session_key        text COLLATE "C" NOT NULL,
    boot_id            text,
    app_version        text,
    agent_version_code bigint,
    -- Last day on which a heartbeat that names it was received, at least.
    used_on            date NOT NULL
);
CREATE UNIQUE INDEX heartbeat_session_key_idx ON heartbeat_session (session_key);
CREATE INDEX heartbeat_session_used_idx ON heartbeat_session (used_on);

-- The widest first, so that nothing is padded: a usual row fills 56 bytes behind its header.
ALTER TABLE heartbeats
    -- From the start of the bucket.
    ADD COLUMN received_us           integer,
    ADD COLUMN session_id            integer,
    -- From the lowest bit: clock_rejected 1; charging, net_validated, app_running 2 each (1 no, 2 yes); transport 3 (1 wifi, 2 cellular, 3 ethernet,
    -- 4 none, 5 other); battery_pct, ram_pressure_pct, cpu_load_pct 7 each (one more than the value); the sign: queue_depth is 0. 0: not told here.
    ADD COLUMN readings              integer,
    ADD COLUMN seq_int               integer,
    ADD COLUMN uptime_int            integer,
    ADD COLUMN storage_free_int      integer,
    -- Tenths of a degree.
    ADD COLUMN temperature_tenths    smallint,
    -- From the start of the bucket.
    ADD COLUMN device_time_ms        smallint,
    ADD COLUMN ram_available_small   smallint,
    ADD COLUMN foreground_recent_small smallint,
    -- Unless it is 0.
    ADD COLUMN queue_depth_small     smallint,
    ALTER COLUMN received_at DROP NOT NULL,
    ALTER COLUMN clock_rejected DROP NOT NULL,
    ADD CONSTRAINT heartbeats_wide_or_narrow CHECK (
        (received_at IS NOT NULL AND clock_rejected IS NOT NULL) OR (received_us IS NOT NULL AND readings IS NOT NULL)
    ) NOT VALID;

CREATE VIEW heartbeats_unpacked AS
SELECT h.device_id, h.bucket_at,
    CASE WHEN h.received_at IS NULL THEN h.bucket_at + h.received_us * interval '1 microsecond' ELSE h.received_at END AS received_at,
    CASE WHEN h.received_at IS NULL THEN coalesce(h.bucket_at + h.device_time_ms * interval '1 millisecond', h.device_time)
         ELSE h.device_time END AS device_time,
    CASE WHEN h.received_at IS NULL THEN h.readings & 1 <> 0 ELSE h.clock_rejected END AS clock_rejected,
    CASE WHEN h.received_at IS NULL THEN coalesce((nullif((h.readings >> 10) & 127, 0) - 1)::smallint, h.battery_pct)
         ELSE h.battery_pct END AS battery_pct,
    CASE WHEN h.received_at IS NULL THEN coalesce(CASE (h.readings >> 1) & 3 WHEN 1 THEN false WHEN 2 THEN true END, h.charging)
         ELSE h.charging END AS charging,
    CASE WHEN h.received_at IS NULL THEN coalesce(h.temperature_tenths::real / 10::real, h.battery_temperature_c)
         ELSE h.battery_temperature_c END AS battery_temperature_c,
    CASE WHEN h.received_at IS NULL THEN coalesce(s.app_version, h.app_version) ELSE h.app_version END AS app_version,
    CASE WHEN h.received_at IS NULL THEN coalesce(s.agent_version_code, h.agent_version_code)
         ELSE h.agent_version_code END AS agent_version_code,
    CASE WHEN h.received_at IS NULL THEN coalesce(h.uptime_int::bigint, h.uptime_s) ELSE h.uptime_s END AS uptime_s,
    CASE WHEN h.received_at IS NULL THEN coalesce(h.ram_available_small::integer, h.ram_available_mb)
         ELSE h.ram_available_mb END AS ram_available_mb,
    CASE WHEN h.received_at IS NULL THEN coalesce((nullif((h.readings >> 17) & 127, 0) - 1)::smallint, h.ram_pressure_pct)
         ELSE h.ram_pressure_pct END AS ram_pressure_pct,
    CASE WHEN h.received_at IS NULL THEN coalesce(h.storage_free_int::bigint, h.storage_free_mb)
         ELSE h.storage_free_mb END AS storage_free_mb,
    CASE WHEN h.received_at IS NULL
         THEN coalesce(CASE (h.readings >> 7) & 7 WHEN 1 THEN 'wifi' WHEN 2 THEN 'cellular' WHEN 3 THEN 'ethernet' WHEN 4 THEN 'none'
                                                  WHEN 5 THEN 'other' END, h.transport)
         ELSE h.transport END AS transport,
    CASE WHEN h.received_at IS NULL THEN coalesce(CASE (h.readings >> 3) & 3 WHEN 1 THEN false WHEN 2 THEN true END, h.net_validated)
         ELSE h.net_validated END AS net_validated,
    CASE WHEN h.received_at IS NULL THEN coalesce(h.foreground_recent_small::integer, h.foreground_recent_s)
         ELSE h.foreground_recent_s END AS foreground_recent_s,
    CASE WHEN h.received_at IS NULL THEN coalesce(CASE (h.readings >> 5) & 3 WHEN 1 THEN false WHEN 2 THEN true END, h.app_running)
         ELSE h.app_running END AS app_running,
    CASE WHEN h.received_at IS NULL
         THEN coalesce(CASE WHEN h.readings < 0 THEN 0 ELSE h.queue_depth_small::integer END, h.queue_depth)
         ELSE h.queue_depth END AS queue_depth,
    CASE WHEN h.received_at IS NULL THEN coalesce(s.boot_id, h.boot_id) ELSE h.boot_id END AS boot_id,
    CASE WHEN h.received_at IS NULL THEN coalesce(h.seq_int::bigint, h.seq) ELSE h.seq END AS seq,
    CASE WHEN h.received_at IS NULL THEN coalesce((nullif((h.readings >> 24) & 127, 0) - 1)::smallint, h.cpu_load_pct)
         ELSE h.cpu_load_pct END AS cpu_load_pct
FROM heartbeats h
-- Left out of a plan that takes none of its columns.
LEFT JOIN heartbeat_session s ON s.session_id = h.session_id;
