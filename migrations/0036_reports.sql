-- Reports of the fleet: the figures of each day, kept longer than the hours that they are made from, and who is sent them.
--
-- Expand only: new tables, and a column without a default, which PostgreSQL adds without rewriting the table. A node of the build before makes no
-- figures and sends no reports; it leaves messages of a kind that it does not know to newer nodes.
--
-- The column takes a lock that every statement about messages waits behind, and that itself waits for whoever reads them, such as a backup: so not for
-- long. The start fails then, and is tried again. Its check holds for rows from now on (NOT VALID), since those before have no report: none is read under the lock.
SET LOCAL lock_timeout = '5s';

-- Figures of a group on a day, or of the fleet, whose group is empty. Sums, so that those of several days add up.
CREATE TABLE report_day (
    day               date NOT NULL,
    group_canonical   text NOT NULL,
    group_name        text NOT NULL CHECK ((group_name = '') = (group_canonical = '')),
    devices           bigint NOT NULL CHECK (devices >= 0),
    never_reported    bigint NOT NULL CHECK (never_reported BETWEEN 0 AND devices),
    expected_s        bigint NOT NULL CHECK (expected_s >= 0),
    online_s          bigint NOT NULL CHECK (online_s BETWEEN 0 AND expected_s),
    went_offline      bigint NOT NULL,
    gap_hours         bigint NOT NULL,
    battery_hours     bigint NOT NULL,
    battery_low_hours bigint NOT NULL CHECK (battery_low_hours BETWEEN 0 AND battery_hours),
    battery_devices   bigint NOT NULL,
    not_fully_charged bigint NOT NULL CHECK (not_fully_charged BETWEEN 0 AND battery_devices),
    drained_fast      bigint NOT NULL CHECK (drained_fast BETWEEN 0 AND battery_devices),
    reboots           bigint NOT NULL,
    app_downs         bigint NOT NULL,
    app_down_s        bigint NOT NULL,
    alerts_raised     bigint NOT NULL,
    alerts_resolved   bigint NOT NULL,
    -- By rule: raised and resolved. By version: devices, the most first.
    alerts            jsonb NOT NULL CHECK (jsonb_typeof(alerts) = 'object'),
    agent_versions    jsonb NOT NULL CHECK (jsonb_typeof(agent_versions) = 'array'),
    app_versions      jsonb NOT NULL CHECK (jsonb_typeof(app_versions) = 'array'),
    made_at           timestamptz NOT NULL,
    -- Made again once no heartbeat of the day can come any more.
    is_final          boolean NOT NULL,
    PRIMARY KEY (day, group_canonical)
);
-- The days of one group.
CREATE INDEX report_day_group_idx ON report_day (group_canonical, day);

-- A report that is sent to a channel after each period.
CREATE TABLE report_schedule (
    schedule_id     uuid PRIMARY KEY,
    channel_id      uuid NOT NULL REFERENCES alert_channel ON DELETE CASCADE,
    period          text NOT NULL CHECK (period IN ('daily', 'weekly')),
    -- None: the fleet. Groups are found by their canonical name.
    group_name      text CHECK (char_length(group_name) BETWEEN 1 AND 200),
    at_time         text NOT NULL CHECK (at_time ~ '^\d\d:\d\d$'),
    tz              text NOT NULL,
    -- First day of the period that was sent last. Whoever sends the next one names it.
    sent_period     date,
    sent_at         timestamptz,
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL,
    CHECK ((sent_period IS NULL) = (sent_at IS NULL))
);
CREATE INDEX report_schedule_channel_idx ON report_schedule (channel_id);

-- The report of a message that is one; messages about alerts have none.
ALTER TABLE notification ADD COLUMN report jsonb, ADD CONSTRAINT notification_report_check CHECK (jsonb_typeof(report) = 'object') NOT VALID;
