//! The limits and intervals of the runtime; `node` fills them from configuration. Each part is declared where it is used.

use std::time::Duration;

use chrono::TimeDelta;
use domain::command::DispatchPolicy;
use domain::device::DevicePolicy;
use domain::pace::Pace;
use domain::partition::PartitionSettings;

pub use crate::agent_updates::AgentUpdateSettings;
pub use crate::alert::{AlertSettings, CertificateExpiry};
pub use crate::backups::BackupSettings;
pub use crate::deployment::DeploymentSettings;
pub use crate::history::HistorySettings;
pub use crate::housekeeping::FailuresKept;
pub use crate::partition::ManagerSettings;
pub use crate::reconcile::ReconcileSettings;
pub use crate::reconciliation::ReconciliationSettings;
pub use crate::reports::ReportSettings;
pub use crate::storage_samples::StorageDisk;
pub use crate::writers::HeartbeatSettings;

/// All settings of this crate.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Heartbeats.
    pub heartbeat: HeartbeatSettings,
    /// Judgements on devices.
    pub device: DevicePolicy,
    /// History and events.
    pub history: HistorySettings,
    /// Reports of the fleet.
    pub reports: ReportSettings,
    /// How often the partition manager runs.
    pub partition_interval: Duration,
    /// How long heartbeats are kept in the database.
    pub partition: PartitionSettings,
    /// Pace of work that goes through many rows: archiving, reconciling.
    pub pace: Pace,
    /// Archives.
    pub archive: archive::ArchiveSettings,
    /// Offset of this node's clock from the database's beyond which a warning is logged.
    pub clock_offset_max: TimeDelta,
    /// Limits of every reconciler.
    pub reconcile: ReconcileSettings,
    /// Reconciliation of derived data.
    pub reconciliation: ReconciliationSettings,
    /// Push messages over FCM; `None`: off.
    pub fcm: Option<push::FcmSettings>,
    /// Push messages to UnifiedPush endpoints; `None`: off.
    pub unified_push: Option<push::UnifiedPushSettings>,
    /// Timeouts of the paths of a command.
    pub dispatch: DispatchPolicy,
    /// Whether push messages are also signed for agents of the earlier server.
    pub legacy_push: bool,
    /// Retention of failed sign-ins.
    pub sign_in_failures: FailuresKept,
    /// Updates of the agent.
    pub agent_updates: AgentUpdateSettings,
    /// Deployments.
    pub deployments: DeploymentSettings,
    /// Alerts.
    pub alerts: AlertSettings,
    /// Messages about alerts: channels, and the sender of the outbox.
    pub notify: notify::NotifySettings,
    /// The APK library.
    pub apks: apk::ApkSettings,
    /// The disk of the database.
    pub storage_disk: StorageDisk,
    /// The schedule of backups.
    pub backup: BackupSettings,
}

impl Settings {
    /// The settings of the partition manager.
    pub fn partition_manager(&self) -> ManagerSettings {
        ManagerSettings {
            partition: self.partition,
            offline_after_s: i32::try_from(self.device.offline_after.num_seconds()).unwrap_or(i32::MAX),
            chunk_rows: self.archive.chunk_rows,
            pace: self.pace,
            lock_max: self.reconcile.run_timeout,
        }
    }
}
