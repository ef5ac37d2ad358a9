//! Work that is done to its end whatever its caller does.

use domain::ServiceError;
use tracing::Instrument;

/// Does work that must not stop half way, even if the caller hangs up: what belongs together is written together, and what was counted is
/// settled.
///
/// # Errors
/// Those of the work; internal when it panicked.
pub async fn run_detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, ServiceError>> + Send + 'static,
) -> Result<T, ServiceError> {
    // Part of the caller's trace all the same.
    tokio::spawn(work.in_current_span()).await.unwrap_or(Err(ServiceError::Internal))
}
