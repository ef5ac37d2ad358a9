//! The one place of the server that reads the clock.

use domain::Timestamp;

/// The current time, UTC.
#[allow(clippy::disallowed_methods, reason = "this is the clock that everything else is handed")]
pub fn now() -> Timestamp {
    chrono::Utc::now()
}
