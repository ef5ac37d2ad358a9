//! A try of the service account: an access token is fetched, as for a message, and nothing is sent.

use clock::Clock;
use prometheus::Registry;

use crate::account::ServiceAccount;
use crate::fcm::FcmClient;
use crate::metrics::Metrics;
use crate::oauth::TokenError;
use crate::{FcmSettings, PushSetupError};

/// Error of a try. Says nothing of the key.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The account's file is unreadable or wrong, or no client starts.
    #[error(transparent)]
    Setup(#[from] PushSetupError),
    /// The token endpoint refuses the account; what to do.
    #[error("the token endpoint refuses the account: {0}")]
    Refused(&'static str),
    /// The token endpoint gives no answer that can be used.
    #[error("the token endpoint gives no token: {0}")]
    NoAnswer(&'static str),
}

/// Fetches an access token by the service account of the settings, within their timeout.
///
/// # Errors
/// What keeps messages from being sent.
pub async fn check_account(settings: &FcmSettings, clock: &Clock) -> Result<(), AccountError> {
    let account = ServiceAccount::read(&settings.service_account_file)?;
    // Nobody reads the metrics of a try.
    let metrics = Metrics::register(&Registry::new()).map_err(|error| PushSetupError::Client(error.to_string()))?;
    let client = FcmClient::new(account, settings, clock.clone(), &metrics)?;
    client.check_token().await.map_err(|error| match error {
        TokenError::TransientError(kind, _) => AccountError::NoAnswer(kind.name()),
        TokenError::Misconfigured(reason) => AccountError::Refused(reason.remedy()),
    })
}
