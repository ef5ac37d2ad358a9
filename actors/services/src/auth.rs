//! Sign-in of people: passwords, short access tokens, rotating refresh tokens; and who is behind a bearer token.

use std::net::IpAddr;
use std::sync::Arc;

use chrono::TimeDelta;
use clock::Clock;
use domain::access::{Origin, Principal, Role};
use domain::account::{kept_user_agent, possible_username};
use domain::api_token::TOKEN_START;
use domain::permits::Claim;
use domain::{ServiceError, SessionId, Timestamp};
use serde::{Deserialize, Serialize};
use store::{NewSession, Rotation, SessionUser, Store, StoreError, UserRow};
use tokio::sync::watch;
use uuid::Uuid;

use super::access_trail::AccessTrail;
use super::credential_cache::CredentialCache;
use super::known_addresses::KnownAddresses;
use super::passwords::Passwords;
use super::settings::AuthSettings;
use super::sign_in_guard::SignInGuard;
use super::standing::Standing;
use super::throttle::address_of;
use super::token_guard::TokenGuard;
use crate::crypto::{Audience, TokenSigner, random_token, sha256};
use crate::metrics::Metrics;

/// How long ago a refresh token may have been replaced and still be taken for
/// the twin of the request that replaced it.
const REFRESH_GRACE: TimeDelta = TimeDelta::seconds(20);
/// How often the use of a sign-in or an API token is noted, so that not every request writes.
const NOTED_EVERY: TimeDelta = TimeDelta::seconds(60);

#[derive(Serialize, Deserialize)]
struct AccessClaims {
    sub: Uuid,
    sid: Uuid,
}

/// Client of a sign-in.
#[derive(Debug, Clone, Default)]
pub struct ClientInfo {
    /// Origin of the request.
    pub origin: Origin,
    /// Unchecked registration.
    pub user_agent: Option<String>,
}

/// A pair of tokens, and whose they are.
pub struct SignedIn {
    /// Short-lived bearer token.
    pub access_token: String,
    /// Expiry.
    pub access_expires_at: Timestamp,
    /// Exchanged for the next pair, once. `None` when a twin of this request got it.
    pub refresh_token: Option<String>,
    /// Expiry of the sign-in.
    pub session_expires_at: Timestamp,
    /// Name of the account.
    pub username: String,
    /// Role.
    pub role: Role,
}

/// Sign-in, and who is behind a bearer token.
pub struct AuthService {
    clock: Clock,
    store: Store,
    signer: Arc<TokenSigner>,
    settings: AuthSettings,
    passwords: Arc<Passwords>,
    guard: Arc<SignInGuard>,
    addresses: KnownAddresses,
    credentials: Arc<CredentialCache>,
    tokens: TokenGuard,
    trail: Arc<AccessTrail>,
    standing: Standing,
    metrics: Metrics,
}

impl AuthService {
    #[allow(clippy::too_many_arguments, reason = "each is one thing the service works with, named at the one call")]
    pub(crate) fn new(
        clock: Clock,
        store: Store,
        signer: Arc<TokenSigner>,
        settings: AuthSettings,
        passwords: Arc<Passwords>,
        guard: Arc<SignInGuard>,
        credentials: Arc<CredentialCache>,
        tokens: TokenGuard,
        trail: Arc<AccessTrail>,
        standing: Standing,
        metrics: Metrics,
    ) -> Self {
        let addresses = KnownAddresses::new(clock.clone(), store.clone(), &settings);
        Self { standing, clock, store, signer, settings, passwords, guard, addresses, credentials, tokens, trail, metrics }
    }

    /// Signs a person in.
    ///
    /// # Errors
    /// Unauthorized for any wrong part; throttled after too many failures from the address, or
    /// with the name, whether or not there is such an account.
    pub async fn login(&self, username: &str, password: &str, client: ClientInfo) -> Result<SignedIn, ServiceError> {
        let address = address_of(&client.origin);
        let origin = client.origin.clone();
        let counted = self.guard.attempt(username, client.origin.clone()).await?;
        let claim = self.addresses.claim(address, counted.recent_failures()).await;
        match self.open(claim, username, password, client).await {
            Ok(signed_in) => {
                self.addresses.signed_in(address);
                self.guard.succeeded(counted).await?;
                self.metrics.logins.with_label_values(&["ok"]).inc();
                tracing::info!(event = "auth.login", username = signed_in.username, %address);
                Ok(signed_in)
            }
            Err(ServiceError::Unauthorized) => {
                counted.failed();
                self.metrics.logins.with_label_values(&["refused"]).inc();
                tracing::warn!(event = "auth.login_refused", %address);
                self.trail.sign_in_failed(username, origin).await;
                Err(ServiceError::Unauthorized)
            }
            Err(error) => {
                self.guard.not_checked(counted).await;
                self.metrics.logins.with_label_values(&["failed"]).inc();
                Err(error)
            }
        }
    }

    async fn open(&self, claim: Claim, username: &str, password: &str, client: ClientInfo) -> Result<SignedIn, ServiceError> {
        let user = self.check_password(claim, username, password).await?.ok_or(ServiceError::Unauthorized)?;
        self.open_session(user, client).await
    }

    async fn check_password(&self, claim: Claim, username: &str, password: &str) -> Result<Option<UserRow>, ServiceError> {
        // A name that no account can have is not worth a look.
        let known = match possible_username(username) {
            Some(username) => self.store.user_by_name(username).await?,
            None => None,
        };
        let known = known.filter(|user| user.disabled_at.is_none());
        let fits = self.passwords.fits(claim, password, known.as_ref().map(|user| user.password_bcrypt.as_str())).await?;
        Ok(known.filter(|_| fits))
    }

    async fn open_session(&self, user: UserRow, client: ClientInfo) -> Result<SignedIn, ServiceError> {
        let now = self.clock.now();
        let refresh_token = random_token()?;
        let session = SessionUser {
            session_id: SessionId(self.clock.new_id()),
            user_id: user.id,
            username: user.username,
            role: user.role,
            expires_at: now + self.settings.session_ttl,
            last_seen_at: Some(now),
        };
        let address = address_of(&client.origin).to_canonical().to_string();
        let user_agent = client.user_agent.as_deref().and_then(kept_user_agent);
        let new = NewSession {
            id: session.session_id,
            user_id: user.id,
            password_bcrypt: &user.password_bcrypt,
            refresh_sha256: &sha256(&refresh_token),
            expires_at: session.expires_at,
            address: &address,
            user_agent: user_agent.as_deref(),
        };
        let by = Principal::User {
            user_id: session.user_id,
            username: session.username.clone(),
            role: session.role,
            session_id: session.session_id,
            origin: client.origin,
        };
        if !self.store.insert_session(new, self.settings.sessions_per_user_max, &by, now).await? {
            return Err(ServiceError::Unauthorized);
        }
        self.signed_in(session, Some(refresh_token), now)
    }

    fn signed_in(&self, session: SessionUser, refresh_token: Option<String>, now: Timestamp) -> Result<SignedIn, ServiceError> {
        let access_expires_at = (now + self.settings.access_token_ttl).min(session.expires_at);
        let claims = AccessClaims { sub: session.user_id.0, sid: session.session_id.0 };
        let access_token = self.signer.sign(Audience::Admin, claims, now, access_expires_at)?;
        Ok(SignedIn {
            access_token,
            access_expires_at,
            refresh_token,
            session_expires_at: session.expires_at,
            username: session.username,
            role: session.role,
        })
    }

    /// Exchanges a refresh token for the next pair. One that was replaced before
    /// has leaked, and ends its session.
    ///
    /// # Errors
    /// Unauthorized.
    pub async fn refresh(&self, refresh_token: &str, origin: Origin) -> Result<SignedIn, ServiceError> {
        let now = self.clock.now();
        let next = random_token()?;
        let address = address_of(&origin);
        match self.store.rotate_refresh(&sha256(refresh_token), &sha256(&next), now - REFRESH_GRACE, origin, now).await? {
            Rotation::Rotated(session) => self.signed_in(session, Some(next), now),
            Rotation::JustRotated(session) => self.signed_in(session, None, now),
            Rotation::Reused(session_id) => {
                self.credentials.forget();
                tracing::warn!(event = "auth.refresh_reused", %session_id, %address);
                Err(ServiceError::Unauthorized)
            }
            Rotation::Unknown => Err(ServiceError::Unauthorized),
        }
    }

    /// On whose behalf a bearer acts: a person's access token, or a script's API token.
    ///
    /// # Errors
    /// Unauthorized when the token, its sign-in or its account no longer holds.
    pub async fn authenticate_bearer(&self, bearer: &str, origin: Origin) -> Result<Principal, ServiceError> {
        if !bearer.starts_with(TOKEN_START) {
            let address = origin.address;
            return self.authenticate_person(bearer, address, origin).await;
        }
        let authenticated = self.authenticate_token(bearer, origin).await;
        let outcome = match &authenticated {
            Ok(_) => "ok",
            Err(ServiceError::Unauthorized) => "refused",
            Err(ServiceError::Throttled { .. }) => "throttled",
            Err(_) => "failed",
        };
        self.metrics.api_token_auth.with_label_values(&[outcome]).inc();
        authenticated
    }

    async fn authenticate_token(&self, bearer: &str, origin: Origin) -> Result<Principal, ServiceError> {
        let now = self.clock.now();
        let digest = sha256(bearer);
        let attempt = match self.credentials.has_verified(&digest) {
            true => None,
            false => Some(self.tokens.attempt(address_of(&origin)).await?),
        };
        let known = self.credentials.token(&self.store, digest, now).await;
        let Some(known) = known? else {
            let refused = self.standing.not_found();
            if let (Some(attempt), ServiceError::Unauthorized) = (attempt, &refused) {
                attempt.failed();
            }
            return Err(refused);
        };
        let token = known.who;
        if token.expires_at <= now {
            return Err(ServiceError::Unauthorized);
        }
        if known.is_fresh && is_due(token.last_used_at, now) {
            let address = address_of(&origin).to_canonical().to_string();
            noted(self.store.touch_api_token(token.token_id, &address, now - NOTED_EVERY, now).await);
        }
        Ok(Principal::Token {
            token_id: token.token_id,
            user_id: token.user_id,
            username: token.username,
            role: token.role,
            scopes: token.scopes,
            expires_at: token.expires_at,
            origin,
        })
    }

    /// On whose behalf a browser with this access token acts; an API token is no sign-in.
    ///
    /// # Errors
    /// Unauthorized when the token or its sign-in no longer holds.
    pub async fn authenticate(&self, access_token: &str, origin: Origin) -> Result<Principal, ServiceError> {
        self.authenticate_person(access_token, None, origin).await
    }

    /// `address`: what to note as the last of the sign-in.
    async fn authenticate_person(&self, access_token: &str, address: Option<IpAddr>, origin: Origin) -> Result<Principal, ServiceError> {
        let now = self.clock.now();
        let claims: AccessClaims = self.signer.verify(Audience::Admin, access_token, now)?;
        let session_id = SessionId(claims.sid);
        let known = self.credentials.session(&self.store, session_id, now).await?.ok_or_else(|| self.standing.not_found())?;
        let session = known.who;
        if session.expires_at <= now || session.user_id.0 != claims.sub {
            return Err(ServiceError::Unauthorized);
        }
        if known.is_fresh && is_due(session.last_seen_at, now) {
            let address = address.map(|address| address.to_canonical().to_string());
            noted(self.store.touch_session(session_id, address.as_deref(), now - NOTED_EVERY, now).await);
        }
        Ok(Principal::User { user_id: session.user_id, username: session.username, role: session.role, session_id, origin })
    }

    /// Whether the sign-in or API token behind `principal` still holds, with the same role, for what outlives a request. An access
    /// token that ran out meanwhile was good when it was shown.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn still_holds(&self, principal: &Principal) -> Result<bool, ServiceError> {
        self.standing.holds(principal).await
    }

    /// Changes whenever any account may have lost something, on whichever node: the moment to ask
    /// [`Self::still_holds`] again.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.credentials.changes()
    }

    /// Ends the sign-in behind `principal`: none of its tokens works any more. An API token ends
    /// by being revoked.
    ///
    /// # Errors
    /// Not a person's sign-in, or the database is unavailable.
    pub async fn logout(&self, principal: &Principal) -> Result<(), ServiceError> {
        let Principal::User { user_id, session_id, .. } = principal else { return Err(ServiceError::SignInRequired) };
        self.store.end_sign_in(*user_id, *session_id, principal, self.clock.now()).await?;
        self.credentials.forget();
        Ok(())
    }
}

fn is_due(noted_at: Option<Timestamp>, now: Timestamp) -> bool {
    noted_at.is_none_or(|noted_at| noted_at <= now - NOTED_EVERY)
}

/// A failed update of the time of last use refuses nobody.
fn noted(outcome: Result<(), StoreError>) {
    if let Err(cause) = outcome {
        tracing::warn!(event = "auth.use_not_noted", %cause);
    }
}
