//! What rules judge: the state of a subject, as far as it is known.

use crate::Timestamp;
use crate::backup::BackupAge;
use crate::device::{AppStatus, DevicePolicy, DeviceState, LastStatus, Lifecycle};

/// What rules judge, by kind of subject.
#[derive(Debug, Clone, Copy)]
pub enum Facts<'a> {
    /// Of a device.
    Device(&'a DeviceFacts<'a>),
    /// Of a deployment.
    Deployment(&'a DeploymentFacts),
    /// Of a node.
    Node(&'a NodeFacts),
    /// Of the system.
    System(&'a SystemFacts),
}

/// What an owner remembers of the last heartbeats of a device, for conditions that take more than one. Begins anew when the device moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streaks {
    /// Heartbeats in a row in which the monitored app was down.
    pub app_down: u8,
    /// Charge in the heartbeat before, percent.
    pub battery_before: Option<i8>,
    /// The newest charge, percent.
    pub battery: Option<i8>,
    /// Commands in a row that failed; `None`: none has ended since the device moved here.
    pub command_failures: Option<u8>,
}

impl Streaks {
    /// Takes a stored heartbeat that is newer than the one before.
    pub fn observe(&mut self, status: &LastStatus, app_status: AppStatus) {
        match app_status {
            AppStatus::Down => self.app_down = self.app_down.saturating_add(1),
            AppStatus::Up => self.app_down = 0,
            AppStatus::Unknown => {}
        }
        if let Some(pct) = status.telemetry.battery_pct.and_then(|pct| i8::try_from(pct).ok()) {
            self.battery_before = self.battery.replace(pct);
        }
    }

    /// Takes the end of a command. One that expired or was canceled says nothing about the device.
    pub fn command_ended(&mut self, succeeded: bool) {
        self.command_failures = Some(if succeeded { 0 } else { self.command_failures.unwrap_or(0).saturating_add(1) });
    }
}

/// State of a device, as rules see it.
#[derive(Debug, Clone, Copy)]
pub struct DeviceFacts<'a> {
    /// When it enrolled.
    pub enrolled_at: Timestamp,
    /// When the last heartbeat was received.
    pub last_seen_at: Option<Timestamp>,
    /// The newest heartbeat.
    pub last: Option<&'a LastStatus>,
    /// Status of the monitored app.
    pub app_status: AppStatus,
    /// The last heartbeats.
    pub streaks: Streaks,
    /// Whether two devices report as this one: what they tell by turns says nothing.
    pub in_conflict: bool,
    /// Whether a newer agent is offered and not installed, and since when; `None`: not known.
    pub agent_offer: Option<Lasting>,
}

impl<'a> DeviceFacts<'a> {
    /// Facts of a device that is not deleted; of a deleted one nothing is judged.
    pub fn of(device: &'a DeviceState, policy: &DevicePolicy, streaks: Streaks, agent_offer: Option<Lasting>) -> Option<Self> {
        (device.lifecycle == Lifecycle::Active).then(|| Self {
            enrolled_at: device.identity.enrolled_at,
            last_seen_at: device.last_seen_at,
            last: device.last.as_deref(),
            app_status: device.app_status(policy),
            streaks,
            in_conflict: device.open_conflict().is_some(),
            agent_offer,
        })
    }

    /// The newest heartbeat, unless two devices report by turns.
    pub(super) fn reported(&self) -> Option<&'a LastStatus> {
        self.last.filter(|_| !self.in_conflict)
    }
}

/// Whether something lasts, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// It does not.
    Not,
    /// It does, since then.
    Since(Timestamp),
}

/// State of a deployment, as rules see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeploymentFacts {
    /// Verdict of the canary: whether it failed; `None`: none yet.
    pub canary_failed: Option<bool>,
    /// Tasks that succeeded.
    pub succeeded: u64,
    /// Tasks that failed.
    pub failed: u64,
    /// Tasks that wait or run.
    pub open: u64,
    /// When a task last changed.
    pub progress_at: Option<Timestamp>,
    /// Since when it is paused.
    pub paused_at: Option<Timestamp>,
    /// Whether it is over: canceled or finished.
    pub over: bool,
    /// Reports of the last hour that could not be used; `None`: not known.
    pub report_errors: Option<u64>,
}

/// State of a node's name, as rules see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// When the lease of the last node of this name ran out; `None` while one is alive or has left by itself.
    pub expired_at: Option<Timestamp>,
    /// Shards that it owned then.
    pub shards: u64,
}

/// Devices that fell silent lately, of those that were online.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetCount {
    /// Devices that were online before.
    pub online: u64,
    /// Those of them that have been silent for longer than the interval of heartbeats and grace.
    pub silent: u64,
}

/// Answers of the push service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushHealth {
    /// Messages are taken.
    Ok,
    /// The credentials are refused.
    Refused,
    /// The quota is used up.
    QuotaUsedUp,
}

/// State of the audit trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditHealth {
    /// Every entry matches.
    Whole,
    /// The first entry that does not match.
    BrokenAt(i64),
}

/// State of the system or of a named part of it. `None`: not known, and not judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SystemFacts {
    /// When the cluster started, with no node alive before.
    pub cluster_started_at: Option<Timestamp>,
    /// Devices that fell silent.
    pub fleet: Option<FleetCount>,
    /// Whether the database is away.
    pub database_away: Option<Lasting>,
    /// Time within which 99 % of the transactions of the last minute ended, ms.
    pub database_p99_ms: Option<i64>,
    /// Whether every connection is in use.
    pub pool_full: Option<Lasting>,
    /// Free disk space, percent.
    pub disk_free_pct: Option<i64>,
    /// Answers of the push service.
    pub push: Option<PushHealth>,
    /// Whether the rollout of an agent build is halted.
    pub rollout_halted: Option<bool>,
    /// Archivings in a row that failed.
    pub archive_failures: Option<u64>,
    /// Rows of the default partition.
    pub default_partition_rows: Option<u64>,
    /// Rows that differed in the last reconciliation.
    pub drift_rows: Option<u64>,
    /// When the certificate expires.
    pub certificate_expires_at: Option<Timestamp>,
    /// Age of the newest backup, where backups are expected.
    pub backup: Option<BackupAge>,
    /// State of the audit trail.
    pub audit: Option<AuditHealth>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_commands_count_in_a_row_and_a_success_ends_it() {
        let mut streaks = Streaks::default();
        let mut ended = |succeeded| {
            streaks.command_ended(succeeded);
            streaks.command_failures
        };
        let counted = [false, false, true, false].map(&mut ended);
        assert_eq!(counted, [Some(1), Some(2), Some(0), Some(1)]);
        assert_eq!((0..300).map(|_| ended(false)).max(), Some(Some(u8::MAX)));
    }
}
