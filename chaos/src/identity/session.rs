//! Sessions: short-lived tokens of devices.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt, stream};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};
use wire::agent::SessionResponse;

use super::{Identity, RequestFailure};
use crate::backoff::Backoff;
use crate::http::{Call, Http, HttpError};

/// Attempts for one device before it is left without a session.
const PREPARE_TRIES: u32 = 10;

/// Session token with its expiry.
#[derive(Clone, Serialize, Deserialize)]
pub struct SessionToken {
    /// Bearer token.
    pub token: String,
    /// Expiry.
    pub expires_at: DateTime<Utc>,
}

impl SessionToken {
    /// Whether the token is valid for at least five more minutes.
    pub fn is_good_at(&self, now: DateTime<Utc>) -> bool {
        now + TimeDelta::minutes(5) < self.expires_at
    }
}

/// `POST /v1/agent/session`.
pub async fn request_session(http: &Http, device_token: &str, now: DateTime<Utc>) -> Result<SessionToken, RequestFailure> {
    let answer = http.send(Call::post("/v1/agent/session", "{}").bearer(device_token)).await?;
    if !matches!(answer.status, 200 | 201) {
        return Err(RequestFailure::from_answer(&answer));
    }
    let response: SessionResponse = answer.read().map_err(|e| HttpError::Invalid(e.to_string()))?;
    let expires_at = DateTime::parse_from_rfc3339(&response.expires_at)
        // Without an expiry in the response, an hour is short enough to be safe.
        .map_or(now + TimeDelta::hours(1), |at| at.with_timezone(&Utc));
    Ok(SessionToken { token: response.session_token, expires_at })
}

/// Sessions for all of `identities` that have no good one among `known`, so
/// that a measurement starts with every device ready. `progress` is told how
/// many are done. Devices that cannot get one stay without.
pub async fn prepare_sessions(
    servers: &[Arc<Http>],
    identities: &[Identity],
    known: &mut HashMap<String, SessionToken>,
    concurrency: usize,
    clock: fn() -> DateTime<Utc>,
    mut progress: impl FnMut(usize),
) {
    let now = clock();
    known.retain(|_, session| session.is_good_at(now));
    let missing = identities.iter().enumerate().filter(|(_, identity)| !known.contains_key(&identity.device_id));
    let requested: Vec<_> = missing.map(|(n, identity)| (Arc::clone(&servers[n % servers.len()]), identity.clone())).collect();
    let mut answers = stream::iter(requested)
        .map(|(http, identity)| async move { (request_with_retries(&http, &identity, clock).await, identity.device_id) })
        .buffer_unordered(concurrency.max(1));
    let mut done = 0;
    while let Some((session, device_id)) = answers.next().await {
        known.extend(session.map(|session| (device_id, session)));
        done += 1;
        progress(done);
    }
}

async fn request_with_retries(http: &Http, identity: &Identity, clock: fn() -> DateTime<Utc>) -> Option<SessionToken> {
    let mut rng = SmallRng::seed_from_u64(identity.number);
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    for _ in 0..PREPARE_TRIES {
        match request_session(http, &identity.device_token, clock()).await {
            Ok(session) => return Some(session),
            Err(failure) if failure.is_temporary() => tokio::time::sleep(backoff.next(failure.retry_after(), &mut rng)).await,
            Err(_) => return None,
        }
    }
    None
}
