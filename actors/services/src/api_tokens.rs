//! API tokens for scripts: made, listed, revoked.

use std::sync::Arc;

use clock::Clock;
use domain::access::{Permission, Principal};
use domain::api_token::{ApiToken, ApiTokenRequest, PREFIX_CHARS, TOKEN_START};
use domain::enrollment::LifetimeLimits;
use domain::invalid::in_range;
use domain::query::PAGE_MAX;
use domain::{ApiTokenId, ServiceError, UserId};
use secrecy::SecretString;
use store::{ApiTokenOutcome, ApiTokenQuery, NewApiToken, Store};

use super::credential_cache::CredentialCache;
use crate::crypto::{random_token, sha256};

/// A token just made; the only time its secret is known.
pub struct IssuedApiToken {
    /// The bearer token to hand out.
    pub secret: SecretString,
    /// Summary for lists.
    pub token: ApiToken,
}

/// Owner of the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiTokenOwner {
    /// Tokens of the caller.
    Own,
    /// Tokens of one account.
    Account(UserId),
    /// Tokens of all accounts.
    All,
}

/// A page of tokens.
pub struct ApiTokenPage {
    /// The tokens, newest first.
    pub tokens: Vec<ApiToken>,
    /// Cursor of the next page; `None`: this is the last one.
    pub next: Option<ApiTokenId>,
}

/// API tokens.
pub struct ApiTokenService {
    clock: Clock,
    store: Store,
    credentials: Arc<CredentialCache>,
    lifetime: LifetimeLimits,
    per_user_max: i64,
}

impl ApiTokenService {
    pub(crate) fn new(clock: Clock, store: Store, credentials: Arc<CredentialCache>, lifetime: LifetimeLimits, per_user_max: i64) -> Self {
        Self { clock, store, credentials, lifetime, per_user_max }
    }

    /// Creates a token of the calling account.
    ///
    /// # Errors
    /// Forbidden, also when it would do more than its maker; a value out of its limits; or the
    /// account has as many as it may.
    pub async fn create(&self, principal: &Principal, request: ApiTokenRequest) -> Result<IssuedApiToken, ServiceError> {
        principal.require(Permission::ManageTokens)?;
        let user_id = principal.user_id().ok_or(ServiceError::SignInRequired)?;
        let now = self.clock.now();
        let grant = request.checked(principal, self.lifetime, now)?;
        let secret = format!("{TOKEN_START}{}", random_token()?);
        let token = ApiToken {
            id: ApiTokenId(self.clock.new_id()),
            user_id,
            username: principal.username().to_owned(),
            role: principal.role(),
            name: grant.name,
            prefix: secret.chars().take(PREFIX_CHARS).collect(),
            scopes: grant.scopes,
            created_at: now,
            expires_at: grant.expires_at,
            last_used_at: None,
            last_used_address: None,
            revoked_at: None,
        };
        let parent = match principal {
            Principal::Token { token_id, .. } => Some(*token_id),
            _ => None,
        };
        let new = NewApiToken {
            id: token.id,
            user_id,
            parent,
            name: &token.name,
            prefix: &token.prefix,
            secret_sha256: &sha256(&secret),
            scopes: token.scopes,
            expires_at: token.expires_at,
        };
        match self.store.insert_api_token(new, self.per_user_max, principal, now).await? {
            ApiTokenOutcome::Created => {
                tracing::info!(event = "api_token.created", api_token_id = %token.id, username = token.username, scopes = %token.scopes);
                Ok(IssuedApiToken { secret: secret.into(), token })
            }
            ApiTokenOutcome::TooMany => {
                Err(ServiceError::WrongState("the limit of API tokens per account (auth.api_tokens_per_user_max) is reached; revoke one"))
            }
            ApiTokenOutcome::MakerGone => Err(ServiceError::Unauthorized),
        }
    }

    /// A page of tokens, newest first. Those of others take the permission to manage accounts.
    ///
    /// # Errors
    /// Forbidden, or the limit is out of its range.
    pub async fn tokens(
        &self,
        principal: &Principal,
        owner: ApiTokenOwner,
        after: Option<ApiTokenId>,
        limit: i64,
    ) -> Result<ApiTokenPage, ServiceError> {
        let owner = match owner {
            ApiTokenOwner::Own => Some(principal.user_id().ok_or(ServiceError::SignInRequired)?),
            ApiTokenOwner::Account(user) => Some(user),
            ApiTokenOwner::All => None,
        };
        let is_own = owner.is_some() && owner == principal.user_id();
        principal.require(if is_own { Permission::ManageTokens } else { Permission::ManageUsers })?;
        let limit = in_range("limit", limit, 1, PAGE_MAX)?;
        let mut tokens = self.store.api_tokens(ApiTokenQuery { owner, after, limit: limit + 1 }).await?;
        let more = tokens.len() as i64 > limit;
        tokens.truncate(limit as usize);
        let next = if more { tokens.last().map(|token| token.id) } else { None };
        Ok(ApiTokenPage { tokens, next })
    }

    /// Revokes a token, with all that were created with it, on every node. Those of
    /// others take the permission to manage accounts; a token may always revoke itself.
    ///
    /// # Errors
    /// Forbidden, or there is no such token.
    pub async fn revoke(&self, principal: &Principal, id: ApiTokenId) -> Result<(), ServiceError> {
        let is_itself = matches!(principal, Principal::Token { token_id, .. } if *token_id == id);
        let owner = if principal.may(Permission::ManageUsers) {
            None
        } else {
            if !is_itself {
                principal.require(Permission::ManageTokens)?;
            }
            Some(principal.user_id().ok_or(ServiceError::SignInRequired)?)
        };
        let known = self.store.revoke_api_token(id, owner, principal, self.clock.now()).await?;
        self.credentials.forget();
        if !known {
            return Err(ServiceError::NotFound("API token"));
        }
        tracing::info!(event = "api_token.revoked", api_token_id = %id, by = principal.username());
        Ok(())
    }
}
