-- Backups that were made, and attempts that failed: the schedule goes by them, and the alert about an old backup.
--
-- Expand only: an earlier build neither reads nor writes it. A backup holds these rows as they were before it was finished, so after a restore the
-- newest one that is named here is the one before it.
CREATE TABLE backup (
    backup_id   uuid PRIMARY KEY,
    -- Time of the snapshot, or of the attempt.
    started_at  timestamptz NOT NULL,
    finished_at timestamptz,
    file        text NOT NULL,
    bytes       bigint NOT NULL,
    rows        bigint NOT NULL,
    origin      text NOT NULL,
    node        text NOT NULL,
    verified_at timestamptz,
    error       text,
    CONSTRAINT backup_origin_known CHECK (origin IN ('schedule', 'console')),
    CONSTRAINT backup_ended CHECK ((finished_at IS NULL) = (error IS NOT NULL)),
    CONSTRAINT backup_lengths CHECK (char_length(file) <= 4096 AND char_length(node) <= 255 AND char_length(error) <= 1000)
);
-- "The newest" and "older than".
CREATE INDEX backup_started_idx ON backup (started_at DESC);
