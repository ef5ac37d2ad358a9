//! Deployments: an APK for a fixed set of devices under options, and the decisions about its tasks.
//!
//! ```text
//!  waiting                        busy                          reported         finished
//!  queued | waiting_window  --->  sending  --->  installing ---> confirming ----> succeeded
//!     ^   | throttled                |  not accepted |  failed        |
//!     +------------------------------+---------------+---------------+----------> failed | skipped
//!                     may be retried                     not confirmed
//!  canceled: by people or by a newer deployment, from every waiting state and from sending
//! ```
//! `confirmation` confirmation of a reported success by heartbeats; `request` requested options; `options` table of the options, `option_spec` how one is declared; `window` maintenance window; `readiness` eligibility of a device;
//! `rate_limit` rate limit; `judge` verdict of the canary and the failure rate; `decide` the plan; `report` effect of a device's report;
//! `outcome` problems of a finished deployment; `rollback` choice of the APK to roll back to.

mod confirmation;
mod decide;
mod judge;
mod option_spec;
mod options;
mod outcome;
mod rate_limit;
mod readiness;
mod report;
mod request;
mod rollback;
mod view;
mod window;

use crate::{DeviceId, Timestamp};

pub use confirmation::{Confirmation, confirmation};
pub use decide::{BlockReason, DeploymentChange, Plan, PlanInput, Run, TaskChange, decide};
pub use judge::{Tally, Verdict, judge};
pub use option_spec::{CliFlag, OptionGroup, OptionSpec, option_spec, option_specs};
pub use options::{CANARY_DEFAULT_MAX, CanaryOptions, FailurePause, OnUnmet, Options, RestartIntent, Retries};
pub use outcome::{TaskEnding, problems};
pub use rate_limit::{allowance, portion};
pub use readiness::{DeviceSnapshot, Exclusion, InstalledVersion, Unmet, exclusions, ineligibility, unmet};
pub use report::{AttemptEnd, Refusal, ReportEffect, TaskReport, TaskStatus, TaskUpdate, apply_report};
pub use request::OptionsRequest;
pub use rollback::{Candidate, NoRollback, rollback};
pub use view::{Deployment, DeploymentEvent, DeploymentQuery, DeploymentTransition, TaskQuery, TaskView};
pub use window::{DailyWindow, MaintenanceWindow, WindowPeriod};

/// State of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum DeploymentState {
    /// Tasks start as the options allow.
    Running,
    /// Nothing starts until somebody resumes the deployment.
    Paused,
    /// Nothing starts any more; installations under way finish.
    Canceled,
    /// Every task has finished.
    Finished,
}

named!(pub DeploymentState, parse -> Option);

/// Phase of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Phase {
    /// Only the devices of the canary start.
    Canary,
    /// All devices start.
    Rollout,
}

named!(pub Phase, parse -> Option);

/// Kind of an event of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum DeploymentEventKind {
    /// A person created the deployment.
    Created,
    /// A person or the server paused the deployment.
    Paused,
    /// A person resumed the deployment.
    Resumed,
    /// A person canceled the deployment.
    Canceled,
    /// A newer deployment has taken over devices.
    Superseded,
    /// The canary passed, and the rollout started.
    GateOpened,
    /// The last task finished.
    Finished,
    /// The installation on a device failed, and is not retried.
    TaskFailed,
    /// The installation on a device failed, and the time for another attempt is over.
    TaskSkipped,
    /// The installation on a device failed, and is retried.
    TaskRetried,
    /// A device reported success, and a later heartbeat shows another version.
    TaskReverted,
}

named!(pub DeploymentEventKind, parse -> Option);

/// Reason of a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum PauseReason {
    /// A person paused the deployment.
    Person,
    /// Too many devices of the canary failed.
    CanaryFailed,
    /// Too few devices of the canary were done in time.
    CanaryTimeout,
    /// The failure rate exceeded its threshold.
    FailureRate,
}

named!(pub PauseReason, parse -> Option);

/// Rule for devices that an older open deployment of the package has as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ConflictRule {
    /// The task waits until the older deployment is done with the device.
    Wait,
    /// The task of the older deployment is canceled, unless it is installing.
    Supersede,
}

named!(pub ConflictRule, parse -> Option);

/// State of the task of one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum TaskState {
    /// Waiting for the canary, for its device, or for a retry.
    Queued,
    /// Waiting for the maintenance window.
    WaitingWindow,
    /// Its device is eligible; waiting for the rate or concurrency limit.
    Throttled,
    /// The command was sent; the device has not accepted it yet.
    Sending,
    /// The device has accepted the task.
    Installing,
    /// The device has reported success; a heartbeat has to confirm it.
    Confirming,
    /// The version is installed.
    Succeeded,
    /// The installation failed, and is not retried.
    Failed,
    /// There was nothing to do, or the task could not begin in time.
    Skipped,
    /// The task was canceled.
    Canceled,
}

named!(pub TaskState, parse -> Option);

impl TaskState {
    /// Whether the state is final.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Skipped | Self::Canceled)
    }

    /// Whether the task counts for the concurrency limit.
    pub fn is_busy(self) -> bool {
        matches!(self, Self::Sending | Self::Installing)
    }

    /// Whether the task may still start.
    pub fn is_waiting(self) -> bool {
        matches!(self, Self::Queued | Self::WaitingWindow | Self::Throttled)
    }
}

/// Stage of an installation, as the device reports it; stages only go forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Stage {
    /// The device accepts the task.
    Accepted,
    /// The device downloads the file.
    Downloading,
    /// The device compares digest and signer.
    Verifying,
    /// Android installs the APK.
    Installing,
}

named!(pub Stage, parse -> Option);

/// Error of an installation, as the device reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ErrorCode {
    /// The digest of the file differs from the announced one.
    ChecksumMismatch,
    /// The signer of the file differs from the announced one.
    SignerMismatch,
    /// Android does not let the agent install.
    NotPermitted,
    /// The battery is too low.
    LowBattery,
    /// There is no Wi-Fi.
    NoWifi,
    /// The network is metered.
    Metered,
    /// The device is not charging.
    NotCharging,
    /// The maintenance window is closed.
    OutsideWindow,
    /// There is too little free storage.
    LowStorage,
    /// A phone call is in progress.
    InCall,
    /// The file could not be downloaded.
    DownloadFailed,
    /// Android refused the APK.
    InstallFailed,
    /// A newer version is installed, and Android does not downgrade.
    DowngradeRefused,
    /// The device did not report in time.
    Timeout,
    /// A heartbeat after the report of success shows another version.
    Reverted,
    /// No heartbeat came in time after the report of success.
    Unconfirmed,
}

named!(pub ErrorCode, parse -> Option);

impl ErrorCode {
    /// Whether a device requirement was not met: the installation could not begin, but may later.
    pub fn is_constraint(self) -> bool {
        matches!(
            self,
            Self::LowBattery | Self::NoWifi | Self::Metered | Self::NotCharging | Self::OutsideWindow | Self::LowStorage | Self::InCall
        )
    }

    /// Whether the device does not meet a requirement of the options.
    pub fn is_requirement(self) -> bool {
        matches!(self, Self::LowBattery | Self::NoWifi | Self::Metered | Self::NotCharging | Self::LowStorage)
    }

    /// Whether a retry cannot help.
    pub fn is_permanent(self) -> bool {
        matches!(self, Self::SignerMismatch | Self::NotPermitted | Self::DowngradeRefused | Self::Reverted | Self::Unconfirmed)
    }
}

/// Reason of the state of a task, as the server sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum TaskReason {
    /// The canary has not passed yet.
    Canary,
    /// The device is offline.
    Offline,
    /// The last heartbeat of the device is too old.
    StaleHeartbeat,
    /// The device reports no exemption from Doze.
    NotDozeExempt,
    /// Two devices report as this one.
    IdentityConflict,
    /// An attempt failed, and the task is retried later.
    Backoff,
    /// The device did not acknowledge the command in time.
    NoAnswer,
    /// An older deployment of the package has the device.
    OtherDeployment,
    /// The rate limit is reached.
    Rate,
    /// The concurrency limit is reached.
    Concurrency,
    /// The deployment was paused before the device accepted the task.
    Paused,
    /// This version or a newer one is installed already.
    AlreadyInstalled,
    /// A heartbeat shows the version, though no report came.
    SeenInHeartbeat,
    /// The device reported success, and a heartbeat shows the version.
    Confirmed,
    /// The device reported success; its heartbeats do not name the package.
    NotInHeartbeat,
    /// The device was deleted.
    DeviceDeleted,
    /// Its Android is older than the APK's minimum.
    SdkTooOld,
    /// The APK was made for an Android so old that the device refuses it.
    TargetSdkTooOld,
    /// The APK has native code, but none for the processor of the device.
    NoMatchingAbi,
    /// The deadline of the deployment has passed.
    Deadline,
    /// A newer deployment superseded this one on the device.
    Superseded,
    /// The deployment was canceled.
    Canceled,
}

named!(pub TaskReason, parse -> Option);

/// Reason of the state of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Known to the server.
    Server(TaskReason),
    /// Reported by the device, or foreseen by the server.
    Device(ErrorCode),
}

impl Reason {
    /// Name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server(wait) => wait.as_str(),
            Self::Device(code) => code.as_str(),
        }
    }

    /// Reason of this name.
    pub fn parse(name: &str) -> Option<Self> {
        TaskReason::parse(name).map(Self::Server).or_else(|| ErrorCode::parse(name).map(Self::Device))
    }
}

impl From<TaskReason> for Reason {
    fn from(wait: TaskReason) -> Self {
        Self::Server(wait)
    }
}

impl From<ErrorCode> for Reason {
    fn from(code: ErrorCode) -> Self {
        Self::Device(code)
    }
}

/// Task of one device, as far as the plan depends on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The device.
    pub device: DeviceId,
    /// Whether the device belongs to the canary.
    pub canary: bool,
    /// State of the task.
    pub state: TaskState,
    /// Reason of the state.
    pub reason: Option<Reason>,
    /// Stage of the installation.
    pub stage: Option<Stage>,
    /// Number of starts.
    pub attempts: u32,
    /// Earliest next start.
    pub not_before: Option<Timestamp>,
    /// Time of the last start.
    pub started_at: Option<Timestamp>,
    /// Time of the last report of this attempt.
    pub reported_at: Option<Timestamp>,
    /// End of the task.
    pub finished_at: Option<Timestamp>,
    /// Error of the last attempt.
    pub error: Option<ErrorCode>,
    /// Values behind the reason, for display.
    pub detail: Option<String>,
}

impl Task {
    /// Task of a new deployment.
    pub fn new(device: DeviceId, canary: bool) -> Self {
        Self {
            device,
            canary,
            state: TaskState::Queued,
            reason: None,
            stage: None,
            attempts: 0,
            not_before: None,
            started_at: None,
            reported_at: None,
            finished_at: None,
            error: None,
            detail: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_reasons_are_unambiguous() {
        for state in TaskState::ALL {
            assert_eq!(TaskState::parse(state.as_str()), Some(state));
            let kinds = [state.is_finished(), state.is_busy(), state.is_waiting(), state == TaskState::Confirming];
            assert_eq!(kinds.into_iter().filter(|is| *is).count(), 1, "{state:?}");
        }
        let all = TaskReason::ALL.into_iter().map(Reason::from).chain(ErrorCode::ALL.into_iter().map(Reason::from));
        for reason in all {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
        }
    }
}
