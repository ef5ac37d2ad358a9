//! Who the simulated devices are: enrolling them, keeping their secrets over
//! restarts, and their sessions.

mod admin;
mod enroll;
mod session;
mod state_file;

pub use admin::{Admin, Credentials};
pub(crate) use enroll::profile_of;
pub use enroll::{EnrollPlan, enroll_missing};
pub use session::{Granted, ask_for_session, prepare_sessions};
pub use state_file::{Identity, KeyWriter, KeysInForce, StateFile, key_history};

use std::time::Duration;

use crate::http::{Answer, HttpError};

/// A call that did not end in 200.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// There was no answer.
    #[error(transparent)]
    NoAnswer(#[from] HttpError),
    /// There was another answer than wanted.
    #[error("HTTP {status}: {detail}")]
    Status {
        /// HTTP status.
        status: u16,
        /// How long the server asks to stay away.
        retry_after: Option<Duration>,
        /// What a person may read about it.
        detail: String,
    },
}

impl Trouble {
    /// What an answer other than 2xx means.
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

    /// The status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::NoAnswer(_) => None,
            Self::Status { status, .. } => Some(*status),
        }
    }

    /// How long the server asks to stay away.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NoAnswer(_) => None,
            Self::Status { retry_after, .. } => *retry_after,
        }
    }

    /// Whether the same request may succeed later.
    pub fn passes(&self) -> bool {
        match self {
            Self::NoAnswer(HttpError::Invalid(_) | HttpError::TooLarge) => false,
            Self::NoAnswer(_) => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
        }
    }
}
