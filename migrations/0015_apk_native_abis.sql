-- ABIs that an APK has native code for: deployments skip devices whose processor runs none of them. Of APKs that are there already
-- nothing is known; for them it stays with the device's own refusal.
-- A constant default touches no row, so that the lock is short.
SET LOCAL lock_timeout = '5s';
ALTER TABLE apk ADD COLUMN native_abis text[] NOT NULL DEFAULT '{}';
