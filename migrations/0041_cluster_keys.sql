-- The digest of the master key alone, beside that of all keys: the others can be replaced while no node runs, and that one cannot, since the keys of
-- devices are derived from it.
--
-- Expand only: a column that may be empty, of a table of one row that is read at the start of a node. A node of the build before does not look at it.
SET LOCAL lock_timeout = '5s';

ALTER TABLE cluster ADD COLUMN master_digest bytea;
