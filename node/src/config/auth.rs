//! `[auth]`: passwords, sessions, tokens, and how wrong ones are slowed down.

use std::time::Duration;

use chrono::TimeDelta;
use domain::Invalid;
use domain::enrollment::LifetimeLimits;
use domain::invalid::in_range;
use domain::lockout::LockoutPolicy;
use domain::permits::PoolLimits;
use domain::throttle::FailureLimit;
use services::settings::AuthSettings;

use super::Auth;

impl Auth {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        in_range("auth.lockout_seconds", self.lockout_seconds, 1, self.lockout_max_seconds)?;
        in_range("auth.lockout_forget_seconds", self.lockout_forget_seconds, self.lockout_max_seconds, 31_536_000)?;
        in_range("auth.api_token_default_seconds", self.api_token_default_seconds, 1, self.api_token_max_seconds)?;
        Ok(())
    }

    pub(super) fn settings(&self) -> AuthSettings {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let concurrency = if self.bcrypt_concurrency == 0 { processors } else { self.bcrypt_concurrency };
        let shares = PoolLimits::of_capacity(concurrency).with_parts(self.bcrypt_per_address_pct, self.bcrypt_reserved_pct);
        AuthSettings {
            password_bcrypt_cost: self.password_bcrypt_cost,
            device_token_bcrypt_cost: self.device_token_bcrypt_cost,
            bcrypt: PoolLimits { reserved: 0, known_only: shares.reserved, waiting: self.bcrypt_waiting_max, ..shares },
            device_bcrypt: PoolLimits { per_principal: 1, waiting: self.device_bcrypt_waiting_max, ..PoolLimits::of_capacity(concurrency) },
            known_address_kept: TimeDelta::days(self.known_address_days),
            stranger_delay_ms: self.stranger_delay_ms,
            stranger_delay_max_ms: self.stranger_delay_max_ms,
            bcrypt_wait: Duration::from_millis(self.bcrypt_wait_ms),
            access_token_ttl: Duration::from_secs(self.access_token_seconds),
            session_ttl: Duration::from_secs(self.session_seconds),
            session_cache_ttl: Duration::from_millis(self.session_cache_ms),
            agent_session_ttl: Duration::from_secs(self.agent_session_seconds),
            device_token_cache_max: self.device_token_cache_max,
            failures: FailureLimit { burst: self.failure_burst, forgiven_per_minute: self.failures_forgiven_per_minute },
            token_failures: FailureLimit { burst: self.token_failure_burst, forgiven_per_minute: self.token_failures_forgiven_per_minute },
            refusals_audited_per_minute: self.refusals_audited_per_minute,
            failure_keys_max: self.failure_keys_max,
            lockout: LockoutPolicy {
                after: self.lockout_after_failures,
                base_s: self.lockout_seconds,
                max_s: self.lockout_max_seconds,
                forget_after_s: self.lockout_forget_seconds,
            },
            lockout_names_max: self.lockout_names_max,
            sessions_per_user_max: self.sessions_per_user_max,
            api_token_lifetime: LifetimeLimits { default_s: self.api_token_default_seconds, max_s: self.api_token_max_seconds },
            api_tokens_per_user_max: self.api_tokens_per_user_max,
        }
    }
}
