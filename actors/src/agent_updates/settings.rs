//! Settings of updates of the agent.

use std::time::Duration;

use domain::rollout::HaltPolicy;

/// Updates of the agent.
#[derive(Debug, Clone)]
pub struct AgentUpdateSettings {
    /// Package name of the agent.
    pub package: String,
    /// How often a node reads what is offered.
    pub refresh_interval: Duration,
    /// A node that could not read it for so long offers nothing.
    pub stale_after: Duration,
    /// How often a node writes the checks that it counted.
    pub flush: Duration,
    /// Limits of the automatic halt.
    pub halt: HaltPolicy,
    /// How long counters, and samples of versions, are kept.
    pub counters_kept: chrono::TimeDelta,
    /// Retention of single devices' reports about builds that are no longer offered.
    pub outcomes_kept: chrono::TimeDelta,
}

impl Default for AgentUpdateSettings {
    fn default() -> Self {
        Self {
            package: enrollment_kit::PACKAGE.to_owned(),
            refresh_interval: Duration::from_secs(1),
            stale_after: Duration::from_secs(8),
            flush: Duration::from_secs(5),
            halt: HaltPolicy { verify_failures_max: 3, failure_rate_pct: 20, min_count: 10 },
            counters_kept: chrono::TimeDelta::days(92),
            outcomes_kept: chrono::TimeDelta::days(92),
        }
    }
}
