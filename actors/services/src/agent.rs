//! Calls of agents: sessions and heartbeats.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use actors::deployment::reports::TaskReports;
use actors::messages::DeviceCredentials;
use actors::placement::Membership;
use actors::router::{Acknowledged, DeviceRouter, IncomingHeartbeat};
use actors::sockets::{SocketEntry, SocketHub, SocketSender};
use actors::writers::CommandWriter;
use actors::writers::HeartbeatSettings;
use clock::Clock;
use domain::interval::{next_heartbeat_seconds, retry_after_seconds};
use domain::permits::{Claim, Class};
use domain::text::{self, FCM_TOKEN_MAX_CHARS};
use domain::{DeviceId, DeviceTokenId, Invalid, ServiceError, Timestamp};
use link::messages::{DeviceRequest, HeartbeatOutcome, SocketRef};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use store::{Credential, Store};
use subtle::ConstantTimeEq;
use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

use super::report_errors::GatheredErrors;
use super::settings::AuthSettings;
use super::token_guard::TokenGuard;
use crate::crypto::{Audience, Bcrypt, TokenSigner, sha256};
use crate::metrics::Metrics;

/// For how long a device that answered in today's format is not looked at again.
const FORMAT_TRUSTED_FOR: Duration = Duration::from_secs(3600);

#[derive(Serialize, Deserialize)]
struct AgentClaims {
    sub: Uuid,
    r#gen: i32,
}

#[derive(Clone)]
struct VerifiedToken {
    secret_sha256: [u8; 32],
    credentials: DeviceCredentials,
}

/// Sessions and heartbeats.
pub struct AgentService {
    pub(super) clock: Clock,
    pub(super) store: Store,
    pub(super) router: DeviceRouter,
    pub(super) commands: CommandWriter,
    pub(super) task_reports: TaskReports,
    pub(super) report_errors: Arc<GatheredErrors>,
    sockets: Arc<SocketHub>,
    membership: Arc<Membership>,
    signer: Arc<TokenSigner>,
    bcrypt: Bcrypt,
    verified: Cache<DeviceTokenId, VerifiedToken>,
    /// Devices that answered a command in today's format, as far as this node noted it.
    pub(super) current_format: Cache<DeviceId, ()>,
    tokens: TokenGuard,
    admission: Semaphore,
    auth: AuthSettings,
    heartbeat: HeartbeatSettings,
    metrics: Metrics,
}

impl AgentService {
    /// The service over a store and the devices of a cluster.
    #[allow(clippy::too_many_arguments, reason = "each is one thing the service works with, named at the one call")]
    pub(crate) fn new(
        clock: Clock,
        store: Store,
        router: DeviceRouter,
        commands: CommandWriter,
        task_reports: TaskReports,
        sockets: Arc<SocketHub>,
        membership: Arc<Membership>,
        signer: Arc<TokenSigner>,
        bcrypt: Bcrypt,
        auth: AuthSettings,
        heartbeat: HeartbeatSettings,
        tokens: TokenGuard,
        metrics: Metrics,
    ) -> Self {
        Self {
            verified: Cache::new(auth.device_token_cache_max),
            tokens,
            current_format: Cache::builder().max_capacity(auth.device_token_cache_max).time_to_live(FORMAT_TRUSTED_FOR).build(),
            clock,
            admission: Semaphore::new(heartbeat.in_flight_max),
            store,
            router,
            commands,
            task_reports,
            report_errors: Arc::default(),
            sockets,
            membership,
            signer,
            bcrypt,
            auth,
            heartbeat,
            metrics,
        }
    }

    /// Authenticates the bearer of a device token; a session token is refused, or it
    /// could renew itself for ever.
    ///
    /// # Errors
    /// As [`Self::authenticate`].
    pub async fn authenticate_device_token(&self, bearer: &str, address: IpAddr) -> Result<DeviceCredentials, ServiceError> {
        match bearer.split_once('.') {
            Some((_, secret)) if !secret.contains('.') => self.authenticate(bearer, address).await,
            _ => Err(ServiceError::Unauthorized),
        }
    }

    /// Authenticates the bearer of a device token or session token. Costs no look-up
    /// for a session token, and none for a device token seen before.
    ///
    /// # Errors
    /// Unauthorized, throttled after too many failures from the address, or
    /// temporarily unavailable.
    pub async fn authenticate(&self, bearer: &str, address: IpAddr) -> Result<DeviceCredentials, ServiceError> {
        // A device token has one dot, a session token (RFC 7519) two.
        let (kind, result) = match bearer.split_once('.') {
            Some((token_id, secret)) if !secret.contains('.') => ("device_token", self.check_device_token(token_id, secret, address).await),
            _ => ("session_token", self.check_session_token(bearer)),
        };
        let outcome = match &result {
            Ok(_) => "ok",
            Err(ServiceError::Unauthorized) => "refused",
            Err(ServiceError::Throttled { .. }) => "throttled",
            Err(_) => "failed",
        };
        self.metrics.device_auth.with_label_values(&[kind, outcome]).inc();
        result
    }

    fn check_session_token(&self, token: &str) -> Result<DeviceCredentials, ServiceError> {
        let claims: AgentClaims = self.signer.verify(Audience::Agent, token, self.clock.now())?;
        Ok(DeviceCredentials { device_id: DeviceId(claims.sub), generation: claims.r#gen })
    }

    async fn check_device_token(&self, token_id: &str, secret: &str, address: IpAddr) -> Result<DeviceCredentials, ServiceError> {
        let token_id: DeviceTokenId = token_id.parse().map_err(|_| ServiceError::Unauthorized)?;
        let secret_sha256 = sha256(secret);
        if let Some(verified) = self.verified.get(&token_id)
            && bool::from(verified.secret_sha256.ct_eq(&secret_sha256))
        {
            return Ok(verified.credentials);
        }
        let attempt = self.tokens.attempt(address).await?;
        let checked = self.look_up(token_id, secret, address).await;
        if matches!(checked, Ok(None)) && !self.router.is_certain() {
            return Err(ServiceError::Unavailable);
        }
        if matches!(checked, Ok(None)) {
            attempt.failed();
        }
        match checked? {
            Some(credential) => {
                let credentials = DeviceCredentials { device_id: credential.device_id, generation: credential.generation };
                self.verified.insert(token_id, VerifiedToken { secret_sha256, credentials });
                Ok(credentials)
            }
            None => Err(ServiceError::Unauthorized),
        }
    }

    /// The credential of this token id, if the secret is its own.
    async fn look_up(&self, token_id: DeviceTokenId, secret: &str, address: IpAddr) -> Result<Option<Credential>, ServiceError> {
        let Some(known) = self.store.credential(token_id).await? else { return Ok(None) };
        let claim = Claim::device(Class::Regular, known.device_id, Some(address));
        let fits = self.bcrypt.verify(claim, secret.to_owned(), known.secret_bcrypt.clone()).await?;
        // Noted before it counts: until then a retried registration may replace the token.
        if fits && !known.used && !self.store.note_first_use(token_id, self.clock.now()).await? {
            return Ok(None);
        }
        Ok(Some(known).filter(|_| fits))
    }

    /// A session token for a device, and when it stops working.
    ///
    /// # Errors
    /// The credentials no longer hold, or the device is deleted.
    pub async fn open_session(&self, credentials: DeviceCredentials) -> Result<(String, Timestamp), ServiceError> {
        self.check(credentials).await?;
        let now = self.clock.now();
        let expires_at = now + self.auth.agent_session_ttl;
        let claims = AgentClaims { sub: credentials.device_id.0, r#gen: credentials.generation };
        Ok((self.signer.sign(Audience::Agent, claims, now, expires_at)?, expires_at))
    }

    /// Whether credentials still hold.
    ///
    /// # Errors
    /// The credentials are revoked, or the device is deleted.
    pub async fn check(&self, credentials: DeviceCredentials) -> Result<(), ServiceError> {
        self.router.check(credentials).await.map_err(unknown_is_unauthorized)
    }

    /// Replaces the push token of a device.
    ///
    /// # Errors
    /// The token is out of its limits, the credentials no longer hold, or the device is deleted.
    pub async fn set_fcm_token(&self, credentials: DeviceCredentials, fcm_token: &str) -> Result<(), ServiceError> {
        if fcm_token.is_empty() {
            return Err(Invalid::new("fcm_token", "empty").into());
        }
        text::bounded("fcm_token", fcm_token, FCM_TOKEN_MAX_CHARS)?;
        self.check(credentials).await?;
        Ok(self.store.set_fcm_token(credentials.device_id, fcm_token).await?)
    }

    /// Enters a device's socket and tells the device's owner of it.
    ///
    /// # Errors
    /// The credentials no longer hold, or the device is deleted.
    pub async fn attach_socket(&self, credentials: DeviceCredentials, sender: SocketSender) -> Result<SocketEntry, ServiceError> {
        let entry = self.sockets.enter(credentials, sender);
        let request = DeviceRequest::SocketOpened { generation: credentials.generation, socket: self.socket_ref(&entry) };
        match self.router.request(credentials.device_id, request).await {
            // The owner hears of it with the first heartbeat, or when the shard has found a new one.
            Err(ServiceError::NotOwner) => self.check(credentials).await?,
            answer => drop(answer.map_err(unknown_is_unauthorized)?),
        }
        Ok(entry)
    }

    /// Removes a device's socket, and notifies the owner of the device.
    pub async fn detach_socket(&self, credentials: DeviceCredentials, entry: SocketEntry) {
        let request = DeviceRequest::SocketClosed { socket: self.socket_ref(&entry) };
        drop(entry);
        // An owner that does not hear of it finds out when a command stays without an answer.
        let _ = self.router.request(credentials.device_id, request).await;
    }

    fn socket_ref(&self, entry: &SocketEntry) -> SocketRef {
        SocketRef { node: self.membership.node(), socket: entry.number() }
    }

    /// Stores heartbeats of one device. Each answer is for the heartbeat in the
    /// same place and comes after its commit.
    ///
    /// # Errors
    /// Overloaded when they would pass `heartbeat.in_flight_max`; then none of
    /// them was taken in.
    pub async fn store_heartbeats(
        &self,
        credentials: DeviceCredentials,
        socket: Option<&SocketEntry>,
        heartbeats: Vec<IncomingHeartbeat>,
    ) -> Result<Vec<Result<Acknowledged, ServiceError>>, ServiceError> {
        let _permit = self.admit(heartbeats.len())?;
        let socket = socket.map(|entry| self.socket_ref(entry));
        let answers = self.router.heartbeats(credentials, socket, &heartbeats).await;
        let answers: Vec<_> = answers.into_iter().map(|answer| answer.map_err(unknown_is_unauthorized)).collect();
        answers.iter().for_each(|answer| self.count(answer));
        Ok(answers)
    }

    /// Stores one heartbeat; answers after its commit.
    ///
    /// # Errors
    /// As [`Self::store_heartbeats`], and whatever kept this one from being stored.
    pub async fn store_heartbeat(
        &self,
        credentials: DeviceCredentials,
        socket: Option<&SocketEntry>,
        heartbeat: IncomingHeartbeat,
    ) -> Result<Acknowledged, ServiceError> {
        let mut answers = self.store_heartbeats(credentials, socket, vec![heartbeat]).await?;
        answers.pop().unwrap_or(Err(ServiceError::Internal))
    }

    fn admit(&self, heartbeats: usize) -> Result<AdmissionPermit<'_>, ServiceError> {
        match self.admission.try_acquire_many(heartbeats as u32) {
            Ok(permit) => {
                self.metrics.actors.heartbeats_in_flight.add(heartbeats as i64);
                Ok(AdmissionPermit { _permit: permit, heartbeats, metrics: &self.metrics })
            }
            Err(_) => {
                let refused = ServiceError::Overloaded("heartbeat.in_flight_max");
                (0..heartbeats).for_each(|_| self.metrics.actors.heartbeats.with_label_values(&["overloaded"]).inc());
                Err(refused)
            }
        }
    }

    fn count(&self, answer: &Result<Acknowledged, ServiceError>) {
        let label = match answer {
            Ok(Acknowledged { outcome: HeartbeatOutcome::Stored, .. }) => "stored",
            Ok(Acknowledged { outcome: HeartbeatOutcome::Repeat, .. }) => "repeat",
            Err(ServiceError::Unauthorized) => "revoked",
            Err(ServiceError::DeviceDeleted) => "deleted",
            Err(ServiceError::Overloaded(_)) => "overloaded",
            Err(ServiceError::Unavailable | ServiceError::NotOwner) => "unavailable",
            Err(_) => "failed",
        };
        self.metrics.actors.heartbeats.with_label_values(&[label]).inc();
    }

    /// Heartbeat interval.
    pub fn heartbeat_interval_s(&self) -> u32 {
        self.heartbeat.interval_s
    }

    /// Interval until the next heartbeat of a device, with jitter.
    pub fn next_heartbeat_s(&self) -> u32 {
        next_heartbeat_seconds(self.heartbeat.interval_s, self.clock.randomness().fraction())
    }

    /// A `Retry-After`, jittered.
    pub fn retry_after_s(&self) -> u32 {
        retry_after_seconds(self.heartbeat.retry_after_s, self.clock.randomness().fraction())
    }
}

/// A device that the store does not know cannot have valid credentials.
pub(super) fn unknown_is_unauthorized(error: ServiceError) -> ServiceError {
    match error {
        ServiceError::NotFound(_) => ServiceError::Unauthorized,
        other => other,
    }
}

struct AdmissionPermit<'a> {
    _permit: SemaphorePermit<'a>,
    heartbeats: usize,
    metrics: &'a Metrics,
}

impl Drop for AdmissionPermit<'_> {
    fn drop(&mut self) {
        self.metrics.actors.heartbeats_in_flight.sub(self.heartbeats as i64);
    }
}
