-- Addresses of accounts, and links by which a password is set: sent by mail, for whoever has forgotten theirs and for new accounts.
--
-- Expand only: a column without a default, which PostgreSQL adds without rewriting the table, and a new table. A node of the build before sends no links, and
-- knows no addresses.

ALTER TABLE app_user ADD COLUMN email text CHECK (char_length(email) BETWEEN 3 AND 254);

-- The newest link of an account; an older one is worth nothing.
CREATE TABLE password_link (
    user_id      uuid PRIMARY KEY REFERENCES app_user ON DELETE CASCADE,
    -- The token itself is in the mail alone.
    token_sha256 bytea NOT NULL UNIQUE CHECK (octet_length(token_sha256) = 32),
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL CHECK (expires_at > created_at)
);
