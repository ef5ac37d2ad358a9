//! `[notify]`: how messages about alerts are sent.

use std::time::Duration;

use notify::NotifySettings;

use super::Config;

impl Config {
    /// Settings of notifications. What stands in files is read at start.
    pub(super) fn notify_settings(&self) -> NotifySettings {
        NotifySettings {
            public_url: self.public_url(),
            allow_private_targets: self.alerts.allow_private_targets,
            sends: true,
            timeout: Duration::from_millis(self.notify.timeout_ms),
            mail_timeout: Duration::from_millis(self.notify.mail_timeout_ms),
            per_channel: self.notify.per_channel_max,
            poll_interval: Duration::from_millis(self.notify.poll_ms),
            answer_max_bytes: self.notify.answer_limit_bytes,
            authorities_pem: None,
            mail_server: None,
        }
    }
}
