//! Push messages to devices without Google's services: an HTTP POST to the endpoint that the device's UnifiedPush distributor
//! gave it, which is the device's push token then.
//!
//! <https://unifiedpush.org/developers/spec/server/>: the body is the message, at most 4,096 bytes; `TTL`, `Urgency` and `Topic`
//! are those of RFC 8030, section 5. Endpoints come from devices, so only origins that the configuration names are called.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clock::Clock;
use domain::DeviceId;
use domain::push::{DATA_MAX_BYTES, RecentSends, parse_retry_after};
use moka::sync::Cache;
use prometheus::IntCounterVec;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{StatusCode, Url, redirect};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::sender::Completion;
use super::settings::UnifiedPushSettings;
use super::{PushMessage, PushOutcome, PushSetupError};
use crate::metrics::Metrics;

/// Wait before another try when a push server says nothing better.
const RETRY_WAIT: Duration = Duration::from_secs(30);
/// Longest wait that a push server is granted.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(600);
/// Wait when as many messages are on their way as may be.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// Devices whose recent messages are remembered, and for how long after the last one.
const DEVICES_MAX: u64 = 100_000;
const DEVICE_IDLE: Duration = Duration::from_secs(60);

/// Posts messages to the endpoints of devices.
#[derive(Clone)]
pub(super) struct UnifiedPush(Arc<Inner>);

struct Inner {
    clock: Clock,
    http: reqwest::Client,
    origins: Vec<String>,
    permits: Arc<Semaphore>,
    per_device_per_minute: u32,
    recent: Cache<DeviceId, Arc<Mutex<RecentSends>>>,
    started: Instant,
    outcomes: IntCounterVec,
}

/// Whether a push token is the endpoint of a UnifiedPush distributor; FCM's tokens are no addresses.
pub(super) fn is_endpoint(token: &str) -> bool {
    token.starts_with("https://") || token.starts_with("http://")
}

impl UnifiedPush {
    /// A sender with its own connections.
    ///
    /// # Errors
    /// The HTTP client does not start.
    pub(super) fn new(settings: UnifiedPushSettings, clock: Clock, metrics: &Metrics) -> Result<Self, PushSetupError> {
        let UnifiedPushSettings { origins, timeout, concurrency, per_device_per_minute } = settings;
        let http = reqwest::Client::builder()
            .user_agent(concat!("nexmdm/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            .connect_timeout(timeout)
            // A redirect would carry commands to wherever it points.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| PushSetupError::Client(error.without_url().to_string()))?;
        Ok(Self(Arc::new(Inner {
            clock,
            http,
            origins,
            permits: Arc::new(Semaphore::new(concurrency)),
            per_device_per_minute,
            recent: Cache::builder().max_capacity(DEVICES_MAX).time_to_idle(DEVICE_IDLE).build(),
            started: Instant::now(),
            outcomes: metrics.unified_push_messages.clone(),
        })))
    }

    /// Whether messages may go to this endpoint.
    pub(super) fn allows(&self, endpoint: &str) -> bool {
        Url::parse(endpoint).is_ok_and(|url| self.0.origins.contains(&url.origin().ascii_serialization()))
    }

    /// Sends a message on a task of its own; `done` is called exactly once.
    pub(super) fn submit(&self, message: PushMessage, done: impl FnOnce(PushOutcome) + Send + 'static) {
        let done = Completion::new(done, &self.0.outcomes);
        if !self.allows(&message.token) {
            return done.finish("origin_not_allowed", PushOutcome::Refused("origin_not_allowed"));
        }
        // Names and values are text without anything that JSON could not hold.
        let body = serde_json::to_vec(&message.data).unwrap_or_default();
        if body.len() > DATA_MAX_BYTES {
            return done.finish("message_too_big", PushOutcome::Refused("message_too_big"));
        }
        let Ok(permit) = Arc::clone(&self.0.permits).try_acquire_owned() else {
            return done.finish("busy", PushOutcome::RetryAfter(BUSY_WAIT));
        };
        if let Err(wait) = self.admit(message.device_id) {
            return done.finish("device_limit", PushOutcome::RetryAfter(wait));
        }
        let sender = self.clone();
        tokio::spawn(async move {
            let (name, outcome) = sender.post(&message, body).await;
            drop(permit);
            done.finish(name, outcome);
        });
    }

    fn admit(&self, device: DeviceId) -> Result<(), Duration> {
        let now_ms = u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let recent = self.0.recent.get_with(device, Arc::default);
        let mut recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.admit(self.0.per_device_per_minute, now_ms).map_err(Duration::from_millis)
    }

    async fn post(&self, message: &PushMessage, body: Vec<u8>) -> (&'static str, PushOutcome) {
        let mut request = self
            .0
            .http
            .post(&*message.token)
            .header(CONTENT_TYPE, "application/json")
            .header("TTL", message.ttl_s.to_string())
            .header("Urgency", "high")
            .body(body);
        if let Some(topic) = message.collapse_key {
            request = request.header("Topic", topic);
        }
        // The body of the answer says nothing that counts, and is not read.
        match request.send().await {
            Ok(answer) => {
                let wait = answer.headers().get(RETRY_AFTER).and_then(|value| parse_retry_after(value.to_str().ok()?, self.0.clock.now()));
                judge(answer.status(), wait)
            }
            Err(error) => {
                let name = if error.is_timeout() { "timeout" } else { "network" };
                (name, PushOutcome::RetryAfter(RETRY_WAIT))
            }
        }
    }
}

/// Verdict about the answer of a push server: its name in metrics, and the outcome.
fn judge(status: StatusCode, retry_after: Option<Duration>) -> (&'static str, PushOutcome) {
    match status.as_u16() {
        200..=299 => ("accepted", PushOutcome::Accepted),
        // The registration has ended (RFC 8030, section 7.3), or a proxy says so: a status alone makes nobody forget an endpoint. The
        // distributor brings the device a new one, which it reports.
        404 | 410 => ("endpoint_gone", PushOutcome::Refused("endpoint_gone")),
        413 => ("message_too_big", PushOutcome::Refused("message_too_big")),
        429 | 500..=599 => {
            let name = if status == StatusCode::TOO_MANY_REQUESTS { "quota" } else { "unavailable" };
            (name, PushOutcome::RetryAfter(retry_after.unwrap_or(RETRY_WAIT).min(RETRY_WAIT_MAX)))
        }
        300..=399 => ("redirected", PushOutcome::Refused("redirected")),
        _ => ("refused", PushOutcome::Refused("refused")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_push_servers() {
        let wait = Duration::from_secs(7);
        for (status, want) in [
            (201, ("accepted", PushOutcome::Accepted)),
            (404, ("endpoint_gone", PushOutcome::Refused("endpoint_gone"))),
            (410, ("endpoint_gone", PushOutcome::Refused("endpoint_gone"))),
            (413, ("message_too_big", PushOutcome::Refused("message_too_big"))),
            (429, ("quota", PushOutcome::RetryAfter(wait))),
            (503, ("unavailable", PushOutcome::RetryAfter(wait))),
            (302, ("redirected", PushOutcome::Refused("redirected"))),
            (401, ("refused", PushOutcome::Refused("refused"))),
        ] {
            assert_eq!(judge(StatusCode::from_u16(status).unwrap(), Some(wait)), want, "{status}");
        }
        assert_eq!(judge(StatusCode::BAD_GATEWAY, None).1, PushOutcome::RetryAfter(RETRY_WAIT));
        assert_eq!(judge(StatusCode::BAD_GATEWAY, Some(Duration::from_secs(9_999))).1, PushOutcome::RetryAfter(RETRY_WAIT_MAX));
    }

    #[test]
    fn only_endpoints_are_addresses() {
        assert!(is_endpoint("https://push.example/UP?x") && is_endpoint("http://10.0.0.1/x"));
        assert!(!is_endpoint("dXNlcjpmY20:APA91b") && !is_endpoint("sim-kiosk-1") && !is_endpoint(""));
    }
}
