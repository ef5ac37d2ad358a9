-- The columns of what people have been notified of are named by the field's word.
--
-- Renaming takes a short lock on a table of at most one row per open alert. No build before this one reads or writes it.
ALTER TABLE alert_notice RENAME COLUMN told TO notified;
ALTER TABLE alert_notice RENAME COLUMN told_to TO notified_channels;
ALTER TABLE alert_notice RENAME COLUMN raise_told_at TO raise_notified_at;
ALTER TABLE alert_notice RENAME COLUMN resolve_told_at TO resolve_notified_at;
ALTER TABLE alert_notice RENAME COLUMN flapping_told_at TO flapping_notified_at;
ALTER TABLE alert_notice RENAME COLUMN level_told_at TO level_notified_at;
