-- Alerts: their records and history, the settings of rules, silences, and who is told: channels, routes, what people have been told, and the
-- messages on their way.
--
-- Expand only: new tables alone. A node of the build before judges nothing and tells nobody; alerts of its shards stay as they are until a
-- newer node owns them.

-- One period in which a rule fired for a subject.
CREATE TABLE alert (
    alert_id          uuid PRIMARY KEY,
    -- Whose owner judges it.
    shard_id          integer NOT NULL CHECK (shard_id BETWEEN 0 AND 255),
    rule              text NOT NULL CHECK (char_length(rule) BETWEEN 1 AND 64),
    -- A device, deployment, node or part of the system. No foreign key: the record outlives what it is about.
    subject_kind      text NOT NULL CHECK (subject_kind IN ('device', 'deployment', 'node', 'system')),
    subject_id        text NOT NULL CHECK (char_length(subject_id) <= 200),
    -- Name and labels of the subject when it was raised.
    subject_name      text NOT NULL CHECK (char_length(subject_name) <= 200),
    groups            text[] NOT NULL,
    tags              text[] NOT NULL,
    severity          text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    state             text NOT NULL CHECK (state IN ('firing', 'acknowledged', 'resolved')),
    reason            text NOT NULL CHECK (char_length(reason) <= 500),
    opened_at         timestamptz NOT NULL,
    acknowledged_by   text,
    acknowledged_note text CHECK (char_length(acknowledged_note) <= 500),
    acknowledged_at   timestamptz,
    resolved_at       timestamptz,
    resolve_cause     text,
    -- Number of its changes.
    revision          integer NOT NULL CHECK (revision >= 1),
    CHECK ((state = 'resolved') = (resolved_at IS NOT NULL AND resolve_cause IS NOT NULL)),
    CHECK (state <> 'acknowledged' OR acknowledged_at IS NOT NULL),
    CHECK ((acknowledged_at IS NULL) = (acknowledged_by IS NULL) AND (acknowledged_at IS NULL) = (acknowledged_note IS NULL))
);
-- At most one alert of a rule and subject is open, whoever raises it.
CREATE UNIQUE INDEX alert_open_key ON alert (rule, subject_kind, subject_id) WHERE state <> 'resolved';
CREATE INDEX alert_open_shard_idx ON alert (shard_id, alert_id) WHERE state <> 'resolved';
CREATE INDEX alert_newest_idx ON alert (opened_at DESC, alert_id DESC);
CREATE INDEX alert_subject_idx ON alert (subject_kind, subject_id, opened_at DESC);
CREATE INDEX alert_resolved_idx ON alert (resolved_at) WHERE state = 'resolved';

-- A change of an alert, written with it. The coordinator takes each once, and settles it: notified, suppressed for a cause, or of a kind that is
-- not notified.
CREATE TABLE alert_transition (
    transition_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id        uuid NOT NULL REFERENCES alert ON DELETE CASCADE,
    revision        integer NOT NULL CHECK (revision >= 1),
    kind            text NOT NULL CHECK (char_length(kind) BETWEEN 1 AND 64),
    at              timestamptz NOT NULL,
    severity        text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    -- Who did it, for what people do; and the words to it.
    actor           text,
    detail          text CHECK (char_length(detail) <= 500),
    taken_at        timestamptz,
    settled_at      timestamptz,
    -- Cause for which it is not notified.
    suppressed_by   text,
    notification_id uuid,
    UNIQUE (alert_id, revision),
    CHECK (settled_at IS NULL OR taken_at IS NOT NULL),
    CHECK (settled_at IS NOT NULL OR (suppressed_by IS NULL AND notification_id IS NULL)),
    CHECK (suppressed_by IS NULL OR notification_id IS NULL)
);
CREATE INDEX alert_transition_new_idx ON alert_transition (transition_id) WHERE taken_at IS NULL;

-- Setting of a rule for a scope; what it leaves out comes from the next less specific one. Names of groups and tags are found by their
-- canonical form.
CREATE TABLE alert_rule_setting (
    rule             text NOT NULL CHECK (char_length(rule) BETWEEN 1 AND 64),
    scope_kind       text NOT NULL CHECK (scope_kind IN ('global', 'group', 'tag', 'device')),
    scope_canonical  text NOT NULL CHECK ((scope_kind = 'global') = (scope_canonical = '')),
    scope_value      text NOT NULL,
    enabled          boolean,
    severity         text CHECK (severity IN ('info', 'warning', 'critical')),
    -- Thresholds by name: a JSON object of numbers.
    thresholds       jsonb NOT NULL CHECK (jsonb_typeof(thresholds) = 'object'),
    changed_by       text NOT NULL,
    changed_at       timestamptz NOT NULL,
    PRIMARY KEY (rule, scope_kind, scope_canonical)
);

-- No notifications about what it matches, until it ends.
CREATE TABLE alert_silence (
    silence_id uuid PRIMARY KEY,
    -- Criteria: a JSON object of lists.
    matcher    jsonb NOT NULL CHECK (jsonb_typeof(matcher) = 'object'),
    reason     text NOT NULL CHECK (char_length(reason) BETWEEN 1 AND 500),
    author     text NOT NULL,
    created_at timestamptz NOT NULL,
    starts_at  timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL,
    CHECK (ends_at >= starts_at)
);
CREATE INDEX alert_silence_ends_idx ON alert_silence (ends_at);

-- The same on some weekdays, in local hours.
CREATE TABLE alert_window (
    window_id  uuid PRIMARY KEY,
    matcher    jsonb NOT NULL CHECK (jsonb_typeof(matcher) = 'object'),
    reason     text NOT NULL CHECK (char_length(reason) BETWEEN 1 AND 500),
    author     text NOT NULL,
    created_at timestamptz NOT NULL,
    -- Monday first.
    weekdays   boolean[] NOT NULL CHECK (cardinality(weekdays) = 7 AND true = ANY (weekdays)),
    starts     text NOT NULL CHECK (starts ~ '^\d\d:\d\d$'),
    ends       text NOT NULL CHECK (ends ~ '^\d\d:\d\d$' AND ends <> starts),
    tz         text NOT NULL,
    ends_at    timestamptz
);

-- Where messages are sent.
CREATE TABLE alert_channel (
    channel_id     uuid PRIMARY KEY,
    name           text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 200),
    name_canonical text NOT NULL UNIQUE,
    kind           text NOT NULL CHECK (char_length(kind) BETWEEN 1 AND 64),
    -- What is no secret: addresses of mail, the host of a webhook.
    settings       jsonb NOT NULL CHECK (jsonb_typeof(settings) = 'object'),
    -- URL with its token, password, key of signatures: sealed under a key derived from the master key. This table holds no secret in clear.
    sealed_secret  bytea CHECK (octet_length(sealed_secret) BETWEEN 28 AND 16384),
    enabled        boolean NOT NULL,
    created_by     text NOT NULL,
    created_at     timestamptz NOT NULL,
    changed_at     timestamptz NOT NULL
);

CREATE TABLE alert_route (
    route_id     uuid PRIMARY KEY,
    channel_id   uuid NOT NULL REFERENCES alert_channel ON DELETE CASCADE,
    min_severity text NOT NULL CHECK (min_severity IN ('info', 'warning', 'critical')),
    -- Empty: all.
    rules        text[] NOT NULL,
    groups       text[] NOT NULL,
    hours_start  text,
    hours_end    text,
    hours_tz     text,
    -- Level of escalation.
    level        smallint NOT NULL CHECK (level BETWEEN 0 AND 5),
    -- Time of the day of a digest.
    digest_at    text,
    digest_tz    text,
    digest_sent_at timestamptz,
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL,
    CHECK ((hours_start IS NULL) = (hours_end IS NULL) AND (hours_start IS NULL) = (hours_tz IS NULL)),
    CHECK ((digest_at IS NULL) = (digest_tz IS NULL)),
    CHECK (digest_at IS NULL OR level = 0)
);
CREATE INDEX alert_route_channel_idx ON alert_route (channel_id);

-- What people have been told of a rule and subject, and what waits: the state of the coordinator, which any node continues.
CREATE TABLE alert_notice (
    rule              text NOT NULL,
    subject_kind      text NOT NULL,
    subject_id        text NOT NULL,
    alert_id          uuid NOT NULL,
    severity          text NOT NULL,
    subject_name      text NOT NULL,
    groups            text[] NOT NULL,
    tags              text[] NOT NULL,
    reason            text NOT NULL,
    opened_at         timestamptz NOT NULL,
    resolved_at       timestamptz,
    acknowledged      boolean NOT NULL,
    told              text NOT NULL CHECK (told IN ('nothing', 'firing', 'resolved')),
    told_to           uuid[] NOT NULL,
    raise_told_at     timestamptz,
    resolve_told_at   timestamptz,
    flapping_told_at  timestamptz,
    level             smallint NOT NULL,
    level_told_at     timestamptz,
    waiting_since     timestamptz,
    -- Cause for which it is held.
    held              text,
    openings          timestamptz[] NOT NULL,
    unsettled         bigint,
    PRIMARY KEY (rule, subject_kind, subject_id)
);

-- Number of decisions of the coordinator: each names the one that it follows, so that none is stored twice, as after an answer that was lost.
CREATE TABLE alert_coordinator (
    single    boolean PRIMARY KEY DEFAULT true CHECK (single),
    decisions bigint NOT NULL CHECK (decisions >= 0)
);
INSERT INTO alert_coordinator (decisions) VALUES (0);

-- Thread of the messages about a rule.
CREATE TABLE alert_thread (
    rule             text PRIMARY KEY,
    began_at         timestamptz NOT NULL,
    raised_sent_at   timestamptz,
    resolved_sent_at timestamptz
);

-- A message, decided once.
CREATE TABLE notification (
    notification_id uuid PRIMARY KEY,
    kind            text NOT NULL CHECK (char_length(kind) BETWEEN 1 AND 64),
    severity        text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    thread          text NOT NULL,
    begins_thread   boolean NOT NULL,
    ends_thread     boolean NOT NULL,
    headline        text NOT NULL,
    -- Number of its alerts, of which the first are listed.
    alert_count     integer NOT NULL CHECK (alert_count >= 0),
    alerts          jsonb NOT NULL CHECK (jsonb_typeof(alerts) = 'array'),
    created_at      timestamptz NOT NULL
);
CREATE INDEX notification_created_idx ON notification (created_at);

-- Outbox: a message for one channel, until it is delivered or given up.
CREATE TABLE notification_delivery (
    notification_id uuid NOT NULL REFERENCES notification ON DELETE CASCADE,
    channel_id      uuid NOT NULL REFERENCES alert_channel ON DELETE CASCADE,
    state           text NOT NULL CHECK (state IN ('queued', 'delivered', 'dead')),
    attempts        integer NOT NULL CHECK (attempts >= 0),
    -- When it was queued: by the decision, or when somebody sent it again.
    queued_at       timestamptz NOT NULL,
    -- When it is tried next; of one that is being tried, when another sender may take it over.
    next_attempt_at timestamptz NOT NULL,
    last_attempt_at timestamptz,
    -- Answer of the service to the last attempt, without secrets.
    last_answer     text CHECK (char_length(last_answer) <= 500),
    ended_at        timestamptz,
    PRIMARY KEY (notification_id, channel_id),
    CHECK ((state = 'queued') = (ended_at IS NULL))
);
CREATE INDEX notification_delivery_due_idx ON notification_delivery (channel_id, next_attempt_at) WHERE state = 'queued';
CREATE INDEX notification_delivery_newest_idx ON notification_delivery (channel_id, queued_at DESC);
CREATE INDEX notification_delivery_dead_idx ON notification_delivery (ended_at) WHERE state = 'dead';
