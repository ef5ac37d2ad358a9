//! Retention: what every table of the database holds, how long, and where it goes. Declared once; docs/history.md shows it, and a test of the store
//! compares it with the tables that there are.

/// Where the rows of a table go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Removed.
    Removed,
    /// Written to the archive, read back from there, and removed.
    Archived,
    /// Removed with the row of this table that they belong to.
    With(&'static str),
    /// As many as there are of something, whatever the time: no more come.
    Bounded,
    /// Made and deleted by people.
    People,
}

/// Retention of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Name of the table.
    pub table: &'static str,
    /// What a row is.
    pub holds: &'static str,
    /// How long a row is kept, or how many there are.
    pub kept: &'static str,
    /// Where it goes then.
    pub then: Then,
    /// Setting of the time; empty: it is fixed, or there is none.
    pub setting: &'static str,
}

const fn row(table: &'static str, holds: &'static str, kept: &'static str, then: Then, setting: &'static str) -> Retention {
    Retention { table, holds, kept, then, setting }
}

use Then::{Archived, Bounded, People, Removed, With};

/// Prefix of the daily partitions of `heartbeats`, which are tables as well.
pub const PARTITION_PREFIX: &str = "heartbeats_p";

/// Every table, by its name; the daily partitions of `heartbeats` are one.
pub const TABLES: &[Retention] = &[
    row("_sqlx_migrations", "A migration that was applied", "one per migration", Bounded, ""),
    row("agent_build", "A build of the agent", "until it is deleted", People, ""),
    row(
        "agent_update_outcome",
        "What a device told of an agent build that is no longer offered",
        "92 days",
        Removed,
        "agent_updates.outcomes_kept_days",
    ),
    row("agent_update_stat", "Counters of agent updates by build and hour", "92 days", Removed, "agent_updates.counters_kept_days"),
    row("agent_version_sample", "Devices by version of the agent, by hour", "92 days", Removed, "agent_updates.counters_kept_days"),
    row("alert", "A resolved alert; an open one stays", "90 days after its end", Removed, "alerts.kept_days"),
    row("alert_channel", "A channel", "until it is deleted", People, ""),
    row("alert_coordinator", "Number of decisions of the coordinator", "one", Bounded, ""),
    row("alert_notice", "What people were notified of, by rule and subject", "while it may still be notified", Removed, ""),
    row("alert_remediation", "A plan of remediation", "until it is deleted", People, ""),
    row("alert_remediation_attempt", "A command that was sent to mend an alert", "as its alert", With("alert"), ""),
    row("alert_route", "A route of notifications", "until it is deleted", People, ""),
    row("alert_rule_setting", "Setting of a rule for a scope", "until it is deleted", People, ""),
    row("alert_setup", "Version of what decides about notifications", "one", Bounded, ""),
    row("alert_silence", "A silence that ended", "90 days after its end", Removed, "alerts.kept_days"),
    row("alert_thread", "Thread of messages about a rule", "one per rule", Bounded, ""),
    row("alert_transition", "A change of an alert", "as its alert", With("alert"), ""),
    row("alert_window", "A maintenance window that ended; one without an end stays", "90 days after its end", Removed, "alerts.kept_days"),
    row("api_token", "An API token that ended", "30 days after its end", Removed, ""),
    row(
        "apk",
        "A deleted APK that no deployment and no build names any more",
        "365 days after its deletion",
        Removed,
        "deployments.kept_days",
    ),
    row("apk_upload", "An upload without a new part", "24 hours", Removed, "apks.upload_kept_hours"),
    row("app_user", "An account", "until it is deleted", People, ""),
    row("audit_archive", "An archive of the audit trail: its place, range and digests", "as long as the archive", Bounded, ""),
    row("audit_entry", "An entry of the audit trail", "365 to 396 days", Archived, "history.audit_kept_days"),
    row("audit_head", "Number and hash of the newest entry", "one", Bounded, ""),
    row("audit_name", "A name in the audit trail, for searches", "as the entries that have it", With("audit_entry"), ""),
    row("backup", "Record of a backup, or of an attempt", "400 days", Removed, ""),
    row("cluster", "Name and key digest of the cluster", "one", Bounded, ""),
    row("cluster_node", "A node that ended", "30 days after its end", Removed, ""),
    row("command", "A finished command", "90 days", Removed, "commands.kept_days"),
    row("command_batch", "A call for many devices", "as the last of its commands", With("command"), ""),
    row("command_idempotency", "The key of an idempotent call", "48 hours", Removed, "commands.idempotency_keys_kept_hours"),
    row("deployment", "A finished deployment", "365 days", Removed, "deployments.kept_days"),
    row("deployment_attempt", "A start of an installation", "as its deployment", With("deployment"), ""),
    row("deployment_event", "An event of a deployment", "as its deployment", With("deployment"), ""),
    row(
        "deployment_report_error",
        "Unusable reports about a deployment, by five minutes",
        "an hour, or as its deployment",
        With("deployment"),
        "",
    ),
    row("deployment_target", "A device of a deployment's set", "as its deployment", With("deployment"), ""),
    row("deployment_task", "The task of a device in a deployment", "as its deployment", With("deployment"), ""),
    row("device", "A deleted device; others stay", "7 days after its deletion", Removed, "history.restore_within_days"),
    row("device_condition", "The condition of a device up to which its events are recorded", "as its device", With("device"), ""),
    row("device_event", "An event of a device", "90 days, or as its device", Removed, "history.events_kept_days"),
    row("device_event_overflow_noted", "Number of events that the full queue did not take", "one", Bounded, ""),
    row("device_event_queue", "An event of a device on its way to subscribed channels", "seconds, at most 50,000", Removed, ""),
    row("device_last_status", "The newest status of a device", "as its device", With("device"), ""),
    row("device_token", "A device's token", "as its device", With("device"), ""),
    row(
        "enroll_token",
        "An enrollment token that was used, revoked or has expired",
        "90 days after its end",
        Removed,
        "history.enroll_tokens_kept_days",
    ),
    row("event_subscription", "A subscription of a channel to events", "until it is deleted", People, ""),
    row("exec_command", "A command that `exec` may run", "until it is deleted", People, ""),
    row("feature_flag", "A feature that is on or off", "one per feature", Bounded, ""),
    row("fleet_sample", "Counts of the fleet, by five minutes", "92 days", Removed, "history.hours_kept_days"),
    row("heartbeat_partition", "Record of a day of heartbeats and its archive", "one per day", Bounded, ""),
    row(
        "heartbeat_session",
        "A version of the agent and a boot of a device, as heartbeats name them",
        "as the heartbeats that name it",
        Removed,
        "history.heartbeats_kept_days",
    ),
    row("heartbeats", "A heartbeat, by device and ten seconds, in daily partitions", "90 days", Archived, "history.heartbeats_kept_days"),
    row("heartbeats_default", "A heartbeat of a day without a partition", "until its day has one", With("heartbeats"), ""),
    row(
        "history_day",
        "A day whose hours are aggregated",
        "as the hours and the heartbeats of the day",
        Removed,
        "history.hours_kept_days",
    ),
    row("history_hour", "Hourly aggregate of a device", "92 days", Removed, "history.hours_kept_days"),
    row(
        "history_recount",
        "A day of a device that is to be aggregated again",
        "until it was, a minute later",
        Removed,
        "history.interval_seconds",
    ),
    row("managed_package", "A package that may be deployed", "until it is deleted", People, ""),
    row("node_health", "What a node sees of itself", "30 days after its last word", Removed, ""),
    row("notification", "A message that waits for no channel", "90 days", Removed, "alerts.kept_days"),
    row("notification_delivery", "A message on its way to a channel", "as its message", With("notification"), ""),
    row("partition_work", "Work on a day that a person started", "90 days", Removed, ""),
    row("password_link", "A link by which a password is set", "two per account", With("app_user"), ""),
    row("reconciliation_run", "Record of a reconciliation", "90 days", Removed, "reconciliation.runs_kept_days"),
    row(
        "replaced_refresh_token",
        "A refresh token that was replaced",
        "the newest 3,000 of a sign-in that goes on",
        With("user_session"),
        "",
    ),
    row("report_day", "Figures of a group on a day", "400 days", Removed, "reports.kept_days"),
    row("report_schedule", "A schedule of reports", "until it is deleted", People, ""),
    row("request_idempotency", "The key of an idempotent request", "48 hours", Removed, "commands.idempotency_keys_kept_hours"),
    row("saved_filter", "A saved filter", "until it is deleted", People, ""),
    row("shard", "A shard and its owner", "256", Bounded, ""),
    row("shard_move", "A move of a shard", "30 days", Removed, ""),
    row("sign_in_failure", "Failed sign-ins in a row, by name", "until they are forgotten", Removed, "auth.lockout_names_max"),
    row("storage_sample", "Sizes of tables, by hour", "90 days", Removed, ""),
    row("user_session", "A sign-in that ended", "30 days after its end", Removed, ""),
];

/// The retention of a table; daily partitions of `heartbeats` have that of the whole.
pub fn of(table: &str) -> Option<&'static Retention> {
    let name = if table.starts_with(PARTITION_PREFIX) { "heartbeats" } else { table };
    TABLES.iter().find(|row| row.table == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documented() -> String {
        let row = |row: &Retention| {
            let then = match row.then {
                Removed => "removed".to_owned(),
                Archived => "archived, then removed".to_owned(),
                With(table) => format!("removed with `{table}`"),
                Bounded => "bounded".to_owned(),
                People => "deleted by people".to_owned(),
            };
            let setting = if row.setting.is_empty() { String::new() } else { format!("`{}`", row.setting) };
            format!("| `{}` | {} | {} | {then} | {setting} |\n", row.table, row.holds, row.kept)
        };
        TABLES.iter().map(row).collect()
    }

    /// `NEXMDM_WRITE_DOCS=1` writes it anew.
    #[test]
    fn every_table_is_documented() {
        const HEAD: &str = "| Table | A row | Kept | Then | Setting |\n|---|---|---|---|---|\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/history.md");
        let document = std::fs::read_to_string(path).unwrap();
        let (before, rest) = document.split_once(HEAD).unwrap();
        let table: String = rest.lines().take_while(|line| line.starts_with('|')).map(|line| format!("{line}\n")).collect();
        if std::env::var_os("NEXMDM_WRITE_DOCS").is_some() {
            std::fs::write(path, format!("{before}{HEAD}{}{}", documented(), &rest[table.len()..])).unwrap();
        } else {
            assert_eq!(
                table,
                documented(),
                "docs/history.md differs from the table of retention: NEXMDM_WRITE_DOCS=1 cargo test -p domain --lib documented"
            );
        }
    }

    #[test]
    fn tables_stand_once_in_their_order_and_belong_to_tables_that_go() {
        assert!(TABLES.is_sorted_by(|a, b| a.table < b.table));
        for row in TABLES {
            if let With(parent) = row.then {
                assert!(of(parent).is_some_and(|parent| !matches!(parent.then, Bounded)), "{} goes with {parent}", row.table);
            }
        }
        assert_eq!(of("heartbeats_p20261121").map(|row| row.table), Some("heartbeats"));
        assert_eq!(of("heartbeats_default").map(|row| row.table), Some("heartbeats_default"));
        assert_eq!(of("of_nobody"), None);
    }

    #[test]
    fn every_setting_is_one_and_has_the_default_that_is_shown() {
        let config = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/default.toml")).unwrap();
        for row in TABLES.iter().filter(|row| !row.setting.is_empty()) {
            let (section, key) = row.setting.split_once('.').unwrap();
            let section = config.split_once(&format!("\n[{section}]\n")).unwrap_or_else(|| panic!("no section of {}", row.setting)).1;
            let section = section.split("\n[").next().unwrap();
            let value = section.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('=')).map(str::trim);
            let value = value.unwrap_or_else(|| panic!("{} is no setting", row.setting));
            if key.ends_with("_days") || key.ends_with("_hours") || key == "kept_days" {
                let shown = row.kept.split(' ').next().unwrap();
                assert!(shown == value || row.kept.starts_with("as "), "{}: {} is documented, {value} is the default", row.table, row.kept);
            }
        }
    }
}
