//! Requests to targets that people have entered: no redirects, no inward addresses, answers of limited length, everything within a time.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use domain::notification::judge_status;
use domain::push::{TransientError, parse_retry_after};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{Certificate, Client, Url, redirect};

use crate::attempt::Attempt;
use crate::settings::NotifySettings;
use crate::setup_error::NotifySetupError;
use crate::target::{TargetError, Targets};

/// Longest wait for a connection; the name is looked up within it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Answer over HTTP.
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// What was read of it.
    pub(crate) body: Vec<u8>,
}

impl HttpAnswer {
    /// Meaning of the status, with the answer's words. `retry_after` of the body comes first.
    pub(crate) fn judged(&self, retry_after: Option<Duration>, clock: &Clock) -> Attempt {
        let by_header = || self.headers.get(RETRY_AFTER).and_then(|value| parse_retry_after(value.to_str().ok()?, clock.now()));
        let words = String::from_utf8_lossy(&self.body);
        let answer = if words.trim().is_empty() { format!("HTTP {}", self.status) } else { format!("HTTP {}: {words}", self.status) };
        let outcome = judge_status(self.status, retry_after.or_else(by_header));
        let error = match self.status {
            429 => Some(TransientError::Quota),
            408 | 425 => Some(TransientError::Timeout),
            500 => Some(TransientError::Internal),
            501..=599 => Some(TransientError::Unavailable),
            _ => None,
        };
        Attempt { error, ..Attempt::new(outcome, &answer) }
    }
}

/// Whether the authorities of these settings are readable.
///
/// # Errors
/// They are no certificates.
pub fn check_authorities(settings: &NotifySettings) -> Result<(), NotifySetupError> {
    authorities(settings).map(drop)
}

fn authorities(settings: &NotifySettings) -> Result<Vec<Certificate>, NotifySetupError> {
    let Some(pem) = &settings.authorities_pem else { return Ok(vec![]) };
    let found = Certificate::from_pem_bundle(pem).map_err(|_| NotifySetupError::Authorities)?;
    if found.is_empty() { Err(NotifySetupError::Authorities) } else { Ok(found) }
}

/// Client for targets.
pub(crate) struct HttpClient {
    client: Client,
    targets: Targets,
    answer_max_bytes: usize,
}

impl HttpClient {
    /// A client with its own connections.
    ///
    /// # Errors
    /// It does not start, for example without any authority to trust.
    pub(crate) fn new(settings: &NotifySettings) -> Result<Self, NotifySetupError> {
        let client_error = |error: reqwest::Error| NotifySetupError::Client(error.without_url().to_string());
        let targets = Targets { allow_private: settings.allow_private_targets };
        let mut builder = Client::builder()
            .user_agent(concat!("NexMDM/", env!("CARGO_PKG_VERSION")))
            .timeout(settings.timeout)
            .connect_timeout(settings.timeout.min(CONNECT_TIMEOUT))
            .pool_max_idle_per_host(1)
            // A redirect could lead anywhere.
            .redirect(redirect::Policy::none())
            .dns_resolver(Arc::new(targets));
        if !settings.allow_private_targets {
            // A proxy would look the name up itself, and connect to whatever it finds.
            builder = builder.no_proxy();
        }
        builder = builder.tls_certs_merge(authorities(settings)?);
        Ok(Self { client: builder.build().map_err(client_error)?, targets, answer_max_bytes: settings.answer_max_bytes })
    }

    /// Posts a body. The attempt that failed, if there is no answer.
    pub(crate) async fn post(
        &self,
        url: &str,
        headers: &[(HeaderName, String)],
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<HttpAnswer, Attempt> {
        let url = Url::parse(url).map_err(|_| Attempt::refused("the channel's URL is not one"))?;
        // A literal address is not looked up.
        let literal = url.host_str().and_then(|host| host.trim_start_matches('[').trim_end_matches(']').parse().ok());
        if let Some(Err(error)) = literal.map(|address| self.targets.judge(address)) {
            return Err(Attempt::refused(&error.to_string()));
        }
        let mut request = self.client.post(url).header(CONTENT_TYPE, content_type).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut answer = request.send().await.map_err(|error| failed(&error))?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let mut body = Vec::new();
        // What counts is the status; an answer that breaks off or does not end says enough.
        while let Ok(Some(chunk)) = answer.chunk().await {
            let room = self.answer_max_bytes.saturating_sub(body.len());
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() >= room {
                break;
            }
        }
        Ok(HttpAnswer { status, headers, body })
    }
}

/// What an error means. Its text is not used: it names the URL.
fn failed(error: &reqwest::Error) -> Attempt {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(target) = inner.downcast_ref::<TargetError>() {
            return match target {
                TargetError::Inward(_) => Attempt::refused(&target.to_string()),
                _ => Attempt::later(TransientError::Network, None, &target.to_string()),
            };
        }
        cause = inner.source();
    }
    if error.is_timeout() {
        return Attempt::later(TransientError::Timeout, None, "no answer in time");
    }
    let words = match root_cause(error) {
        Some(cause) if error.is_connect() => format!("no connection: {cause}"),
        Some(cause) => format!("the connection was lost: {cause}"),
        None => "no connection".into(),
    };
    Attempt::later(TransientError::Network, None, &words)
}

/// The innermost error, which names no URL: of the operating system or of TLS.
fn root_cause(error: &reqwest::Error) -> Option<String> {
    let mut cause = error.source()?;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Some(cause.to_string())
}
