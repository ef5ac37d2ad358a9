-- Commands to devices: a row per command and device is the truth about it. New tables only, so a node
-- of the build before this one goes on as it was; devices that it owns get their commands once they
-- have moved to a node that knows of them.

-- One call for many devices.
CREATE TABLE command_batch (
    batch_id        uuid PRIMARY KEY,
    action          text NOT NULL,
    -- JSON without secrets, for people.
    params_shown    text NOT NULL,
    -- What was asked for, for people: ids or a filter.
    target          text NOT NULL,
    rate_per_second integer NOT NULL CHECK (rate_per_second > 0),
    devices         integer NOT NULL CHECK (devices >= 0),
    -- Devices that were asked for and get no command, with the reasons: [{"id","alias","reason"}].
    refused         text NOT NULL,
    refused_count   integer NOT NULL CHECK (refused_count >= 0),
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL CHECK (expires_at > created_at),
    canceled_at     timestamptz
);
CREATE INDEX command_batch_newest ON command_batch (created_at DESC, batch_id DESC);

CREATE TABLE command (
    request_id   uuid PRIMARY KEY,
    device_id    uuid NOT NULL REFERENCES device ON DELETE CASCADE,
    shard_id     integer NOT NULL CHECK (shard_id BETWEEN 0 AND 255),
    batch_id     uuid REFERENCES command_batch ON DELETE CASCADE,
    action       text NOT NULL,
    -- JSON, what the device is sent; without its secrets once the command is over.
    params       text NOT NULL,
    params_shown text NOT NULL,
    state        text NOT NULL CHECK (state IN ('queued', 'sent', 'delivered', 'succeeded', 'failed', 'expired', 'canceled')),
    attempts     integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    -- The path of the last attempt.
    path         text CHECK (path IN ('socket', 'push', 'heartbeat')),
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL,
    -- Not sent before: a batch goes out at its rate.
    release_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    sent_at      timestamptz,
    delivered_at timestamptz,
    finished_at  timestamptz,
    canceled_by  text,
    -- What the device said last of how it ended.
    outcome      text CHECK (outcome IN ('success', 'failed', 'skipped', 'timeout')),
    message      text,
    code         text,
    data         text,
    device_finished_at timestamptz,
    CHECK (expires_at > created_at),
    CHECK ((state = 'succeeded') = (outcome IS NOT NULL AND outcome = 'success')),
    CHECK ((state = 'failed') = (outcome IS NOT NULL AND outcome <> 'success')),
    CHECK ((state IN ('queued', 'sent', 'delivered')) = (finished_at IS NULL)),
    CHECK (state <> 'queued' OR attempts = 0)
);
CREATE INDEX command_of_device ON command (device_id, created_at DESC, request_id DESC);
CREATE INDEX command_newest ON command (created_at DESC, request_id DESC);
CREATE INDEX command_of_batch ON command (batch_id, state) WHERE batch_id IS NOT NULL;
-- What owners drive, and what runs out.
CREATE INDEX command_open ON command (shard_id, expires_at) WHERE state IN ('queued', 'sent', 'delivered');

-- The same call again gets the same answer.
CREATE TABLE command_idempotency (
    owner_id     uuid NOT NULL,
    key          text NOT NULL,
    body_sha256  bytea NOT NULL,
    resource_id  uuid NOT NULL,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (owner_id, key)
);
CREATE INDEX command_idempotency_age ON command_idempotency (created_at);

-- What `exec` may run. Programs with arguments, never a shell line.
CREATE TABLE exec_command (
    name        text PRIMARY KEY CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
    argv        text[] NOT NULL CHECK (cardinality(argv) BETWEEN 1 AND 32),
    description text NOT NULL,
    updated_by  text NOT NULL,
    updated_at  timestamptz NOT NULL
);
