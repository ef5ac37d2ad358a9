//! Identities of the simulated devices: enrollment, secrets that survive restarts, and sessions.

mod admin;
mod enroll;
mod session;
mod state_file;

pub use admin::{Admin, Credentials};
pub(crate) use enroll::profile_of;
pub use enroll::{EnrollPlan, enroll_missing};
pub use session::{SessionToken, prepare_sessions, request_session};
pub use state_file::{AcceptedKeys, Identity, KeyWriter, StateFile, key_history};

use std::time::Duration;

use crate::http::{Answer, HttpError};

/// Failed request.
#[derive(Debug, thiserror::Error)]
pub enum RequestFailure {
    /// No response.
    #[error(transparent)]
    NoAnswer(#[from] HttpError),
    /// Response with an unexpected status.
    #[error("HTTP {status}: {detail}")]
    Status {
        /// HTTP status.
        status: u16,
        /// Requested retry delay.
        retry_after: Option<Duration>,
        /// Message of the server.
        detail: String,
    },
}

impl RequestFailure {
    /// The failure that a response other than 2xx stands for.
    pub fn from_answer(answer: &Answer) -> Self {
        Self::Status { status: answer.status, retry_after: answer.retry_after(), detail: answer.detail() }
    }

    /// Short name for counting.
    pub fn kind(&self) -> String {
        match self {
            Self::NoAnswer(error) => error.kind().to_owned(),
            Self::Status { status, .. } => format!("http_{status}"),
        }
    }

    /// HTTP status, if there was a response.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::NoAnswer(_) => None,
            Self::Status { status, .. } => Some(*status),
        }
    }

    /// Requested retry delay.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NoAnswer(_) => None,
            Self::Status { retry_after, .. } => *retry_after,
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::NoAnswer(HttpError::Invalid(_) | HttpError::TooLarge) => false,
            Self::NoAnswer(_) => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
        }
    }
}
