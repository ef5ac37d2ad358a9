//! Requests of an installation to its device, and the lines about installations in the record.

use serde::Serialize;
use tokio::sync::oneshot;
use wire::agent::Command;

use super::constraints::Condition;
use super::installed::Version;
use super::job::FinalResult;
use super::reports::{Report, ReportReply};

/// Request of an installation to its device.
pub(in crate::fleet) enum Event {
    /// Report to the server and pass on the reply.
    Report { deployment_id: String, report: Report, reply: oneshot::Sender<ReportReply> },
    /// Return the present condition of the device.
    Inspect(oneshot::Sender<Condition>),
    /// A version is installed.
    Installed { package: String, version: Version },
    /// The device restarts.
    Rebooted,
    /// Append a line to the record.
    Record(Step),
    /// The installation has ended, with the final result of its command if it has one and did not hang.
    Ended { command: Option<Box<Command>>, result: Option<FinalResult> },
}

/// A line of the record about an installation.
#[derive(Debug, Clone, Default, Serialize)]
pub(in crate::fleet) struct Step {
    /// A reported status, or `downloaded`, `installed`, `rebooted`, `hung`, `update_...`.
    pub(in crate::fleet) step: &'static str,
    /// Empty for updates of the agent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::fleet) deployment_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::fleet) attempt: Option<u32>,
    /// Reported error code.
    #[serde(rename = "code", skip_serializing_if = "Option::is_none")]
    pub(in crate::fleet) error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::fleet) package: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::fleet) version_code: Option<i64>,
    /// Bytes received by a download.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::fleet) bytes: Option<u64>,
    /// Requests of a download that yielded data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::fleet) pieces: Option<u32>,
    /// Times that a download resumed after an interruption.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::fleet) resumed: Option<u32>,
}
