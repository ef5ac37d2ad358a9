-- Records of reconciliation: what was compared with what it is derived from, how much of it differed, and what became of that.
--
-- Expand only: a new table alone, of some rows an hour. A node of the build before compares nothing.
CREATE TABLE reconciliation_run (
    run_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- What was compared: last_status, hours, deployments, commands.
    check_name text NOT NULL CHECK (char_length(check_name) BETWEEN 1 AND 64),
    -- The node whose own memory was compared; empty: one node for the whole cluster.
    node       text NOT NULL CHECK (char_length(node) <= 200),
    started_at timestamptz NOT NULL,
    seconds    double precision NOT NULL CHECK (seconds >= 0),
    checked    bigint NOT NULL CHECK (checked >= 0),
    drifted    bigint NOT NULL CHECK (drifted BETWEEN 0 AND checked),
    healed     bigint NOT NULL CHECK (healed BETWEEN 0 AND drifted),
    -- Whether everything that was to be compared was.
    complete   boolean NOT NULL,
    -- Numbers by kind of difference; the first differences with their fields and values.
    kinds      jsonb NOT NULL CHECK (jsonb_typeof(kinds) = 'object'),
    examples   jsonb NOT NULL CHECK (jsonb_typeof(examples) = 'array')
);
CREATE INDEX reconciliation_run_newest_idx ON reconciliation_run (check_name, node, run_id DESC);
CREATE INDEX reconciliation_run_age_idx ON reconciliation_run (started_at);
