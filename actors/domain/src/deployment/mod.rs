//! Deployments: an APK on its way to a fixed set of devices, and what is decided about it.
//!
//! ```text
//!  waiting                        busy                          over
//!  queued | waiting_window  --->  sending  --->  installing ---> succeeded | failed | skipped
//!     ^   | throttled                |  not taken    |  failed, and may be tried again
//!     +------------------------------+---------------+
//!  canceled: by people, by a newer deployment, from every waiting state and from sending
//! ```
//! `request` what was asked for; `options` the same whole, and its limits; `window` when installing is allowed; `readiness` whether a device is fit;
//! `pace` how many may start; `judge` whether it goes on; `decide` what happens now; `report` what a device's word
//! changes; `rollback` how to get back.

mod decide;
mod judge;
mod options;
mod pace;
mod readiness;
mod report;
mod request;
mod rollback;
mod window;

use crate::{DeviceId, Timestamp};

pub use decide::{Blocked, Decision, DeploymentChange, Run, Situation, TaskChange, decide};
pub use judge::{Tally, Verdict, judge};
pub use options::{CANARY_DEFAULT_MAX, CanaryOptions, FailurePause, Options, RestartIntent, Retries};
pub use pace::{allowance, portion};
pub use readiness::{DeviceFacts, unready};
pub use report::{AttemptEnd, Refusal, Report, Status, TaskUpdate, report};
pub use request::{CanaryRequest, OptionsRequest};
pub use rollback::{Candidate, NoRollback, rollback};
pub use window::MaintenanceWindow;

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name in the API and the database.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// The one of that name.
            pub fn of_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == name)
            }
        }
    };
}

names!(
    /// Where a deployment stands.
    DeploymentState {
        /// It goes on by itself.
        Running = "running",
        /// Nothing starts until somebody resumes it.
        Paused = "paused",
        /// It was called off; what is installing is left to finish.
        Canceled = "canceled",
        /// Every task is over.
        Finished = "finished",
    }
);

names!(
    /// How far a deployment may go.
    Phase {
        /// Only its first devices.
        Canary = "canary",
        /// All of them.
        Rollout = "rollout",
    }
);

names!(
    /// Why a deployment is paused.
    PauseReason {
        /// Somebody paused it.
        Person = "person",
        /// Too many of the first devices failed.
        CanaryFailed = "canary_failed",
        /// Too few of the first devices were done in time.
        CanaryTimeout = "canary_timeout",
        /// Too many devices failed.
        FailureRate = "failure_rate",
    }
);

names!(
    /// What becomes of devices that an older open deployment of the package has as well.
    ConflictRule {
        /// The older one goes first.
        Wait = "wait",
        /// The older one lets them go, unless it is installing there.
        Supersede = "supersede",
    }
);

names!(
    /// Where the task of one device stands.
    TaskState {
        /// It waits for the canary, for its device, or for its next try.
        Queued = "queued",
        /// It waits for the maintenance window.
        WaitingWindow = "waiting_window",
        /// Its device is fit; it waits for its turn.
        Throttled = "throttled",
        /// The device is told; it has not taken it yet.
        Sending = "sending",
        /// The device has taken it.
        Installing = "installing",
        /// The version is installed.
        Succeeded = "succeeded",
        /// It is given up.
        Failed = "failed",
        /// There was nothing to do, or it could not be done in time.
        Skipped = "skipped",
        /// It was called off.
        Canceled = "canceled",
    }
);

impl TaskState {
    /// Whether nothing more happens to it.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Skipped | Self::Canceled)
    }

    /// Whether it counts for the concurrency.
    pub fn is_busy(self) -> bool {
        matches!(self, Self::Sending | Self::Installing)
    }

    /// Whether it may still start.
    pub fn is_waiting(self) -> bool {
        !self.is_over() && !self.is_busy()
    }
}

names!(
    /// How far the device is, in its own words; they only ever go forward.
    Stage {
        /// It takes the task.
        Accepted = "accepted",
        /// It fetches the file.
        Downloading = "downloading",
        /// It compares digest and signer.
        Verifying = "verifying",
        /// Android installs it.
        Installing = "installing",
    }
);

names!(
    /// Why a device did not install, in its own words.
    ErrorCode {
        /// The file is not the one that was announced.
        ChecksumMismatch = "checksum_mismatch",
        /// It is signed by somebody else.
        SignerMismatch = "signer_mismatch",
        /// Android does not let the agent install.
        NotPermitted = "not_permitted",
        /// The battery is too low.
        LowBattery = "low_battery",
        /// There is no Wi-Fi.
        NoWifi = "no_wifi",
        /// The network is metered.
        Metered = "metered",
        /// It does not charge.
        NotCharging = "not_charging",
        /// The maintenance window is closed.
        OutsideWindow = "outside_window",
        /// There is no room.
        LowStorage = "low_storage",
        /// A call is going on.
        InCall = "in_call",
        /// The file could not be fetched.
        DownloadFailed = "download_failed",
        /// Android refused it.
        InstallFailed = "install_failed",
        /// A newer version is installed, and Android does not go back.
        DowngradeRefused = "downgrade_refused",
        /// It took too long.
        Timeout = "timeout",
    }
);

impl ErrorCode {
    /// Whether the device may be fit later: it did not fail, it could not begin.
    pub fn is_constraint(self) -> bool {
        matches!(
            self,
            Self::LowBattery | Self::NoWifi | Self::Metered | Self::NotCharging | Self::OutsideWindow | Self::LowStorage | Self::InCall
        )
    }

    /// Whether trying again cannot help.
    pub fn is_permanent(self) -> bool {
        matches!(self, Self::SignerMismatch | Self::NotPermitted | Self::DowngradeRefused)
    }
}

names!(
    /// Why a task is where it is, beyond what the device says.
    Wait {
        /// The first devices have to be done before.
        Canary = "canary",
        /// The device is not heard from.
        Offline = "offline",
        /// What is known of the device is too old.
        StaleHeartbeat = "stale_heartbeat",
        /// The device tells no exemption from Doze.
        NotDozeExempt = "not_doze_exempt",
        /// It was tried, and is tried again later.
        Backoff = "backoff",
        /// The device has not said that it takes it.
        NoAnswer = "no_answer",
        /// Another deployment of the package has the device.
        OtherDeployment = "other_deployment",
        /// Enough were started within the minute.
        Rate = "rate",
        /// Enough are at it.
        Concurrency = "concurrency",
        /// The deployment was paused before the device took it.
        Paused = "paused",
        /// The version or a newer one is there.
        AlreadyInstalled = "already_installed",
        /// The heartbeat shows it, though the device did not say so.
        SeenInHeartbeat = "seen_in_heartbeat",
        /// The device was deleted.
        DeviceDeleted = "device_deleted",
        /// Its Android is older than the APK's minimum.
        SdkTooOld = "sdk_too_old",
        /// The deployment's time was over.
        Deadline = "deadline",
        /// A newer deployment took the device over.
        Superseded = "superseded",
        /// Somebody called it off.
        Canceled = "canceled",
    }
);

/// Why a task is where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// As the server sees it.
    Server(Wait),
    /// As the device says, or would say.
    Device(ErrorCode),
}

impl Reason {
    /// Its name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server(wait) => wait.as_str(),
            Self::Device(code) => code.as_str(),
        }
    }

    /// The one of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        Wait::of_name(name).map(Self::Server).or_else(|| ErrorCode::of_name(name).map(Self::Device))
    }
}

impl From<Wait> for Reason {
    fn from(wait: Wait) -> Self {
        Self::Server(wait)
    }
}

impl From<ErrorCode> for Reason {
    fn from(code: ErrorCode) -> Self {
        Self::Device(code)
    }
}

/// The task of one device, as far as decisions need it.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The device.
    pub device: DeviceId,
    /// Whether it is one of the first.
    pub canary: bool,
    /// Where it stands.
    pub state: TaskState,
    /// Why.
    pub reason: Option<Reason>,
    /// How far the device is.
    pub stage: Option<Stage>,
    /// Times that it was started.
    pub attempts: u32,
    /// It is not started before.
    pub not_before: Option<Timestamp>,
    /// When it was started last.
    pub started_at: Option<Timestamp>,
    /// When the device last said something of this attempt.
    pub reported_at: Option<Timestamp>,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
    /// What the last attempt failed with.
    pub error: Option<ErrorCode>,
}

impl Task {
    /// Of a deployment that was just made.
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_reasons_are_unambiguous() {
        for state in TaskState::ALL {
            assert_eq!(TaskState::of_name(state.as_str()), Some(*state));
            assert_eq!(u8::from(state.is_over()) + u8::from(state.is_busy()) + u8::from(state.is_waiting()), 1);
        }
        let all = Wait::ALL.iter().copied().map(Reason::from).chain(ErrorCode::ALL.iter().copied().map(Reason::from));
        for reason in all {
            assert_eq!(Reason::of_name(reason.as_str()), Some(reason));
        }
    }
}
