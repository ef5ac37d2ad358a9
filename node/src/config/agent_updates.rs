//! `[agent_updates]`: when a build of the agent is taken out, and how long its numbers are kept.

use std::time::Duration;

use actors::settings::AgentUpdateSettings;
use chrono::TimeDelta;
use domain::Invalid;
use domain::invalid::in_range;
use domain::rollout::HaltPolicy;

use super::AgentUpdates;

impl AgentUpdates {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        if self.package.len() > 255
            || !self.package.contains('.')
            || self.package.contains(|c: char| !c.is_ascii_alphanumeric() && !"._".contains(c))
        {
            return Err(Invalid::new("agent_updates.package", "not a package name"));
        }
        // A build that is taken out must not be offered for more than 10 s, wherever.
        in_range("agent_updates.stale_after_ms", self.stale_after_ms, 2 * self.reread_ms, 10_000)?;
        Ok(())
    }

    pub(super) fn settings(&self) -> AgentUpdateSettings {
        AgentUpdateSettings {
            package: self.package.clone(),
            refresh_interval: Duration::from_millis(self.reread_ms),
            stale_after: Duration::from_millis(self.stale_after_ms),
            flush: Duration::from_millis(self.flush_ms),
            halt: HaltPolicy {
                verify_failures_max: self.verify_failures_max,
                failure_rate_pct: self.failure_rate_pct,
                min_count: self.failure_min_count,
            },
            counters_kept: TimeDelta::days(self.counters_kept_days),
            outcomes_kept: TimeDelta::days(self.outcomes_kept_days),
        }
    }
}
