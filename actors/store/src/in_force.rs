//! Whether accounts, API tokens and devices are still in force, for what outlives a request.

use domain::access::{Principal, Role};
use domain::{ApiTokenId, DeviceId, SessionId, Timestamp, UserId};

use crate::pool::Connection;
use crate::{Store, StoreError};

/// Sign-in or API token by which somebody acts, with the role that it granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    SignIn(SessionId, Role),
    ApiToken(ApiTokenId, Role),
}

impl Held {
    /// That of a principal; the command line and the server itself have none.
    pub(crate) fn of(by: &Principal) -> Option<Self> {
        match by {
            Principal::User { session_id, role, .. } => Some(Self::SignIn(*session_id, *role)),
            Principal::Token { token_id, role, .. } => Some(Self::ApiToken(*token_id, *role)),
            Principal::Console { .. } | Principal::System { .. } => None,
        }
    }

    /// Whether it was not taken away. One that ran out meanwhile was good when it was shown.
    pub(crate) async fn holds(self, connection: &mut Connection) -> Result<bool, StoreError> {
        let holds = match self {
            Self::SignIn(id, role) => {
                let found = sqlx::query_scalar!(
                    r#"SELECT EXISTS (SELECT FROM user_session s JOIN app_user u USING (user_id)
                       WHERE s.session_id = $1 AND s.revoked_at IS NULL AND u.disabled_at IS NULL AND u.role = $2) AS "found!""#,
                    id.0,
                    role.as_str()
                );
                found.fetch_one(connection).await?
            }
            Self::ApiToken(id, role) => {
                let found = sqlx::query_scalar!(
                    r#"SELECT EXISTS (SELECT FROM api_token t JOIN app_user u USING (user_id)
                       WHERE t.api_token_id = $1 AND t.revoked_at IS NULL AND u.disabled_at IS NULL AND u.role = $2) AS "found!""#,
                    id.0,
                    role.as_str()
                );
                found.fetch_one(connection).await?
            }
        };
        Ok(holds)
    }
}

impl Store {
    /// Whether an account is not disabled.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn is_account_enabled(&self, id: UserId) -> Result<bool, StoreError> {
        let found =
            sqlx::query_scalar!(r#"SELECT EXISTS (SELECT 1 FROM app_user WHERE user_id = $1 AND disabled_at IS NULL) AS "found!""#, id.0);
        Ok(found.fetch_one(&self.pool).await?)
    }

    /// The role of the account of an API token; `None`: the token, or the account, is not in force at `now`.
    ///
    /// # Errors
    /// The database is unavailable, or holds an unknown role.
    pub async fn api_token_role(&self, id: ApiTokenId, now: Timestamp) -> Result<Option<Role>, StoreError> {
        let role = sqlx::query_scalar!(
            "SELECT u.role FROM api_token t JOIN app_user u USING (user_id)
             WHERE t.api_token_id = $1 AND t.revoked_at IS NULL AND t.expires_at > $2 AND u.disabled_at IS NULL",
            id.0,
            now
        );
        let role = role.fetch_optional(&self.pool).await?;
        role.map(|role| role.parse().map_err(|_| StoreError::Corrupt("app_user.role"))).transpose()
    }

    /// Whether there is a device that is not deleted.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn is_device_enrolled(&self, id: DeviceId) -> Result<bool, StoreError> {
        Ok(self.device_access(id).await?.is_some_and(|access| !access.deleted))
    }
}
