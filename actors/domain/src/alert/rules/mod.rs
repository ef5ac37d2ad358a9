//! The rules, one file each: a pure function of what is known about a subject, the thresholds and the time.

mod agent_outdated;
mod agent_rollout_halted;
mod app_down;
mod archive_failed;
mod audit_chain_broken;
mod backup_old;
mod certificate_expiring;
mod clock_wrong;
mod cluster_started;
mod command_failures;
mod database_away;
mod database_slow;
mod default_partition_not_empty;
mod deployment_backlog;
mod deployment_canary_failed;
mod deployment_failure_rate;
mod deployment_paused;
mod deployment_report_errors;
mod device_offline;
mod disk_low;
mod fleet_silent;
mod low_battery;
mod never_seen;
mod node_lost;
mod pool_saturated;
mod push_quota;
mod push_refused;
mod reconciliation_drift;
mod storage_low;
#[cfg(test)]
mod tests;

use super::{DeploymentFacts, DeviceFacts, Evaluation, Judging, NodeFacts, Rule, SystemFacts};

/// Judgement of a rule about devices.
pub(super) fn of_device(rule: Rule, device: &DeviceFacts<'_>, at: &Judging<'_>) -> Option<Evaluation> {
    Some(match rule {
        Rule::DeviceOffline => device_offline::evaluate(device, at),
        Rule::LowBattery => low_battery::evaluate(device, at),
        Rule::AppDown => app_down::evaluate(device, at),
        Rule::StorageLow => storage_low::evaluate(device, at),
        Rule::AgentOutdated => agent_outdated::evaluate(device, at),
        Rule::ClockWrong => clock_wrong::evaluate(device, at),
        Rule::CommandFailures => command_failures::evaluate(device, at),
        Rule::NeverSeen => never_seen::evaluate(device, at),
        _ => return None,
    })
}

/// Judgement of a rule about deployments.
pub(super) fn of_deployment(rule: Rule, deployment: &DeploymentFacts, at: &Judging<'_>) -> Option<Evaluation> {
    Some(match rule {
        Rule::DeploymentCanaryFailed => deployment_canary_failed::evaluate(deployment),
        Rule::DeploymentFailureRate => deployment_failure_rate::evaluate(deployment, at),
        Rule::DeploymentReportErrors => deployment_report_errors::evaluate(deployment, at),
        Rule::DeploymentBacklog => deployment_backlog::evaluate(deployment, at),
        Rule::DeploymentPaused => deployment_paused::evaluate(deployment, at),
        _ => return None,
    })
}

/// Judgement of a rule about nodes.
pub(super) fn of_node(rule: Rule, node: &NodeFacts, at: &Judging<'_>) -> Option<Evaluation> {
    (rule == Rule::NodeLost).then(|| node_lost::evaluate(node, at))
}

/// Judgement of a rule about the system.
pub(super) fn of_system(rule: Rule, system: &SystemFacts, at: &Judging<'_>) -> Option<Evaluation> {
    Some(match rule {
        Rule::ClusterStarted => cluster_started::evaluate(system, at),
        Rule::FleetSilent => fleet_silent::evaluate(system, at),
        Rule::DatabaseAway => database_away::evaluate(system, at),
        Rule::DatabaseSlow => database_slow::evaluate(system, at),
        Rule::PoolSaturated => pool_saturated::evaluate(system, at),
        Rule::DiskLow => disk_low::evaluate(system, at),
        Rule::PushRefused => push_refused::evaluate(system),
        Rule::PushQuota => push_quota::evaluate(system),
        Rule::AgentRolloutHalted => agent_rollout_halted::evaluate(system),
        Rule::ArchiveFailed => archive_failed::evaluate(system, at),
        Rule::DefaultPartitionNotEmpty => default_partition_not_empty::evaluate(system, at),
        Rule::ReconciliationDrift => reconciliation_drift::evaluate(system, at),
        Rule::CertificateExpiring => certificate_expiring::evaluate(system, at),
        Rule::BackupOld => backup_old::evaluate(system, at),
        Rule::AuditChainBroken => audit_chain_broken::evaluate(system),
        _ => return None,
    })
}
