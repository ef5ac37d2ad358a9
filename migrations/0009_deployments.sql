-- Deployments: an APK on its way to a fixed set of devices.
--
-- Expand only. A node of the build before drives no deployment; those of its shards wait until a newer node owns them.

-- Features that are on or off for the whole cluster. A flag without a row is off.
CREATE TABLE feature_flag (
    name       text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_.]{0,63}$'),
    enabled    boolean NOT NULL,
    updated_by text NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE deployment (
    deployment_id uuid PRIMARY KEY,
    -- Whose owner drives it.
    shard_id      integer NOT NULL CHECK (shard_id BETWEEN 0 AND 255),
    apk_id        uuid NOT NULL REFERENCES apk,
    package       text NOT NULL,
    version_code  bigint NOT NULL,
    name          text NOT NULL,
    -- What was asked for, the options, and the flags of that moment: JSON.
    target        text NOT NULL,
    options       text NOT NULL,
    flags         text NOT NULL,
    devices       integer NOT NULL CHECK (devices > 0),
    canary_size   integer NOT NULL CHECK (canary_size BETWEEN 0 AND devices),
    state         text NOT NULL CHECK (state IN ('running', 'paused', 'canceled', 'finished')),
    phase         text NOT NULL CHECK (phase IN ('canary', 'rollout')),
    -- Why it is paused: 'person', 'canary_failed', 'canary_timeout', 'failure_rate'.
    pause_reason  text CHECK (pause_reason IN ('person', 'canary_failed', 'canary_timeout', 'failure_rate')),
    paused_at     timestamptz,
    -- Time in the canary phase that the deployment was running, ms, up to phase_since; it goes on from there.
    canary_ms     bigint NOT NULL DEFAULT 0 CHECK (canary_ms >= 0),
    phase_since   timestamptz NOT NULL,
    -- Failures from before do not count for the failure rate: somebody resumed knowing of them.
    judged_since  timestamptz NOT NULL,
    -- Devices that have an older open deployment of the package: 'wait' for it, or 'supersede' it.
    conflict      text NOT NULL CHECK (conflict IN ('wait', 'supersede')),
    -- The deployment that this one takes back.
    rolls_back    uuid REFERENCES deployment ON DELETE SET NULL,
    created_by    text NOT NULL,
    created_at    timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    canceled_by   text,
    -- Nothing is left to do: every task is over.
    finished_at   timestamptz,
    CHECK ((state = 'paused') = (pause_reason IS NOT NULL AND paused_at IS NOT NULL)),
    CHECK (state <> 'finished' OR finished_at IS NOT NULL),
    CHECK (finished_at IS NULL OR state IN ('finished', 'canceled'))
);
CREATE INDEX deployment_newest ON deployment (created_at DESC, deployment_id DESC);
CREATE INDEX deployment_open ON deployment (shard_id) WHERE finished_at IS NULL;
CREATE INDEX deployment_of_apk ON deployment (apk_id);

-- The set that was chosen, in its order; never changed.
CREATE TABLE deployment_target (
    deployment_id uuid NOT NULL REFERENCES deployment ON DELETE CASCADE,
    position      integer NOT NULL CHECK (position >= 0),
    device_id     uuid NOT NULL,
    alias         text NOT NULL,
    canary        boolean NOT NULL,
    PRIMARY KEY (deployment_id, position),
    UNIQUE (deployment_id, device_id)
);

CREATE TABLE deployment_task (
    deployment_id uuid NOT NULL REFERENCES deployment ON DELETE CASCADE,
    position      integer NOT NULL,
    -- No reference: a device that is removed for good leaves its record behind.
    device_id     uuid NOT NULL,
    package       text NOT NULL,
    canary        boolean NOT NULL,
    state         text NOT NULL CHECK (state IN ('queued', 'waiting_window', 'throttled', 'sending', 'installing',
                      'succeeded', 'failed', 'skipped', 'canceled')),
    reason        text,
    -- What the device said last: accepted, downloading, verifying, installing.
    stage         text CHECK (stage IN ('accepted', 'downloading', 'verifying', 'installing')),
    progress_pct  smallint CHECK (progress_pct BETWEEN 0 AND 100),
    attempts      integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    not_before    timestamptz,
    command_id    uuid,
    -- Of the present or last attempt.
    started_at    timestamptz,
    accepted_at   timestamptz,
    reported_at   timestamptz,
    finished_at   timestamptz,
    changed_at    timestamptz NOT NULL,
    error         text,
    message       text,
    version_before bigint,
    installed_version text,
    PRIMARY KEY (deployment_id, device_id),
    CHECK ((state IN ('succeeded', 'failed', 'skipped', 'canceled')) = (finished_at IS NOT NULL)),
    CHECK (state NOT IN ('sending', 'installing') OR (attempts > 0 AND started_at IS NOT NULL AND command_id IS NOT NULL)),
    CHECK (state <> 'installing' OR stage IS NOT NULL)
);
-- Counters come from here, and pages of a table.
CREATE INDEX deployment_task_state ON deployment_task (deployment_id, state);
CREATE INDEX deployment_task_position ON deployment_task (deployment_id, position);
CREATE INDEX deployment_task_changed ON deployment_task (deployment_id, changed_at);
-- One installation of a package at a time on a device, whoever decides.
CREATE UNIQUE INDEX deployment_task_busy ON deployment_task (device_id, package) WHERE state IN ('sending', 'installing');
CREATE INDEX deployment_task_open ON deployment_task (package, device_id)
    WHERE state IN ('queued', 'waiting_window', 'throttled', 'sending', 'installing');

-- Every start of an installation; the rate is judged by these.
CREATE TABLE deployment_attempt (
    deployment_id uuid NOT NULL REFERENCES deployment ON DELETE CASCADE,
    device_id     uuid NOT NULL,
    attempt       integer NOT NULL CHECK (attempt > 0),
    started_at    timestamptz NOT NULL,
    finished_at   timestamptz,
    outcome       text,
    error         text,
    PRIMARY KEY (deployment_id, device_id, attempt)
);
CREATE INDEX deployment_attempt_started ON deployment_attempt (deployment_id, started_at);

CREATE TABLE deployment_event (
    event_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    deployment_id uuid NOT NULL REFERENCES deployment ON DELETE CASCADE,
    at            timestamptz NOT NULL,
    kind          text NOT NULL,
    device_id     uuid,
    -- For people.
    detail        text NOT NULL DEFAULT '',
    by_whom       text
);
CREATE INDEX deployment_event_of ON deployment_event (deployment_id, event_id);

-- Commands of deployments: their owners read them together.
ALTER TABLE command ADD COLUMN deployment_id uuid;
CREATE INDEX command_of_deployment ON command (deployment_id) WHERE deployment_id IS NOT NULL AND state IN ('queued', 'sent', 'delivered');
