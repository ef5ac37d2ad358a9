-- Identity of devices: whether a device token has ever been used, whether two devices report as one, and which device another replaces.
--
-- Expand only: the build before neither reads nor writes these. What it does in a rolling upgrade is valid: a token whose first use
-- it saw is not noted here, which is why a retried registration is refused as well once the device has sent a heartbeat; and a
-- conflict is noticed by owners of this build alone.
-- No table is rewritten: the columns have no default. The locks are short, but while one is waited for, heartbeats wait behind it:
-- so not for long. The start fails then, and is tried again.
SET LOCAL lock_timeout = '5s';

-- When the token was first accepted. Until then its answer may have been lost, and the same device may ask for another one.
ALTER TABLE device_token ADD COLUMN first_used_at timestamptz;

-- Since when two devices were seen to report as this one, with credentials of which generation, and when a person said that it is
-- one device. A conflict is over once its credentials are revoked or it was dismissed; it stays here, so that it is not told again.
ALTER TABLE device_condition
    ADD COLUMN conflict_at           timestamptz,
    ADD COLUMN conflict_generation   integer,
    ADD COLUMN conflict_dismissed_at timestamptz,
    ADD CONSTRAINT device_condition_conflict_whole CHECK ((conflict_at IS NULL) = (conflict_generation IS NULL)) NOT VALID;
CREATE INDEX device_condition_conflict_idx ON device_condition (device_id) WHERE conflict_at IS NOT NULL;

-- The device that this one has replaced: the same hardware, enrolled before. No foreign key: that one is removed for good one day.
ALTER TABLE device ADD COLUMN replaces uuid;
-- Whoever enrolls is compared with the others by it.
CREATE INDEX device_hardware_idx ON device (hardware_id) WHERE hardware_id IS NOT NULL AND deleted_at IS NULL;
