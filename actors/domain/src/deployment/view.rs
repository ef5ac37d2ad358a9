//! Deployments and their tasks as they are stored and shown, and what is asked of lists.

use super::{ConflictRule, DeploymentState, Options, PauseReason, Phase, Reason, Run, Stage, TaskState};
use crate::abi::AbiSet;
use crate::apk::PACKAGE_MAX_CHARS;
use crate::text::opaque;
use crate::{ApkId, DeploymentId, DeviceId, Invalid, Timestamp};

/// Stored deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployment {
    /// Id of the deployment.
    pub id: DeploymentId,
    /// Display name.
    pub name: String,
    /// APK to install.
    pub apk: ApkId,
    /// Package of the APK.
    pub package: String,
    /// Version code of the APK.
    pub version_code: i64,
    /// Version name of the APK.
    pub version_name: String,
    /// Oldest Android API level that the APK runs on.
    pub min_sdk: Option<i32>,
    /// Android API level that the APK was made for.
    pub target_sdk: Option<i32>,
    /// ABIs that the APK has native code for.
    pub native_abis: AbiSet,
    /// Requested target, JSON.
    pub target: String,
    /// Options.
    pub options: Options,
    /// Feature flags at the creation, JSON.
    pub flags: String,
    /// Number of targets.
    pub devices: i32,
    /// Size of the canary.
    pub canary_size: i32,
    /// State of the deployment.
    pub state: DeploymentState,
    /// Phase of the deployment.
    pub phase: Phase,
    /// Reason of the pause.
    pub pause_reason: Option<PauseReason>,
    /// When it was paused.
    pub paused_at: Option<Timestamp>,
    /// Running time of the canary, ms.
    pub canary_ms: i64,
    /// Failures from before do not count for the failure rate.
    pub judged_since: Timestamp,
    /// Rule for devices that an older deployment has.
    pub conflict: ConflictRule,
    /// Deployment that this one rolls back.
    pub rolls_back: Option<DeploymentId>,
    /// Account that created the deployment.
    pub created_by: String,
    /// When the deployment was created.
    pub created_at: Timestamp,
    /// Deadline.
    pub expires_at: Timestamp,
    /// Account that canceled the deployment.
    pub canceled_by: Option<String>,
    /// When the deployment finished.
    pub finished_at: Option<Timestamp>,
}

impl Deployment {
    /// State of the deployment as the plan depends on it.
    pub fn run(&self) -> Run {
        Run {
            state: self.state,
            phase: self.phase,
            canary_ran: chrono::TimeDelta::milliseconds(self.canary_ms),
            judged_since: self.judged_since,
            expires_at: self.expires_at,
            version_code: self.version_code,
            min_sdk: self.min_sdk,
            target_sdk: self.target_sdk,
            native_abis: self.native_abis,
        }
    }
}

/// Filter of a list of deployments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeploymentQuery {
    /// State.
    pub state: Option<DeploymentState>,
    /// Package.
    pub package: Option<String>,
    /// APK.
    pub apk: Option<ApkId>,
    /// Single deployment.
    pub id: Option<DeploymentId>,
}

impl DeploymentQuery {
    /// Checks the length of what is looked for.
    ///
    /// # Errors
    /// Names the field.
    pub fn checked(&self) -> Result<(), Invalid> {
        self.package.as_ref().map_or(Ok(()), |package| opaque("package", package, PACKAGE_MAX_CHARS))
    }
}

/// Transition of a deployment that a person asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeploymentTransition {
    /// Pause: nothing starts until it is resumed.
    Pause,
    /// Resume; failed devices of the canary are retried.
    Resume,
    /// Cancel; installations under way finish.
    Cancel,
}

/// Stored task of one device.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskView {
    /// Index among the targets.
    pub position: i32,
    /// The device.
    pub device_id: DeviceId,
    /// Alias of the device; of a deleted device, the alias at the creation of the deployment.
    pub alias: String,
    /// Whether the device belongs to the canary.
    pub canary: bool,
    /// State of the task.
    pub state: TaskState,
    /// Reason of the state.
    pub reason: Option<Reason>,
    /// Values behind the reason, for display.
    pub detail: Option<String>,
    /// Stage of the installation.
    pub stage: Option<Stage>,
    /// Downloaded part of the file, percent.
    pub progress_pct: Option<i16>,
    /// Number of starts.
    pub attempts: i32,
    /// Earliest next start.
    pub not_before: Option<Timestamp>,
    /// Time of the last start.
    pub started_at: Option<Timestamp>,
    /// When the device accepted the task.
    pub accepted_at: Option<Timestamp>,
    /// When the task finished.
    pub finished_at: Option<Timestamp>,
    /// Error of the last attempt.
    pub error: Option<String>,
    /// Message of the device.
    pub message: Option<String>,
    /// Version code that was installed before.
    pub version_before: Option<i64>,
    /// Installed version, as the device reports it.
    pub installed_version: Option<String>,
}

/// Filter of a page of tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskQuery {
    /// State.
    pub state: Option<TaskState>,
    /// Reason of the state.
    pub reason: Option<Reason>,
    /// Device.
    pub device: Option<DeviceId>,
}

/// Event of a deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentEvent {
    /// Number of the event.
    pub id: i64,
    /// Time of the event.
    pub at: Timestamp,
    /// Kind of the event.
    pub kind: String,
    /// Device that it is about.
    pub device_id: Option<DeviceId>,
    /// Detail for display.
    pub detail: String,
    /// Person who caused it; `None`: the server, or the device.
    pub by_whom: Option<String>,
}
