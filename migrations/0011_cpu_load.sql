-- The load of the processors that devices report, and its history in hours.
--
-- Expand only: the build before neither reads nor writes these columns, and a row that it writes has none.
-- No table is rewritten or scanned: the columns have no default or a constant one, and the check is not applied to rows
-- that are there, which have no load. The lock on `heartbeats` and its partitions is short, but while it is waited for,
-- behind a backup for example, heartbeats wait behind it: so not for long. The start fails then, and is tried again.
SET LOCAL lock_timeout = '5s';

ALTER TABLE device_last_status ADD COLUMN cpu_load_pct smallint;
ALTER TABLE heartbeats ADD COLUMN cpu_load_pct smallint;
ALTER TABLE heartbeats ADD CONSTRAINT heartbeats_cpu_load CHECK (cpu_load_pct BETWEEN 0 AND 100) NOT VALID;
ALTER TABLE history_hour
    ADD COLUMN cpu_load_n   integer NOT NULL DEFAULT 0,
    ADD COLUMN cpu_load_min real,
    ADD COLUMN cpu_load_sum double precision,
    ADD COLUMN cpu_load_max real;
