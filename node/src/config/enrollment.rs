//! `[enrollment]`: tokens, and the agent that scripts fetch.

use std::path::Path;

use chrono::TimeDelta;
use domain::Invalid;
use domain::enrollment::LifetimeLimits;
use domain::invalid::in_range;
use domain::throttle::FailureLimit;
use enrollment_kit::location::{ApkLocation, locations};
use services::settings::EnrollmentSettings;

use super::Enrollment;

impl Enrollment {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        in_range("enrollment.token_default_seconds", self.token_default_seconds, 1, self.token_max_seconds)?;
        self.signer().map(drop)
    }

    pub(super) fn settings(&self) -> EnrollmentSettings {
        EnrollmentSettings {
            lifetime: LifetimeLimits { default_s: self.token_default_seconds, max_s: self.token_max_seconds },
            retry_window: TimeDelta::seconds(self.retry_window_seconds),
            retries_max: self.retries_max,
            failures: FailureLimit { burst: self.failure_burst, forgiven_per_minute: self.failures_forgiven_per_minute },
        }
    }

    /// Locations where the agent's APK is looked for.
    pub(super) fn agent_apk_locations(&self, data_dir: &Path) -> Vec<ApkLocation> {
        locations(Some(self.agent_apk_file.as_path()).filter(|file| !file.as_os_str().is_empty()), data_dir)
    }

    /// The certificate digest that is set; tools print it with and without colons.
    pub(super) fn signer(&self) -> Result<Option<[u8; 32]>, Invalid> {
        if self.agent_signer_sha256.is_empty() {
            return Ok(None);
        }
        let digest = hex::decode(self.agent_signer_sha256.replace(':', "")).ok().and_then(|bytes| bytes.try_into().ok());
        digest.map(Some).ok_or_else(|| Invalid::new("enrollment.agent_signer_sha256", "not 32 bytes as hex"))
    }
}
