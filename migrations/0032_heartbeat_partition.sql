-- What is recorded of each day of heartbeats: how far its table has come in its life, and its archive.
--
-- Expand only: a new table, which the build before neither reads nor writes. Nothing is filled in here: of tables that are there already the
-- partition manager records what it finds. A day that the build before makes anew after its drop is found as a table of a dropped day, and merged.

CREATE TABLE heartbeat_partition (
    day            date PRIMARY KEY,
    state          text NOT NULL,
    -- Of the table, when it was last looked at.
    row_count      bigint,
    bytes          bigint,
    -- Of the newest archive.
    archive_url    text,
    archive_sha256 text,
    rows_sha256    text,
    archive_rows   bigint,
    archive_bytes  bigint,
    first_at       timestamptz,
    last_at        timestamptz,
    schema_version integer,
    -- When each step was last done.
    created_at     timestamptz,
    analyzed_at    timestamptz,
    archived_at    timestamptz,
    verified_at    timestamptz,
    dropped_at     timestamptz,
    restored_at    timestamptz,
    restored_until timestamptz,
    -- Of the last attempt that failed.
    last_error     text,
    failed_at      timestamptz,
    attempts       integer NOT NULL DEFAULT 0,
    -- Of the step that is under way.
    progress_step  text,
    progress_done  bigint,
    progress_of    bigint,
    progress_at    timestamptz,
    CONSTRAINT heartbeat_partition_state_known
        CHECK (state IN ('open', 'settled', 'archived', 'verified', 'dropped', 'restoring', 'restored', 'lost')),
    CONSTRAINT heartbeat_partition_archive_whole
        CHECK (num_nulls(archive_url, archive_sha256, rows_sha256, archive_rows, archive_bytes, schema_version) IN (0, 6)),
    CONSTRAINT heartbeat_partition_archived
        CHECK (state NOT IN ('archived', 'verified', 'dropped', 'restoring', 'restored') OR archive_sha256 IS NOT NULL),
    -- A table is dropped only after its archive was read back from the store.
    CONSTRAINT heartbeat_partition_dropped_verified CHECK (state <> 'dropped' OR verified_at IS NOT NULL)
);
