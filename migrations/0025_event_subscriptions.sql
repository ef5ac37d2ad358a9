-- Subscriptions of channels to events: what the audit trail records is sent by the outbox of alerts, too.
--
-- Expand only: a new table, and a column without a default, which PostgreSQL adds without rewriting the table. A node of the build before sends nothing yet, and
-- writes messages without an event.

CREATE TABLE event_subscription (
    subscription_id uuid PRIMARY KEY,
    channel_id      uuid NOT NULL REFERENCES alert_channel ON DELETE CASCADE,
    -- Actions of the audit trail, or beginnings of some followed by an asterisk.
    actions         text[] NOT NULL CHECK (cardinality(actions) BETWEEN 1 AND 50),
    -- Number of the last entry of the trail that is in the outbox, or was passed over. Whoever takes further ones names it.
    seq             bigint NOT NULL CHECK (seq >= 0),
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL
);
CREATE INDEX event_subscription_channel_idx ON event_subscription (channel_id);

-- The event of a message about one; messages about alerts have none.
ALTER TABLE notification ADD COLUMN event jsonb CHECK (jsonb_typeof(event) = 'object');
