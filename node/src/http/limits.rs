//! The limits in force, as the dashboard's settings show them.

use web_dioxus::Limit;

use crate::config::Config;

/// Every limit on how much and how fast, by what it protects.
pub(crate) fn in_force(config: &Config) -> Vec<Limit> {
    let Config { auth, enrollment, http, heartbeat, socket, dashboard, apks, .. } = config;
    let seconds = |value: u32| format!("{} s", number(value as usize));
    let per_minute = |value: u32| format!("{} per minute", number(value as usize));
    let bytes = |value: usize| format!("{} bytes", number(value));
    let mut limits = Vec::new();
    let mut group = |group, limits_of: &[(&'static str, &'static str, String)]| {
        limits.extend(limits_of.iter().map(|(setting, meaning, value)| Limit { group, setting, meaning, value: value.clone() }));
    };
    let requests = |per_second: u32, burst: u32| format!("{} per second, burst of {}", number(per_second as usize), number(burst as usize));
    let rates = &config.rate_limits;
    group(
        "Requests per address",
        &[
            ("rate_limits.sign_in_*", "Sign-in and session renewal", requests(rates.sign_in_per_second, rates.sign_in_burst)),
            ("rate_limits.api_*", "API clients", requests(rates.api_per_second, rates.api_burst)),
            ("rate_limits.page_*", "Dashboard pages", requests(rates.page_per_second, rates.page_burst)),
            ("rate_limits.enrollment_*", "Enrolling devices", requests(rates.enrollment_per_second, rates.enrollment_burst)),
            ("rate_limits.agent_*", "Reporting devices", requests(rates.agent_per_second, rates.agent_burst)),
        ],
    );
    group(
        "Sign-in",
        &[
            ("auth.lockout_after_failures", "Failed sign-ins in a row before lockout", auth.lockout_after_failures.to_string()),
            ("auth.lockout_seconds", "First lockout; doubles with each further failure", seconds(auth.lockout_seconds)),
            ("auth.lockout_max_seconds", "Maximum lockout", seconds(auth.lockout_max_seconds)),
            ("auth.failure_burst", "Failed attempts in a row from one address", auth.failure_burst.to_string()),
            ("auth.failures_forgiven_per_minute", "Recovery of failed attempts per address", per_minute(auth.failures_forgiven_per_minute)),
            ("auth.sessions_per_user_max", "Active sessions per account", auth.sessions_per_user_max.to_string()),
            ("auth.api_tokens_per_user_max", "Active API tokens per account", auth.api_tokens_per_user_max.to_string()),
        ],
    );
    group(
        "Enrollment",
        &[
            ("enrollment.failure_burst", "Invalid tokens in a row from one address", enrollment.failure_burst.to_string()),
            ("enrollment.failures_forgiven_per_minute", "Recovery of invalid tokens", per_minute(enrollment.failures_forgiven_per_minute)),
        ],
    );
    group(
        "Devices",
        &[
            ("heartbeat.in_flight_max", "Heartbeats received and not yet committed", number(heartbeat.in_flight_max)),
            ("http.heartbeats_body_limit_bytes", "Body of a heartbeat list", bytes(http.heartbeats_body_limit_bytes)),
            ("socket.connections_max", "Open agent sockets", number(socket.connections_max)),
            ("socket.frame_limit_bytes", "Frame of an agent socket", bytes(socket.frame_limit_bytes)),
        ],
    );
    group(
        "APKs",
        &[
            ("apks.upload_limit_bytes", "Largest APK", bytes(usize::try_from(apks.upload_limit_bytes).unwrap_or(usize::MAX))),
            ("apks.uploads_max", "Uploads in progress", number(apks.uploads_max)),
            ("apks.downloads_max", "Concurrent downloads per node", number(apks.downloads_max)),
        ],
    );
    group(
        "Connections and bodies",
        &[
            ("http.connections_max", "Open connections", number(http.connections_max)),
            ("http.body_limit_bytes", "Other bodies", bytes(http.body_limit_bytes)),
            ("dashboard.sessions_max", "Open dashboard pages", number(dashboard.sessions_max)),
            ("dashboard.sessions_per_user_max", "Open dashboard pages per account", number(dashboard.sessions_per_user_max)),
        ],
    );
    limits
}

/// A number with thousands separators.
fn number(value: usize) -> String {
    let digits = value.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([number(0), number(999), number(1000), number(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
    }
}
