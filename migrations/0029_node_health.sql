-- More of what a node sees of itself.
--
-- Expand only: columns that may be NULL, of a table with a row a node. A node of the build before leaves them as they are: after a return to that
-- build they tell what was last seen.

-- Whether FCM answered lately that the quota is used up; NULL: push is off, or not known.
ALTER TABLE node_health ADD COLUMN push_quota_used_up boolean;

-- Time within which 99 % of the transactions of the last minute ended; NULL: there were too few.
ALTER TABLE node_health ADD COLUMN database_p99_ms bigint CHECK (database_p99_ms >= 0);

-- When the first of the node's certificates expires; NULL: it has none, or that is not known.
ALTER TABLE node_health ADD COLUMN certificate_expires_at timestamptz;
