-- The audit trail: who did what to what, in a chain of hashes.
--
-- Expand only: an earlier build neither reads nor writes it, and what such a build does leaves no entry.
--
-- `before` and `after` are text, not jsonb: PostgreSQL writes jsonb its own way, and the hash is over what
-- was written, byte by byte. It is JSON with sorted keys and no spaces, so `before::jsonb` reads it.

CREATE TABLE audit_entry (
    -- Without gaps: given out under the lock of audit_head, not by a sequence, which leaves holes.
    seq         bigint PRIMARY KEY,
    at          timestamptz NOT NULL,
    actor_kind  text NOT NULL,
    actor_id    text,
    actor_name  text NOT NULL,
    action      text NOT NULL,
    target_kind text NOT NULL,
    target_id   text,
    target_name text,
    before      text,
    after       text,
    request_id  text,
    address     text,
    prev_hash   bytea NOT NULL,
    hash        bytea NOT NULL,
    CONSTRAINT audit_entry_seq_positive CHECK (seq >= 1),
    CONSTRAINT audit_entry_actor_kind_known CHECK (actor_kind IN ('person', 'token', 'system', 'device')),
    CONSTRAINT audit_entry_lengths CHECK (
        char_length(actor_id) <= 255 AND char_length(actor_name) BETWEEN 1 AND 255 AND char_length(action) BETWEEN 1 AND 64
        AND char_length(target_kind) BETWEEN 1 AND 64 AND char_length(target_id) <= 255 AND char_length(target_name) <= 255
        AND octet_length(before) <= 262144 AND octet_length(after) <= 262144
        AND char_length(request_id) <= 64 AND char_length(address) <= 45),
    CONSTRAINT audit_entry_sha256 CHECK (octet_length(prev_hash) = 32 AND octet_length(hash) = 32)
);
-- One for each question that a search asks; the key answers "the newest".
CREATE INDEX audit_entry_at_idx ON audit_entry (at);
CREATE INDEX audit_entry_actor_name_idx ON audit_entry (lower(actor_name), seq);
CREATE INDEX audit_entry_actor_id_idx ON audit_entry (actor_id, seq) WHERE actor_id IS NOT NULL;
CREATE INDEX audit_entry_action_idx ON audit_entry (action text_pattern_ops, seq);
CREATE INDEX audit_entry_target_id_idx ON audit_entry (target_id, seq) WHERE target_id IS NOT NULL;
CREATE INDEX audit_entry_target_name_idx ON audit_entry (lower(target_name), seq) WHERE target_name IS NOT NULL;
CREATE INDEX audit_entry_request_idx ON audit_entry (request_id) WHERE request_id IS NOT NULL;

-- The newest entry. Its row's lock is the last that an act takes before it commits: whoever holds it
-- waits for nobody, so no circle of waiting can pass through it, and it is held for a commit's time only.
CREATE TABLE audit_head (
    only_row boolean PRIMARY KEY DEFAULT true,
    seq      bigint NOT NULL,
    hash     bytea NOT NULL,
    CONSTRAINT audit_head_single CHECK (only_row),
    CONSTRAINT audit_head_sha256 CHECK (octet_length(hash) = 32 AND seq >= 0)
) WITH (fillfactor = 20);
-- What the first entry follows: 32 zero bytes.
INSERT INTO audit_head (seq, hash) VALUES (0, decode(repeat('00', 32), 'hex'));

-- Entries are only ever added. Whoever may switch this off is found out by `nexmdm audit verify`.
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only: % on % is refused', TG_OP, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_head_stays BEFORE DELETE OR TRUNCATE ON audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
