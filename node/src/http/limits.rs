//! The limits in force, as the dashboard's settings show them. Values come from the configuration by the name of the setting.

use serde_json::Value;
use web_dioxus::Limit;

use crate::config::Config;

/// Groups of limits with their settings and meanings, in the order of the page. `name_*` is the rate `name_per_second` with the
/// burst `name_burst`.
const SHOWN: [(&str, &[(&str, &str)]); 9] = [
    (
        "Requests per address",
        &[
            ("rate_limits.sign_in_*", "Sign-in and session renewal"),
            ("rate_limits.api_*", "API clients"),
            ("rate_limits.page_*", "Dashboard pages"),
            ("rate_limits.enrollment_*", "Enrolling devices"),
            ("rate_limits.agent_*", "Reporting devices"),
        ],
    ),
    (
        "Sign-in",
        &[
            ("auth.lockout_after_failures", "Failed sign-ins in a row before lockout"),
            ("auth.lockout_seconds", "First lockout; doubles with each further failure"),
            ("auth.lockout_max_seconds", "Maximum lockout"),
            ("auth.failure_burst", "Failed attempts in a row from one address"),
            ("auth.failures_forgiven_per_minute", "Recovery of failed attempts per address"),
            ("auth.token_failure_burst", "Unknown device or API tokens in a row from one address"),
            ("auth.token_failures_forgiven_per_minute", "Recovery of unknown tokens per address"),
            ("auth.refusals_audited_per_minute", "Refusals and failed sign-ins in the audit trail per node"),
            ("auth.sessions_per_user_max", "Active sessions per account"),
            ("auth.api_tokens_per_user_max", "Active API tokens per account"),
            ("auth.api_token_max_seconds", "Longest lifetime of an API token"),
            ("auth.bcrypt_waiting_max", "Sign-ins of one class that wait"),
            ("auth.bcrypt_per_address_pct", "Password checks for one address"),
            ("auth.bcrypt_reserved_pct", "Password checks that strangers do not get"),
        ],
    ),
    (
        "Enrollment",
        &[
            ("enrollment.failure_burst", "Invalid tokens in a row from one address"),
            ("enrollment.failures_forgiven_per_minute", "Recovery of invalid tokens"),
            ("enrollment.token_max_seconds", "Longest lifetime of an enrollment token"),
            ("enrollment.retry_window_seconds", "Answer to a retried registration"),
            ("enrollment.retries_max", "Answers to retried registrations of one device"),
            ("enrollment.agent_apk_downloads_max", "Concurrent downloads of the agent per node"),
            ("enrollment.agent_apk_downloads_per_link_max", "With one link"),
            ("enrollment.agent_apk_downloads_per_address_pct", "For one address"),
            ("enrollment.agent_apk_min_bytes_per_second", "Slowest download of the agent"),
        ],
    ),
    (
        "Devices",
        &[
            ("heartbeat.in_flight_max", "Heartbeats received and not yet committed"),
            ("device.events_per_hour_max", "Events per hour that one device causes"),
            ("http.heartbeats_body_limit_bytes", "Body of a heartbeat list"),
            ("socket.connections_max", "Open agent sockets"),
            ("socket.connections_per_principal_max", "Open agent sockets of one device"),
            ("socket.connections_per_address_pct", "Open agent sockets from one address"),
            ("auth.device_bcrypt_waiting_max", "Devices that wait for a check of their tokens"),
            ("socket.frame_limit_bytes", "Frame of an agent socket"),
            ("socket.bad_frames_max", "Invalid frames before an agent socket is closed"),
        ],
    ),
    (
        "Commands",
        &[
            ("commands.open_per_device_max", "Open commands per device"),
            ("commands.params_limit_bytes", "Parameters of a command"),
            ("commands.expires_max_seconds", "Longest time until a command expires"),
            ("commands.batch_per_second_max", "Commands of a batch per second"),
            ("commands.pushes_max", "Pushes for one command"),
            ("fcm.per_second", "Messages over FCM per node"),
            ("fcm.burst", "Messages over FCM at once per node"),
            ("fcm.per_device_per_minute", "Messages over FCM per device"),
            ("unified_push.per_device_per_minute", "UnifiedPush messages per device"),
        ],
    ),
    (
        "Deployments",
        &[
            ("deployments.devices_max", "Devices of a deployment"),
            ("deployments.open_max", "Unfinished deployments"),
            ("deployments.starts_per_second", "Installs started, for a deployment without a rate"),
        ],
    ),
    (
        "APKs",
        &[
            ("apks.upload_limit_bytes", "Largest APK"),
            ("apks.part_limit_bytes", "Part of an upload"),
            ("apks.uploads_max", "Uploads in progress"),
            ("apks.uploads_per_principal_max", "Uploads of one account"),
            ("apks.uploads_per_address_pct", "Uploads from one address"),
            ("apks.uploads_reserved_pct", "Uploads reserved for admins"),
            ("apks.upload_idle_seconds", "Time without a part until an upload gives its place to another"),
            ("apks.downloads_max", "Concurrent downloads per node"),
            ("apks.downloads_per_principal_max", "Downloads of one device, account or API token"),
            ("apks.downloads_per_link_max", "Downloads with one link"),
            ("apks.downloads_per_address_pct", "Downloads to one address"),
            ("apks.downloads_reserved_pct", "Downloads reserved for devices that hold a task"),
            ("apks.transfer_min_bytes_per_second", "Slowest upload or download"),
            ("apks.download_bytes_per_second", "Bandwidth of downloads per node"),
            ("apks.cache_limit_bytes", "Cached APKs per node"),
        ],
    ),
    (
        "Archives",
        &[
            ("archive.read_limit_bytes", "Bytes that a plot of one device, or a day of an export, fetches"),
            ("archive.reads_max", "Such reads at a time per node"),
            ("archive.footer_cache_limit_bytes", "Indexes kept in memory per node"),
        ],
    ),
    (
        "Connections and bodies",
        &[
            ("http.connections_max", "Open connections"),
            ("http.connections_per_address_pct", "Open connections of one address"),
            ("database.reads_pct", "Database connections that lists and exports use at a time"),
            ("database.reads_per_principal_pct", "Of these, for one account or API token"),
            ("database.reads_per_address_pct", "Of these, for one address"),
            ("database.reads_reserved_pct", "Of these, reserved for admins"),
            ("database.reads_waiting_max", "Reads that wait for one"),
            ("http.exports_max", "Concurrent exports per node, and likewise imports"),
            ("http.exports_per_principal_max", "Exports of one account or API token"),
            ("http.exports_per_address_pct", "Exports to one address"),
            ("http.exports_reserved_pct", "Exports reserved for admins"),
            ("http.export_min_bytes_per_second", "Slowest export"),
            ("http.body_limit_bytes", "Other bodies"),
            ("http.body_min_bytes_per_second", "Slowest average of a body"),
            ("http.bulk_body_limit_bytes", "Body of a call about many devices"),
            ("http.import_body_limit_bytes", "CSV import"),
            ("dashboard.sessions_max", "Open dashboard pages"),
            ("dashboard.sessions_per_user_max", "Open dashboard pages per account"),
            ("dashboard.sessions_per_address_pct", "Open dashboard pages per address"),
            ("dashboard.sessions_reserved_pct", "Open dashboard pages reserved for admins"),
            ("dashboard.events_per_second", "Events per second that the pages of an account take"),
            ("dashboard.events_burst", "Of these, at once after a pause"),
        ],
    ),
];

/// Every limit on how much and how fast, by what it protects.
pub(crate) fn in_force(config: &Config) -> Vec<Limit> {
    let config = serde_json::to_value(config).unwrap_or_default();
    let limits = SHOWN.iter().flat_map(|(group, settings)| settings.iter().map(move |(setting, meaning)| (*group, *setting, *meaning)));
    limits.map(|(group, setting, meaning)| Limit { group, setting, meaning, value: value_text(&config, setting) }).collect()
}

/// Value of a limit with the unit that the name of its setting ends with.
fn value_text(config: &Value, setting: &str) -> String {
    if let Some(class) = setting.strip_suffix('*') {
        let of = |name: &str| number_of(config, &format!("{class}{name}"));
        return format!("{} per second, burst of {}", of("per_second"), of("burst"));
    }
    let value = number_of(config, setting);
    let units = [
        ("_pct", " %"),
        ("_bytes_per_second", " bytes per second"),
        ("per_second", " per second"),
        ("_per_minute", " per minute"),
        ("_seconds", " s"),
        ("_bytes", " bytes"),
    ];
    let unit = units.iter().find(|(suffix, _)| setting.trim_end_matches("_max").ends_with(suffix)).map_or("", |(_, unit)| unit);
    format!("{value}{unit}")
}

/// Value of a setting by its name, with thousands separators.
fn number_of(config: &Value, setting: &str) -> String {
    let value = setting.split('.').fold(config, |section, name| &section[name]);
    number(value.as_u64().unwrap_or_default())
}

/// A number with thousands separators.
fn number(value: u64) -> String {
    let digits = value.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Limits within a node or between nodes, which nobody who calls is answered with.
    const INTERNAL: [&str; 36] = [
        "agent_updates.verify_failures_max",
        "alerts.flap_limit",
        "alerts.per_minute_max",
        "auth.device_token_cache_max",
        "auth.failure_keys_max",
        "auth.lockout_names_max",
        "auth.stranger_delay_max_ms",
        "cluster.clock_offset_max_ms",
        "cluster.handshakes_max",
        "cluster.peer_batch_max",
        "cluster.peer_in_flight_bytes",
        "cluster.peer_in_flight_max",
        "cluster.peer_queue_max",
        "cluster.pool_max_connections",
        "cluster.protocol_max",
        "cluster.redial_max_ms",
        "commands.batch_per_second",
        "database.answer_grace_ms",
        "database.pool_max_connections",
        "database.read_max_lag_ms",
        "fcm.queue_max",
        "heartbeat.batch_rows_max",
        "heartbeat.writer_queue_max",
        "history.sessions_cached_max",
        "history.sessions_max",
        "log.repeats_per_minute_max",
        "notify.answer_limit_bytes",
        "notify.per_channel_max",
        "pace.rest_max_ms",
        "pace.rows_per_second_min",
        "rate_limits.addresses_max",
        "reconcile.backoff_max_seconds",
        "reports.groups_max",
        "socket.reconnect_after_max_ms",
        "tracing.batch_spans_max",
        "tracing.queue_spans_max",
    ];

    fn defaults() -> Value {
        serde_json::to_value(crate::config::tests::parse(&[]).unwrap()).unwrap()
    }

    /// Names of the settings of a row.
    fn settings(row: &str) -> Vec<String> {
        match row.strip_suffix('*') {
            Some(class) => ["per_second", "burst"].map(|name| format!("{class}{name}")).to_vec(),
            None => vec![row.to_owned()],
        }
    }

    fn is_limit(name: &str) -> bool {
        let words: Vec<_> = name.split('_').collect();
        let has = |word: &str| words.contains(&word);
        has("max") || has("limit") || has("burst") || name.contains("per_second") || name.contains("per_minute") || name.ends_with("_bytes")
    }

    #[test]
    fn every_limit_of_the_configuration_is_shown_or_internal() {
        let config = defaults();
        let sections = config.as_object().unwrap().iter();
        let known: BTreeSet<String> = sections
            .flat_map(|(section, settings)| settings.as_object().into_iter().flatten().map(move |(name, value)| (section, name, value)))
            .filter(|(_, name, value)| is_limit(name) && value.is_number())
            .map(|(section, name, _)| format!("{section}.{name}"))
            .collect();
        let shown: BTreeSet<String> = SHOWN.iter().flat_map(|(_, rows)| rows.iter()).flat_map(|(row, _)| settings(row)).collect();
        let internal = INTERNAL.map(str::to_owned).into();
        assert!(shown.is_disjoint(&internal));
        let listed: BTreeSet<String> = shown.union(&internal).cloned().collect();
        assert_eq!(known.difference(&listed).collect::<Vec<_>>(), Vec::<&String>::new(), "limits that the settings page lacks");
        let gone = listed.iter().filter(|setting| !setting.split('.').fold(&config, |section, name| &section[name]).is_number());
        assert_eq!(gone.collect::<Vec<_>>(), Vec::<&String>::new(), "no such settings");
    }

    #[test]
    fn what_callers_are_refused_with_is_a_setting() {
        use domain::permits::{Limit, PoolName};
        let config = defaults();
        let is_used = |pool: PoolName, limit: Limit| match (pool, limit) {
            (PoolName::Passwords, Limit::Principal | Limit::Link) => false,
            (PoolName::Passwords | PoolName::DeviceTokens, Limit::Capacity | Limit::Waiting | Limit::Wait) => true,
            (PoolName::Passwords, limit) => matches!(limit, Limit::Address | Limit::Reserve),
            (PoolName::DatabaseReads, limit) => limit != Limit::Link,
            (PoolName::DeviceTokens, _) | (_, Limit::Waiting | Limit::Wait) => false,
            (PoolName::Downloads, _) => true,
            (PoolName::AgentApkDownloads, limit) => matches!(limit, Limit::Capacity | Limit::Link | Limit::Address),
            (PoolName::AgentSockets, limit) => matches!(limit, Limit::Capacity | Limit::Principal | Limit::Address),
            (PoolName::Connections, limit) => matches!(limit, Limit::Capacity | Limit::Address),
            (PoolName::LinkHandshakes, limit) => matches!(limit, Limit::Capacity | Limit::Address | Limit::Reserve),
            (PoolName::Uploads | PoolName::Exports | PoolName::Imports | PoolName::DashboardSessions, limit) => limit != Limit::Link,
        };
        for pool in PoolName::ALL {
            for limit in Limit::ALL.into_iter().filter(|limit| is_used(pool, *limit)) {
                let setting = pool.setting(limit);
                assert!(setting.split('.').fold(&config, |section, name| &section[name]).is_number(), "{setting}");
            }
        }
    }

    #[test]
    fn values_have_the_unit_of_their_setting() {
        let config = serde_json::json!({
            "a": {"x_per_second": 1000, "x_burst": 5000, "per_second": 7, "y_seconds": 60, "z_max_seconds": 61, "limit_bytes": 1024,
                "failures_per_minute": 6, "n_max": 20, "b_per_second_max": 8, "share_pct": 50, "d_bytes_per_second": 9}
        });
        for (setting, text) in [
            ("a.x_*", "1,000 per second, burst of 5,000"),
            ("a.per_second", "7 per second"),
            ("a.b_per_second_max", "8 per second"),
            ("a.d_bytes_per_second", "9 bytes per second"),
            ("a.y_seconds", "60 s"),
            ("a.z_max_seconds", "61 s"),
            ("a.limit_bytes", "1,024 bytes"),
            ("a.failures_per_minute", "6 per minute"),
            ("a.n_max", "20"),
            ("a.share_pct", "50 %"),
        ] {
            assert_eq!(value_text(&config, setting), text, "{setting}");
        }
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([number(0), number(999), number(1000), number(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
    }
}
