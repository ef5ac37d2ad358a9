//! Configuration: the built-in defaults, then a file, then `NEXMDM__SECTION__KEY` variables.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use actors::deployment::DeploymentSettings;
use actors::settings::{
    AuthSettings, CommandSettings, EnrollmentSettings, FcmSettings, HeartbeatSettings, HistorySettings, KitSettings, Settings,
};
use chrono::TimeDelta;
use domain::Invalid;
use domain::command::DispatchPolicy;
use domain::device::DevicePolicy;
use domain::enrollment::LifetimeLimits;
use domain::invalid::in_range;
use domain::lockout::LockoutPolicy;
use domain::rate::RateLimit;
use domain::throttle::FailureLimit;
use ipnet::IpNet;

use crate::http::RouteClass;

/// The commented defaults, part of the binary.
pub(crate) const DEFAULTS: &str = include_str!("../../config/default.toml");
mod agent_updates;
mod apks;
mod sections;

pub(crate) use sections::{
    AgentUpdates, Apks, Auth, Cluster, Commands, Config, Deployments, Enrollment, Fcm, Hidden, Http, Log, LogFormat, RateLimits,
};

impl Http {
    /// Networks of the proxies whose word on a request's origin is believed.
    ///
    /// # Errors
    /// Names the entry that is neither an address nor a network.
    pub(crate) fn trusted_networks(&self) -> Result<Vec<IpNet>, Invalid> {
        let read = |entry: &str| entry.parse().or_else(|_| entry.parse::<IpAddr>().map(IpNet::from));
        let entries = self.trusted_proxies.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries
            .map(|entry| {
                let problem = || format!("{entry:.50} is neither an address nor a network such as 10.0.0.0/8");
                read(entry).map_err(|_| Invalid::new("http.trusted_proxies", problem()))
            })
            .collect()
    }
}

impl RateLimits {
    fn check(&self) -> Result<(), Invalid> {
        let most = 10_000_000;
        in_range("rate_limits.addresses_max", self.addresses_max, 100, most)?;
        for (name, value) in [
            ("sign_in_per_second", self.sign_in_per_second),
            ("sign_in_burst", self.sign_in_burst),
            ("enrollment_per_second", self.enrollment_per_second),
            ("enrollment_burst", self.enrollment_burst),
            ("agent_per_second", self.agent_per_second),
            ("agent_burst", self.agent_burst),
            ("api_per_second", self.api_per_second),
            ("api_burst", self.api_burst),
            ("page_per_second", self.page_per_second),
            ("page_burst", self.page_burst),
        ] {
            in_range(&format!("rate_limits.{name}"), u64::from(value), 1, most)?;
        }
        Ok(())
    }

    /// The limit of a class.
    pub(crate) fn of(&self, class: RouteClass) -> RateLimit {
        let (per_second, burst) = match class {
            RouteClass::SignIn => (self.sign_in_per_second, self.sign_in_burst),
            RouteClass::Enrollment => (self.enrollment_per_second, self.enrollment_burst),
            RouteClass::Agent => (self.agent_per_second, self.agent_burst),
            RouteClass::Api => (self.api_per_second, self.api_burst),
            RouteClass::Page => (self.page_per_second, self.page_burst),
        };
        RateLimit { per_second, burst }
    }
}

impl Auth {
    fn check_people(&self) -> Result<(), Invalid> {
        in_range("auth.lockout_after_failures", self.lockout_after_failures, 1, 1000)?;
        in_range("auth.lockout_max_seconds", self.lockout_max_seconds, 1, 86_400)?;
        in_range("auth.lockout_seconds", self.lockout_seconds, 1, self.lockout_max_seconds)?;
        in_range("auth.lockout_forget_seconds", self.lockout_forget_seconds, self.lockout_max_seconds, 31_536_000)?;
        in_range("auth.lockout_names_max", self.lockout_names_max, 100, 100_000_000)?;
        in_range("auth.sessions_per_user_max", self.sessions_per_user_max, 1, 10_000)?;
        in_range("auth.api_token_max_seconds", self.api_token_max_seconds, 1, 315_360_000)?;
        in_range("auth.api_token_default_seconds", self.api_token_default_seconds, 1, self.api_token_max_seconds)?;
        in_range("auth.api_tokens_per_user_max", self.api_tokens_per_user_max, 0, 10_000).map(drop)
    }
}

impl Cluster {
    fn check(&self) -> Result<(), Invalid> {
        in_range("cluster.lease_ms", self.lease_ms, 500, 60_000)?;
        in_range("cluster.renew_interval_ms", self.renew_interval_ms, 50, self.lease_ms / 2)?;
        // What is left between the fence and the lease's end is for clocks that run apart.
        in_range("cluster.fence_after_ms", self.fence_after_ms, self.renew_interval_ms, self.lease_ms * 4 / 5)?;
        in_range("cluster.steady_after_ms", self.steady_after_ms, 0, 60_000)?;
        in_range("cluster.pool_max_connections", self.pool_max_connections, 3, 100)?;
        in_range("cluster.owner_wait_ms", self.owner_wait_ms, 10, 10_000)?;
        in_range("cluster.feed_interval_ms", self.feed_interval_ms, 50, 60_000)?;
        in_range("cluster.handshake_timeout_ms", self.handshake_timeout_ms, 50, 60_000)?;
        in_range("cluster.beat_interval_ms", self.beat_interval_ms, 50, 10_000)?;
        in_range("cluster.idle_after_ms", self.idle_after_ms, 2 * self.beat_interval_ms, 60_000)?;
        in_range("cluster.redial_min_ms", self.redial_min_ms, 10, 60_000)?;
        in_range("cluster.redial_max_ms", self.redial_max_ms, self.redial_min_ms, 600_000)?;
        in_range("cluster.peer_in_flight_max", self.peer_in_flight_max, 16, 100_000)?;
        in_range("cluster.peer_in_flight_bytes", self.peer_in_flight_bytes, 1 << 20, 1 << 30)?;
        in_range("cluster.peer_queue_max", self.peer_queue_max, 100, 1_000_000)?;
        in_range("cluster.peer_batch_max", self.peer_batch_max, 1, 200)?;
        if self.node_name.chars().count() > 64 || self.node_name.contains(|c: char| c.is_control() || "@,=".contains(c)) {
            return Err(Invalid::new("cluster.node_name", "more than 64 characters, or one of @ , ="));
        }
        self.addresses().map(drop)
    }

    /// Addresses to dial by name of the node.
    pub(crate) fn addresses(&self) -> Result<Vec<(String, String)>, Invalid> {
        self.peer_addresses
            .split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
            .map(|pair| match pair.split_once('=') {
                Some((name, address)) if !name.is_empty() && address.contains(':') => {
                    Ok((name.trim().to_owned(), address.trim().to_owned()))
                }
                _ => Err(Invalid::new("cluster.peer_addresses", "not a list of name=host:port")),
            })
            .collect()
    }
}

impl Commands {
    fn check(&self) -> Result<(), Invalid> {
        in_range("commands.socket_wait_ms", self.socket_wait_ms, 100, 300_000)?;
        in_range("commands.push_wait_seconds", self.push_wait_seconds, 1, 86_400)?;
        in_range("commands.heartbeat_wait_seconds", self.heartbeat_wait_seconds, 1, 86_400)?;
        in_range("commands.pushes_max", self.pushes_max, 0, 100)?;
        in_range("commands.expires_max_seconds", self.expires_max_seconds, 60, 28 * 86_400)?;
        in_range("commands.expires_default_seconds", self.expires_default_seconds, 1, self.expires_max_seconds)?;
        in_range("commands.batch_per_second_max", self.batch_per_second_max, 1, 100_000)?;
        in_range("commands.batch_per_second", self.batch_per_second, 1, self.batch_per_second_max)?;
        in_range("commands.open_per_device_max", self.open_per_device_max, 1, 1_000)?;
        in_range("commands.params_limit_bytes", self.params_limit_bytes, 256, 3_000)?;
        in_range("commands.kept_days", self.kept_days, 1, 3650)?;
        in_range("commands.idempotency_keys_kept_hours", self.idempotency_keys_kept_hours, 1, 24 * 365)?;
        Ok(())
    }

    fn settings(&self) -> CommandSettings {
        CommandSettings {
            dispatch: DispatchPolicy {
                socket_wait: TimeDelta::milliseconds(self.socket_wait_ms),
                push_wait: TimeDelta::seconds(self.push_wait_seconds),
                heartbeat_wait: TimeDelta::seconds(self.heartbeat_wait_seconds),
                pushes_max: self.pushes_max,
            },
            expires_default_s: self.expires_default_seconds,
            expires_max_s: self.expires_max_seconds,
            batch_rate_default: self.batch_per_second,
            batch_rate_max: self.batch_per_second_max,
            open_per_device_max: self.open_per_device_max,
            params_max_bytes: self.params_limit_bytes,
            kept: TimeDelta::days(self.kept_days),
            keys_kept: TimeDelta::hours(self.idempotency_keys_kept_hours),
        }
    }
}

impl Deployments {
    fn check(&self) -> Result<(), Invalid> {
        in_range("deployments.accept_within_seconds", self.accept_within_seconds, 5, 86_400)?;
        in_range("deployments.silent_within_seconds", self.silent_within_seconds, 30, 86_400)?;
        in_range("deployments.devices_max", self.devices_max, 1, 1_000_000)?;
        in_range("deployments.open_max", self.open_max, 1, 10_000)?;
        in_range("deployments.look_interval_ms", self.look_interval_ms, 100, 10_000)?;
        in_range("deployments.kept_days", self.kept_days, 1, 3650)?;
        Ok(())
    }

    fn settings(&self) -> DeploymentSettings {
        DeploymentSettings {
            accept_within: TimeDelta::seconds(self.accept_within_seconds),
            silent_within: TimeDelta::seconds(self.silent_within_seconds),
            devices_max: self.devices_max,
            open_max: self.open_max,
            look_interval: Duration::from_millis(self.look_interval_ms),
            kept: TimeDelta::days(self.kept_days),
        }
    }
}

impl Fcm {
    fn check(&self) -> Result<(), Invalid> {
        in_range("fcm.timeout_ms", self.timeout_ms, 100, 120_000)?;
        in_range("fcm.concurrency", self.concurrency, 1, 1000)?;
        in_range("fcm.per_second", self.per_second, 1, 10_000)?;
        in_range("fcm.burst", self.burst, 1, 10_000)?;
        // What FCM lets one Android device have in a minute.
        in_range("fcm.per_device_per_minute", self.per_device_per_minute, 1, 240)?;
        in_range("fcm.queue_max", self.queue_max, 1, 1_000_000)?;
        let host = self.base_url.strip_prefix("https://").or_else(|| self.base_url.strip_prefix("http://")).unwrap_or("");
        if host.is_empty() || host.contains(['?', '#', '@', ' ']) {
            return Err(Invalid::new("fcm.base_url", "not of the form https://host"));
        }
        Ok(())
    }

    fn settings(&self) -> Option<FcmSettings> {
        (!self.service_account_file.as_os_str().is_empty()).then(|| FcmSettings {
            service_account_file: self.service_account_file.clone(),
            base_url: self.base_url.clone(),
            timeout: Duration::from_millis(self.timeout_ms),
            concurrency: self.concurrency,
            rate: RateLimit { per_second: self.per_second, burst: self.burst },
            per_device_per_minute: self.per_device_per_minute,
            queue_max: self.queue_max,
        })
    }
}

impl Enrollment {
    /// The certificate digest that is set; tools print it with and without colons.
    fn signer(&self) -> Result<Option<[u8; 32]>, Invalid> {
        if self.agent_signer_sha256.is_empty() {
            return Ok(None);
        }
        let digest = hex::decode(self.agent_signer_sha256.replace(':', "")).ok().and_then(|bytes| bytes.try_into().ok());
        digest.map(Some).ok_or_else(|| Invalid::new("enrollment.agent_signer_sha256", "not 32 bytes as hex"))
    }
}

impl Config {
    /// Reads the defaults, `file` if given, and the variables of the environment.
    ///
    /// # Errors
    /// Names the key that is unknown or whose value is bad, and the reason.
    pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
        Self::read(file, variables)
    }

    fn read(file: Option<&Path>, variables: std::collections::HashMap<String, String>) -> anyhow::Result<Self> {
        use config::{Environment, File, FileFormat};
        let mut sources = config::Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        if let Some(file) = file {
            sources = sources.add_source(File::from(file).format(FileFormat::Toml));
        }
        let variables = Environment::with_prefix("NEXMDM").prefix_separator("__").separator("__").source(Some(variables));
        let merged = sources.add_source(variables).build()?;
        let read: Self = serde_path_to_error::deserialize(merged).map_err(|error| {
            let path = error.path().to_string();
            anyhow::anyhow!("configuration, at `{path}`: {}", error.into_inner())
        })?;
        read.check().map_err(|invalid| anyhow::anyhow!("configuration, `{}`: {}", invalid.field, invalid.problem))?;
        Ok(read)
    }

    fn check(&self) -> Result<(), Invalid> {
        let most = u64::MAX;
        in_range("http.connections_max", self.http.connections_max, 1, 1_000_000)?;
        in_range("http.header_timeout_ms", self.http.header_timeout_ms, 10, 600_000)?;
        in_range("http.body_timeout_ms", self.http.body_timeout_ms, 10, 600_000)?;
        in_range("http.body_limit_bytes", self.http.body_limit_bytes, 1024, 16_777_216)?;
        in_range("http.heartbeats_body_limit_bytes", self.http.heartbeats_body_limit_bytes, 1024, 16_777_216)?;
        in_range("http.bulk_body_limit_bytes", self.http.bulk_body_limit_bytes, 1024, 16_777_216)?;
        in_range("http.import_body_limit_bytes", self.http.import_body_limit_bytes, 1024, 1 << 28)?;
        in_range("http.export_stall_timeout_ms", self.http.export_stall_timeout_ms, 100, 600_000)?;
        in_range("database.pool_max_connections", self.database.pool_max_connections, 2, 1000)?;
        in_range("database.acquire_timeout_ms", self.database.acquire_timeout_ms, 10, 60_000)?;
        in_range("database.statement_timeout_ms", self.database.statement_timeout_ms, 10, 600_000)?;
        in_range("database.shared_buffers_mb", self.database.shared_buffers_mb, 16, 1_048_576)?;
        in_range("auth.password_bcrypt_cost", self.auth.password_bcrypt_cost, 4, 16)?;
        in_range("auth.device_token_bcrypt_cost", self.auth.device_token_bcrypt_cost, 4, 12)?;
        in_range("auth.access_token_seconds", self.auth.access_token_seconds, 10, 86_400)?;
        in_range("auth.session_seconds", self.auth.session_seconds, 60, 31_536_000)?;
        in_range("auth.agent_session_seconds", self.auth.agent_session_seconds, 10, 2_592_000)?;
        in_range("auth.failure_burst", self.auth.failure_burst, 1, 1_000_000)?;
        in_range("auth.failures_forgiven_per_minute", self.auth.failures_forgiven_per_minute, 1, 1_000_000)?;
        self.auth.check_people()?;
        self.http.trusted_networks()?;
        self.rate_limits.check()?;
        in_range("enrollment.failure_burst", self.enrollment.failure_burst, 1, 1_000_000)?;
        in_range("enrollment.failures_forgiven_per_minute", self.enrollment.failures_forgiven_per_minute, 1, 1_000_000)?;
        in_range("enrollment.token_max_seconds", self.enrollment.token_max_seconds, 1, 315_360_000)?;
        in_range("enrollment.token_default_seconds", self.enrollment.token_default_seconds, 1, self.enrollment.token_max_seconds)?;
        in_range("enrollment.agent_apk_downloads_max", self.enrollment.agent_apk_downloads_max, 1, 10_000)?;
        in_range("enrollment.agent_apk_stall_timeout_ms", self.enrollment.agent_apk_stall_timeout_ms, 100, 600_000)?;
        self.enrollment.signer()?;
        in_range("heartbeat.interval_seconds", self.heartbeat.interval_seconds, 1, 86_400)?;
        in_range("heartbeat.in_flight_max", self.heartbeat.in_flight_max, 100, 1_000_000)?;
        in_range("heartbeat.writers", self.heartbeat.writers, 1, 64)?;
        in_range("heartbeat.writer_queue_max", self.heartbeat.writer_queue_max, 100, 1_000_000)?;
        in_range("heartbeat.batch_rows_max", self.heartbeat.batch_rows_max, 1, 10_000)?;
        in_range("heartbeat.linger_ms", self.heartbeat.linger_ms, 0, 1000)?;
        in_range("heartbeat.commit_timeout_ms", self.heartbeat.commit_timeout_ms, 10, 600_000)?;
        in_range("heartbeat.retry_after_seconds", self.heartbeat.retry_after_seconds, 1, 3600)?;
        in_range("device.offline_after_seconds", self.device.offline_after_seconds, 1, 31_536_000)?;
        in_range("device.low_battery_pct", self.device.low_battery_pct, 0, 100)?;
        in_range("device.app_stale_after_seconds", self.device.app_stale_after_seconds, 1, i32::MAX)?;
        in_range("history.restore_within_days", self.history.restore_within_days, 1, 365)?;
        in_range("history.events_kept_days", self.history.events_kept_days, 1, 3650)?;
        in_range("history.hours_kept_days", self.history.hours_kept_days, 1, 3650)?;
        in_range("history.interval_seconds", self.history.interval_seconds, 1, 86_400)?;
        in_range("socket.connections_max", self.socket.connections_max, 0, 1_000_000)?;
        in_range("socket.frame_limit_bytes", self.socket.frame_limit_bytes, 1024, 16_777_216)?;
        in_range("socket.ping_interval_seconds", self.socket.ping_interval_seconds, 1, 3600)?;
        in_range("socket.dead_after_seconds", self.socket.dead_after_seconds, self.socket.ping_interval_seconds, 86_400)?;
        in_range("partition.interval_seconds", self.partition.interval_seconds, 1, 86_400)?;
        in_range("shutdown.drain_timeout_ms", self.shutdown.drain_timeout_ms, 0, 600_000)?;
        self.cluster.check()?;
        self.fcm.check()?;
        self.commands.check()?;
        self.agent_updates.check()?;
        self.deployments.check()?;
        self.apks.check()?;
        in_range("auth.bcrypt_wait_ms", self.auth.bcrypt_wait_ms, 1, most)?;
        if !self.http.public_url.is_empty() && !self.http.public_url.starts_with("http://") && !self.http.public_url.starts_with("https://")
        {
            return Err(Invalid::new("http.public_url", "begins with neither http:// nor https://"));
        }
        if self.http.tls_certificate_file.is_empty() != self.http.tls_key_file.is_empty() {
            return Err(Invalid::new("http.tls_key_file", "tls_certificate_file and tls_key_file go together"));
        }
        Ok(())
    }

    /// The settings of actors and services.
    pub(crate) fn settings(&self) -> Settings {
        let (auth, heartbeat) = (&self.auth, &self.heartbeat);
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Settings {
            heartbeat: HeartbeatSettings {
                interval_s: heartbeat.interval_seconds,
                in_flight_max: heartbeat.in_flight_max,
                writers: heartbeat.writers,
                writer_queue_max: heartbeat.writer_queue_max,
                batch_rows_max: heartbeat.batch_rows_max,
                linger: Duration::from_millis(heartbeat.linger_ms),
                commit_timeout: Duration::from_millis(heartbeat.commit_timeout_ms),
                retry_after_s: heartbeat.retry_after_seconds,
            },
            device: DevicePolicy {
                offline_after: TimeDelta::seconds(self.device.offline_after_seconds),
                low_battery_pct: self.device.low_battery_pct,
                app_stale_after_s: self.device.app_stale_after_seconds,
            },
            auth: AuthSettings {
                password_bcrypt_cost: auth.password_bcrypt_cost,
                device_token_bcrypt_cost: auth.device_token_bcrypt_cost,
                bcrypt_concurrency: if auth.bcrypt_concurrency == 0 { processors } else { auth.bcrypt_concurrency },
                bcrypt_wait: Duration::from_millis(auth.bcrypt_wait_ms),
                access_token_ttl: Duration::from_secs(auth.access_token_seconds),
                session_ttl: Duration::from_secs(auth.session_seconds),
                session_cache_ttl: Duration::from_millis(auth.session_cache_ms),
                agent_session_ttl: Duration::from_secs(auth.agent_session_seconds),
                device_token_cache_max: auth.device_token_cache_max,
                failures: FailureLimit { burst: auth.failure_burst, forgiven_per_minute: auth.failures_forgiven_per_minute },
                failure_keys_max: auth.failure_keys_max,
                lockout: LockoutPolicy {
                    after: auth.lockout_after_failures,
                    base_s: auth.lockout_seconds,
                    max_s: auth.lockout_max_seconds,
                    forget_after_s: auth.lockout_forget_seconds,
                },
                lockout_names_max: auth.lockout_names_max,
                sessions_per_user_max: auth.sessions_per_user_max,
                api_token_lifetime: LifetimeLimits { default_s: auth.api_token_default_seconds, max_s: auth.api_token_max_seconds },
                api_tokens_per_user_max: auth.api_tokens_per_user_max,
            },
            enrollment: EnrollmentSettings {
                lifetime: LifetimeLimits { default_s: self.enrollment.token_default_seconds, max_s: self.enrollment.token_max_seconds },
                failures: FailureLimit {
                    burst: self.enrollment.failure_burst,
                    forgiven_per_minute: self.enrollment.failures_forgiven_per_minute,
                },
            },
            history: HistorySettings {
                restore_within: TimeDelta::days(self.history.restore_within_days),
                events_kept: TimeDelta::days(self.history.events_kept_days),
                hours_kept: TimeDelta::days(self.history.hours_kept_days),
                interval: Duration::from_secs(self.history.interval_seconds),
            },
            kit: KitSettings {
                public_url: (!self.http.public_url.is_empty()).then(|| self.public_url()),
                listen_url: self.public_url(),
                agent_apk_file: Some(self.enrollment.agent_apk_file.clone()).filter(|file| !file.as_os_str().is_empty()),
                // Checked when it was read.
                agent_signer_sha256: self.enrollment.signer().ok().flatten(),
                downloads_max: self.enrollment.agent_apk_downloads_max,
                stall_timeout: Duration::from_millis(self.enrollment.agent_apk_stall_timeout_ms),
            },
            export_stall_timeout: Duration::from_millis(self.http.export_stall_timeout_ms),
            partition_interval: Duration::from_secs(self.partition.interval_seconds),
            fcm: self.fcm.settings(),
            commands: self.commands.settings(),
            agent_updates: self.agent_updates.settings(),
            deployments: self.deployments.settings(),
            apks: self.apk_settings(),
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

    /// How devices and people reach this node, without a slash at the end.
    pub(crate) fn public_url(&self) -> String {
        match self.http.public_url.trim_end_matches('/') {
            "" if self.http.tls_certificate_file.is_empty() => format!("http://{}", self.http.listen),
            "" => format!("https://{}", self.http.listen),
            url => url.to_owned(),
        }
    }
}

#[cfg(test)]
impl RateLimits {
    /// The defaults.
    pub(crate) fn for_tests() -> Self {
        tests::read(&[]).unwrap().rate_limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn read(variables: &[(&str, &str)]) -> anyhow::Result<Config> {
        Config::read(None, variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn defaults_are_complete_and_variables_override_them() {
        assert_eq!(read(&[]).unwrap().http.listen.port(), 8080);
        let config = read(&[("NEXMDM__HTTP__LISTEN", "127.0.0.1:9"), ("NEXMDM__DATA_DIR", "/tmp/x"), ("HOME", "/")]).unwrap();
        assert_eq!((config.http.listen.port(), config.data_dir.as_path()), (9, Path::new("/tmp/x")));
    }

    #[test]
    fn proxies_are_addresses_and_networks() {
        let config = read(&[("NEXMDM__HTTP__TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8,2001:db8::/32")]).unwrap();
        let networks: Vec<String> = config.http.trusted_networks().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["127.0.0.1/32", "10.0.0.0/8", "2001:db8::/32"]);
    }

    #[test]
    fn a_password_of_digits_stays_as_it_is() {
        let config = read(&[("NEXMDM__ADMIN__INITIAL_PASSWORD", "007")]).unwrap();
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
            ("NEXMDM__HTTP__TRUSTED_PROXIES", "10.0.0.0/8, proxy", "http.trusted_proxies"),
            ("NEXMDM__RATE_LIMITS__API_BURST", "0", "rate_limits.api_burst"),
            ("NEXMDM__AUTH__LOCKOUT_SECONDS", "901", "auth.lockout_seconds"),
            ("NEXMDM__HTTP__PUBLIC_URL", "ftp://x", "http.public_url"),
            ("NEXMDM__FCM__BASE_URL", "fcm.googleapis.com", "fcm.base_url"),
            ("NEXMDM__FCM__PER_DEVICE_PER_MINUTE", "241", "fcm.per_device_per_minute"),
            ("NEXMDM__APKS__UPLOAD_LIMIT_BYTES", "2147483648", "apks.upload_limit_bytes"),
            ("NEXMDM__APKS__DOWNLOAD_BYTES_PER_SECOND", "1000", "apks.download_bytes_per_second"),
            ("NEXMDM__ENROLLMENT__AGENT_SIGNER_SHA256", "ab:cd", "enrollment.agent_signer_sha256"),
        ] {
            let error = read(&[(variable, value)]).unwrap_err().to_string();
            assert!(error.contains(wanted), "{variable}={value}: {error}");
        }
    }

    #[test]
    fn secrets_are_never_printed() {
        let config =
            read(&[("NEXMDM__ADMIN__INITIAL_PASSWORD", "hunter2"), ("NEXMDM__DATABASE__URL", "postgres://u:hunter2@h/d")]).unwrap();
        assert!(!serde_json::to_string(&config).unwrap().contains("hunter2"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
