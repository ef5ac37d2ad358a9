//! `[fcm]`: pushes by Firebase Cloud Messaging.

use std::time::Duration;

use domain::Invalid;
use domain::invalid::in_range;
use domain::rate::RateLimit;
use push::FcmSettings;

use super::Fcm;

impl Fcm {
    pub(super) fn check(&self) -> Result<(), Invalid> {
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
