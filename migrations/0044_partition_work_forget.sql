-- Work that drops a restored day before its time. An older build shows no work of a kind that it does not know.
SET LOCAL lock_timeout = '5s';

ALTER TABLE partition_work
    DROP CONSTRAINT partition_work_kind,
    ADD CONSTRAINT partition_work_kind CHECK (kind IN ('run', 'archive', 'verify', 'restore', 'forget'));
