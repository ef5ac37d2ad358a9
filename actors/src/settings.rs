//! The limits and intervals that actors and services work with; `node` fills them from configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::command::DispatchPolicy;
use domain::device::DevicePolicy;
use domain::enrollment::LifetimeLimits;
use domain::lockout::LockoutPolicy;
use domain::rate::RateLimit;
use domain::rollout::HaltPolicy;
use domain::throttle::FailureLimit;
use secrecy::SecretString;

use crate::deployment::DeploymentSettings;
use crate::enrollment_kit::location::ApkLocation;

/// All settings of this crate.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Heartbeats.
    pub heartbeat: HeartbeatSettings,
    /// Judgements on devices.
    pub device: DevicePolicy,
    /// Sign-in and tokens.
    pub auth: AuthSettings,
    /// Enrollment.
    pub enrollment: EnrollmentSettings,
    /// History and events.
    pub history: HistorySettings,
    /// What devices are enrolled with in the field.
    pub kit: KitSettings,
    /// How long an export of devices may stand still.
    pub export_stall_timeout: Duration,
    /// How often the partition manager looks.
    pub partition_interval: Duration,
    /// Push messages over FCM; `None`: off.
    pub fcm: Option<FcmSettings>,
    /// Push messages to UnifiedPush endpoints; `None`: off.
    pub unified_push: Option<UnifiedPushSettings>,
    /// Commands.
    pub commands: CommandSettings,
    /// Updates of the agent.
    pub agent_updates: AgentUpdateSettings,
    /// Deployments.
    pub deployments: DeploymentSettings,
    /// The APK library.
    pub apks: ApkSettings,
}

/// Updates of the agent.
#[derive(Debug, Clone)]
pub struct AgentUpdateSettings {
    /// Package name of the agent.
    pub package: String,
    /// How often a node reads what is offered.
    pub reread: Duration,
    /// A node that could not read it for so long offers nothing.
    pub stale_after: Duration,
    /// How often a node writes the checks that it counted.
    pub flush: Duration,
    /// When a build is taken out by itself.
    pub halt: HaltPolicy,
    /// How long counters, and samples of versions, are kept.
    pub counters_kept: chrono::TimeDelta,
    /// How long it is kept what single devices told of builds that are not offered any more.
    pub outcomes_kept: chrono::TimeDelta,
}

impl Default for AgentUpdateSettings {
    fn default() -> Self {
        Self {
            package: crate::enrollment_kit::PACKAGE.to_owned(),
            reread: Duration::from_secs(1),
            stale_after: Duration::from_secs(8),
            flush: Duration::from_secs(5),
            halt: HaltPolicy { verify_failures_max: 3, failure_rate_pct: 20, min_count: 10 },
            counters_kept: chrono::TimeDelta::days(92),
            outcomes_kept: chrono::TimeDelta::days(92),
        }
    }
}

/// The APK library.
#[derive(Debug, Clone)]
pub struct ApkSettings {
    /// How devices reach the server, without a slash at the end.
    pub base_url: String,
    /// Where files are kept: a folder, or the URL of an object store.
    pub store_url: String,
    /// Options of an object store, under the names of its environment variables in small letters.
    pub store_options: Vec<(String, SecretString)>,
    /// What this node keeps for itself: files that come in, and those of a store that is far away.
    pub cache_dir: PathBuf,
    /// Most of the latter.
    pub cache_max_bytes: u64,
    /// Largest APK.
    pub upload_max_bytes: u64,
    /// Largest part of an upload.
    pub part_max_bytes: usize,
    /// Most uploads under way, and most bodies that one node takes in at a time.
    pub uploads_max: usize,
    /// How long an upload is kept that nobody goes on with.
    pub upload_kept: chrono::TimeDelta,
    /// Most downloads at a time.
    pub downloads_max: usize,
    /// How fast one node sends all files together; 0: as fast as it goes.
    pub download_bytes_per_second: u64,
    /// How long an address holds.
    pub download_url_life: chrono::TimeDelta,
    /// How long an upload or download may stand still.
    pub stall_timeout: Duration,
    /// Versions of a package that are kept; 0: all.
    pub versions_kept: usize,
}

impl ApkSettings {
    /// The defaults, with everything in one folder.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            base_url: "http://127.0.0.1:8080".into(),
            store_url: crate::apk_library::default_store(folder),
            store_options: vec![],
            cache_dir: folder.join("apk-cache"),
            cache_max_bytes: 2 << 30,
            upload_max_bytes: 500_000_000,
            part_max_bytes: 8 << 20,
            uploads_max: 16,
            upload_kept: chrono::TimeDelta::hours(24),
            downloads_max: 64,
            download_bytes_per_second: 0,
            download_url_life: chrono::TimeDelta::hours(24),
            stall_timeout: Duration::from_secs(30),
            versions_kept: 0,
        }
    }
}

/// Commands.
#[derive(Debug, Clone)]
pub struct CommandSettings {
    /// How long each path is given.
    pub dispatch: DispatchPolicy,
    /// When a command is worthless, unless told otherwise.
    pub expires_default_s: i64,
    /// The longest life of a command.
    pub expires_max_s: i64,
    /// Commands of a batch that are sent in a second, unless told otherwise.
    pub batch_rate_default: i32,
    /// The most that can be asked for.
    pub batch_rate_max: i32,
    /// Most open commands of one device.
    pub open_per_device_max: i64,
    /// Largest parameters, as the device is sent them.
    pub params_max_bytes: usize,
    /// How long commands that are over are kept.
    pub kept: chrono::TimeDelta,
    /// How long the key of an idempotent call is remembered.
    pub keys_kept: chrono::TimeDelta,
}

/// Push over Firebase Cloud Messaging.
#[derive(Debug, Clone)]
pub struct FcmSettings {
    /// The service account, JSON as Google makes it.
    pub service_account_file: PathBuf,
    /// Where FCM answers.
    pub base_url: String,
    /// How long a request may take, connecting included.
    pub timeout: Duration,
    /// Most requests at a time.
    pub concurrency: usize,
    /// How fast this node sends.
    pub rate: RateLimit,
    /// Most messages to one device within a minute.
    pub per_device_per_minute: u32,
    /// Most messages that wait to be sent.
    pub queue_max: usize,
}

/// Push messages to UnifiedPush endpoints.
#[derive(Debug, Clone)]
pub struct UnifiedPushSettings {
    /// Push servers that may be called, as origins: `https://push.example.com`.
    pub origins: Vec<String>,
    /// How long a request may take, connecting included.
    pub timeout: Duration,
    /// Most requests at a time.
    pub concurrency: usize,
    /// Most messages to one device within a minute.
    pub per_device_per_minute: u32,
}

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct HistorySettings {
    /// A deleted device can be restored for this long; then it is removed for good.
    pub restore_within: chrono::TimeDelta,
    /// Events of devices.
    pub events_kept: chrono::TimeDelta,
    /// Hours of devices, and samples of the fleet.
    pub hours_kept: chrono::TimeDelta,
    /// Between two looks at what is to be counted or removed.
    pub interval: Duration,
}

/// Heartbeat intake and writing.
#[derive(Debug, Clone)]
pub struct HeartbeatSettings {
    /// How often devices report.
    pub interval_s: u32,
    /// Most heartbeats between intake and commit.
    pub in_flight_max: usize,
    /// Writers, each with a database connection in use while it commits.
    pub writers: usize,
    /// Longest queue in front of one writer.
    pub writer_queue_max: usize,
    /// Most rows of one transaction.
    pub batch_rows_max: usize,
    /// How long a writer waits for more rows once it has one.
    pub linger: Duration,
    /// How long a commit may take before its rows are answered with 503.
    pub commit_timeout: Duration,
    /// Shortest `Retry-After`.
    pub retry_after_s: u32,
}

/// Enrollment.
#[derive(Debug, Clone, Copy)]
pub struct EnrollmentSettings {
    /// Life of enrollment tokens.
    pub lifetime: LifetimeLimits,
    /// Worthless tokens per address.
    pub failures: FailureLimit,
}

/// Scripts, the agent's APK and codes.
#[derive(Debug, Clone)]
pub struct KitSettings {
    /// How devices and people reach the server, where that is configured.
    pub public_url: Option<String>,
    /// How this node is reached otherwise.
    pub listen_url: String,
    /// Where the agent's APK is looked for, in this order.
    pub agent_apk_locations: Vec<ApkLocation>,
    /// SHA-256 of the certificate that signs it, where the file does not tell.
    pub agent_signer_sha256: Option<[u8; 32]>,
    /// Most downloads of the APK at a time.
    pub downloads_max: usize,
    /// How long a download may stand still.
    pub stall_timeout: Duration,
}

impl Default for KitSettings {
    fn default() -> Self {
        Self {
            public_url: None,
            listen_url: "http://127.0.0.1:8080".into(),
            agent_apk_locations: Vec::new(),
            agent_signer_sha256: None,
            downloads_max: 32,
            stall_timeout: Duration::from_secs(30),
        }
    }
}

/// Sign-in and tokens.
#[derive(Debug, Clone)]
pub struct AuthSettings {
    /// bcrypt cost of passwords.
    pub password_bcrypt_cost: u32,
    /// bcrypt cost of device tokens, whose 256 random bits need no stretching.
    pub device_token_bcrypt_cost: u32,
    /// bcrypt computations at a time.
    pub bcrypt_concurrency: usize,
    /// How long a caller waits for its turn at bcrypt.
    pub bcrypt_wait: Duration,
    /// Life of an access token.
    pub access_token_ttl: Duration,
    /// Life of a sign-in.
    pub session_ttl: Duration,
    /// How long the state of a sign-in is trusted before it is read again.
    pub session_cache_ttl: Duration,
    /// Life of a device's session token.
    pub agent_session_ttl: Duration,
    /// Verified device tokens remembered per node.
    pub device_token_cache_max: u64,
    /// Failed attempts per address.
    pub failures: FailureLimit,
    /// Addresses with failures remembered per node.
    pub failure_keys_max: u64,
    /// Failed sign-ins per name, on all nodes together.
    pub lockout: LockoutPolicy,
    /// Names with failed sign-ins remembered.
    pub lockout_names_max: i64,
    /// Sign-ins in force per account.
    pub sessions_per_user_max: i64,
    /// Life of API tokens.
    pub api_token_lifetime: LifetimeLimits,
    /// API tokens in force per account.
    pub api_tokens_per_user_max: i64,
}
