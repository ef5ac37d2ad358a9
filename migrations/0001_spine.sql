-- People, enrollment, devices and their heartbeats.
--
-- Times are timestamptz and ids are uuid throughout. What must always be true of a row
-- is a CHECK, so that no code path can break it. Alias and username order is byte order
-- (COLLATE "C"): the same in an index as in the nodes' memory.

CREATE TABLE app_user (
    user_id             uuid PRIMARY KEY,
    username            text COLLATE "C" NOT NULL,
    password_bcrypt     text NOT NULL,
    role                text NOT NULL,
    created_at          timestamptz NOT NULL,
    password_changed_at timestamptz NOT NULL,
    disabled_at         timestamptz,
    CONSTRAINT app_user_username_length CHECK (char_length(username) BETWEEN 1 AND 64),
    CONSTRAINT app_user_role_known CHECK (role IN ('admin', 'operator', 'viewer'))
);
CREATE UNIQUE INDEX app_user_username_key ON app_user (lower(username));

-- One sign-in. The refresh token rotates: presenting the one before the last again
-- means that it leaked, and ends the session.
CREATE TABLE user_session (
    session_id      uuid PRIMARY KEY,
    user_id         uuid NOT NULL REFERENCES app_user ON DELETE CASCADE,
    refresh_sha256  bytea NOT NULL,
    previous_sha256 bytea,
    created_at      timestamptz NOT NULL,
    rotated_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    revoked_at      timestamptz
);
CREATE UNIQUE INDEX user_session_refresh_key ON user_session (refresh_sha256);
CREATE UNIQUE INDEX user_session_previous_key ON user_session (previous_sha256) WHERE previous_sha256 IS NOT NULL;
CREATE INDEX user_session_user_idx ON user_session (user_id);

CREATE TABLE device (
    device_id             uuid PRIMARY KEY,
    -- u32_be(sha256(id)[4..8]) % 256 is the last of those bytes.
    shard                 integer NOT NULL GENERATED ALWAYS AS (get_byte(sha256(device_id::text::bytea), 7)) STORED,
    alias                 text COLLATE "C" NOT NULL,
    tags                  text[] NOT NULL DEFAULT '{}',
    groups                text[] NOT NULL DEFAULT '{}',
    hardware_id           text,
    model                 text,
    manufacturer          text,
    android_version       text,
    sdk_int               integer,
    app_version           text,
    app_version_code      bigint,
    fcm_token             text,
    -- Raised by every revocation; credentials of an older generation are dead.
    credential_generation integer NOT NULL DEFAULT 1,
    -- Which derivation of the device's signing key is in force.
    key_version           integer NOT NULL DEFAULT 1,
    enrolled_at           timestamptz NOT NULL,
    deleted_at            timestamptz,
    CONSTRAINT device_alias_length CHECK (char_length(alias) BETWEEN 1 AND 200),
    CONSTRAINT device_generation_positive CHECK (credential_generation >= 1)
);
-- A deleted device frees its alias.
CREATE UNIQUE INDEX device_alias_key ON device (alias) WHERE deleted_at IS NULL;
CREATE INDEX device_shard_idx ON device (shard) WHERE deleted_at IS NULL;
CREATE INDEX device_enrolled_idx ON device (enrolled_at, device_id) WHERE deleted_at IS NULL;

-- `secret_bcrypt` is of the secret half of `<token id>.<secret>`.
CREATE TABLE device_token (
    device_token_id uuid PRIMARY KEY,
    device_id       uuid NOT NULL REFERENCES device ON DELETE CASCADE,
    secret_bcrypt   text NOT NULL,
    generation      integer NOT NULL,
    created_at      timestamptz NOT NULL
);
CREATE INDEX device_token_device_idx ON device_token (device_id);

CREATE TABLE enroll_token (
    enroll_token_id uuid PRIMARY KEY,
    secret_sha256   bytea NOT NULL,
    alias           text COLLATE "C",
    tags            text[] NOT NULL DEFAULT '{}',
    groups          text[] NOT NULL DEFAULT '{}',
    created_at      timestamptz NOT NULL,
    created_by      uuid REFERENCES app_user ON DELETE SET NULL,
    expires_at      timestamptz NOT NULL,
    used_at         timestamptz,
    device_id       uuid REFERENCES device ON DELETE SET NULL,
    revoked_at      timestamptz,
    CONSTRAINT enroll_token_device_only_when_used CHECK (device_id IS NULL OR used_at IS NOT NULL),
    CONSTRAINT enroll_token_used_or_revoked CHECK (used_at IS NULL OR revoked_at IS NULL)
);
CREATE UNIQUE INDEX enroll_token_secret_key ON enroll_token (secret_sha256);
CREATE INDEX enroll_token_created_idx ON enroll_token (created_at DESC, enroll_token_id DESC);

-- The newest heartbeat of each device, by bucket. Every heartbeat updates its row, so there
-- is no index but the key, and room is left on each page: updates then stay on the page
-- (HOT) and touch no index.
CREATE TABLE device_last_status (
    device_id             uuid PRIMARY KEY REFERENCES device ON DELETE CASCADE,
    bucket_at             timestamptz NOT NULL,
    received_at           timestamptz NOT NULL,
    last_seen_at          timestamptz NOT NULL,
    device_time           timestamptz,
    clock_rejected        boolean NOT NULL,
    battery_pct           smallint,
    charging              boolean,
    battery_temperature_c real,
    app_version           text,
    agent_version_code    bigint,
    model                 text,
    uptime_s              bigint,
    ram_available_mb      integer,
    ram_pressure_pct      smallint,
    storage_free_mb       bigint,
    transport             text,
    net_validated         boolean,
    foreground_recent_s   integer,
    app_running           boolean,
    queue_depth           integer,
    boot_id               text,
    seq                   bigint,
    -- What is shown of a device but never searched, sorted or plotted.
    details               jsonb,
    CONSTRAINT device_last_status_battery CHECK (battery_pct BETWEEN 0 AND 100),
    CONSTRAINT device_last_status_seen CHECK (last_seen_at >= received_at)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05);

-- History, one row per device and 10-second bucket. No foreign key: history outlives
-- devices, and the check would cost a look-up per row.
CREATE TABLE heartbeats (
    device_id             uuid NOT NULL,
    bucket_at             timestamptz NOT NULL,
    received_at           timestamptz NOT NULL,
    device_time           timestamptz,
    clock_rejected        boolean NOT NULL,
    battery_pct           smallint,
    charging              boolean,
    battery_temperature_c real,
    app_version           text,
    agent_version_code    bigint,
    uptime_s              bigint,
    ram_available_mb      integer,
    ram_pressure_pct      smallint,
    storage_free_mb       bigint,
    transport             text,
    net_validated         boolean,
    foreground_recent_s   integer,
    app_running           boolean,
    queue_depth           integer,
    boot_id               text,
    seq                   bigint,
    PRIMARY KEY (device_id, bucket_at),
    CONSTRAINT heartbeats_battery CHECK (battery_pct BETWEEN 0 AND 100)
) PARTITION BY RANGE (bucket_at);

-- Catches what no daily partition covers, so that an unexpected clock never loses a row.
CREATE TABLE heartbeats_default PARTITION OF heartbeats DEFAULT;
