//! Settings, section by section; `config/default.toml` says what each means.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use domain::Invalid;
use domain::invalid::in_range;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use super::metrics::{DocsSetting, MetricsSetting};

// Own code rather than a crate for validation: one would bring a derive macro for each section, and its refusals name one limit,
// not the value and both.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty $(where $range:expr)?,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Deserialize, Serialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name { $(pub(crate) $field: $type,)* }

        impl $name {
            /// Refuses what is outside its range, by its key in this section. Limits that depend on other settings are checked
            /// by the section itself.
            #[allow(dead_code, unused_variables, reason = "some sections have no ranges")]
            pub(super) fn check_ranges(&self, section: &str) -> Result<(), Invalid> {
                $($(
                    let range: RangeInclusive<$type> = $range;
                    in_range(&format!("{section}.{}", stringify!($field)), self.$field, *range.start(), *range.end())?;
                )?)*
                Ok(())
            }
        }
    };
}

section!(
    /// All settings; `config/default.toml` says what each means.
    Config {
        data_dir: PathBuf,
        data_dir_free_min_mb: u64,
        http: Http,
        database: Database,
        admin: Admin,
        secrets: SecretKeys,
        auth: Auth,
        enrollment: Enrollment,
        heartbeat: Heartbeat,
        telemetry: Telemetry,
        device: Device,
        alerts: Alerts,
        history: History,
        archive: Archive,
        pace: PaceOfWork,
        reports: Reports,
        socket: Socket,
        notify: Notify,
        smtp: Smtp,
        fcm: Fcm,
        unified_push: UnifiedPush,
        commands: Commands,
        agent_updates: AgentUpdates,
        deployments: Deployments,
        apks: Apks,
        dashboard: Dashboard,
        metrics: Metrics,
        rate_limits: RateLimits,
        backup: Backup,
        partition: Partition,
        reconcile: Reconcile,
        reconciliation: Reconciliation,
        cluster: Cluster,
        shutdown: Shutdown,
        log: Log,
        tracing: Tracing,
    }
);
section!(
    /// `[http]`
    Http {
        listen: SocketAddr,
        public_url: String,
        hosts: String,
        trusted_proxies: String,
        tls_certificate_file: String,
        tls_key_file: String,
        docs_access: DocsSetting,
        connections_max: usize where 1..=1_000_000,
        connections_per_address_pct: u8 where 1..=100,
        header_timeout_ms: u64 where 10..=600_000,
        body_timeout_ms: u64 where 10..=600_000,
        body_min_bytes_per_second: u32 where 16..=1_000_000_000,
        body_limit_bytes: usize where 1024..=16_777_216,
        heartbeats_body_limit_bytes: usize where 1024..=16_777_216,
        bulk_body_limit_bytes: usize where 1024..=16_777_216,
        import_body_limit_bytes: usize where 1024..=1 << 28,
        exports_max: usize where 1..=1000,
        exports_per_principal_max: usize where 1..=1000,
        exports_per_address_pct: u8 where 1..=100,
        exports_reserved_pct: u8 where 0..=90,
        export_stall_timeout_ms: u64 where 100..=600_000,
        export_min_bytes_per_second: u32 where 1..=1_000_000_000,
    }
);
section!(
    /// `[metrics]`
    Metrics {
        access: MetricsSetting,
        listen: String,
    }
);
section!(
    /// `[database]`
    Database {
        url: Hidden,
        url_file: PathBuf,
        read_url: Hidden,
        read_max_lag_ms: u64 where 2_000..=86_400_000,
        pool_max_connections: u32 where 2..=1000,
        reads_pct: u8 where 10..=90,
        reads_per_principal_pct: u8 where 1..=100,
        reads_per_address_pct: u8 where 1..=100,
        reads_reserved_pct: u8 where 0..=90,
        reads_waiting_max: usize where 1..=100_000,
        acquire_timeout_ms: u64 where 10..=60_000,
        statement_timeout_ms: u64 where 10..=600_000,
        answer_grace_ms: u64 where 100..=60_000,
        bin_dir: PathBuf,
        shared_buffers_mb: u32 where 16..=1_048_576,
    }
);
section!(
    /// `[admin]`
    Admin { initial_password: Hidden, initial_password_file: PathBuf, }
);
section!(
    /// `[secrets]`
    SecretKeys {
        master_key: Hidden,
        master_key_file: PathBuf,
        jwt_key: Hidden,
        jwt_key_file: PathBuf,
        cluster_key: Hidden,
        cluster_key_file: PathBuf,
    }
);
section!(
    /// `[auth]`
    Auth {
        password_bcrypt_cost: u32 where 4..=16,
        device_token_bcrypt_cost: u32 where 4..=12,
        bcrypt_concurrency: usize,
        bcrypt_wait_ms: u64 where 1..=u64::MAX,
        bcrypt_waiting_max: usize where 1..=100_000,
        bcrypt_per_address_pct: u8 where 1..=100,
        bcrypt_reserved_pct: u8 where 0..=90,
        device_bcrypt_waiting_max: usize where 1..=1_000_000,
        known_address_days: i64 where 1..=3650,
        stranger_delay_ms: u64 where 0..=60_000,
        stranger_delay_max_ms: u64 where 0..=600_000,
        access_token_seconds: u64 where 10..=86_400,
        session_seconds: u64 where 60..=31_536_000,
        session_cache_ms: u64,
        agent_session_seconds: u64 where 10..=2_592_000,
        device_token_cache_max: u64,
        failure_burst: u32 where 1..=1_000_000,
        failures_forgiven_per_minute: u32 where 1..=1_000_000,
        failure_keys_max: u64,
        token_failure_burst: u32 where 1..=1_000_000,
        token_failures_forgiven_per_minute: u32 where 1..=1_000_000,
        refusals_audited_per_minute: u32 where 0..=10_000,
        lockout_after_failures: u32 where 1..=1000,
        lockout_seconds: u32,
        lockout_max_seconds: u32 where 1..=86_400,
        lockout_forget_seconds: u32,
        lockout_names_max: i64 where 100..=100_000_000,
        sessions_per_user_max: i64 where 1..=10_000,
        api_token_default_seconds: i64,
        api_token_max_seconds: i64 where 1..=315_360_000,
        api_tokens_per_user_max: i64 where 0..=10_000,
    }
);
section!(
    /// `[enrollment]`
    Enrollment {
        token_default_seconds: i64,
        token_max_seconds: i64 where 1..=315_360_000,
        retry_window_seconds: i64 where 0..=86_400,
        retries_max: i32 where 0..=10_000,
        failure_burst: u32 where 1..=1_000_000,
        failures_forgiven_per_minute: u32 where 1..=1_000_000,
        agent_apk_file: PathBuf,
        agent_signer_sha256: String,
        agent_apk_downloads_max: usize where 1..=10_000,
        agent_apk_downloads_per_link_max: usize where 1..=10_000,
        agent_apk_downloads_per_address_pct: u8 where 1..=100,
        agent_apk_stall_timeout_ms: u64 where 100..=600_000,
        agent_apk_min_bytes_per_second: u32 where 1..=1_000_000_000,
    }
);
section!(
    /// `[heartbeat]`
    Heartbeat {
        interval_seconds: u32 where 1..=86_400,
        in_flight_max: usize where 100..=1_000_000,
        writers: usize where 1..=64,
        writer_queue_max: usize where 100..=1_000_000,
        batch_rows_max: usize where 1..=10_000,
        linger_ms: u64 where 0..=1000,
        commit_timeout_ms: u64 where 10..=600_000,
        retry_after_seconds: u32 where 1..=3600,
    }
);
section!(
    /// `[telemetry]`
    Telemetry { opt_in: String, }
);
section!(
    /// `[device]`
    Device {
        // Names of earlier versions for those of `[alerts]`; checked with them.
        offline_after_seconds: Option<i64>,
        low_battery_pct: Option<i16>,
        app_stale_after_seconds: i32 where 1..=i32::MAX,
        ghost_after_seconds: i64 where 60..=31_536_000,
        events_per_hour_max: u32 where 1..=100_000,
    }
);
section!(
    /// `[alerts]`
    Alerts {
        offline_after_seconds: i64 where 1..=31_536_000,
        low_battery_pct: i16 where 0..=100,
        low_battery_clear_pct: i16 where 0..=100,
        app_down_heartbeats: i64 where 1..=10,
        grace_seconds: i64 where 0..=3600,
        group_wait_seconds: i64,
        group_interval_seconds: i64,
        cooldown_seconds: i64,
        escalate_after_seconds: i64,
        flap_limit: usize,
        per_minute_max: u32,
        allow_private_targets: bool,
        inhibition_tail_seconds: i64,
        kept_days: i64 where 1..=3650,
    }
);
section!(
    /// `[history]`
    History {
        restore_within_days: i64 where 1..=365,
        events_kept_days: i64 where 1..=3650,
        hours_kept_days: i64 where 1..=3650,
        enroll_tokens_kept_days: i64 where 1..=3650,
        audit_kept_days: i64 where 30..=36_500,
        heartbeats_kept_days: u32 where 1..=3650,
        restored_kept_days: u32 where 1..=3650,
        narrow_rows: bool,
        sessions_max: u32 where 0..=1_000_000_000,
        sessions_cached_max: usize where 100..=100_000_000,
        interval_seconds: u64 where 1..=86_400,
    }
);
section!(
    /// `[archive]`
    Archive {
        url: String,
        scratch_dir: PathBuf,
        row_group_rows: usize where 1024..=1_048_576,
        chunk_rows: usize where 100..=100_000,
        timeout_ms: u64 where 100..=3_600_000,
        read_limit_bytes: u64 where 1 << 16..=1 << 40,
        read_timeout_ms: u64 where 100..=600_000,
        reads_max: usize where 1..=1000,
        footer_cache_limit_bytes: u64 where 0..=1 << 40,
    }
);
section!(
    /// `[pace]`
    PaceOfWork {
        share_of_core_pct: u8 where 1..=100,
        heartbeat_ms: u64 where 1..=10_000,
        rest_max_ms: u64 where 0..=60_000,
        rows_per_second_min: u64 where 0..=10_000_000,
    }
);
section!(
    /// `[reports]`
    Reports {
        kept_days: i64 where 8..=3650,
        backfill_days: i64 where 1..=92,
        groups_max: usize where 1..=2000,
    }
);
section!(
    /// `[socket]`
    Socket {
        connections_max: usize where 0..=1_000_000,
        connections_per_principal_max: usize where 1..=1000,
        connections_per_address_pct: u8 where 1..=100,
        frame_limit_bytes: usize where 1024..=16_777_216,
        ping_interval_seconds: u64 where 1..=3600,
        dead_after_seconds: u64,
        send_timeout_ms: u64,
        bad_frames_max: u32,
        reconnect_after_max_ms: u64,
    }
);
section!(
    /// `[fcm]`
    Fcm {
        service_account_file: PathBuf,
        base_url: String,
        timeout_ms: u64 where 100..=120_000,
        concurrency: usize where 1..=1000,
        per_second: u32 where 1..=10_000,
        burst: u32 where 1..=10_000,
        // What FCM lets one Android device have in a minute.
        per_device_per_minute: u32 where 1..=240,
        queue_max: usize where 1..=1_000_000,
    }
);
section!(
    /// `[notify]`
    Notify {
        timeout_ms: u64 where 500..=120_000,
        mail_timeout_ms: u64 where 500..=600_000,
        per_channel_max: usize where 1..=20,
        poll_ms: u64 where 100..=60_000,
        answer_limit_bytes: usize where 256..=1 << 20,
        ca_file: PathBuf,
    }
);
section!(
    /// `[smtp]`
    Smtp {
        host: String,
        port: u16,
        tls: String,
        username: String,
        password: Hidden,
        password_file: PathBuf,
        from: String,
    }
);
section!(
    /// `[unified_push]`
    UnifiedPush {
        origins: String,
        timeout_ms: u64 where 100..=120_000,
        concurrency: usize where 1..=1000,
        per_device_per_minute: u32 where 1..=240,
    }
);
section!(
    /// `[agent_updates]`
    AgentUpdates {
        package: String,
        reread_ms: u64 where 100..=5_000,
        stale_after_ms: u64,
        flush_ms: u64 where 100..=60_000,
        verify_failures_max: i64 where 1..=1_000_000,
        failure_rate_pct: i64 where 1..=100,
        failure_min_count: i64 where 1..=1_000_000,
        counters_kept_days: i64 where 1..=3650,
        outcomes_kept_days: i64 where 1..=3650,
    }
);
section!(
    /// `[commands]`
    Commands {
        socket_wait_ms: i64 where 100..=300_000,
        push_wait_seconds: i64 where 1..=86_400,
        heartbeat_wait_seconds: i64 where 1..=86_400,
        pushes_max: u32 where 0..=100,
        legacy_push: bool,
        expires_default_seconds: i64,
        expires_max_seconds: i64 where 60..=28 * 86_400,
        batch_per_second: i32,
        batch_per_second_max: i32 where 1..=100_000,
        open_per_device_max: i64 where 1..=1_000,
        params_limit_bytes: usize where 256..=3_000,
        kept_days: i64 where 1..=3650,
        idempotency_keys_kept_hours: i64 where 1..=24 * 365,
    }
);
section!(
    /// `[deployments]`
    Deployments {
        accept_within_seconds: i64 where 5..=86_400,
        silent_within_seconds: i64 where 30..=86_400,
        confirm_within_seconds: i64 where 30..=86_400,
        devices_max: usize where 1..=1_000_000,
        open_max: i64 where 1..=10_000,
        starts_per_second: u32 where 1..=100_000,
        look_interval_ms: u64 where 100..=10_000,
        kept_days: i64 where 1..=3650,
    }
);
section!(
    /// `[apks]`
    Apks {
        store_url: String,
        cache_dir: PathBuf,
        cache_limit_bytes: u64 where 0..=1 << 50,
        // Android installs no file that a signed 32-bit number cannot place.
        upload_limit_bytes: u64 where 1 << 16..=(1 << 31) - 1,
        part_limit_bytes: usize where 1 << 12..=1 << 28,
        uploads_max: usize where 1..=1000,
        uploads_per_principal_max: usize where 1..=1000,
        uploads_per_address_pct: u8 where 1..=100,
        uploads_reserved_pct: u8 where 0..=90,
        upload_idle_seconds: i64 where 60..=86_400,
        upload_kept_hours: i64 where 1..=24 * 365,
        downloads_max: usize where 1..=100_000,
        downloads_per_principal_max: usize where 1..=100_000,
        downloads_per_link_max: usize where 1..=100_000,
        downloads_per_address_pct: u8 where 1..=100,
        downloads_reserved_pct: u8 where 0..=90,
        download_bytes_per_second: u64,
        download_url_seconds: i64 where 60..=31_536_000,
        stall_timeout_ms: u64 where 100..=600_000,
        transfer_min_bytes_per_second: u32 where 1..=1_000_000_000,
        kept_versions: usize where 0..=1_000_000,
    }
);
section!(
    /// `[dashboard]`
    Dashboard {
        sessions_max: usize,
        sessions_per_user_max: usize,
        sessions_per_address_pct: u8 where 1..=100,
        sessions_reserved_pct: u8 where 0..=90,
        events_per_second: u32 where 1..=10_000,
        events_burst: u32 where 1..=100_000,
        secure_cookies: bool,
    }
);
section!(
    /// `[rate_limits]`
    RateLimits {
        addresses_max: u64 where 100..=10_000_000,
        sign_in_per_second: u32 where 1..=10_000_000,
        sign_in_burst: u32 where 1..=10_000_000,
        enrollment_per_second: u32 where 1..=10_000_000,
        enrollment_burst: u32 where 1..=10_000_000,
        agent_per_second: u32 where 1..=10_000_000,
        agent_burst: u32 where 1..=10_000_000,
        api_per_second: u32 where 1..=10_000_000,
        api_burst: u32 where 1..=10_000_000,
        page_per_second: u32 where 1..=10_000_000,
        page_burst: u32 where 1..=10_000_000,
    }
);
section!(
    /// `[backup]`
    Backup {
        directory: PathBuf,
        every_hours: i64 where 0..=8760,
        kept: usize where 1..=10_000,
        passphrase_file: PathBuf,
        work_factor: u8 where 10..=backup::WORK_FACTOR_MAX,
    }
);
section!(
    /// `[partition]`
    Partition { interval_seconds: u64 where 1..=86_400, }
);
section!(
    /// `[reconcile]`
    Reconcile {
        run_timeout_seconds: u64 where 1..=86_400,
        backoff_max_seconds: u64 where 1..=86_400,
        batch_rows: i64 where 100..=100_000,
    }
);
section!(
    /// `[reconciliation]`
    Reconciliation {
        interval_seconds: u64 where 1..=86_400,
        chunk_devices: i64 where 1..=10_000,
        pause_ms: u64 where 0..=10_000,
        sample_devices: i64 where 0..=10_000,
        runs_kept_days: i64 where 1..=3650,
    }
);
section!(
    /// `[cluster]`
    Cluster {
        name: String,
        node_name: String,
        listen: SocketAddr,
        advertise: String,
        peer_addresses: String,
        ca_file: PathBuf,
        certificate_file: PathBuf,
        certificate_key_file: PathBuf,
        lease_ms: u64 where 500..=60_000,
        renew_interval_ms: u64,
        fence_after_ms: u64,
        steady_after_ms: u64 where 0..=60_000,
        pool_max_connections: u32 where 3..=100,
        owner_wait_ms: u64 where 10..=10_000,
        feed_interval_ms: u64 where 50..=60_000,
        handshake_timeout_ms: u64 where 50..=60_000,
        handshakes_max: usize where 4..=10_000,
        handshakes_per_address_pct: u8 where 1..=100,
        handshakes_reserved_pct: u8 where 0..=90,
        idle_after_ms: u64,
        beat_interval_ms: u64 where 50..=10_000,
        protocol_max: u16,
        redial_min_ms: u64 where 10..=60_000,
        redial_max_ms: u64,
        peer_in_flight_max: usize where 16..=100_000,
        peer_in_flight_bytes: usize where 1 << 20..=1 << 30,
        peer_queue_max: usize where 100..=1_000_000,
        peer_batch_max: usize where 1..=200,
        clock_offset_max_ms: i64 where 10..=600_000,
        clock_offset_refused_ms: i64 where 1_000..=31_536_000_000,
    }
);
section!(
    /// `[shutdown]`
    Shutdown { drain_timeout_ms: u64 where 0..=600_000, }
);
section!(
    /// `[log]`
    Log { filter: String, format: LogFormat, repeats_per_minute_max: u32, }
);
section!(
    /// `[tracing]`
    Tracing {
        otlp_url: String,
        sampled_per_million: u32 where 0..=1_000_000,
        queue_spans_max: usize where 1..=1_000_000,
        batch_spans_max: usize where 1..=65_536,
        flush_ms: u64 where 50..=600_000,
        timeout_ms: u64 where 10..=600_000,
    }
);

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

/// A secret setting: empty = not set; never printed.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(crate) struct Hidden(SecretString);

impl Hidden {
    /// The value, if set.
    pub(crate) fn get(&self) -> Option<&str> {
        Some(self.0.expose_secret()).filter(|value| !value.is_empty())
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.get().is_some() { "(hidden)" } else { "" })
    }
}
