//! Access tokens: one for all messages, renewed before it ends, one renewal at a time.

use std::time::Duration;

use clock::Clock;
use domain::push::{Misconfiguration, TransientError, Verdict, judge_token_answer, parse_retry_after, renew_after};
use prometheus::IntCounterVec;
use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::account::ServiceAccount;
use super::http_answer::{read_body, transient_error_of};

/// Longest life that is believed.
const LIFE_MAX: Duration = Duration::from_secs(86_400);
/// While the old token still holds, a renewal that failed is not tried again for so long.
const RENEW_AGAIN: Duration = Duration::from_secs(30);

/// Error in getting an access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenError {
    /// Later.
    TransientError(TransientError, Option<Duration>),
    /// Not before an operator has acted.
    Misconfigured(Misconfiguration),
}

/// An access token as a header's value, marked as sensitive.
#[derive(Clone)]
pub(super) struct AccessToken {
    pub(super) header: HeaderValue,
    /// Number of the token.
    number: u64,
}

struct CachedToken {
    token: AccessToken,
    renew_at: Instant,
    ends_at: Instant,
}

#[derive(Default)]
struct Cache {
    held: Option<CachedToken>,
    numbered: u64,
    /// The newest failure, for all who waited for it.
    failed: Option<(Instant, TokenError)>,
}

/// Gets and keeps the access token.
pub(super) struct AccessTokens {
    clock: Clock,
    account: ServiceAccount,
    http: reqwest::Client,
    requests: IntCounterVec,
    // Held during a renewal, so that everybody else waits for its outcome.
    cache: Mutex<Cache>,
}

/// RFC 6749, section 5.1.
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: u64,
}

impl AccessTokens {
    pub(super) fn new(account: ServiceAccount, http: reqwest::Client, clock: Clock, requests: IntCounterVec) -> Self {
        Self { clock, account, http, requests, cache: Mutex::default() }
    }

    /// The token in force, a new one if need be.
    pub(super) async fn get(&self) -> Result<AccessToken, TokenError> {
        let asked_at = Instant::now();
        let mut cache = self.cache.lock().await;
        let now = Instant::now();
        if let Some((_, error)) = cache.failed.filter(|(failed_at, _)| *failed_at >= asked_at) {
            return Err(error);
        }
        if let Some(held) = cache.held.as_ref().filter(|held| now < held.renew_at) {
            return Ok(held.token.clone());
        }
        let fetched = self.fetch().await;
        self.requests.with_label_values(&[if fetched.is_ok() { "granted" } else { "failed" }]).inc();
        match (fetched, &mut cache.held) {
            (Ok((header, lifetime)), _) => {
                cache.numbered += 1;
                let token = AccessToken { header, number: cache.numbered };
                cache.held = Some(CachedToken { token: token.clone(), renew_at: now + renew_after(lifetime), ends_at: now + lifetime });
                Ok(token)
            }
            (Err(error), Some(held)) if Instant::now() < held.ends_at => {
                tracing::warn!(event = "fcm.token_not_renewed", cause = ?error);
                held.renew_at = Instant::now() + RENEW_AGAIN;
                Ok(held.token.clone())
            }
            (Err(error), _) => {
                cache.failed = Some((Instant::now(), error));
                Err(error)
            }
        }
    }

    /// Deletes a token that FCM refused, unless another has taken its place already.
    pub(super) async fn forget(&self, refused: &AccessToken) {
        let mut cache = self.cache.lock().await;
        if cache.held.as_ref().is_some_and(|held| held.token.number == refused.number) {
            cache.held = None;
        }
    }

    async fn fetch(&self) -> Result<(HeaderValue, Duration), TokenError> {
        let misconfigured = TokenError::Misconfigured(Misconfiguration::AccountRefused);
        let assertion = self.account.assertion(self.clock.now()).map_err(|_| misconfigured)?;
        // The grant's name is percent-encoded; a JWT needs no encoding (RFC 7523, section 2.1).
        let body = format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
        let request = self.http.post(self.account.token_uri.clone()).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body);
        let answer = request.send().await.map_err(|error| TokenError::TransientError(transient_error_of(&error), None))?;
        let status = answer.status();
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| parse_retry_after(value.to_str().ok()?, self.clock.now()));
        if !status.is_success() {
            return Err(match judge_token_answer(status.as_u16()) {
                Verdict::Retry(error_kind) => TokenError::TransientError(error_kind, retry_after),
                Verdict::Misconfigured(reason) => TokenError::Misconfigured(reason),
                _ => misconfigured,
            });
        }
        let body = read_body(answer).await.map_err(|error_kind| TokenError::TransientError(error_kind, None))?;
        let garbled = TokenError::TransientError(TransientError::Garbled, None);
        let Answer { access_token, expires_in } = serde_json::from_slice(&body).map_err(|_| garbled)?;
        let mut header = HeaderValue::try_from(format!("Bearer {access_token}")).map_err(|_| garbled)?;
        header.set_sensitive(true);
        if expires_in == 0 {
            return Err(garbled);
        }
        Ok((header, Duration::from_secs(expires_in).min(LIFE_MAX)))
    }
}
