//! Whether accounts, API tokens and devices are still in force, for what outlives a request.

use domain::access::Role;
use domain::{ApiTokenId, DeviceId, Timestamp, UserId};

use crate::{Store, StoreError};

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
