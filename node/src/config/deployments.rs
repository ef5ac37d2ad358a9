//! `[deployments]`: how long devices have, and how many deployments there may be.

use std::time::Duration;

use actors::deployment::DeploymentSettings;
use chrono::TimeDelta;

use super::Deployments;

impl Deployments {
    pub(super) fn settings(&self) -> DeploymentSettings {
        DeploymentSettings {
            accept_within: TimeDelta::seconds(self.accept_within_seconds),
            silent_within: TimeDelta::seconds(self.silent_within_seconds),
            confirm_within: TimeDelta::seconds(self.confirm_within_seconds),
            devices_max: self.devices_max,
            open_max: self.open_max,
            starts_per_second: self.starts_per_second,
            reconcile_interval: Duration::from_millis(self.look_interval_ms),
            kept: TimeDelta::days(self.kept_days),
        }
    }
}
