//! Whether a caller still has the rights that a request began with.

use std::sync::Arc;

use actors::ownership::Ownership;
use clock::Clock;
use domain::ServiceError;
use domain::access::Principal;
use store::Store;

use super::credential_cache::CredentialCache;

/// Check of callers whose requests, answers or pages take their time.
#[derive(Clone)]
pub(crate) struct Standing {
    clock: Clock,
    store: Store,
    credentials: Arc<CredentialCache>,
    ownership: Arc<Ownership>,
}

impl Standing {
    /// A check against this database.
    pub(crate) fn new(clock: Clock, store: Store, credentials: Arc<CredentialCache>, ownership: Arc<Ownership>) -> Self {
        Self { clock, store, credentials, ownership }
    }

    /// The refusal of a credential that was not found, or grants less than it did. A node without a lease may have been led to a server that
    /// lags behind: there it is not known.
    pub(crate) fn not_found(&self) -> ServiceError {
        match self.ownership.lease_holds() && !self.store.reads_are_doubtful() {
            true => ServiceError::Unauthorized,
            false => ServiceError::Unavailable,
        }
    }

    /// Whether the sign-in or API token behind `principal` still holds, with the same role. The command line and the server
    /// itself lose nothing.
    ///
    /// # Errors
    /// The database is unavailable, or does not know for sure.
    pub(crate) async fn holds(&self, principal: &Principal) -> Result<bool, ServiceError> {
        let now = self.clock.now();
        let holds = match principal {
            Principal::User { session_id, role, .. } => {
                let known = self.credentials.session(&self.store, *session_id, now).await?;
                known.is_some_and(|known| known.who.role == *role && known.who.expires_at > now)
            }
            Principal::Token { token_id, role, .. } => self.store.api_token_role(*token_id, now).await? == Some(*role),
            Principal::Console { .. } | Principal::System { .. } => true,
        };
        match self.not_found() {
            doubt @ ServiceError::Unavailable if !holds => Err(doubt),
            _ => Ok(holds),
        }
    }
}
