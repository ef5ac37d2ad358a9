//! `[commands]`: how commands reach devices, and how many there may be.

use chrono::TimeDelta;
use domain::Invalid;
use domain::command::DispatchPolicy;
use domain::invalid::in_range;
use services::settings::CommandSettings;

use super::Commands;

impl Commands {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        in_range("commands.expires_default_seconds", self.expires_default_seconds, 1, self.expires_max_seconds)?;
        in_range("commands.batch_per_second", self.batch_per_second, 1, self.batch_per_second_max)?;
        Ok(())
    }

    pub(super) fn dispatch(&self) -> DispatchPolicy {
        DispatchPolicy {
            socket_wait: TimeDelta::milliseconds(self.socket_wait_ms),
            push_wait: TimeDelta::seconds(self.push_wait_seconds),
            heartbeat_wait: TimeDelta::seconds(self.heartbeat_wait_seconds),
            pushes_max: self.pushes_max,
        }
    }

    pub(super) fn settings(&self) -> CommandSettings {
        CommandSettings {
            expires_default_s: self.expires_default_seconds,
            expires_max_s: self.expires_max_seconds,
            batch_rate_default: self.batch_per_second,
            batch_rate_max: self.batch_per_second_max,
            open_per_device_max: self.open_per_device_max,
            params_max_bytes: self.params_limit_bytes,
        }
    }
}
