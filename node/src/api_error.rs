//! Turns every refusal and failure into a problem document: the one place that knows the statuses.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::interval::retry_after_seconds;
use domain::{Invalid, ServiceError};
use wire::device_body::Unreadable;
use wire::problem::Problem;

/// Shortest `Retry-After` of a 503, in seconds.
const RETRY_AFTER_BASE_S: u32 = 2;

/// Codings in which bodies are taken.
pub(crate) const CONTENT_CODINGS: &str = "gzip, deflate";

/// A refused request.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    detail: String,
    field: Option<String>,
    reason: Option<&'static str>,
    retry_after_s: Option<u32>,
}

impl ApiError {
    /// A refusal with a status, a stable kind, and words for a person.
    pub(crate) fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, detail: detail.into(), field: None, reason: None, retry_after_s: None }
    }

    /// With a jittered `Retry-After`.
    pub(crate) fn retry_later(mut self) -> Self {
        self.retry_after_s = Some(retry_after_seconds(RETRY_AFTER_BASE_S, rand::random()));
        self
    }

    /// With a `Retry-After` of so many seconds.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Status.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Words.
    pub(crate) fn detail(&self) -> String {
        match &self.field {
            Some(field) => format!("{field}: {}", self.detail),
            None => self.detail.clone(),
        }
    }

    /// Reason for which a device is told to stop.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        self.reason
    }

    /// Seconds after which to try again.
    pub(crate) fn retry_after_s(&self) -> Option<u32> {
        self.retry_after_s
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        let mut error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_value", invalid.problem);
        error.field = Some(invalid.field);
        error
    }
}

impl From<Unreadable> for ApiError {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Invalid(invalid) => invalid.into(),
            Unreadable::NotJson { line, column } => {
                Self::new(StatusCode::BAD_REQUEST, "malformed_json", format!("not JSON: line {line} column {column}"))
            }
        }
    }
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        let detail = error.to_string();
        let new = |status, kind| Self::new(status, kind, detail);
        match error {
            ServiceError::Invalid(invalid) => invalid.into(),
            ServiceError::Unauthorized => new(StatusCode::UNAUTHORIZED, "unauthorized"),
            ServiceError::Forbidden(_) => new(StatusCode::FORBIDDEN, "forbidden"),
            ServiceError::ForeignDevice => new(StatusCode::FORBIDDEN, "foreign_device"),
            ServiceError::SignInRequired => new(StatusCode::FORBIDDEN, "sign_in_required"),
            ServiceError::LastAdmin => new(StatusCode::CONFLICT, "last_admin"),
            ServiceError::NotFound(_) => new(StatusCode::NOT_FOUND, "not_found"),
            ServiceError::AliasInUse => Self { field: Some("alias".into()), ..new(StatusCode::CONFLICT, "alias_in_use") },
            ServiceError::AliasHeld(_) => Self { field: Some("alias".into()), ..new(StatusCode::CONFLICT, "alias_in_use") },
            ServiceError::FilterNameInUse => Self { field: Some("name".into()), ..new(StatusCode::CONFLICT, "name_in_use") },
            ServiceError::UsernameInUse => Self { field: Some("username".into()), ..new(StatusCode::CONFLICT, "username_in_use") },
            ServiceError::WrongState(_) => new(StatusCode::CONFLICT, "wrong_state"),
            ServiceError::NoRollback(_) => new(StatusCode::CONFLICT, "no_rollback"),
            ServiceError::DeploymentRefused(_) => new(StatusCode::CONFLICT, "deployment_refused"),
            ServiceError::Conflict(_) => new(StatusCode::CONFLICT, "conflict"),
            ServiceError::DeviceDeleted => Self { reason: Some("device_deleted"), ..new(StatusCode::GONE, "device_deleted") },
            ServiceError::Throttled { retry_after_s } => {
                Self { retry_after_s: Some(retry_after_s), ..new(StatusCode::TOO_MANY_REQUESTS, "throttled") }
            }
            ServiceError::Overloaded(_) => new(StatusCode::SERVICE_UNAVAILABLE, "overloaded").retry_later(),
            ServiceError::Unavailable | ServiceError::NotOwner => new(StatusCode::SERVICE_UNAVAILABLE, "unavailable").retry_later(),
            ServiceError::Internal => new(StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }
}

/// Kind of a refusal, for counting.
#[derive(Clone, Copy)]
pub(crate) struct RefusalKind(pub(crate) &'static str);

/// Why a caller that is known may not do something, for the audit trail.
#[derive(Clone)]
pub(crate) struct RefusalProblem(pub(crate) String);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = Problem {
            kind: self.kind.to_owned(),
            title: self.status.canonical_reason().unwrap_or_default().to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            field: self.field,
            reason: self.reason.map(str::to_owned),
        };
        let mut response = (self.status, axum::Json(problem)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(CONTENT_CODINGS));
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(RefusalKind(self.kind));
        if self.status == StatusCode::FORBIDDEN {
            response.extensions_mut().insert(RefusalProblem(self.detail));
        }
        response
    }
}

/// Anything below `/v1` that is no route.
pub(crate) async fn no_such_route() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "no_such_route", "there is no such route")
}

/// A route that does not take this method.
pub(crate) async fn method_not_allowed() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "method not allowed for this route")
}
