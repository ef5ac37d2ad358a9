//! Enrollment: tokens for people to hand out, and devices that use them.

use std::sync::Arc;

use actors::fleet_view::FleetView;
use actors::messages::device_key;
use actors::router::DeviceRouter;
use chrono::TimeDelta;
use clock::Clock;
use domain::access::{Origin, Permission, Principal};
use domain::enrollment::{EnrollToken, LifetimeLimits, Registration, TokenQuery, TokenRequest};
use domain::permits::{Claim, Class};
use domain::query::PAGE_MAX;
use domain::rate::counted_as;
use domain::{DeviceId, DeviceTokenId, EnrollTokenId, Invalid, ServiceError, Timestamp};
use enrollment_kit::EnrollmentKit;
use enrollment_kit::KitSettings;
use link::messages::DeviceRequest;
use secrecy::SecretBox;
use store::{EnrollOutcome, NewDevice, NewEnrollToken, RegistrationRetry, ReplacementToken, Store};

use super::settings::{AuthSettings, EnrollmentSettings};
use super::throttle::{FailureThrottle, address_of};
use crate::crypto::{Bcrypt, random_token, sha256};
use crate::metrics::Metrics;

/// A token just made; the only time its secret is known.
#[derive(Clone)]
pub struct NewToken {
    /// Id.
    pub id: EnrollTokenId,
    /// The secret to hand out.
    pub token: String,
    /// Alias the device gets.
    pub alias: Option<String>,
    /// Expiry.
    pub expires_at: Timestamp,
}

/// A page of tokens.
pub struct TokenPage {
    /// The tokens, newest first.
    pub tokens: Vec<EnrollToken>,
    /// Cursor of the next page; `None`: this is the last one.
    pub next: Option<EnrollTokenId>,
}

/// A device just enrolled; the only time its secrets are known.
pub struct Enrolled {
    /// Id.
    pub device_id: DeviceId,
    /// `<token id>.<secret>`.
    pub device_token: String,
    /// Key of command signatures, hex.
    pub device_key: String,
    /// Time of enrollment.
    pub enrolled_at: Timestamp,
    /// Whether it was enrolled before, by a registration whose answer was lost.
    pub retried: bool,
}

/// Enrollment.
pub struct EnrollmentService {
    pub(super) clock: Clock,
    pub(super) store: Store,
    router: DeviceRouter,
    view: Arc<FleetView>,
    bcrypt: Bcrypt,
    master_key: Arc<SecretBox<Vec<u8>>>,
    device_token_bcrypt_cost: u32,
    lifetime: LifetimeLimits,
    retry_window: TimeDelta,
    retries_max: i32,
    pub(super) throttle: FailureThrottle,
    pub(super) kit: EnrollmentKit,
    metrics: Metrics,
}

impl EnrollmentService {
    /// The service over a store and the devices of a node.
    #[allow(clippy::too_many_arguments, reason = "each is one thing the service works with, named at the one call")]
    pub fn new(
        clock: Clock,
        store: Store,
        router: DeviceRouter,
        view: Arc<FleetView>,
        bcrypt: Bcrypt,
        master_key: Arc<SecretBox<Vec<u8>>>,
        auth: &AuthSettings,
        settings: EnrollmentSettings,
        kit: KitSettings,
        metrics: Metrics,
    ) -> Self {
        let EnrollmentSettings { lifetime, retry_window, retries_max, failures } = settings;
        let throttle = FailureThrottle::new(clock.clone(), failures, "enrollment.failure_burst", auth.failure_keys_max, auth.bcrypt_wait);
        let device_token_bcrypt_cost = auth.device_token_bcrypt_cost;
        let kit = EnrollmentKit::new(kit, &master_key, &metrics.actors.pools);
        Self {
            clock,
            store,
            router,
            view,
            bcrypt,
            master_key,
            device_token_bcrypt_cost,
            lifetime,
            retry_window,
            retries_max,
            throttle,
            kit,
            metrics,
        }
    }

    /// Creates tokens.
    ///
    /// # Errors
    /// Forbidden, a value out of its limits, or an alias that a device has; none is made then.
    pub async fn create(&self, principal: &Principal, request: TokenRequest) -> Result<Vec<NewToken>, ServiceError> {
        principal.require(Permission::ManageEnrollment)?;
        let now = self.clock.now();
        let batch = request.checked(self.lifetime, now)?;
        let aliases: Vec<String> = batch.aliases.iter().flatten().cloned().collect();
        let held = self.store.devices_by_alias(&aliases).await?;
        // A device could not enroll with it: told now, where somebody can choose another.
        if let Some(alias) = aliases.iter().find(|alias| held.contains_key(*alias)) {
            return Err(ServiceError::AliasHeld(alias.clone()));
        }
        let mut made = Vec::with_capacity(batch.aliases.len());
        let mut rows = Vec::with_capacity(batch.aliases.len());
        for alias in batch.aliases {
            let (id, token) = (EnrollTokenId(self.clock.new_id()), random_token()?);
            rows.push(NewEnrollToken { id, secret_sha256: sha256(&token).to_vec(), alias: alias.clone() });
            made.push(NewToken { id, token, alias, expires_at: batch.expires_at });
        }
        self.store.insert_enroll_tokens(&rows, &batch.tags, &batch.groups, principal, batch.expires_at, now).await?;
        self.view.enrollment_changed();
        tracing::info!(event = "enrollment.tokens_created", count = made.len());
        Ok(made)
    }

    /// Warning that another token which is not used yet fixes an alias of these: the device of only one of them can enroll.
    ///
    /// # Errors
    /// Forbidden, or the database is unavailable.
    pub async fn shared_alias_warning(&self, principal: &Principal, made: &[NewToken]) -> Result<Option<String>, ServiceError> {
        principal.require(Permission::ManageEnrollment)?;
        let aliases: Vec<String> = made.iter().filter_map(|token| token.alias.clone()).collect();
        if aliases.is_empty() {
            return Ok(None);
        }
        let ids: Vec<EnrollTokenId> = made.iter().map(|token| token.id).collect();
        let shared = self.store.alias_of_other_token(&aliases, &ids, self.clock.now()).await?;
        Ok(shared.map(|alias| {
            format!("another unused enrollment token has the alias {alias}: only one of the two can enroll a device, revoke the other")
        }))
    }

    /// A page of tokens, newest first.
    ///
    /// # Errors
    /// Forbidden, or the limit is out of its range.
    pub async fn tokens(&self, principal: &Principal, query: TokenQuery) -> Result<TokenPage, ServiceError> {
        principal.require(Permission::ViewEnrollment)?;
        let limit = domain::invalid::in_range("limit", query.limit, 1, PAGE_MAX)?;
        let mut tokens = self.store.enroll_tokens(TokenQuery { limit: limit + 1, ..query }, self.clock.now()).await?;
        let more = tokens.len() as i64 > limit;
        tokens.truncate(limit as usize);
        let next = if more { tokens.last().map(|token| token.id) } else { None };
        Ok(TokenPage { tokens, next })
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// Forbidden, there is no such token, or it has enrolled its device already.
    pub async fn revoke(&self, principal: &Principal, id: EnrollTokenId) -> Result<(), ServiceError> {
        principal.require(Permission::ManageEnrollment)?;
        let outcome = self.store.revoke_enroll_token(id, principal, self.clock.now()).await?;
        self.view.enrollment_changed();
        match outcome {
            None => Err(ServiceError::NotFound("enrollment token")),
            Some(false) => Err(ServiceError::WrongState("the token was already used; delete or revoke its device")),
            Some(true) => {
                tracing::info!(event = "enrollment.token_revoked", enroll_token_id = %id);
                Ok(())
            }
        }
    }

    /// Enrolls a device with a single-use token: of any number of simultaneous
    /// uses exactly one enrolls. The same hardware is answered again for a short time, until the
    /// device has used an answer: it may have been lost.
    ///
    /// # Errors
    /// Unauthorized for any token that cannot be used, throttled after too many of
    /// those from one address; a value out of its limits
    /// or an alias in use leave the token usable.
    pub async fn enroll(&self, token: &str, registration: Registration, origin: Origin) -> Result<Enrolled, ServiceError> {
        let mut result = self.enroll_unthrottled(token, registration, origin.clone()).await;
        if let Err(ServiceError::Unauthorized) = result {
            // Only those who guess are slowed down; a good token works from wherever they sit.
            let key = counted_as(address_of(&origin)).to_string();
            if let Err(throttled) = self.throttle.failure(&key) {
                result = Err(throttled);
            }
        }
        let outcome = match &result {
            Ok(enrolled) if enrolled.retried => "retried",
            Ok(_) => "ok",
            Err(ServiceError::Unauthorized) => "refused",
            Err(ServiceError::Throttled { .. }) => "throttled",
            Err(_) => "failed",
        };
        self.metrics.enrollments.with_label_values(&[outcome]).inc();
        result
    }

    async fn enroll_unthrottled(&self, token: &str, registration: Registration, origin: Origin) -> Result<Enrolled, ServiceError> {
        let now = self.clock.now();
        // Looked at before bcrypt is spent on it; `Store::enroll` decides.
        let Some(usable) = self.store.usable_enroll_token(&sha256(token), now).await? else {
            return self.enroll_again(token, registration, origin, now).await;
        };
        let registration = registration.checked()?;
        let Some(alias) = usable.alias.or_else(|| registration.alias.clone()) else {
            return Err(Invalid::new("alias", "required: the enrollment token has none").into());
        };
        let secret = random_token()?;
        let claim = Claim::new(Class::Regular).from_address(origin.address);
        let device = NewDevice {
            id: DeviceId(self.clock.new_id()),
            alias: alias.clone(),
            token_id: DeviceTokenId(self.clock.new_id()),
            token_secret_bcrypt: self.bcrypt.hash(claim, secret.clone(), self.device_token_bcrypt_cost).await?,
            registration,
        };
        if self.store.enroll(usable.id, &device, origin.clone(), now).await? == EnrollOutcome::Refused {
            return self.enroll_again(token, device.registration, origin, now).await;
        }
        self.view.enrollment_changed();
        // The device is enrolled whatever happens here; if this fails, its first call starts it.
        let _ = self.router.request(device.id, DeviceRequest::CheckCredentials { generation: 1 }).await;
        tracing::info!(event = "enrollment.enrolled", device_id = %device.id, alias, enroll_token_id = %usable.id);
        Ok(Enrolled {
            device_id: device.id,
            device_token: format!("{}.{secret}", device.token_id),
            device_key: device_key(&self.master_key, device.id, 1),
            enrolled_at: now,
            retried: false,
        })
    }

    /// A new identity for a device whose registration was answered, and whose answer was lost.
    async fn enroll_again(
        &self,
        token: &str,
        registration: Registration,
        origin: Origin,
        now: Timestamp,
    ) -> Result<Enrolled, ServiceError> {
        let Some(hardware_id) = registration.checked().ok().and_then(|registration| registration.hardware_id) else {
            return Err(ServiceError::Unauthorized);
        };
        let secret_sha256 = sha256(token);
        let retry = RegistrationRetry {
            secret_sha256: &secret_sha256,
            hardware_id: &hardware_id,
            used_after: now - self.retry_window,
            retries_max: self.retries_max,
        };
        if !self.store.may_retry_registration(retry).await? {
            return Err(ServiceError::Unauthorized);
        }
        let secret = random_token()?;
        let claim = Claim::new(Class::Regular).from_address(origin.address);
        let replacement = ReplacementToken {
            id: DeviceTokenId(self.clock.new_id()),
            secret_bcrypt: self.bcrypt.hash(claim, secret.clone(), self.device_token_bcrypt_cost).await?,
        };
        let device = self.store.retry_registration(retry, &replacement, origin, now).await?.ok_or(ServiceError::Unauthorized)?;
        tracing::info!(event = "enrollment.retried", device_id = %device.id, alias = device.alias);
        Ok(Enrolled {
            device_id: device.id,
            device_token: format!("{}.{secret}", replacement.id),
            device_key: device_key(&self.master_key, device.id, device.key_version),
            enrolled_at: now,
            retried: true,
        })
    }
}
