-- Updates of the agent: builds, how they are offered, and what became of them.
--
-- Expand only: a node of the build before knows none of it, and its devices' checks are answered by newer nodes alone.

-- An APK of the agent that may be offered to devices.
CREATE TABLE agent_build (
    build_id        uuid PRIMARY KEY,
    apk_id          uuid NOT NULL UNIQUE REFERENCES apk,
    package         text NOT NULL,
    version_code    bigint NOT NULL CHECK (version_code >= 0),
    release_notes   text NOT NULL DEFAULT '' CHECK (char_length(release_notes) <= 4000),
    state           text NOT NULL CHECK (state IN ('draft', 'promoted', 'halted', 'rolled_back')),
    -- How it is or was offered; of a draft, nothing was said yet.
    rollout_percent smallint CHECK (rollout_percent BETWEEN 1 AND 100),
    wifi_only       boolean NOT NULL DEFAULT true,
    must_install    boolean NOT NULL DEFAULT false,
    min_battery_pct smallint NOT NULL DEFAULT 0 CHECK (min_battery_pct BETWEEN 0 AND 100),
    -- Why the server took it out: 'verify_failures', 'failure_rate'.
    halt_reason     text CHECK (halt_reason IN ('verify_failures', 'failure_rate')),
    -- What devices told since it was promoted last, each device once; the automatic halt is decided by these under the
    -- row's lock. What was told before a promotion does not count: whoever promotes again knows of it.
    judged_installs        bigint NOT NULL DEFAULT 0,
    judged_failures        bigint NOT NULL DEFAULT 0,
    judged_verify_failures bigint NOT NULL DEFAULT 0,
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL,
    -- Who promoted it last, and when; who changed anything last, and when.
    promoted_by     text,
    promoted_at     timestamptz,
    changed_by      text NOT NULL,
    changed_at      timestamptz NOT NULL,
    nudged_by       text,
    nudged_at       timestamptz,
    UNIQUE (package, version_code),
    CHECK (state = 'draft' OR (rollout_percent IS NOT NULL AND promoted_at IS NOT NULL AND promoted_by IS NOT NULL)),
    CHECK ((state = 'halted') = (halt_reason IS NOT NULL))
);

-- Counters by build and hour. Checks are added by each node every few seconds, reports with their outcome.
CREATE TABLE agent_update_stat (
    build_id        uuid NOT NULL REFERENCES agent_build ON DELETE CASCADE,
    hour            timestamptz NOT NULL,
    checks          bigint NOT NULL DEFAULT 0 CHECK (checks >= 0),
    eligible        bigint NOT NULL DEFAULT 0 CHECK (eligible BETWEEN 0 AND checks),
    downloads       bigint NOT NULL DEFAULT 0 CHECK (downloads >= 0),
    installs        bigint NOT NULL DEFAULT 0 CHECK (installs >= 0),
    failures        bigint NOT NULL DEFAULT 0 CHECK (failures >= 0),
    verify_failures bigint NOT NULL DEFAULT 0 CHECK (verify_failures >= 0),
    PRIMARY KEY (build_id, hour)
);
CREATE INDEX agent_update_stat_age ON agent_update_stat (hour);

-- What a device told of a build, once for each event, so that a report that is repeated counts once.
CREATE TABLE agent_update_outcome (
    build_id     uuid NOT NULL REFERENCES agent_build ON DELETE CASCADE,
    -- No reference: a device that is removed for good leaves its record behind.
    device_id    uuid NOT NULL,
    event        text NOT NULL CHECK (event IN ('downloaded', 'installed', 'failed', 'verify_failed')),
    at           timestamptz NOT NULL,
    error        text CHECK (char_length(error) <= 200),
    PRIMARY KEY (build_id, device_id, event)
);
CREATE INDEX agent_update_outcome_age ON agent_update_outcome (at);
CREATE INDEX agent_update_outcome_error ON agent_update_outcome (build_id, error) WHERE error IS NOT NULL;

-- Devices by version of the agent; of the hour that is not over, the newest count.
CREATE TABLE agent_version_sample (
    hour         timestamptz NOT NULL,
    -- 0: the device does not tell its version.
    version_code bigint NOT NULL CHECK (version_code >= 0),
    devices      bigint NOT NULL CHECK (devices >= 0),
    PRIMARY KEY (hour, version_code)
);
