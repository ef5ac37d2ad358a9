//! Upload of APKs in parts, and download of their icons.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::{ApkId, ApkUploadId, ServiceError};
use services::UploadError;

use crate::context::explain;
use crate::signin::OriginExtension;
use crate::{Dashboard, shell, signin};

/// Offset of a part.
const UPLOAD_OFFSET: &str = "upload-offset";

/// `POST /live/apk-uploads/{id}`: adds a part to an upload that a page began. Answers how many bytes are there then, with 409
/// when the part does not begin there.
pub(crate) async fn add_part(
    State(dashboard): State<Arc<Dashboard>>,
    Path(id): Path<String>,
    request_origin: OriginExtension,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let principal = match signin::principal(&dashboard, request_origin, &headers).await {
        Ok(principal) => principal,
        Err(error) => return (signin::status_of(&error), explain(&error)).into_response(),
    };
    let offset = headers.get(UPLOAD_OFFSET).and_then(|value| value.to_str().ok()?.parse().ok()).filter(|offset: &i64| *offset >= 0);
    let (Ok(id), Some(offset)) = (id.parse::<ApkUploadId>(), offset) else { return StatusCode::BAD_REQUEST.into_response() };
    let added = dashboard.system.apks.add_part(&principal, id, offset, body.into_data_stream()).await;
    if let Err(UploadError::Service(ServiceError::Forbidden(refused))) = &added {
        dashboard.system.trail.refused(&principal, "POST /live/apk-uploads/{id}", &refused.to_string()).await;
    }
    shell::protect(match added {
        Ok(received) => received.to_string().into_response(),
        Err(UploadError::Offset { received }) => (StatusCode::CONFLICT, received.to_string()).into_response(),
        Err(error) => (status_of(&error), error_text(&error)).into_response(),
    })
}

fn status_of(error: &UploadError) -> StatusCode {
    match error {
        UploadError::Service(ServiceError::NotFound(_)) => StatusCode::NOT_FOUND,
        UploadError::Service(ServiceError::Invalid(_) | ServiceError::WrongState(_)) => StatusCode::UNPROCESSABLE_ENTITY,
        UploadError::Service(error) => signin::status_of(error),
        UploadError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        UploadError::CutOff | UploadError::Stalled => StatusCode::REQUEST_TIMEOUT,
        UploadError::Offset { .. } => StatusCode::CONFLICT,
    }
}

/// Message for a failed upload.
pub(crate) fn error_text(error: &UploadError) -> String {
    match error {
        UploadError::Service(error) => explain(error),
        UploadError::Offset { received } => format!("Only {received} bytes were received. Upload the file again."),
        other => {
            let text = other.to_string();
            let mut chars = text.chars();
            chars.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
        }
    }
}

/// `GET /live/apk-icons/{id}`: the icon of an APK.
pub(crate) async fn icon(
    State(dashboard): State<Arc<Dashboard>>,
    Path(id): Path<String>,
    request_origin: OriginExtension,
    headers: HeaderMap,
) -> Response {
    let Ok(id) = id.parse::<ApkId>() else { return StatusCode::NOT_FOUND.into_response() };
    let found = match signin::principal(&dashboard, request_origin, &headers).await {
        Ok(principal) => dashboard.system.apks.icon(&principal, id).await,
        Err(error) => Err(error),
    };
    match found {
        Ok((bytes, kind)) => {
            let mut response = shell::protect(bytes.into_response());
            let answer = response.headers_mut();
            answer.insert(header::CONTENT_TYPE, HeaderValue::from_str(&kind).unwrap_or(HeaderValue::from_static("image/png")));
            answer.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            // The icon of an APK never changes.
            answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=86400, immutable"));
            response
        }
        Err(ServiceError::NotFound(_)) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => signin::status_of(&error).into_response(),
    }
}
