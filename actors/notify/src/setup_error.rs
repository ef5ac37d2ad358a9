//! Errors of the set-up.

/// Error in setting up notifications.
#[derive(Debug, thiserror::Error)]
pub enum NotifySetupError {
    /// The HTTP client does not start, for example without any authority to trust.
    #[error("notify: the https client does not start: {0}")]
    Client(String),
    /// The file of authorities holds none.
    #[error("notify.ca_file: not certificates in PEM")]
    Authorities,
    /// The cryptography library refuses the key of channels' secrets.
    #[error("notify: the key of channels' secrets cannot be made")]
    Key,
}
