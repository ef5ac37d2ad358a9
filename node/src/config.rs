//! Configuration: the built-in defaults, then a file, then `NEXMDM__SECTION__KEY` variables.

use std::path::Path;
use std::time::Duration;

use actors::settings::{FailuresKept, HistorySettings, ReconcileSettings, ReconciliationSettings, ReportSettings, StorageDisk};
use chrono::TimeDelta;
use domain::Invalid;
use domain::device::DevicePolicy;
use domain::invalid::in_range;
use domain::partition::PartitionSettings;
use domain::permits::PoolLimits;
use domain::transfer::MinimumRate;
use services::settings::Settings;

mod advice;
mod agent_updates;
mod alerts;
mod apks;
mod archive;
mod auth;
mod backups;
mod cluster;
mod commands;
mod dashboard;
mod database;
mod deployments;
mod enrollment;
mod fcm;
mod heartbeat;
mod hosts;
mod http;
mod metrics;
mod notify;
mod plain_text;
mod public_url;
mod rate_limits;
mod sections;
mod smtp;
mod socket;
mod storage;
mod telemetry;
mod traces;
mod unified_push;

pub(crate) use advice::{Advice, advice};
pub(crate) use hosts::KnownHosts;
pub(crate) use metrics::{DocsAccess, MetricsAccess};
pub(crate) use rate_limits::RouteClass;
pub(crate) use sections::{
    AgentUpdates, Alerts, Apks, Archive, Auth, Cluster, Commands, Config, Dashboard, Database, Deployments, Enrollment, Fcm, Heartbeat,
    Hidden, Http, LogFormat, RateLimits, Smtp, Socket, Telemetry, UnifiedPush,
};

/// The commented defaults, part of the binary.
pub(crate) const DEFAULTS: &str = include_str!("../../config/default.toml");

impl Config {
    /// Reads the defaults, `file` if given, and the variables of the environment.
    ///
    /// # Errors
    /// Names the key that is unknown or whose value is bad, and the reason.
    pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        Self::parse(file, plain_text::variables(std::env::vars_os())?)
    }

    fn parse(file: Option<&Path>, variables: std::collections::HashMap<String, String>) -> anyhow::Result<Self> {
        use config::{Environment, File, FileFormat};
        let mut sources = config::Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        if let Some(file) = file {
            sources = sources.add_source(File::from(file).format(FileFormat::Toml));
        }
        let variables = Environment::with_prefix("NEXMDM").prefix_separator("__").separator("__").source(Some(variables));
        let merged = sources.add_source(variables).build()?;
        plain_text::check(&merged.cache)?;
        let config: Self = serde_path_to_error::deserialize(merged).map_err(|error| {
            let path = error.path().to_string();
            anyhow::anyhow!("configuration, at `{path}`: {}", error.into_inner())
        })?;
        config.check().map_err(|invalid| anyhow::anyhow!("configuration, `{}`: {}", invalid.field, invalid.problem))?;
        Ok(config)
    }

    fn check(&self) -> Result<(), Invalid> {
        self.http.check_ranges("http")?;
        self.database.check_ranges("database")?;
        self.auth.check_ranges("auth")?;
        self.enrollment.check_ranges("enrollment")?;
        self.heartbeat.check_ranges("heartbeat")?;
        self.device.check_ranges("device")?;
        self.alerts.check_ranges("alerts")?;
        self.history.check_ranges("history")?;
        self.archive.check_ranges("archive")?;
        self.reports.check_ranges("reports")?;
        self.socket.check_ranges("socket")?;
        self.fcm.check_ranges("fcm")?;
        self.unified_push.check_ranges("unified_push")?;
        self.notify.check_ranges("notify")?;
        self.commands.check_ranges("commands")?;
        self.agent_updates.check_ranges("agent_updates")?;
        self.deployments.check_ranges("deployments")?;
        self.apks.check_ranges("apks")?;
        self.dashboard.check_ranges("dashboard")?;
        self.rate_limits.check_ranges("rate_limits")?;
        self.backup.check_ranges("backup")?;
        self.pace.check_ranges("pace")?;
        self.partition.check_ranges("partition")?;
        self.reconcile.check_ranges("reconcile")?;
        self.reconciliation.check_ranges("reconciliation")?;
        self.cluster.check_ranges("cluster")?;
        self.shutdown.check_ranges("shutdown")?;
        self.tracing.check_ranges("tracing")?;
        self.check_thresholds()?;
        self.alerts.check()?;
        self.http.check()?;
        self.metrics.check()?;
        self.tracing.check()?;
        self.auth.check()?;
        self.enrollment.check()?;
        self.telemetry.opted_in()?;
        in_range("socket.dead_after_seconds", self.socket.dead_after_seconds, self.socket.ping_interval_seconds, 86_400)?;
        self.cluster.check()?;
        self.fcm.check()?;
        self.unified_push.check()?;
        self.smtp.check()?;
        self.commands.check()?;
        self.agent_updates.check()?;
        self.backup.check()?;
        self.apks.check()
    }

    /// The settings of actors and services.
    pub(crate) fn settings(&self) -> Settings {
        let auth = self.auth.settings();
        let sign_in_failures =
            FailuresKept { age: TimeDelta::seconds(i64::from(auth.lockout.forget_after_s)), names_max: auth.lockout_names_max };
        Settings {
            runtime: actors::settings::Settings {
                heartbeat: self.heartbeat.settings(),
                device: DevicePolicy {
                    offline_after: TimeDelta::seconds(self.offline_after_seconds()),
                    low_battery_pct: self.low_battery_pct(),
                    app_stale_after_s: self.device.app_stale_after_seconds,
                    ghost_after: TimeDelta::seconds(self.device.ghost_after_seconds),
                    events_per_hour: self.device.events_per_hour_max,
                },
                history: HistorySettings {
                    restore_within: TimeDelta::days(self.history.restore_within_days),
                    events_kept: TimeDelta::days(self.history.events_kept_days),
                    hours_kept: TimeDelta::days(self.history.hours_kept_days),
                    commands_kept: TimeDelta::days(self.commands.kept_days),
                    idempotency_keys_kept: TimeDelta::hours(self.commands.idempotency_keys_kept_hours),
                    audit_kept: TimeDelta::days(self.history.audit_kept_days),
                    enroll_tokens_kept: TimeDelta::days(self.history.enroll_tokens_kept_days),
                    interval: Duration::from_secs(self.history.interval_seconds),
                },
                reports: ReportSettings {
                    kept: TimeDelta::days(self.reports.kept_days),
                    // Of a day whose hours are deleted, figures would say that all devices were away.
                    backfill: TimeDelta::days(self.reports.backfill_days.min((self.history.hours_kept_days - 1).max(1))),
                    groups_max: self.reports.groups_max,
                },
                partition_interval: Duration::from_secs(self.partition.interval_seconds),
                partition: PartitionSettings {
                    kept_days: self.history.heartbeats_kept_days,
                    restored_kept_days: self.history.restored_kept_days,
                },
                pace: self.pace_settings(),
                archive: self.archive_settings(),
                clock_offset_max: TimeDelta::milliseconds(self.cluster.clock_offset_max_ms),
                reconcile: ReconcileSettings {
                    run_timeout: Duration::from_secs(self.reconcile.run_timeout_seconds),
                    backoff_max: Duration::from_secs(self.reconcile.backoff_max_seconds),
                    batch_rows: self.reconcile.batch_rows,
                },
                reconciliation: ReconciliationSettings {
                    interval: Duration::from_secs(self.reconciliation.interval_seconds),
                    chunk_devices: self.reconciliation.chunk_devices,
                    pause: Duration::from_millis(self.reconciliation.pause_ms),
                    sample_devices: self.reconciliation.sample_devices,
                    runs_kept: TimeDelta::days(self.reconciliation.runs_kept_days),
                },
                fcm: self.fcm.settings(),
                unified_push: self.unified_push.settings(),
                dispatch: self.commands.dispatch(),
                legacy_push: self.commands.legacy_push,
                sign_in_failures,
                agent_updates: self.agent_updates.settings(),
                deployments: self.deployments.settings(),
                alerts: self.alert_settings(),
                notify: self.notify_settings(),
                apks: self.apk_settings(),
                // Known once the database is.
                storage_disk: StorageDisk::default(),
                backup: self.backup_settings(),
            },
            auth,
            enrollment: self.enrollment.settings(),
            kit: enrollment_kit::KitSettings {
                public_url: (!self.http.public_url.is_empty()).then(|| self.public_url()),
                listen_url: self.public_url(),
                agent_apk_locations: self.enrollment.agent_apk_locations(&self.data_dir),
                // Checked when it was read.
                agent_signer_sha256: self.enrollment.signer().ok().flatten(),
                downloads: PoolLimits {
                    per_link: self.enrollment.agent_apk_downloads_per_link_max,
                    ..PoolLimits::of_capacity(self.enrollment.agent_apk_downloads_max)
                }
                .with_parts(self.enrollment.agent_apk_downloads_per_address_pct, 0),
                minimum_rate: MinimumRate {
                    bytes_per_second: self.enrollment.agent_apk_min_bytes_per_second,
                    patience: Duration::from_millis(self.enrollment.agent_apk_stall_timeout_ms),
                },
            },
            commands: self.commands.settings(),
            tables: self.http.tables(),
            reads: self.database.reads(),
        }
    }

    /// The name of this node.
    pub(crate) fn node_name(&self) -> String {
        match self.cluster.node_name.as_str() {
            "" => {
                let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
                format!("{host}-{}", self.http.listen.port())
            }
            name => name.to_owned(),
        }
    }

    /// URL of this node for devices and people, without a slash at the end.
    pub(crate) fn public_url(&self) -> String {
        match self.http.public_url.as_str() {
            "" if self.http.tls_certificate_file.is_empty() => format!("http://{}", self.http.listen),
            "" => format!("https://{}", self.http.listen),
            // Checked when it was read.
            url => public_url::normalized(url).unwrap_or_else(|_| url.to_owned()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn parse(variables: &[(&str, &str)]) -> anyhow::Result<Config> {
        Config::parse(None, variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn defaults_are_complete_and_variables_override_them() {
        assert_eq!(parse(&[]).unwrap().http.listen.port(), 8080);
        let config = parse(&[("NEXMDM__HTTP__LISTEN", "127.0.0.1:9"), ("NEXMDM__DATA_DIR", "/tmp/x"), ("HOME", "/")]).unwrap();
        assert_eq!((config.http.listen.port(), config.data_dir.as_path()), (9, Path::new("/tmp/x")));
    }

    #[test]
    fn no_figures_are_made_of_hours_that_are_deleted() {
        for (hours_kept, backfill) in [("92", 35), ("35", 34), ("10", 9), ("1", 1)] {
            let config = parse(&[("NEXMDM__HISTORY__HOURS_KEPT_DAYS", hours_kept)]).unwrap();
            assert_eq!(config.settings().runtime.reports.backfill.num_days(), backfill, "{hours_kept}");
        }
    }

    #[test]
    fn proxies_are_addresses_and_networks() {
        let networks = |proxies: &str| -> Vec<String> {
            let config = parse(&[("NEXMDM__HTTP__TRUSTED_PROXIES", proxies)]).unwrap();
            config.http.trusted_networks().unwrap().iter().map(ToString::to_string).collect()
        };
        assert_eq!(networks("127.0.0.1, 10.0.0.0/8,2001:db8::/32"), ["127.0.0.1/32", "10.0.0.0/8", "2001:db8::/32"]);
        // However an IPv4 address is written, it is compared as one.
        assert_eq!(networks("::ffff:10.0.0.1, ::ffff:10.0.0.0/104, ::/0"), ["10.0.0.1/32", "10.0.0.0/8", "::/0"]);
    }

    #[test]
    fn a_password_of_digits_stays_as_it_is() {
        let config = parse(&[("NEXMDM__ADMIN__INITIAL_PASSWORD", "007")]).unwrap();
        assert_eq!(config.admin.initial_password.get(), Some("007"));
    }

    #[test]
    fn unknown_keys_and_bad_values_are_refused_by_name() {
        for (variable, value, wanted) in [
            ("NEXMDM__HTTP__LISTEM", "127.0.0.1:1", "listem"),
            ("NEXMDM__HTTPS__LISTEN", "127.0.0.1:1", "https"),
            ("NEXMDM__HTTP__LISTEN", "somewhere", "http.listen"),
            ("NEXMDM__HEARTBEAT__WRITERS", "many", "heartbeat.writers"),
            ("NEXMDM__HEARTBEAT__WRITERS", "0", "heartbeat.writers"),
            ("NEXMDM__HEARTBEAT__WRITERS", "-1", "heartbeat.writers"),
            ("NEXMDM__LOG__FORMAT", "xml", "log.format"),
            ("NEXMDM__TELEMETRY__OPT_IN", "location, mood", "telemetry.opt_in"),
            ("NEXMDM__HTTP__TRUSTED_PROXIES", "10.0.0.0/8, proxy", "http.trusted_proxies"),
            ("NEXMDM__RATE_LIMITS__API_BURST", "0", "rate_limits.api_burst"),
            ("NEXMDM__AUTH__LOCKOUT_SECONDS", "901", "auth.lockout_seconds"),
            ("NEXMDM__HTTP__PUBLIC_URL", "ftp://x", "http.public_url"),
            ("NEXMDM__HTTP__PUBLIC_URL", "https://mdm.example.com\r", "http.public_url"),
            ("NEXMDM__HTTP__PUBLIC_URL", "https://mdm.example.com?x", "http.public_url"),
            ("NEXMDM__HTTP__PUBLIC_URL", "https://", "http.public_url"),
            ("NEXMDM__HTTP__PUBLIC_URL", "https://mdm.example.com/mdm", "http.public_url"),
            ("NEXMDM__DATA_DIR", "/srv/nexmdm\n", "data_dir"),
            ("NEXMDM__CLUSTER__NODE_NAME", "node-1\r", "cluster.node_name"),
            ("NEXMDM__CLUSTER__NAME", "nexmdm\r", "cluster.name"),
            ("NEXMDM__APKS__STORE_URL", "s3://bucket\r", "apks.store_url"),
            ("NEXMDM__SECRETS__JWT_KEY_FILE", "/etc/jwt\r", "secrets.jwt_key_file"),
            ("NEXMDM__ADMIN__INITIAL_PASSWORD", "a long password\r", "admin.initial_password"),
            ("NEXMDM__FCM__BASE_URL", "fcm.googleapis.com", "fcm.base_url"),
            ("NEXMDM__FCM__PER_DEVICE_PER_MINUTE", "241", "fcm.per_device_per_minute"),
            ("NEXMDM__APKS__UPLOAD_LIMIT_BYTES", "2147483648", "apks.upload_limit_bytes"),
            ("NEXMDM__APKS__DOWNLOAD_BYTES_PER_SECOND", "1000", "apks.download_bytes_per_second"),
            ("NEXMDM__BACKUP__DIRECTORY", "/srv/backups", "backup.passphrase_file"),
            ("NEXMDM__BACKUP__KEPT", "0", "backup.kept"),
            ("NEXMDM__BACKUP__WORK_FACTOR", "21", "backup.work_factor"),
            ("NEXMDM__ENROLLMENT__AGENT_SIGNER_SHA256", "ab:cd", "enrollment.agent_signer_sha256"),
        ] {
            let error = parse(&[(variable, value)]).unwrap_err().to_string();
            assert!(error.contains(wanted), "{variable}={value}: {error}");
        }
    }

    #[test]
    fn secrets_are_never_printed() {
        let config =
            parse(&[("NEXMDM__ADMIN__INITIAL_PASSWORD", "hunter2"), ("NEXMDM__DATABASE__URL", "postgres://u:hunter2@h/d")]).unwrap();
        assert!(!serde_json::to_string(&config).unwrap().contains("hunter2"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
