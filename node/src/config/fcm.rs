//! `[fcm]`: pushes by Firebase Cloud Messaging.

use std::time::Duration;

use domain::Invalid;
use domain::rate::RateLimit;
use push::FcmSettings;

use super::Fcm;

impl Fcm {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        let host = self.base_url.strip_prefix("https://").or_else(|| self.base_url.strip_prefix("http://")).unwrap_or("");
        if host.is_empty() || host.contains(['?', '#', '@', ' ']) {
            return Err(Invalid::new("fcm.base_url", "not of the form https://host"));
        }
        Ok(())
    }

    pub(super) fn settings(&self) -> Option<FcmSettings> {
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
