-- Events of devices that found the queue for subscriptions full are counted: a sequence, since a row would make every transaction that writes an event wait
-- for the one before. It also counts events of transactions that were rolled back: what it gives is "at most".
--
-- Expand only. A function is replaced: nodes of the build before do not see the difference. No table that is in use is locked.
SET LOCAL lock_timeout = '5s';

CREATE SEQUENCE device_event_overflow;

-- How much of it has been noted as missed by channels.
CREATE TABLE device_event_overflow_noted (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    noted  bigint NOT NULL CHECK (noted >= 0)
);
INSERT INTO device_event_overflow_noted (noted) VALUES (0);
-- It goes where the table goes.
ALTER SEQUENCE device_event_overflow OWNED BY device_event_overflow_noted.noted;

CREATE OR REPLACE FUNCTION device_event_queued() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    patterns text[];
BEGIN
    SELECT array_agg(DISTINCT p) INTO patterns FROM event_subscription s CROSS JOIN UNNEST(s.actions) AS p WHERE p LIKE 'device\_event.%';
    IF patterns IS NULL THEN
        RETURN NULL;
    END IF;
    IF (SELECT max(queue_id) - min(queue_id) > 50000 FROM device_event_queue) THEN
        PERFORM nextval('device_event_overflow') FROM new_events n
        WHERE EXISTS (SELECT FROM UNNEST(patterns) AS p WHERE 'device_event.' || n.kind = p
                      OR (right(p, 1) = '*' AND starts_with('device_event.' || n.kind, left(p, -1))));
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
