//! Push messages to devices: over Firebase Cloud Messaging's HTTP v1 API, or to the endpoint of a UnifiedPush distributor.
//!
//! ```text
//! submit -> limit per device -> bounded queue -> circuit breaker, rate, concurrency -> FcmClient -> done
//!       │                                                                      └── AccessTokens
//!       └─ (the token is an address) -> allowed origin, limit per device, concurrency -> UnifiedPush -> done
//! ```
//!
//! Answers and waits are judged in [`domain::push`].

mod account;
mod check;
mod fcm;
mod health;
mod http_answer;
pub mod metrics;
mod oauth;
mod sender;
mod settings;
mod unified_push;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use domain::DeviceId;
use domain::push::DATA_MAX_BYTES;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::account::ServiceAccount;
pub use self::check::{AccountError, check_account};
use self::fcm::FcmClient;
use self::sender::{Completion, Job, Shared};
pub use self::settings::{FcmSettings, UnifiedPushSettings};
use self::unified_push::{UnifiedPush, is_endpoint};
use metrics::Metrics;

/// How long the sender of a message waits when the queue is full, and when the node stops.
const QUEUE_FULL_WAIT: Duration = Duration::from_secs(5);

/// A message to a device. Its token and data are secrets.
pub struct PushMessage {
    /// The device, for the limit per device.
    pub device_id: DeviceId,
    /// Push token.
    pub token: Box<str>,
    /// Data: at most 4,096 bytes of keys and values together.
    pub data: BTreeMap<String, String>,
    /// How long FCM keeps it for a device that is away, seconds: 0 (now or never) to 28 days.
    pub ttl_s: u32,
    /// Of messages with the same key that wait at FCM, the device gets the last only.
    pub collapse_key: Option<&'static str>,
}

impl PushMessage {
    fn data_bytes(&self) -> usize {
        self.data.iter().map(|(key, value)| key.len() + value.len()).sum()
    }
}

impl fmt::Debug for PushMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device_id, token: _, data: _, ttl_s, collapse_key } = self;
        f.debug_struct("PushMessage")
            .field("device_id", device_id)
            .field("ttl_s", ttl_s)
            .field("collapse_key", collapse_key)
            .finish_non_exhaustive()
    }
}

/// Outcome of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushOutcome {
    /// FCM has it, and delivers it within its life if it can.
    Accepted,
    /// The device is not reached under this token any more: forget it.
    TokenGone,
    /// Not sent; may be retried after this time.
    RetryAfter(Duration),
    /// Not sent, for this reason, for display and metrics.
    Refused(&'static str),
    /// This server has no push.
    Off,
}

/// Status of push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushStatus {
    /// Whether FCM is configured.
    pub on: bool,
    /// Misconfiguration, by its name in `docs/operate.md`; `None` once a message was accepted.
    pub misconfigured: Option<&'static str>,
    /// Whether FCM answered within the last minute that the project's quota is used up.
    pub quota_used_up: bool,
    /// How long nothing is sent because FCM asked for a pause or is out of reach.
    pub paused_for: Option<Duration>,
    /// Messages that wait to be sent.
    pub queued: usize,
}

/// Error in starting push. Says nothing of the key.
#[derive(Debug, thiserror::Error)]
pub enum PushSetupError {
    /// The service account's file cannot be read.
    #[error("fcm.service_account_file {}: {cause}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Cause.
        cause: std::io::Error,
    },
    /// Others can read the private key.
    #[error("fcm.service_account_file {} is open to other users: chmod 600 it", file.display())]
    Open {
        /// The file.
        file: PathBuf,
    },
    /// The file is not JSON.
    #[error("fcm.service_account_file {}: not a JSON object, at line {line}, column {column}", file.display())]
    NotJson {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Line, from 1.
        column: usize,
    },
    /// A field of the file is missing or wrong.
    #[error("fcm.service_account_file {}: field {field}: {problem}", file.display())]
    Field {
        /// The file.
        file: PathBuf,
        /// The field.
        field: &'static str,
        /// Problem.
        problem: &'static str,
    },
    /// The address of FCM is none.
    #[error("fcm.base_url: not a URL")]
    BaseUrl,
    /// The HTTP client does not start, for example without any authority to trust.
    #[error("fcm: the https client does not start: {0}")]
    Client(String),
}

/// Sends messages to devices, as far as push is configured.
#[derive(Clone)]
pub struct PushSender {
    fcm: Option<FcmQueue>,
    unified_push: Option<UnifiedPush>,
}

#[derive(Clone)]
struct FcmQueue {
    queue: mpsc::Sender<Job>,
    shared: Arc<Shared>,
}

impl PushSender {
    /// Reads the service account and starts sending on `tasks`. Without the settings of a service, that service is off.
    ///
    /// # Errors
    /// The service account's file is unreadable or wrong; names the file and the field.
    pub fn start(
        tasks: &mut JoinSet<()>,
        clock: &Clock,
        fcm: Option<FcmSettings>,
        unified_push: Option<UnifiedPushSettings>,
        metrics: &Metrics,
    ) -> Result<Self, PushSetupError> {
        let fcm = fcm.map(|settings| Self::start_fcm(tasks, clock, settings, metrics)).transpose()?;
        let unified_push = unified_push.map(|settings| UnifiedPush::new(settings, clock.clone(), metrics)).transpose()?;
        Ok(Self { fcm, unified_push })
    }

    fn start_fcm(tasks: &mut JoinSet<()>, clock: &Clock, settings: FcmSettings, metrics: &Metrics) -> Result<FcmQueue, PushSetupError> {
        let account = ServiceAccount::read(&settings.service_account_file)?;
        tracing::info!(event = "fcm.on", project = %account.project_id, account = %account.client_email);
        let client = FcmClient::new(account, &settings, clock.clone(), metrics)?;
        let (queue, waiting) = mpsc::channel(settings.queue_max.max(1));
        let shared = Arc::new(Shared::new(&settings, clock.clone(), metrics.clone()));
        tasks.spawn(sender::run(client, Arc::clone(&shared), waiting));
        Ok(FcmQueue { queue, shared })
    }

    /// Whether these settings would start.
    ///
    /// # Errors
    /// As [`PushSender::start`].
    pub fn check(settings: &FcmSettings) -> Result<(), PushSetupError> {
        ServiceAccount::read(&settings.service_account_file).map(drop)
    }

    /// Whether the device with this push token can be reached by push.
    pub fn reaches(&self, token: &str) -> bool {
        if is_endpoint(token) { self.unified_push.as_ref().is_some_and(|push| push.allows(token)) } else { self.fcm.is_some() }
    }

    /// Status of FCM.
    pub fn status(&self) -> PushStatus {
        match &self.fcm {
            Some(FcmQueue { shared, .. }) => shared.status(),
            None => PushStatus { on: false, misconfigured: None, quota_used_up: false, paused_for: None, queued: 0 },
        }
    }

    /// Queues a message and returns at once; `done` is called exactly once with its outcome,
    /// here or on another task, at the latest when the node stops. It must neither block nor panic.
    pub fn submit(&self, message: PushMessage, done: impl FnOnce(PushOutcome) + Send + 'static) {
        if is_endpoint(&message.token) {
            return match &self.unified_push {
                Some(push) => push.submit(message, done),
                None => done(PushOutcome::Off),
            };
        }
        let Some(FcmQueue { queue, shared }) = &self.fcm else { return done(PushOutcome::Off) };
        let done = Completion::new(done, shared.outcomes());
        if message.data_bytes() > DATA_MAX_BYTES {
            return done.finish("message_too_big", PushOutcome::Refused("message_too_big"));
        }
        // The place in the queue first: a message that finds none does not count against its device.
        let Ok(place) = queue.try_reserve() else { return done.finish("queue_full", PushOutcome::RetryAfter(QUEUE_FULL_WAIT)) };
        match shared.admit(message.device_id) {
            Ok(()) => place.send(Job::new(message, done, shared)),
            Err(wait) => done.finish("device_limit", PushOutcome::RetryAfter(wait)),
        }
    }
}
