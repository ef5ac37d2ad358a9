-- Reports of devices about a deployment that could not be used: counted, so that a rule can judge how many there are an hour.
--
-- Expand only: a new table alone. A node of the build before counts none. Rows go with their deployment; old ones when another report cannot be used.
CREATE TABLE deployment_report_error (
    deployment_id uuid NOT NULL REFERENCES deployment ON DELETE CASCADE,
    -- Start of the five minutes that they came in.
    bucket_at     timestamptz NOT NULL,
    errors        integer NOT NULL CHECK (errors > 0),
    PRIMARY KEY (deployment_id, bucket_at)
);
