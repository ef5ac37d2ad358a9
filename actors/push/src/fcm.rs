//! One message, one answer: the call of FCM's HTTP v1 API.
//!
//! <https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send>

use std::time::Duration;

use clock::Clock;
use domain::push::{Misconfiguration, Refusal, TransientError, Verdict, judge, parse_retry_after};
use reqwest::header::{AUTHORIZATION, RETRY_AFTER};
use reqwest::{StatusCode, Url, redirect};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::account::ServiceAccount;
use super::http_answer::{read_body, transient_error_of};
use super::oauth::{AccessToken, AccessTokens, TokenError};
use super::settings::FcmSettings;
use super::{PushMessage, PushSetupError};
use crate::metrics::Metrics;

/// How long a connection may take to come about, at most.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Verdict about a message, and the pause that the server asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SendResult {
    pub(super) verdict: Verdict,
    pub(super) retry_after: Option<Duration>,
}

impl From<Verdict> for SendResult {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, retry_after: None }
    }
}

impl From<TokenError> for SendResult {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::TransientError(error_kind, retry_after) => Self { verdict: Verdict::Retry(error_kind), retry_after },
            TokenError::Misconfigured(reason) => Verdict::Misconfigured(reason).into(),
        }
    }
}

/// Speaks to FCM.
pub(super) struct FcmClient {
    clock: Clock,
    http: reqwest::Client,
    url: Url,
    tokens: AccessTokens,
}

#[derive(Serialize)]
struct Body<'a> {
    message: Message<'a>,
}

/// `Message`, as far as it is used here.
#[derive(Serialize)]
struct Message<'a> {
    token: &'a str,
    data: &'a std::collections::BTreeMap<String, String>,
    android: Android<'a>,
}

/// `AndroidConfig`. Only a high priority wakes a device that dozes.
#[derive(Serialize)]
struct Android<'a> {
    priority: &'static str,
    ttl: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    collapse_key: Option<&'a str>,
}

impl FcmClient {
    pub(super) fn new(account: ServiceAccount, settings: &FcmSettings, clock: Clock, metrics: &Metrics) -> Result<Self, PushSetupError> {
        let client_error = |error: reqwest::Error| PushSetupError::Client(error.without_url().to_string());
        let http = reqwest::Client::builder()
            .user_agent(concat!("nexmdm/", env!("CARGO_PKG_VERSION")))
            .timeout(settings.timeout)
            .connect_timeout(settings.timeout.min(CONNECT_TIMEOUT))
            .pool_max_idle_per_host(settings.concurrency)
            // A redirect would carry tokens to wherever it points.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(client_error)?;
        let url = format!("{}/v1/projects/{}/messages:send", settings.base_url.trim_end_matches('/'), account.project_id);
        let url = Url::parse(&url).map_err(|_| PushSetupError::BaseUrl)?;
        for endpoint in [&url, &account.token_uri] {
            if endpoint.scheme() != "https" && !endpoint.host_str().is_some_and(|host| matches!(host, "127.0.0.1" | "localhost" | "[::1]"))
            {
                tracing::warn!(event = "fcm.not_encrypted", host = endpoint.host_str(), cause = "tokens and commands travel without TLS");
            }
        }
        let tokens = AccessTokens::new(account, http.clone(), clock.clone(), metrics.fcm_token_requests.clone());
        Ok(Self { clock, http, url, tokens })
    }

    /// Fetches an access token.
    pub(super) async fn check_token(&self) -> Result<(), TokenError> {
        self.tokens.get().await.map(drop)
    }

    /// Sends a message that is to live this much longer. A refused access token is replaced once.
    pub(super) async fn send(&self, message: &PushMessage, ttl_s: u32) -> SendResult {
        let android = Android { priority: "HIGH", ttl: format!("{ttl_s}s"), collapse_key: message.collapse_key };
        let body = Body { message: Message { token: &message.token, data: &message.data, android } };
        let mut renewed = false;
        loop {
            let token = match self.tokens.get().await {
                Ok(token) => token,
                Err(error) => return error.into(),
            };
            match self.call(&body, &token).await {
                SendResult { verdict: Verdict::Unauthorized, .. } if renewed => {
                    return Verdict::Misconfigured(Misconfiguration::Unauthenticated).into();
                }
                SendResult { verdict: Verdict::Unauthorized, .. } => self.tokens.forget(&token).await,
                sent => return sent,
            }
            renewed = true;
        }
    }

    async fn call(&self, body: &Body<'_>, token: &AccessToken) -> SendResult {
        let request = self.http.post(self.url.clone()).header(AUTHORIZATION, token.header.clone()).json(body);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Verdict::Retry(transient_error_of(&error)).into(),
        };
        let status = answer.status();
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| parse_retry_after(value.to_str().ok()?, self.clock.now()));
        match read_body(answer).await {
            Ok(body) => SendResult { verdict: read_answer(status, &body), retry_after },
            Err(error_kind) => Verdict::Retry(error_kind).into(),
        }
    }
}

/// `google.rpc.Status` in the frame of Google's APIs.
#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorStatus,
}

#[derive(Deserialize)]
struct ErrorStatus {
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Vec<Value>,
}

impl ErrorStatus {
    fn detail(&self, kind: &str) -> Option<&Value> {
        self.details.iter().find(|detail| detail["@type"].as_str().is_some_and(|name| name.ends_with(kind)))
    }

    /// The violations of a detail have this field with a text that passes.
    fn violates(&self, kind: &str, list: &str, passes: impl Fn(&Value) -> bool) -> bool {
        self.detail(kind).and_then(|detail| detail[list].as_array()).is_some_and(|violations| violations.iter().any(passes))
    }
}

fn read_answer(status: StatusCode, body: &[u8]) -> Verdict {
    if status.is_success() {
        // `projects/*/messages/*`: anything else is not FCM, such as a proxy's own page.
        let is_message = |answer: Value| answer["name"].as_str().is_some_and(|name| name.starts_with("projects/"));
        return if serde_json::from_slice(body).is_ok_and(is_message) {
            Verdict::Accepted
        } else {
            Verdict::Retry(TransientError::Garbled)
        };
    }
    let mut refusal = Refusal { http_status: status.as_u16(), ..Refusal::default() };
    let Ok(ErrorBody { error }) = serde_json::from_slice(body) else { return judge(&refusal) };
    refusal.error_code = error.detail("google.firebase.fcm.v1.FcmError").and_then(|detail| detail["errorCode"].as_str()).unwrap_or("");
    // Both forms that FCM names a bad token in, and no other: what else is wrong with a message says
    // nothing about the device (error-codes, examples 1 and 2).
    refusal.about_token = error.message.contains("registration token is not a valid FCM registration token")
        || error.violates("google.rpc.BadRequest", "fieldViolations", |violation| violation["field"] == "message.token");
    refusal.about_device = error.violates("google.rpc.QuotaFailure", "violations", |violation| {
        ["subject", "description"]
            .iter()
            .any(|key| violation[*key].as_str().is_some_and(|text| text.to_ascii_lowercase().contains("device")))
    });
    judge(&refusal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const FCM_ERROR: &str = "type.googleapis.com/google.firebase.fcm.v1.FcmError";

    fn read(status: u16, body: &str) -> Verdict {
        read_answer(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    fn error(message: &str, details: Value) -> String {
        json!({"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT", "details": details}}).to_string()
    }

    #[test]
    fn answers_are_read_as_google_writes_them() {
        assert_eq!(read(200, r#"{"name":"projects/kiosks-1/messages/0:15"}"#), Verdict::Accepted);
        let unregistered = error("Requested entity was not found.", json!([{"@type": FCM_ERROR, "errorCode": "UNREGISTERED"}]));
        assert_eq!(read(404, &unregistered), Verdict::TokenGone);
        // Example 1 of the page on error codes: the message is wrong, the token is not.
        let bad_value = "Invalid value at 'message.data[0].value' (TYPE_STRING), 12";
        let violation = |field: &str| json!({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": field}]});
        assert_eq!(read(400, &error(bad_value, json!([violation("message.data[0].value")]))), Verdict::Refused("invalid_argument"));
        // Example 2.
        let bad_token = "The registration token is not a valid FCM registration token";
        assert_eq!(read(400, &error(bad_token, json!([{"@type": FCM_ERROR, "errorCode": "INVALID_ARGUMENT"}]))), Verdict::TokenGone);
        let both = json!([{"@type": FCM_ERROR, "errorCode": "INVALID_ARGUMENT"}, violation("message.token")]);
        assert_eq!(read(400, &error("Request contains an invalid argument.", both)), Verdict::TokenGone);
        let quota = |subject: &str| {
            let failure = json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"description": subject}]});
            read(429, &error("Quota exceeded.", json!([{"@type": FCM_ERROR, "errorCode": "QUOTA_EXCEEDED"}, failure])))
        };
        assert_eq!(quota("Message rate exceeded"), Verdict::Retry(TransientError::Quota));
        assert_eq!(quota("Device message rate exceeded"), Verdict::Retry(TransientError::DeviceQuota));
    }

    #[test]
    fn what_is_not_from_fcm_never_costs_a_device_its_token() {
        for (status, body, wanted) in [
            (200, "<html>Sign in to this network</html>", Verdict::Retry(TransientError::Garbled)),
            (200, "", Verdict::Retry(TransientError::Garbled)),
            (204, "{}", Verdict::Retry(TransientError::Garbled)),
            (404, "<html>Not found</html>", Verdict::Misconfigured(Misconfiguration::ProjectNotFound)),
            (400, "nginx", Verdict::Refused("invalid_argument")),
            (502, "<html>", Verdict::Retry(TransientError::Internal)),
            (503, r#"{"error":"text"}"#, Verdict::Retry(TransientError::Unavailable)),
            (401, r#"{"error":{"details":[7,{"@type":9}]}}"#, Verdict::Unauthorized),
        ] {
            assert_eq!(read(status, body), wanted, "{status} {body}");
        }
    }
}
