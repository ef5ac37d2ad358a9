//! Meaning of the answers of Firebase Cloud Messaging.
//!
//! Sources: <https://firebase.google.com/docs/cloud-messaging/error-codes>,
//! <https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode>,
//! <https://firebase.google.com/docs/cloud-messaging/scale-fcm>.

mod limits;

pub use limits::{CircuitBreaker, RecentSends, parse_retry_after, renew_after, ttl_left_s};

/// Longest life of a message, seconds: 28 days (ErrorCode, "Invalid TTL").
pub const TTL_MAX_S: u32 = 2_419_200;
/// Largest `data`, bytes of keys and values together (ErrorCode, "Message too big").
pub const DATA_MAX_BYTES: usize = 4096;

/// Error that may pass: the message is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum TransientError {
    /// The quota of the project is exceeded.
    Quota,
    /// The quota of one device is exceeded.
    DeviceQuota,
    /// FCM or its token endpoint is overloaded.
    Unavailable,
    /// FCM failed.
    Internal,
    /// There was no answer in time.
    Timeout,
    /// There was no connection, or it was lost.
    Network,
    /// The answer is not one of FCM.
    #[strum(serialize = "garbled_answer")]
    Garbled,
}

impl TransientError {
    /// Name in metrics.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Misconfiguration that an operator has to correct.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Misconfiguration {
    /// The device's token belongs to another Firebase project.
    SenderIdMismatch,
    /// A certificate or key for a push service behind FCM is missing or wrong.
    #[strum(serialize = "third_party_auth_error")]
    ThirdPartyAuth,
    /// A fresh access token is refused.
    Unauthenticated,
    /// The account may not send, or the API is not enabled.
    PermissionDenied,
    /// There is no such project, or something else answers under this address.
    ProjectNotFound,
    /// A proxy redirects requests.
    Redirected,
    /// The token endpoint refuses the service account.
    #[strum(serialize = "service_account_refused")]
    AccountRefused,
}

impl Misconfiguration {
    /// Name in metrics, logs and outcomes.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Remedy.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::SenderIdMismatch => "a device's push token belongs to another Firebase project than the service account",
            Self::ThirdPartyAuth => "the APNs or web push credentials of the Firebase project are missing or wrong",
            Self::Unauthenticated => "FCM refuses fresh access tokens: check project_id and the clock of this machine",
            Self::PermissionDenied => {
                "enable the Firebase Cloud Messaging API and let the service account send (cloudmessaging.messages.create)"
            }
            Self::ProjectNotFound => "check project_id in the service account's file and fcm.base_url",
            Self::Redirected => "FCM requests are redirected: check fcm.base_url and proxies",
            Self::AccountRefused => {
                "the service account, its key or this machine's clock is wrong: create a new key and set it in fcm.service_account_file"
            }
        }
    }

    /// Whether no message can be sent until it is corrected.
    pub fn stops_all(self) -> bool {
        !matches!(self, Self::SenderIdMismatch | Self::ThirdPartyAuth)
    }
}

/// Verdict about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// FCM accepted the message.
    Accepted,
    /// The push token is no longer valid, and is deleted.
    TokenGone,
    /// The message is refused for good, for this reason.
    Refused(&'static str),
    /// The access token is invalid: retry once with a new one.
    Unauthorized,
    /// Retry later.
    Retry(TransientError),
    /// Cannot be sent until an operator has corrected the configuration.
    Misconfigured(Misconfiguration),
}

/// An answer other than 2xx, as far as it could be read; what is missing is empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct Refusal<'a> {
    /// HTTP status.
    pub http_status: u16,
    /// `errorCode` of the detail of type `google.firebase.fcm.v1.FcmError`.
    pub error_code: &'a str,
    /// Whether it is the push token that is wrong with the request.
    pub about_token: bool,
    /// Whether the exceeded quota is that of one device.
    pub about_device: bool,
}

/// Verdict about a refusal. The code of FCM comes first, since a status alone may come from a proxy: a 404
/// without `UNREGISTERED` says nothing about a device.
pub fn judge(refusal: &Refusal<'_>) -> Verdict {
    let invalid = if refusal.about_token { Verdict::TokenGone } else { Verdict::Refused("invalid_argument") };
    let quota = Verdict::Retry(if refusal.about_device { TransientError::DeviceQuota } else { TransientError::Quota });
    match (refusal.error_code, refusal.http_status) {
        ("UNREGISTERED", _) => Verdict::TokenGone,
        ("INVALID_ARGUMENT", _) => invalid,
        ("SENDER_ID_MISMATCH", _) => Verdict::Misconfigured(Misconfiguration::SenderIdMismatch),
        ("THIRD_PARTY_AUTH_ERROR", _) => Verdict::Misconfigured(Misconfiguration::ThirdPartyAuth),
        ("QUOTA_EXCEEDED", _) => quota,
        ("UNAVAILABLE", _) => Verdict::Retry(TransientError::Unavailable),
        ("INTERNAL", _) => Verdict::Retry(TransientError::Internal),
        (_, 300..=399) => Verdict::Misconfigured(Misconfiguration::Redirected),
        (_, 400) => invalid,
        (_, 401) => Verdict::Unauthorized,
        (_, 403) => Verdict::Misconfigured(Misconfiguration::PermissionDenied),
        (_, 404) => Verdict::Misconfigured(Misconfiguration::ProjectNotFound),
        (_, 408) => Verdict::Retry(TransientError::Timeout),
        (_, 429) => quota,
        (_, 503) => Verdict::Retry(TransientError::Unavailable),
        (_, 500..=599) => Verdict::Retry(TransientError::Internal),
        _ => Verdict::Refused("unexpected_answer"),
    }
}

/// Verdict about an answer of the token endpoint other than 2xx (RFC 6749, section 5.2).
pub fn judge_token_answer(http_status: u16) -> Verdict {
    match http_status {
        408 => Verdict::Retry(TransientError::Timeout),
        429 | 503 => Verdict::Retry(TransientError::Unavailable),
        500..=599 => Verdict::Retry(TransientError::Internal),
        300..=399 => Verdict::Misconfigured(Misconfiguration::Redirected),
        _ => Verdict::Misconfigured(Misconfiguration::AccountRefused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(http_status: u16, error_code: &str) -> Refusal<'_> {
        Refusal { http_status, error_code, ..Refusal::default() }
    }

    #[test]
    fn answers_mean_what_google_documents() {
        use Misconfiguration::{PermissionDenied, ProjectNotFound, Redirected, SenderIdMismatch, ThirdPartyAuth};
        use TransientError::{Internal, Quota, Timeout, Unavailable};
        for (http_status, error_code, wanted) in [
            (404, "UNREGISTERED", Verdict::TokenGone),
            (400, "INVALID_ARGUMENT", Verdict::Refused("invalid_argument")),
            (400, "", Verdict::Refused("invalid_argument")),
            (403, "SENDER_ID_MISMATCH", Verdict::Misconfigured(SenderIdMismatch)),
            (429, "QUOTA_EXCEEDED", Verdict::Retry(Quota)),
            (503, "UNAVAILABLE", Verdict::Retry(Unavailable)),
            (500, "INTERNAL", Verdict::Retry(Internal)),
            (401, "THIRD_PARTY_AUTH_ERROR", Verdict::Misconfigured(ThirdPartyAuth)),
            (401, "", Verdict::Unauthorized),
            (403, "", Verdict::Misconfigured(PermissionDenied)),
            // Somebody else's page, or another project: no reason to forget a token.
            (404, "", Verdict::Misconfigured(ProjectNotFound)),
            (404, "UNSPECIFIED_ERROR", Verdict::Misconfigured(ProjectNotFound)),
            (302, "", Verdict::Misconfigured(Redirected)),
            (408, "", Verdict::Retry(Timeout)),
            (429, "", Verdict::Retry(Quota)),
            (502, "", Verdict::Retry(Internal)),
            (503, "UNSPECIFIED_ERROR", Verdict::Retry(Unavailable)),
            (418, "", Verdict::Refused("unexpected_answer")),
        ] {
            assert_eq!(judge(&refusal(http_status, error_code)), wanted, "{http_status} {error_code}");
        }
        let bad_token = Refusal { about_token: true, ..refusal(400, "INVALID_ARGUMENT") };
        assert_eq!(judge(&bad_token), Verdict::TokenGone);
        let one_device = Refusal { about_device: true, ..refusal(429, "QUOTA_EXCEEDED") };
        assert_eq!(judge(&one_device), Verdict::Retry(TransientError::DeviceQuota));
    }

    #[test]
    fn only_the_account_is_blamed_for_its_refusal() {
        for (http_status, wanted) in [
            (400, Verdict::Misconfigured(Misconfiguration::AccountRefused)),
            (401, Verdict::Misconfigured(Misconfiguration::AccountRefused)),
            (302, Verdict::Misconfigured(Misconfiguration::Redirected)),
            (429, Verdict::Retry(TransientError::Unavailable)),
            (500, Verdict::Retry(TransientError::Internal)),
            (503, Verdict::Retry(TransientError::Unavailable)),
        ] {
            assert_eq!(judge_token_answer(http_status), wanted, "{http_status}");
        }
    }
}
