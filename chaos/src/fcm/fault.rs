//! Faults on demand, with the error responses of Google.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Fault of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// 404 `UNREGISTERED`: the app is gone from the device.
    Unregistered,
    /// 400 `INVALID_ARGUMENT` about the push token.
    InvalidToken,
    /// 429 `QUOTA_EXCEEDED` of the project.
    QuotaExceeded {
        /// `Retry-After`, seconds or a date.
        retry_after: Option<String>,
    },
    /// 429 `QUOTA_EXCEEDED` of the device.
    DeviceQuotaExceeded,
    /// 503 `UNAVAILABLE`.
    Unavailable {
        /// `Retry-After`, seconds or a date.
        retry_after: Option<String>,
    },
    /// 500 `INTERNAL`.
    Internal,
    /// 401: the access token is refused. At the token endpoint: the client is.
    Unauthenticated,
    /// 401 `THIRD_PARTY_AUTH_ERROR`.
    ThirdPartyAuth,
    /// 403 `SENDER_ID_MISMATCH`.
    SenderIdMismatch,
    /// 403: the account may not send.
    PermissionDenied,
    /// 400 `invalid_grant`, as the token endpoint says it.
    InvalidGrant,
    /// No answer at all.
    Hang,
    /// 200 with something that is no answer.
    Garbage,
    /// The connection is reset.
    Reset,
}

/// Requests that a fault applies to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultScope {
    /// Messages to this push token.
    Token(String),
    /// All messages.
    Everybody,
    /// Requests for access tokens.
    TokenEndpoint,
}

/// Error response of a fault.
pub(super) struct FaultAnswer {
    pub(super) status: u16,
    pub(super) retry_after: Option<String>,
    pub(super) body: String,
}

/// An error in the frame of Google's APIs.
pub(super) fn error_body(status: u16, name: &str, message: &str, details: &Value) -> String {
    json!({"error": {"code": status, "message": message, "status": name, "details": details}}).to_string()
}

/// Error body for an invalid field.
pub(super) fn bad_request(field: &str, problem: &str) -> String {
    let violation = json!({
        "@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": field, "description": problem}],
    });
    error_body(400, "INVALID_ARGUMENT", problem, &json!([violation]))
}

impl Fault {
    /// Error response; `None` where the fault is a missing response.
    pub(super) fn answer(&self) -> Option<FaultAnswer> {
        let fcm = |code: &str| json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code});
        let said = |status, name: &str, message: &str, code: &str| {
            Some(FaultAnswer { status, retry_after: None, body: error_body(status, name, message, &json!([fcm(code)])) })
        };
        let later = |answer: Option<FaultAnswer>, retry_after: &Option<String>| {
            answer.map(|answer| FaultAnswer { retry_after: retry_after.clone(), ..answer })
        };
        let quota = |what: &str| {
            let failure =
                json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"subject": what, "description": what}]});
            let body = error_body(429, "RESOURCE_EXHAUSTED", "Quota exceeded.", &json!([fcm("QUOTA_EXCEEDED"), failure]));
            Some(FaultAnswer { status: 429, retry_after: None, body })
        };
        let plain = |status, name: &str, message: &str| {
            Some(FaultAnswer { status, retry_after: None, body: error_body(status, name, message, &json!([])) })
        };
        match self {
            Self::Unregistered => said(404, "NOT_FOUND", "Requested entity was not found.", "UNREGISTERED"),
            Self::InvalidToken => {
                said(400, "INVALID_ARGUMENT", "The registration token is not a valid FCM registration token", "INVALID_ARGUMENT")
            }
            Self::QuotaExceeded { retry_after } => later(quota("Message rate exceeded"), retry_after),
            Self::DeviceQuotaExceeded => quota("Device message rate exceeded"),
            Self::Unavailable { retry_after } => {
                later(said(503, "UNAVAILABLE", "The service is currently unavailable.", "UNAVAILABLE"), retry_after)
            }
            Self::Internal => said(500, "INTERNAL", "Internal error encountered.", "INTERNAL"),
            Self::Unauthenticated => plain(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
            Self::ThirdPartyAuth => said(401, "UNAUTHENTICATED", "Auth error from APNS or Web Push Service", "THIRD_PARTY_AUTH_ERROR"),
            Self::SenderIdMismatch => said(403, "PERMISSION_DENIED", "SenderId mismatch", "SENDER_ID_MISMATCH"),
            Self::PermissionDenied => {
                plain(403, "PERMISSION_DENIED", "Permission 'cloudmessaging.messages.create' denied on resource (or it may not exist).")
            }
            Self::InvalidGrant => {
                let body = json!({"error": "invalid_grant", "error_description": "Invalid JWT Signature."});
                Some(FaultAnswer { status: 400, retry_after: None, body: body.to_string() })
            }
            Self::Garbage => Some(FaultAnswer { status: 200, retry_after: None, body: "<html>\u{0}Sign in to this network</html>".into() }),
            Self::Hang | Self::Reset => None,
        }
    }
}

/// The faults in force.
#[derive(Debug, Default)]
pub(super) struct Faults(HashMap<FaultScope, (Fault, Option<u32>)>);

impl Faults {
    pub(super) fn set(&mut self, scope: FaultScope, fault: Fault, times: Option<u32>) {
        self.0.insert(scope, (fault, times));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes the fault for a request of this scope and counts it.
    pub(super) fn take(&mut self, scope: &FaultScope) -> Option<Fault> {
        let (fault, left) = self.0.get_mut(scope)?;
        let fault = fault.clone();
        match left {
            Some(0 | 1) => drop(self.0.remove(scope)),
            Some(left) => *left -= 1,
            None => {}
        }
        Some(fault)
    }
}
