//! What can be set, section by section; `config/default.toml` says what each setting means.

use std::net::SocketAddr;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Deserialize, Serialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name { $(pub(crate) $field: $type,)* }
    };
}

section!(
    /// All settings; `config/default.toml` says what each means.
    Config {
        data_dir: PathBuf,
        http: Http,
        database: Database,
        admin: Admin,
        secrets: SecretKeys,
        auth: Auth,
        enrollment: Enrollment,
        heartbeat: Heartbeat,
        telemetry: Telemetry,
        device: Device,
        history: History,
        socket: Socket,
        fcm: Fcm,
        unified_push: UnifiedPush,
        commands: Commands,
        agent_updates: AgentUpdates,
        deployments: Deployments,
        apks: Apks,
        dashboard: Dashboard,
        rate_limits: RateLimits,
        partition: Partition,
        reconcile: Reconcile,
        cluster: Cluster,
        shutdown: Shutdown,
        log: Log,
    }
);
section!(
    /// `[http]`
    Http {
        listen: SocketAddr,
        public_url: String,
        trusted_proxies: String,
        tls_certificate_file: String,
        tls_key_file: String,
        connections_max: usize,
        header_timeout_ms: u64,
        body_timeout_ms: u64,
        body_limit_bytes: usize,
        heartbeats_body_limit_bytes: usize,
        bulk_body_limit_bytes: usize,
        import_body_limit_bytes: usize,
        export_stall_timeout_ms: u64,
    }
);
section!(
    /// `[database]`
    Database {
        url: Hidden,
        pool_max_connections: u32,
        acquire_timeout_ms: u64,
        statement_timeout_ms: u64,
        bin_dir: PathBuf,
        shared_buffers_mb: u32,
    }
);
section!(
    /// `[admin]`
    Admin { initial_password: Hidden, }
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
        password_bcrypt_cost: u32,
        device_token_bcrypt_cost: u32,
        bcrypt_concurrency: usize,
        bcrypt_wait_ms: u64,
        access_token_seconds: u64,
        session_seconds: u64,
        session_cache_ms: u64,
        agent_session_seconds: u64,
        device_token_cache_max: u64,
        failure_burst: u32,
        failures_forgiven_per_minute: u32,
        failure_keys_max: u64,
        lockout_after_failures: u32,
        lockout_seconds: u32,
        lockout_max_seconds: u32,
        lockout_forget_seconds: u32,
        lockout_names_max: i64,
        sessions_per_user_max: i64,
        api_token_default_seconds: i64,
        api_token_max_seconds: i64,
        api_tokens_per_user_max: i64,
    }
);
section!(
    /// `[enrollment]`
    Enrollment {
        token_default_seconds: i64,
        token_max_seconds: i64,
        failure_burst: u32,
        failures_forgiven_per_minute: u32,
        agent_apk_file: PathBuf,
        agent_signer_sha256: String,
        agent_apk_downloads_max: usize,
        agent_apk_stall_timeout_ms: u64,
    }
);
section!(
    /// `[heartbeat]`
    Heartbeat {
        interval_seconds: u32,
        in_flight_max: usize,
        writers: usize,
        writer_queue_max: usize,
        batch_rows_max: usize,
        linger_ms: u64,
        commit_timeout_ms: u64,
        retry_after_seconds: u32,
    }
);
section!(
    /// `[telemetry]`
    Telemetry { opt_in: String, }
);
section!(
    /// `[device]`
    Device { offline_after_seconds: i64, low_battery_pct: i16, app_stale_after_seconds: i32, }
);
section!(
    /// `[history]`
    History { restore_within_days: i64, events_kept_days: i64, hours_kept_days: i64, interval_seconds: u64, }
);
section!(
    /// `[socket]`
    Socket {
        connections_max: usize,
        frame_limit_bytes: usize,
        ping_interval_seconds: u64,
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
        timeout_ms: u64,
        concurrency: usize,
        per_second: u32,
        burst: u32,
        per_device_per_minute: u32,
        queue_max: usize,
    }
);
section!(
    /// `[unified_push]`
    UnifiedPush { origins: String, timeout_ms: u64, concurrency: usize, per_device_per_minute: u32, }
);
section!(
    /// `[agent_updates]`
    AgentUpdates {
        package: String,
        reread_ms: u64,
        stale_after_ms: u64,
        flush_ms: u64,
        verify_failures_max: i64,
        failure_rate_pct: i64,
        failure_min_count: i64,
        counters_kept_days: i64,
        outcomes_kept_days: i64,
    }
);
section!(
    /// `[commands]`
    Commands {
        socket_wait_ms: i64,
        push_wait_seconds: i64,
        heartbeat_wait_seconds: i64,
        pushes_max: u32,
        expires_default_seconds: i64,
        expires_max_seconds: i64,
        batch_per_second: i32,
        batch_per_second_max: i32,
        open_per_device_max: i64,
        params_limit_bytes: usize,
        kept_days: i64,
        idempotency_keys_kept_hours: i64,
    }
);
section!(
    /// `[deployments]`
    Deployments {
        accept_within_seconds: i64,
        silent_within_seconds: i64,
        devices_max: usize,
        open_max: i64,
        starts_per_second: u32,
        look_interval_ms: u64,
        kept_days: i64,
    }
);
section!(
    /// `[apks]`
    Apks {
        store_url: String,
        cache_dir: PathBuf,
        cache_limit_bytes: u64,
        upload_limit_bytes: u64,
        part_limit_bytes: usize,
        uploads_max: usize,
        upload_kept_hours: i64,
        downloads_max: usize,
        download_bytes_per_second: u64,
        download_url_seconds: i64,
        stall_timeout_ms: u64,
        kept_versions: usize,
    }
);
section!(
    /// `[dashboard]`
    Dashboard { sessions_max: usize, sessions_per_user_max: usize, secure_cookies: bool, }
);
section!(
    /// `[rate_limits]`
    RateLimits {
        addresses_max: u64,
        sign_in_per_second: u32,
        sign_in_burst: u32,
        enrollment_per_second: u32,
        enrollment_burst: u32,
        agent_per_second: u32,
        agent_burst: u32,
        api_per_second: u32,
        api_burst: u32,
        page_per_second: u32,
        page_burst: u32,
    }
);
section!(
    /// `[partition]`
    Partition { interval_seconds: u64, }
);
section!(
    /// `[reconcile]`
    Reconcile { run_timeout_seconds: u64, backoff_max_seconds: u64, }
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
        lease_ms: u64,
        renew_interval_ms: u64,
        fence_after_ms: u64,
        steady_after_ms: u64,
        pool_max_connections: u32,
        owner_wait_ms: u64,
        feed_interval_ms: u64,
        handshake_timeout_ms: u64,
        idle_after_ms: u64,
        beat_interval_ms: u64,
        protocol_max: u16,
        redial_min_ms: u64,
        redial_max_ms: u64,
        peer_in_flight_max: usize,
        peer_in_flight_bytes: usize,
        peer_queue_max: usize,
        peer_batch_max: usize,
    }
);
section!(
    /// `[shutdown]`
    Shutdown { drain_timeout_ms: u64, }
);
section!(
    /// `[log]`
    Log { filter: String, format: LogFormat, }
);

/// How log lines look.
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
