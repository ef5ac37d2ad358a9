-- What judges and mends alerts: what each node sees of itself, plans of remediation, and the commands that were sent by them.
--
-- Expand only: new tables alone. A node of the build before writes nothing to them: it is not judged by the rules about nodes' machines, and
-- sends no commands for alerts.

-- What a node sees of itself and of its machine: it is judged by one node for the whole cluster.
CREATE TABLE node_health (
    name            text PRIMARY KEY CHECK (char_length(name) BETWEEN 1 AND 200),
    observed_at     timestamptz NOT NULL,
    -- NULL: not known.
    disk_free_pct   smallint CHECK (disk_free_pct BETWEEN 0 AND 100),
    -- Since when every connection to the database is in use.
    pool_full_since timestamptz,
    -- Whether the push service refuses the credentials; NULL: push is off.
    push_refused    boolean
);

-- Commands that are sent to mend the alerts of a rule: off until somebody turns it on, for all devices or for those of a group.
CREATE TABLE alert_remediation (
    rule              text NOT NULL CHECK (char_length(rule) BETWEEN 1 AND 64),
    -- Empty: all devices that have no plan of a group of theirs. Groups are found by their canonical name.
    group_canonical   text NOT NULL,
    group_name        text NOT NULL CHECK ((group_name = '') = (group_canonical = '')),
    enabled           boolean NOT NULL,
    attempts_max      integer NOT NULL CHECK (attempts_max > 0),
    backoff_seconds   integer NOT NULL CHECK (backoff_seconds > 0),
    at_once_max       integer NOT NULL CHECK (at_once_max > 0),
    per_hour_max      integer NOT NULL CHECK (per_hour_max > 0),
    failures_max      integer NOT NULL CHECK (failures_max > 0),
    allow_reboot      boolean NOT NULL,
    -- Name of the allowed command that is run, of rules that are mended by one.
    exec_name         text CHECK (char_length(exec_name) <= 200),
    -- Commands in a row that did not help.
    failures_in_a_row integer NOT NULL DEFAULT 0 CHECK (failures_in_a_row >= 0),
    -- When it turned itself off for that.
    turned_off_at     timestamptz,
    changed_by        text NOT NULL,
    changed_at        timestamptz NOT NULL,
    PRIMARY KEY (rule, group_canonical)
);

-- A command that was sent to mend an alert. No reference to the command: its row may be removed before the alert's.
CREATE TABLE alert_remediation_attempt (
    command_id      uuid PRIMARY KEY,
    alert_id        uuid NOT NULL REFERENCES alert ON DELETE CASCADE,
    rule            text NOT NULL,
    group_canonical text NOT NULL,
    device_id       uuid NOT NULL,
    attempt         integer NOT NULL CHECK (attempt > 0),
    remedy          text NOT NULL,
    made_at         timestamptz NOT NULL,
    ended_at        timestamptz,
    outcome         text CHECK (outcome IN ('helped', 'command_failed', 'did_not_help')),
    UNIQUE (alert_id, attempt),
    CHECK ((ended_at IS NULL) = (outcome IS NULL))
);
-- What is under way, and the commands of the last hour: by these the caps are counted.
CREATE INDEX alert_remediation_attempt_open_idx ON alert_remediation_attempt (rule) WHERE ended_at IS NULL;
CREATE INDEX alert_remediation_attempt_made_idx ON alert_remediation_attempt (rule, made_at);
