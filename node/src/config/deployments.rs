//! `[deployments]`: how long devices have, and how many deployments there may be.

use std::time::Duration;

use actors::deployment::DeploymentSettings;
use chrono::TimeDelta;
use domain::Invalid;
use domain::invalid::in_range;

use super::Deployments;

impl Deployments {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        in_range("deployments.accept_within_seconds", self.accept_within_seconds, 5, 86_400)?;
        in_range("deployments.silent_within_seconds", self.silent_within_seconds, 30, 86_400)?;
        in_range("deployments.devices_max", self.devices_max, 1, 1_000_000)?;
        in_range("deployments.open_max", self.open_max, 1, 10_000)?;
        in_range("deployments.starts_per_second", self.starts_per_second, 1, 100_000)?;
        in_range("deployments.look_interval_ms", self.look_interval_ms, 100, 10_000)?;
        in_range("deployments.kept_days", self.kept_days, 1, 3650)?;
        Ok(())
    }

    pub(super) fn settings(&self) -> DeploymentSettings {
        DeploymentSettings {
            accept_within: TimeDelta::seconds(self.accept_within_seconds),
            silent_within: TimeDelta::seconds(self.silent_within_seconds),
            devices_max: self.devices_max,
            open_max: self.open_max,
            starts_per_second: self.starts_per_second,
            reconcile_interval: Duration::from_millis(self.look_interval_ms),
            kept: TimeDelta::days(self.kept_days),
        }
    }
}
