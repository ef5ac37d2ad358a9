-- Whether a node reads narrow heartbeats (0039). The build before does not say so, and as long as one of its nodes lives, nobody writes any.
--
-- Expand only: a column with a constant default.
SET LOCAL lock_timeout = '5s';

ALTER TABLE cluster_node ADD COLUMN reads_narrow boolean NOT NULL DEFAULT false;
