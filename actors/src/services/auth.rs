//! Sign-in of people: passwords, short access tokens, rotating refresh tokens, accounts.

use std::net::IpAddr;
use std::sync::Arc;

use chrono::TimeDelta;
use domain::access::{Permission, Principal, Role};
use domain::{Invalid, SessionId, Timestamp, UserId, text};
use moka::sync::Cache;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use store::{NewSession, NewUser, Rotation, SessionUser, Store, UserRow};
use uuid::Uuid;

use super::throttle::FailureThrottle;
use crate::crypto::{Audience, Bcrypt, PASSWORD_MAX_BYTES, PASSWORD_MIN_CHARS, TokenSigner, random_token, sha256};
use crate::metrics::Metrics;
use crate::settings::AuthSettings;
use crate::{ServiceError, clock};

/// How long ago a refresh token may have been replaced and still be taken for
/// the twin of the request that replaced it.
const REFRESH_GRACE: TimeDelta = TimeDelta::seconds(20);

/// Sessions whose state is remembered.
const SESSION_CACHE_MAX: u64 = 10_000;

#[derive(Serialize, Deserialize)]
struct AccessClaims {
    sub: Uuid,
    sid: Uuid,
}

/// A pair of tokens, and whose they are.
pub struct SignedIn {
    /// Short-lived bearer token.
    pub access_token: String,
    /// When it stops working.
    pub access_expires_at: Timestamp,
    /// Exchanged for the next pair, once. `None` when a twin of this request got it.
    pub refresh_token: Option<String>,
    /// When the sign-in ends at the latest.
    pub session_expires_at: Timestamp,
    /// Name of the account.
    pub username: String,
    /// What it may do.
    pub role: Role,
}

/// Sign-in and accounts.
pub struct AuthService {
    store: Store,
    signer: Arc<TokenSigner>,
    bcrypt: Bcrypt,
    settings: AuthSettings,
    sessions: Cache<SessionId, SessionUser>,
    throttle: FailureThrottle,
    /// Compared when there is no such account, so that its absence takes as long.
    decoy_hash: tokio::sync::OnceCell<String>,
    metrics: Metrics,
}

impl AuthService {
    /// The service over a store.
    pub fn new(store: Store, signer: Arc<TokenSigner>, bcrypt: Bcrypt, settings: AuthSettings, metrics: Metrics) -> Self {
        let sessions = Cache::builder().max_capacity(SESSION_CACHE_MAX).time_to_live(settings.session_cache_ttl).build();
        let throttle = FailureThrottle::new(settings.failures, settings.failure_keys_max);
        Self { store, signer, bcrypt, settings, sessions, throttle, decoy_hash: tokio::sync::OnceCell::new(), metrics }
    }

    /// Signs a person in.
    ///
    /// # Errors
    /// Unauthorized for any wrong part, throttled after too many failures from the
    /// address. An account is not locked: anyone could lock out its owner.
    pub async fn login(&self, username: &str, password: &str, address: IpAddr) -> Result<SignedIn, ServiceError> {
        let key = address.to_string();
        if let Err(throttled) = self.throttle.attempt(&key) {
            self.metrics.logins.with_label_values(&["throttled"]).inc();
            return Err(throttled);
        }
        match self.check_password(username, password).await? {
            Some(user) => {
                self.throttle.succeeded(&key);
                self.metrics.logins.with_label_values(&["ok"]).inc();
                tracing::info!(event = "auth.login", username = user.username, %address);
                self.open_session(user).await
            }
            None => {
                self.metrics.logins.with_label_values(&["refused"]).inc();
                tracing::warn!(event = "auth.login_refused", %address);
                Err(ServiceError::Unauthorized)
            }
        }
    }

    async fn check_password(&self, username: &str, password: &str) -> Result<Option<UserRow>, ServiceError> {
        // A name that no account can have is not worth a look; PostgreSQL takes no NUL.
        let known = match text::alias("username", username) {
            Ok(username) => self.store.user_by_name(&username).await?,
            Err(_) => None,
        };
        let known = known.filter(|user| user.disabled_at.is_none());
        let hash = match &known {
            Some(user) => user.password_bcrypt.clone(),
            None => self.decoy_hash().await?,
        };
        let fits = self.bcrypt.verify(password.to_owned(), hash).await?;
        Ok(known.filter(|_| fits))
    }

    async fn decoy_hash(&self) -> Result<String, ServiceError> {
        let cost = self.settings.password_bcrypt_cost;
        let hash = self.decoy_hash.get_or_try_init(|| async { self.bcrypt.hash(random_token()?, cost).await });
        Ok(hash.await?.clone())
    }

    async fn open_session(&self, user: UserRow) -> Result<SignedIn, ServiceError> {
        let now = clock::now();
        let refresh_token = random_token()?;
        let session = SessionUser {
            session_id: SessionId(Uuid::now_v7()),
            user_id: user.id,
            username: user.username,
            role: user.role,
            expires_at: now + self.settings.session_ttl,
        };
        let new = NewSession {
            id: session.session_id,
            user_id: user.id,
            refresh_sha256: &sha256(&refresh_token),
            expires_at: session.expires_at,
        };
        self.store.insert_session(new, now).await?;
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
    pub async fn refresh(&self, refresh_token: &str) -> Result<SignedIn, ServiceError> {
        let now = clock::now();
        let next = random_token()?;
        match self.store.rotate_refresh(&sha256(refresh_token), &sha256(&next), now - REFRESH_GRACE, now).await? {
            Rotation::Rotated(session) => self.signed_in(session, Some(next), now),
            Rotation::JustRotated(session) => self.signed_in(session, None, now),
            Rotation::Reused(session_id) => {
                self.sessions.invalidate(&session_id);
                tracing::warn!(event = "auth.refresh_reused", %session_id);
                Err(ServiceError::Unauthorized)
            }
            Rotation::Unknown => Err(ServiceError::Unauthorized),
        }
    }

    /// On whose behalf a bearer of this access token acts.
    ///
    /// # Errors
    /// Unauthorized when the token or its session no longer holds.
    pub async fn authenticate(&self, access_token: &str) -> Result<Principal, ServiceError> {
        let now = clock::now();
        let claims: AccessClaims = self.signer.verify(Audience::Admin, access_token, now)?;
        let session_id = SessionId(claims.sid);
        let session = match self.sessions.get(&session_id) {
            Some(session) => session,
            None => {
                let session = self.store.living_session(session_id, now).await?.ok_or(ServiceError::Unauthorized)?;
                self.sessions.insert(session_id, session.clone());
                session
            }
        };
        if session.expires_at <= now || session.user_id.0 != claims.sub {
            return Err(ServiceError::Unauthorized);
        }
        Ok(Principal::User { user_id: session.user_id, username: session.username, role: session.role, session_id })
    }

    /// Whether the sign-in behind `principal` still holds, for connections that outlive a request.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn still_holds(&self, principal: &Principal) -> Result<bool, ServiceError> {
        let Principal::User { session_id, role, .. } = principal else { return Ok(true) };
        let session = match self.sessions.get(session_id) {
            Some(session) => Some(session),
            None => self.store.living_session(*session_id, clock::now()).await?,
        };
        Ok(session.is_some_and(|session| session.role == *role && session.expires_at > clock::now()))
    }

    /// Ends the sign-in behind `principal`: none of its tokens works any more.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn logout(&self, principal: &Principal) -> Result<(), ServiceError> {
        if let Principal::User { session_id, .. } = principal {
            self.store.revoke_session(*session_id, clock::now()).await?;
            self.sessions.invalidate(session_id);
        }
        Ok(())
    }

    /// Makes an account.
    ///
    /// # Errors
    /// Forbidden, a value out of its limits, or the name is taken.
    pub async fn add_user(
        &self,
        principal: &Principal,
        username: &str,
        password: &SecretString,
        role: Role,
    ) -> Result<UserId, ServiceError> {
        principal.require(Permission::ManageUsers)?;
        let username = checked_username(username)?;
        let hash = self.hash_password(password).await?;
        let id = UserId(Uuid::now_v7());
        self.store.insert_user(NewUser { id, username: &username, password_bcrypt: &hash, role }, clock::now()).await?;
        Ok(id)
    }

    /// Makes the first account, an admin, unless there is any. Answers whether it did.
    ///
    /// # Errors
    /// A value out of its limits.
    pub async fn add_first_admin(&self, username: &str, password: &SecretString) -> Result<bool, ServiceError> {
        if self.store.any_user().await? {
            return Ok(false);
        }
        let hash = self.hash_password(password).await?;
        let user =
            NewUser { id: UserId(Uuid::now_v7()), username: &checked_username(username)?, password_bcrypt: &hash, role: Role::Admin };
        Ok(self.store.insert_first_user(user, clock::now()).await?)
    }

    /// Sets a new password and ends every sign-in of the account.
    ///
    /// # Errors
    /// Forbidden, a value out of its limits, or there is no such account.
    pub async fn reset_password(&self, principal: &Principal, username: &str, password: &SecretString) -> Result<(), ServiceError> {
        principal.require(Permission::ManageUsers)?;
        let hash = self.hash_password(password).await?;
        match self.store.set_password(&checked_username(username)?, &hash, clock::now()).await? {
            true => {
                self.sessions.invalidate_all();
                Ok(())
            }
            false => Err(ServiceError::NotFound("account")),
        }
    }

    /// Every account.
    ///
    /// # Errors
    /// Forbidden.
    pub async fn users(&self, principal: &Principal) -> Result<Vec<UserRow>, ServiceError> {
        principal.require(Permission::ManageUsers)?;
        Ok(self.store.users().await?)
    }

    async fn hash_password(&self, password: &SecretString) -> Result<String, ServiceError> {
        let password = password.expose_secret();
        if password.chars().count() < PASSWORD_MIN_CHARS || password.len() > PASSWORD_MAX_BYTES {
            let limits = format!("takes {PASSWORD_MIN_CHARS} characters to {PASSWORD_MAX_BYTES} bytes");
            return Err(Invalid::new("password", limits).into());
        }
        if password.contains('\0') {
            return Err(Invalid::new("password", "NUL is not allowed").into());
        }
        self.bcrypt.hash(password.to_owned(), self.settings.password_bcrypt_cost).await
    }
}

fn checked_username(username: &str) -> Result<String, Invalid> {
    let username = text::alias("username", username)?;
    if username.chars().count() > 64 {
        return Err(Invalid::new("username", "more than the 64 characters allowed"));
    }
    Ok(username)
}
