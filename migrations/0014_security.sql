-- Every refresh token that a sign-in has had, not only the last one: whichever of them comes back has leaked. And which devices
-- still have an agent that checks push messages in the format of the earlier server, so that it can be turned off.
--
-- Expand only: the build before neither reads nor writes these. It still finds the token before the current one in
-- `user_session.previous_sha256`, which this build goes on writing. What was replaced before this is not known.
-- No table is rewritten: the column has no default, and the index finds no row. The lock on `device` is short, but while it is
-- waited for, heartbeats wait behind it: so not for long. The start fails then, and is tried again.
SET LOCAL lock_timeout = '5s';

CREATE TABLE replaced_refresh_token (
    -- SHA-256, as in user_session.
    refresh_sha256 bytea PRIMARY KEY,
    session_id     uuid NOT NULL REFERENCES user_session ON DELETE CASCADE,
    replaced_at    timestamptz NOT NULL
);
-- Each sign-in keeps its newest ones, and those that have ended none.
CREATE INDEX replaced_refresh_token_session_idx ON replaced_refresh_token (session_id, replaced_at);

-- When the device last answered a command in the format of the earlier server; NULL since it answered in today's.
ALTER TABLE device ADD COLUMN legacy_result_at timestamptz;
CREATE INDEX device_legacy_result_idx ON device (device_id) WHERE legacy_result_at IS NOT NULL;
