-- Nodes that share this database, and which of them owns which shard.
--
-- Expand only: nothing that an earlier build reads is changed. `expires_at` is written and
-- compared by this database's clock alone.

-- What all nodes of a cluster must agree on; one row.
CREATE TABLE cluster (
    only_row        boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    name            text NOT NULL,
    -- Digest of the shared keys: a node with other keys could not read this fleet.
    key_fingerprint bytea NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One start of a node. Taking shards from a node needs its row to be 'expired' or 'left' first,
-- and no row ever leaves those two states: renewing and expiring meet on the row's lock.
CREATE TABLE cluster_node (
    node_id        uuid PRIMARY KEY,
    name           text COLLATE "C" NOT NULL,
    -- Where other nodes dial it, and where devices and people reach it.
    cluster_addr   text NOT NULL,
    http_url       text NOT NULL,
    version        text NOT NULL,
    protocol_min   integer NOT NULL,
    protocol_max   integer NOT NULL,
    -- The locked file in its data folder: who holds the lock knows that the last holder is dead.
    lock_identity  text NOT NULL,
    state          text NOT NULL,
    joined_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    renewed_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at     timestamptz NOT NULL,
    ended_at       timestamptz,
    CONSTRAINT cluster_node_state_known CHECK (state IN ('active', 'draining', 'expired', 'left')),
    CONSTRAINT cluster_node_ended CHECK ((ended_at IS NOT NULL) = (state IN ('expired', 'left'))),
    CONSTRAINT cluster_node_name_length CHECK (char_length(name) BETWEEN 1 AND 64)
);
-- Two nodes with the same name cannot both be alive.
CREATE UNIQUE INDEX cluster_node_name_key ON cluster_node (name) WHERE state IN ('active', 'draining');

CREATE TABLE shard (
    shard_id     integer PRIMARY KEY,
    owner        uuid REFERENCES cluster_node,
    -- Who owned it last, for the journal.
    last_owner   uuid,
    -- Raised by every claim: what an owner writes names the epoch it was made in.
    epoch        bigint NOT NULL DEFAULT 0,
    claimed_at   timestamptz,
    -- When the owner had its devices running.
    activated_at timestamptz,
    CONSTRAINT shard_id_range CHECK (shard_id BETWEEN 0 AND 255),
    CONSTRAINT shard_owned_since CHECK (owner IS NULL OR claimed_at IS NOT NULL)
);
INSERT INTO shard (shard_id) SELECT generate_series(0, 255);
CREATE INDEX shard_owner_idx ON shard (owner);

-- Who took which shard from whom, and when.
CREATE TABLE shard_move (
    shard_move_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shard_id      integer NOT NULL REFERENCES shard,
    epoch         bigint NOT NULL,
    from_node     text,
    to_node       text NOT NULL,
    reason        text NOT NULL,
    moved_at      timestamptz NOT NULL,
    CONSTRAINT shard_move_reason_known CHECK (reason IN ('free', 'expired', 'left', 'released')),
    CONSTRAINT shard_move_epoch_key UNIQUE (shard_id, epoch)
);
CREATE INDEX shard_move_time_idx ON shard_move (moved_at);

-- Digest of the details that a status row shows. A heartbeat whose details did not change
-- travels without them; where the digest differs, somebody else wrote in between.
ALTER TABLE device_last_status ADD COLUMN details_hash bigint;
