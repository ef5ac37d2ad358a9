-- What people do with devices, what happened to them, and their history in hours.
--
-- Expand only: nothing that an earlier build reads is changed, and a row that it writes is valid.

-- The monitored app, and when something that devices are known by was last changed, by the
-- database's clock: whoever may have missed a notification reads what changed since.
ALTER TABLE device
    ADD COLUMN monitored_package       text,
    ADD COLUMN monitored_stale_after_s integer,
    ADD COLUMN changed_at              timestamptz NOT NULL DEFAULT '2000-01-01 00:00:00Z',
    ADD CONSTRAINT device_monitored_package_length CHECK (char_length(monitored_package) BETWEEN 1 AND 255),
    ADD CONSTRAINT device_monitored_stale_range CHECK (monitored_stale_after_s BETWEEN 1 AND 31536000),
    ADD CONSTRAINT device_monitored_stale_of_package CHECK (monitored_stale_after_s IS NULL OR monitored_package IS NOT NULL);
-- Devices that are there already were not changed just now: nodes would read all of them again and again.
ALTER TABLE device ALTER COLUMN changed_at SET DEFAULT now();
CREATE INDEX device_changed_idx ON device (changed_at);
-- Deleted devices are few, and listed and purged by when they were deleted.
CREATE INDEX device_deleted_idx ON device (deleted_at, device_id) WHERE deleted_at IS NOT NULL;

-- Without it, each device that is removed for good would cost a scan of all tokens.
CREATE INDEX enroll_token_device_idx ON enroll_token (device_id) WHERE device_id IS NOT NULL;

-- What happened to a device. Written in the same transaction as the act, or by the owner together
-- with the condition below.
CREATE TABLE device_event (
    device_event_id bigint GENERATED ALWAYS AS IDENTITY,
    device_id       uuid NOT NULL REFERENCES device ON DELETE CASCADE,
    at              timestamptz NOT NULL,
    kind            text NOT NULL,
    -- Who did it, for what people do.
    actor           text,
    detail          jsonb NOT NULL DEFAULT '{}',
    -- Also the index that a page of a device's events reads backwards.
    PRIMARY KEY (device_id, at, device_event_id),
    CONSTRAINT device_event_kind_length CHECK (char_length(kind) BETWEEN 1 AND 64),
    CONSTRAINT device_event_detail_object CHECK (jsonb_typeof(detail) = 'object')
);
-- Old events are removed by time; they were written in the order of time, more or less.
CREATE INDEX device_event_at_idx ON device_event USING brin (at) WITH (pages_per_range = 16, autosummarize = on);

-- The condition of a device up to which its events are recorded. An event is a difference to it,
-- and both change in one statement that names the version it starts from, so none is recorded
-- twice, whoever owns the device.
CREATE TABLE device_condition (
    device_id          uuid PRIMARY KEY REFERENCES device ON DELETE CASCADE,
    version            bigint NOT NULL,
    online             boolean NOT NULL,
    low_battery        boolean NOT NULL,
    app_down           boolean NOT NULL,
    boot_id            text,
    agent_version      text,
    agent_version_code bigint,
    -- The app that was monitored, and its version.
    app_package        text,
    app_version        text,
    CONSTRAINT device_condition_version_positive CHECK (version >= 1)
);

-- History in hours: what a page of many days reads instead of the heartbeats. Filled a day at a
-- time once the day is over, device by device, so that the hours of a device lie together.
-- No foreign key: history outlives devices.
CREATE TABLE history_hour (
    device_id             uuid NOT NULL,
    hour_at               timestamptz NOT NULL,
    -- Heartbeats, the first and last of them, and the seconds between them in which the device was online.
    heartbeats            integer NOT NULL,
    first_at              timestamptz NOT NULL,
    last_at               timestamptz NOT NULL,
    online_s              integer NOT NULL,
    -- Of each measure: how many told it, the least, the sum, the most.
    battery_n             integer NOT NULL,
    battery_min           real,
    battery_sum           double precision,
    battery_max           real,
    temperature_n         integer NOT NULL,
    temperature_min       real,
    temperature_sum       double precision,
    temperature_max       real,
    ram_available_n       integer NOT NULL,
    ram_available_min     real,
    ram_available_sum     double precision,
    ram_available_max     real,
    ram_pressure_n        integer NOT NULL,
    ram_pressure_min      real,
    ram_pressure_sum      double precision,
    ram_pressure_max      real,
    storage_free_n        integer NOT NULL,
    storage_free_min      real,
    storage_free_sum      double precision,
    storage_free_max      real,
    -- Of each question: how many answered it, and how many with yes.
    charging_n            integer NOT NULL,
    charging_yes          integer NOT NULL,
    net_validated_n       integer NOT NULL,
    net_validated_yes     integer NOT NULL,
    wifi                  integer NOT NULL,
    cellular              integer NOT NULL,
    ethernet              integer NOT NULL,
    no_network            integer NOT NULL,
    other_network         integer NOT NULL,
    PRIMARY KEY (device_id, hour_at),
    CONSTRAINT history_hour_not_empty CHECK (heartbeats >= 1)
);
CREATE INDEX history_hour_at_idx ON history_hour USING brin (hour_at) WITH (pages_per_range = 32, autosummarize = on);

-- Days whose hours are filled in for every device.
CREATE TABLE history_day (
    day       date PRIMARY KEY,
    done_at   timestamptz NOT NULL DEFAULT now(),
    -- Counted once more after the last late heartbeat could come: a node of an earlier build leaves
    -- no notes below.
    closed_at timestamptz
);

-- Heartbeats that came after their day was due to be filled in: to be counted again. No key, so
-- that a writer never waits for whoever is counting.
CREATE TABLE history_recount (
    device_id uuid NOT NULL,
    day       date NOT NULL
);

-- The fleet over time, one row per five minutes.
CREATE TABLE fleet_sample (
    at                    timestamptz PRIMARY KEY,
    devices               bigint NOT NULL,
    online                bigint NOT NULL,
    offline               bigint NOT NULL,
    never_seen            bigint NOT NULL,
    low_battery           bigint NOT NULL,
    app_down              bigint NOT NULL,
    heartbeats_per_second double precision NOT NULL
);

-- Filters that people keep, and share if they like.
CREATE TABLE saved_filter (
    saved_filter_id uuid PRIMARY KEY,
    owner           uuid NOT NULL REFERENCES app_user ON DELETE CASCADE,
    name            text COLLATE "C" NOT NULL,
    filter          jsonb NOT NULL,
    shared          boolean NOT NULL DEFAULT false,
    created_at      timestamptz NOT NULL,
    changed_at      timestamptz NOT NULL,
    CONSTRAINT saved_filter_name_length CHECK (char_length(name) BETWEEN 1 AND 100),
    CONSTRAINT saved_filter_object CHECK (jsonb_typeof(filter) = 'object')
);
CREATE UNIQUE INDEX saved_filter_name_key ON saved_filter (owner, name);
CREATE INDEX saved_filter_shared_idx ON saved_filter (saved_filter_id) WHERE shared;
