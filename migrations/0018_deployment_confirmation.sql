-- A reported success has to be confirmed by a heartbeat: until then its task is `confirming`, which holds no slot and is not over.
-- And the values behind a task's reason ("battery 10 % < 40 %"), which are kept with it.
--
-- Expand only: no row has the new state or a detail before this build writes one. A node of the build before does not read the state;
-- deployments that it drives go on once a newer node has their shards.
-- The constraint of the states is replaced by one that allows more, so no row can break it: it is not checked against the table
-- (NOT VALID), and the lock is as short as that of the column without a default.
SET LOCAL lock_timeout = '5s';

ALTER TABLE deployment_task
    DROP CONSTRAINT deployment_task_state_check,
    ADD CONSTRAINT deployment_task_state_check CHECK (state IN ('queued', 'waiting_window', 'throttled', 'sending', 'installing',
        'confirming', 'succeeded', 'failed', 'skipped', 'canceled')) NOT VALID,
    ADD COLUMN reason_detail text;
