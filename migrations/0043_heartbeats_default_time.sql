-- An index by time on the default partition of heartbeats.
--
-- It has few rows, or none, unless the partition of a day was missing. Then each look for the rows of a day went through all of it, once for each
-- part that moved, and under the lock of the attach. Where it is large already, building the index here would stop heartbeats: the partition manager
-- builds it beside them.
SET LOCAL lock_timeout = '5s';

DO $$
BEGIN
    IF pg_relation_size('heartbeats_default') < 16 * 1024 * 1024 THEN
        CREATE INDEX IF NOT EXISTS heartbeats_default_time_idx ON heartbeats_default (bucket_at);
    END IF;
END
$$;
