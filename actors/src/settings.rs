//! The limits and intervals of the system; `node` fills them from configuration. Each part is declared where it is used.

use std::time::Duration;

use domain::device::DevicePolicy;

pub use crate::agent_updates::AgentUpdateSettings;

pub use crate::deployment::DeploymentSettings;
pub use crate::history::HistorySettings;
pub use crate::push::{FcmSettings, UnifiedPushSettings};
pub use crate::reconcile::ReconcileSettings;
pub use crate::services::{AuthSettings, CommandSettings, EnrollmentSettings};
pub use crate::writers::HeartbeatSettings;

/// All settings of this crate.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Heartbeats.
    pub heartbeat: HeartbeatSettings,
    /// Judgements on devices.
    pub device: DevicePolicy,
    /// Sign-in and tokens.
    pub auth: AuthSettings,
    /// Enrollment.
    pub enrollment: EnrollmentSettings,
    /// History and events.
    pub history: HistorySettings,
    /// Enrollment kit.
    pub kit: enrollment_kit::KitSettings,
    /// How long an export of devices may stand still.
    pub export_stall_timeout: Duration,
    /// How often the partition manager runs.
    pub partition_interval: Duration,
    /// Limits of every reconciler.
    pub reconcile: ReconcileSettings,
    /// Push messages over FCM; `None`: off.
    pub fcm: Option<FcmSettings>,
    /// Push messages to UnifiedPush endpoints; `None`: off.
    pub unified_push: Option<UnifiedPushSettings>,
    /// Commands.
    pub commands: CommandSettings,
    /// Updates of the agent.
    pub agent_updates: AgentUpdateSettings,
    /// Deployments.
    pub deployments: DeploymentSettings,
    /// The APK library.
    pub apks: apk::ApkSettings,
}
