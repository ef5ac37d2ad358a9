//! A table on its way to the caller, piece by piece (RFC 4180).

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::TryStream;

/// Answers with a table that is written while it is sent, to be saved under this name.
pub(super) fn table<S>(pieces: S, file_name: &str) -> Response
where
    S: TryStream<Ok = Bytes> + Send + 'static,
    S::Error: Into<axum::BoxError>,
{
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{file_name}\""));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present")),
        (header::CONTENT_DISPOSITION, disposition.unwrap_or(HeaderValue::from_static("attachment"))),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, Body::from_stream(pieces)).into_response()
}
