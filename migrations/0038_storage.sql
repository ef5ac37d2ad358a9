-- What history takes over time, and work on partitions that people start.
--
-- Growth cannot be read off the present: `storage_sample` has an entry an hour, kept for 90 days.
-- Archiving, verifying or restoring a day takes minutes, on one node, while the page that asked for it may be served by another: `partition_work`
-- shows its progress everywhere, and lets one be under way at a time. Both are new, so nothing that runs meets them.

CREATE TABLE storage_sample (
    at               timestamptz PRIMARY KEY,
    database_bytes   bigint NOT NULL,
    heartbeats_bytes bigint NOT NULL,
    archive_bytes    bigint NOT NULL,
    on_disk_bytes    bigint NOT NULL,
    -- NULL: the node that took the sample does not see the disk of the database.
    disk_free_bytes  bigint,
    disk_bytes       bigint,
    CONSTRAINT storage_sample_sizes CHECK (
        database_bytes >= 0 AND heartbeats_bytes >= 0 AND archive_bytes >= 0 AND on_disk_bytes >= 0 AND disk_free_bytes >= 0 AND disk_bytes >= 0
    ),
    CONSTRAINT storage_sample_disk CHECK ((disk_free_bytes IS NULL) = (disk_bytes IS NULL))
);

CREATE TABLE partition_work (
    work_id    uuid PRIMARY KEY,
    kind       text NOT NULL,
    day        date,
    state      text NOT NULL,
    step       text NOT NULL,
    done       bigint NOT NULL,
    total      bigint,
    started_by text NOT NULL,
    node       text NOT NULL,
    started_at timestamptz NOT NULL,
    -- Its node says here that it is still at it.
    renewed_at timestamptz NOT NULL,
    ended_at   timestamptz,
    outcome    text,
    CONSTRAINT partition_work_kind CHECK (kind IN ('run', 'archive', 'verify', 'restore')),
    CONSTRAINT partition_work_state CHECK (state IN ('running', 'succeeded', 'failed', 'interrupted')),
    CONSTRAINT partition_work_day CHECK ((kind = 'run') = (day IS NULL)),
    CONSTRAINT partition_work_end CHECK ((state = 'running') = (ended_at IS NULL)),
    CONSTRAINT partition_work_progress CHECK (done >= 0 AND total >= 0),
    CONSTRAINT partition_work_texts CHECK (
        char_length(step) <= 200 AND char_length(started_by) <= 200 AND char_length(node) <= 200 AND char_length(outcome) <= 1000
    )
);
-- One at a time.
CREATE UNIQUE INDEX partition_work_running_key ON partition_work ((true)) WHERE ended_at IS NULL;
CREATE INDEX partition_work_started_idx ON partition_work (started_at);
