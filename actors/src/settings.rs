//! The limits and intervals of the runtime; `node` fills them from configuration. Each part is declared where it is used.

use std::time::Duration;

use chrono::TimeDelta;
use domain::command::DispatchPolicy;
use domain::device::DevicePolicy;

pub use crate::agent_updates::AgentUpdateSettings;
pub use crate::alert::{AlertSettings, CertificateExpiry};
pub use crate::deployment::DeploymentSettings;
pub use crate::history::HistorySettings;
pub use crate::housekeeping::FailuresKept;
pub use crate::reconcile::ReconcileSettings;
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
    /// How often the partition manager runs.
    pub partition_interval: Duration,
    /// Offset of this node's clock from the database's beyond which a warning is logged.
    pub clock_offset_max: TimeDelta,
    /// Limits of every reconciler.
    pub reconcile: ReconcileSettings,
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
}
