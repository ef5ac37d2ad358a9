-- Indexes for the lists of alerts that pages read again and again: the open ones, and those of a rule, whatever the number of resolved ones.
--
-- Expand only: indexes alone, of a table that holds what was raised within alerts.kept_days. Writes of alerts wait while they are built.
CREATE INDEX alert_open_newest_idx ON alert (opened_at DESC, alert_id DESC) WHERE state <> 'resolved';
CREATE INDEX alert_rule_idx ON alert (rule, opened_at DESC, alert_id DESC);
