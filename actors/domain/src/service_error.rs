//! Errors of services; `node` maps them to HTTP in one place.

use crate::Invalid;
use crate::access::Forbidden;
use crate::api_token::ApiTokenError;
use crate::bulk;
use crate::deployment::{NoRollback, Refusal};

/// A refused or failed call.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A value breaks its limits.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The credentials are missing, unknown, expired or revoked. Never says which.
    #[error("the credentials are not valid")]
    Unauthorized,
    /// The credentials are valid but do not allow this.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The credentials belong to another device.
    #[error("the credentials belong to another device")]
    ForeignDevice,
    /// Only a person who is signed in may do this; a script with an API token may not.
    #[error("this requires a user session; API tokens are not accepted")]
    SignInRequired,
    /// The change would leave nobody who can manage accounts.
    #[error("this is the last active admin; create another one first")]
    LastAdmin,
    /// There is no such thing.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// Another enrolled device has this alias.
    #[error("another device already has this alias: rename or delete that device, or use a token for another alias")]
    AliasInUse,
    /// Another device of the fleet has this alias.
    #[error("another device already has the alias {0:?}")]
    AliasHeld(String),
    /// Another filter of the same account has this name.
    #[error("you already have a filter with this name")]
    FilterNameInUse,
    /// Another account has this name.
    #[error("another account already has this name")]
    UsernameInUse,
    /// The thing is in a state that does not allow this.
    #[error("{0}")]
    WrongState(&'static str),
    /// There is no way back from a deployment, and why.
    #[error(transparent)]
    NoRollback(NoRollback),
    /// A device's word about a deployment is refused.
    #[error(transparent)]
    DeploymentRefused(Refusal),
    /// Conflict with something that exists, which is named.
    #[error("{0}")]
    Conflict(String),
    /// The device is deleted; its agent stops.
    #[error("this device was deleted")]
    DeviceDeleted,
    /// Too many failed attempts.
    #[error("too many failed attempts")]
    Throttled {
        /// Seconds until the next attempt is allowed.
        retry_after_s: u32,
    },
    /// A limit on work in progress is reached; nothing was done.
    #[error("{0} is at its limit")]
    Overloaded(&'static str),
    /// This node does not own the device, or no longer; whoever routes looks again.
    #[error("the device is moving to another node")]
    NotOwner,
    /// The database or an actor cannot serve right now; nothing was acknowledged.
    #[error("temporarily unavailable")]
    Unavailable,
    /// A defect of ours, logged where it happened.
    #[error("internal error")]
    Internal,
}

impl ServiceError {
    /// The same refusal for several callers at once.
    pub fn repeated(&self) -> Self {
        match self {
            Self::Unauthorized => Self::Unauthorized,
            Self::DeviceDeleted => Self::DeviceDeleted,
            Self::NotFound(what) => Self::NotFound(what),
            Self::Overloaded(limit) => Self::Overloaded(limit),
            Self::NotOwner => Self::NotOwner,
            Self::Unavailable => Self::Unavailable,
            _ => Self::Internal,
        }
    }
}

impl From<ApiTokenError> for ServiceError {
    fn from(refused: ApiTokenError) -> Self {
        match refused {
            ApiTokenError::Invalid(invalid) => Self::Invalid(invalid),
            ApiTokenError::Forbidden(forbidden) => Self::Forbidden(forbidden),
        }
    }
}

impl From<bulk::Refusal> for ServiceError {
    fn from(refusal: bulk::Refusal) -> Self {
        match refusal {
            bulk::Refusal::NotFound | bulk::Refusal::Deleted => Self::NotFound("device"),
            bulk::Refusal::TooLate(_) => Self::WrongState("the device was deleted too long ago to be restored"),
            bulk::Refusal::AliasInUse(alias) => Self::AliasHeld(alias),
            bulk::Refusal::Invalid(invalid) => Self::Invalid(invalid),
        }
    }
}
