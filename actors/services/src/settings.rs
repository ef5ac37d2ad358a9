//! Settings of services: sign-in, enrollment, commands; `node` fills them from configuration.

use std::time::Duration;

use chrono::TimeDelta;
use domain::enrollment::LifetimeLimits;
use domain::lockout::LockoutPolicy;
use domain::permits::PoolLimits;
use domain::throttle::FailureLimit;

/// All settings of services, and of the runtime below them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The runtime.
    pub runtime: actors::settings::Settings,
    /// Sign-in and tokens.
    pub auth: AuthSettings,
    /// Enrollment.
    pub enrollment: EnrollmentSettings,
    /// Enrollment kit.
    pub kit: enrollment_kit::KitSettings,
    /// Commands.
    pub commands: CommandSettings,
    /// Tables that are exported and imported.
    pub tables: crate::TableSettings,
    /// Lists, searches, history and exports at the database.
    pub reads: crate::ReadSettings,
}

/// Sign-in and tokens.
#[derive(Debug, Clone)]
pub struct AuthSettings {
    /// bcrypt cost of passwords.
    pub password_bcrypt_cost: u32,
    /// bcrypt cost of device tokens, whose 256 random bits need no stretching.
    pub device_token_bcrypt_cost: u32,
    /// Shares of the bcrypt computations of passwords at a time.
    pub bcrypt: PoolLimits,
    /// Shares of those of device tokens.
    pub device_bcrypt: PoolLimits,
    /// How long an address that somebody signed in from is known.
    pub known_address_kept: TimeDelta,
    /// How late a sign-in from another address is served while others wait, after the first failure; doubles with each, milliseconds.
    pub stranger_delay_ms: u64,
    /// The latest, milliseconds.
    pub stranger_delay_max_ms: u64,
    /// How long a caller waits for its permit at bcrypt.
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
    /// Wrong device tokens and API tokens per address.
    pub token_failures: FailureLimit,
    /// Refusals and failed sign-ins that a node audits per minute.
    pub refusals_audited_per_minute: u32,
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

/// Enrollment.
#[derive(Debug, Clone, Copy)]
pub struct EnrollmentSettings {
    /// Life of enrollment tokens.
    pub lifetime: LifetimeLimits,
    /// How long after its use a token is answered again, to the same hardware.
    pub retry_window: TimeDelta,
    /// Most such answers for one device.
    pub retries_max: i32,
    /// Worthless tokens per address.
    pub failures: FailureLimit,
}

/// Commands.
#[derive(Debug, Clone, Copy)]
pub struct CommandSettings {
    /// Default life of a command.
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
}
