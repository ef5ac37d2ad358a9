-- Alerts and notifications: the coordinator learns of changes of what people have set up from a number; a change of an alert names each message that tells it; a
-- message that sums up names its threads; messages that a channel has missed are counted; events of devices reach subscriptions.
--
-- Expand only: a new table of one row, columns that are empty or have a constant default, which PostgreSQL adds without rewriting their tables, an index of
-- what is queued, which is little, and triggers. A node of the build before knows none of it: its changes are counted as well, since a trigger counts.
--
-- Columns, triggers and the index take locks that statements of old nodes wait behind, and that themselves wait for whoever has the table, such as a backup:
-- so not for long. The start fails then, and is tried again. Checks of new columns hold for rows from now on (NOT VALID): those before have the default or
-- nothing, and none is read under the lock.
SET LOCAL lock_timeout = '5s';

-- Number of the changes of routes, silences, maintenance windows and channels. A decision compares it with the one it read them at. Not a column of
-- alert_coordinator: decisions lock that row, and then channels.
CREATE TABLE alert_setup (
    single  boolean PRIMARY KEY DEFAULT true CHECK (single),
    version bigint NOT NULL CHECK (version >= 0)
);
INSERT INTO alert_setup (version) VALUES (0);

CREATE FUNCTION alert_setup_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE alert_setup SET version = version + 1;
    RETURN NULL;
END;
$$;
CREATE TRIGGER alert_route_changed AFTER INSERT OR DELETE OR UPDATE OF channel_id, min_severity, rules, groups, hours_start, hours_end, hours_tz,
        level, digest_at ON alert_route FOR EACH STATEMENT EXECUTE FUNCTION alert_setup_changed();
CREATE TRIGGER alert_silence_changed AFTER INSERT OR DELETE OR UPDATE ON alert_silence FOR EACH STATEMENT EXECUTE FUNCTION alert_setup_changed();
CREATE TRIGGER alert_window_changed AFTER INSERT OR DELETE OR UPDATE ON alert_window FOR EACH STATEMENT EXECUTE FUNCTION alert_setup_changed();
CREATE TRIGGER alert_channel_changed AFTER INSERT OR DELETE OR UPDATE OF kind, enabled ON alert_channel
    FOR EACH STATEMENT EXECUTE FUNCTION alert_setup_changed();

-- Messages that tell the change besides notification_id: its recipients may have several.
ALTER TABLE alert_transition ADD COLUMN further_notifications uuid[];

-- Threads that a message tells of, where it sums up several: a JSON array of objects.
ALTER TABLE notification ADD COLUMN threads jsonb, ADD CONSTRAINT notification_threads_check CHECK (jsonb_typeof(threads) = 'array') NOT VALID;

-- Messages that were given up for their age since the last message that said so, and when the first of them was queued.
ALTER TABLE alert_channel ADD COLUMN missed bigint NOT NULL DEFAULT 0, ADD COLUMN missed_since timestamptz,
    ADD CONSTRAINT alert_channel_missed_check CHECK (missed >= 0) NOT VALID;
CREATE INDEX notification_delivery_queued_idx ON notification_delivery (channel_id, queued_at) WHERE state = 'queued';

-- Severity of an alert as people were notified of it: one that has become more severe since is sent to further channels. Nothing where an earlier build
-- notified them: such an alert is not sent again.
ALTER TABLE alert_notice ADD COLUMN notified_severity text;

-- Events of devices on their way to subscriptions: written with the event, by whatever build writes it, where a subscription is about it; taken by one
-- reconciler within seconds. No more than the limit wait: subscriptions are no reason to keep what nobody takes.
CREATE TABLE device_event_queue (
    queue_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id uuid NOT NULL,
    at        timestamptz NOT NULL,
    kind      text NOT NULL,
    actor     text
);

CREATE FUNCTION device_event_queued() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    patterns text[];
BEGIN
    SELECT array_agg(DISTINCT p) INTO patterns FROM event_subscription s CROSS JOIN UNNEST(s.actions) AS p WHERE p LIKE 'device\_event.%';
    IF patterns IS NULL OR (SELECT max(queue_id) - min(queue_id) > 50000 FROM device_event_queue) THEN
        RETURN NULL;
    END IF;
    INSERT INTO device_event_queue (device_id, at, kind, actor)
    SELECT n.device_id, n.at, n.kind, n.actor FROM new_events n
    WHERE EXISTS (SELECT FROM UNNEST(patterns) AS p WHERE 'device_event.' || n.kind = p
                  OR (right(p, 1) = '*' AND starts_with('device_event.' || n.kind, left(p, -1))))
    ORDER BY n.device_event_id;
    RETURN NULL;
END;
$$;
CREATE TRIGGER device_event_for_subscriptions AFTER INSERT ON device_event REFERENCING NEW TABLE AS new_events
    FOR EACH STATEMENT EXECUTE FUNCTION device_event_queued();

-- Calls of the API that create something, under a key of their caller: the same call again gets the same answer, and creates nothing. Without an answer the
-- call is under way, or its answer is not kept since a secret is in it, or its node died and nobody knows.
CREATE TABLE request_idempotency (
    owner_id    uuid NOT NULL,
    key         text NOT NULL CHECK (char_length(key) BETWEEN 1 AND 200),
    body_sha256 bytea NOT NULL,
    status      smallint,
    answer      bytea CHECK (octet_length(answer) <= 65536),
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (owner_id, key)
);
CREATE INDEX request_idempotency_age ON request_idempotency (created_at);
