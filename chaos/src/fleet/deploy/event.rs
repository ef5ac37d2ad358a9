//! What installations have their device do, and the lines that tell of them in the record.

use serde::Serialize;
use tokio::sync::oneshot;
use wire::agent::Command;

use super::constraints::Condition;
use super::installed::Version;
use super::job::LastWord;
use super::reports::{Report, Said};

/// What an installation wants of its device.
pub(in crate::fleet) enum Event {
    /// Tell the server, and pass on what it says.
    Tell { deployment_id: String, report: Report, tell: oneshot::Sender<Said> },
    /// Say how the device is now.
    Look(oneshot::Sender<Condition>),
    /// A version is installed.
    Installed { package: String, version: Version },
    /// Restart.
    Rebooted,
    /// Put this on record.
    Note(Step),
    /// It is over; the last word about its command, if it has one and if there is something to say.
    Ended { command: Option<Box<Command>>, last_word: Option<LastWord> },
}

/// A line of the record about an installation.
#[derive(Debug, Clone, Default, Serialize)]
pub(in crate::fleet) struct Step {
    /// A status that was told, or `downloaded`, `installed`, `rebooted`, `hung`, `update_...`.
    pub(in crate::fleet) step: &'static str,
    /// Empty for updates of the agent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::fleet) deployment_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::fleet) attempt: Option<u32>,
    /// The error code that was told.
    #[serde(rename = "code", skip_serializing_if = "Option::is_none")]
    pub(in crate::fleet) error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::fleet) package: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::fleet) version_code: Option<i64>,
    /// Of a download: bytes that came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::fleet) bytes: Option<u64>,
    /// Of a download: requests that brought some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::fleet) pieces: Option<u32>,
    /// Of a download: times that it went on where it had been cut off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::fleet) resumed: Option<u32>,
}
