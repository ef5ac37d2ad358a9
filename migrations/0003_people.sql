-- API tokens, lock-out of accounts, and what the list of sign-ins shows.
--
-- Expand only: nothing that an earlier build reads or writes is changed. The new columns are
-- nullable without a default, so no row is rewritten; the constraint on them looks once at
-- user_session, which holds some rows per account.

-- A script's credential. Only the SHA-256 of its 256 random bits is kept; `prefix` is what people
-- recognize it by. `scopes` are names of permissions and narrow what the owner's role allows.
CREATE TABLE api_token (
    api_token_id      uuid PRIMARY KEY,
    user_id           uuid NOT NULL REFERENCES app_user ON DELETE CASCADE,
    -- The token that made it: revoking one revokes what it made.
    parent_id         uuid REFERENCES api_token ON DELETE SET NULL,
    name              text NOT NULL,
    prefix            text NOT NULL,
    secret_sha256     bytea NOT NULL,
    scopes            text[] NOT NULL,
    created_at        timestamptz NOT NULL,
    expires_at        timestamptz NOT NULL,
    -- To the minute or so: not every request writes.
    last_used_at      timestamptz,
    last_used_address text,
    revoked_at        timestamptz,
    CONSTRAINT api_token_name_length CHECK (char_length(name) BETWEEN 1 AND 100),
    CONSTRAINT api_token_prefix_short CHECK (char_length(prefix) <= 16),
    CONSTRAINT api_token_sha256 CHECK (octet_length(secret_sha256) = 32),
    CONSTRAINT api_token_scoped CHECK (cardinality(scopes) > 0),
    CONSTRAINT api_token_expires CHECK (expires_at > created_at),
    CONSTRAINT api_token_address_length CHECK (char_length(last_used_address) <= 45)
);
CREATE UNIQUE INDEX api_token_secret_key ON api_token (secret_sha256);
CREATE INDEX api_token_user_idx ON api_token (user_id, api_token_id DESC);
CREATE INDEX api_token_parent_idx ON api_token (parent_id) WHERE parent_id IS NOT NULL;

-- Failed sign-ins in a row by SHA-256 of the name that was given, whether or not there is such an
-- account: an answer must not tell. A hash, because people type passwords into the field of the name.
CREATE TABLE sign_in_failure (
    name_sha256  bytea PRIMARY KEY,
    failures     integer NOT NULL,
    failed_at    timestamptz NOT NULL,
    -- Attempts before this are refused unseen; always bounded, so that time unlocks every account.
    locked_until timestamptz,
    CONSTRAINT sign_in_failure_sha256 CHECK (octet_length(name_sha256) = 32),
    CONSTRAINT sign_in_failure_counted CHECK (failures >= 0)
);
CREATE INDEX sign_in_failure_age_idx ON sign_in_failure (failed_at);

ALTER TABLE user_session
    ADD COLUMN user_agent   text,
    ADD COLUMN address      text,
    -- To the minute or so: not every request writes.
    ADD COLUMN last_seen_at timestamptz,
    ADD CONSTRAINT user_session_client_length CHECK (char_length(user_agent) <= 200 AND char_length(address) <= 45);
