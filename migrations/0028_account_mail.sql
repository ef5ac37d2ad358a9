-- Addresses of accounts, and links by which a password is set: sent by mail, for whoever has forgotten theirs and for new accounts.
--
-- Expand only: a column without a default, which PostgreSQL adds without rewriting the table, and a new table. A node of the build before sends no links, and
-- knows no addresses.

ALTER TABLE app_user ADD COLUMN email text CHECK (char_length(email) BETWEEN 3 AND 254);

-- The newest invitation of an account, and the newest link that was asked for on the sign-in page; an older one is worth nothing. They do not replace each
-- other: anybody can ask for the second.
CREATE TABLE password_link (
    user_id      uuid NOT NULL REFERENCES app_user ON DELETE CASCADE,
    invitation   boolean NOT NULL,
    -- The token itself is in the mail alone.
    token_sha256 bytea NOT NULL UNIQUE CHECK (octet_length(token_sha256) = 32),
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL CHECK (expires_at > created_at),
    -- When it was used, or another password ended it. The row stays, so that the pause before the next link goes on.
    ended_at     timestamptz,
    PRIMARY KEY (user_id, invitation)
);
