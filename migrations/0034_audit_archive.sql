-- Archives of the audit trail: entries beyond their retention are written to files, read back, and only then removed.
--
-- Expand only for what an entry is: the table of entries and the head stay as they are, and an earlier build goes on adding entries. Its `audit verify`, and
-- its check of the chain, find the first entries missing once some were removed, which is a year after they were written at the earliest.
--
-- The triggers are replaced, which takes a short lock that writers of entries wait behind: so not for long. The start fails then, and is tried again.
SET LOCAL lock_timeout = '5s';

CREATE TABLE audit_archive (
    first_seq   bigint PRIMARY KEY CHECK (first_seq >= 1),
    last_seq    bigint NOT NULL UNIQUE CHECK (last_seq >= first_seq),
    first_at    timestamptz NOT NULL,
    last_at     timestamptz NOT NULL,
    -- Hashes between which its entries stand: of the entry before the first, and of the last.
    prev_hash   bytea NOT NULL CHECK (octet_length(prev_hash) = 32),
    last_hash   bytea NOT NULL CHECK (octet_length(last_hash) = 32),
    -- Name of the archive within its store, and what the file is.
    name        text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 200),
    sha256      text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    rows_sha256 text NOT NULL CHECK (rows_sha256 ~ '^[0-9a-f]{64}$'),
    bytes       bigint NOT NULL CHECK (bytes > 0),
    -- When it was read back from the store and matched, which is when its row is written.
    verified_at timestamptz NOT NULL,
    -- When the last of its entries was removed from the database.
    removed_at  timestamptz
);

CREATE TRIGGER audit_archive_stays BEFORE DELETE OR TRUNCATE ON audit_archive FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

-- Entries are only ever added, and removed when an archive that was read back has them.
CREATE FUNCTION audit_refuse_unarchived() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM gone g WHERE NOT EXISTS (SELECT FROM audit_archive a WHERE g.seq BETWEEN a.first_seq AND a.last_seq)) THEN
        RAISE EXCEPTION 'the audit trail is append-only: DELETE on audit_entry is refused for entries that are in no archive'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$$;
DROP TRIGGER audit_entry_append_only ON audit_entry;
CREATE TRIGGER audit_entry_append_only BEFORE UPDATE OR TRUNCATE ON audit_entry FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_entry_archived_first AFTER DELETE ON audit_entry REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_unarchived();
