//! `GET /v1/agent/apk`: the agent's APK, for whoever has a signed address.

use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http_range_header::parse_range_header;
use serde::Deserialize;
use utoipa::IntoParams;

use super::openapi::{ConflictRefusal, DeviceRefusals, NotFoundRefusal, QueryRefusals};
use super::{ApiError, App};
use crate::present;

/// What Android takes for an APK.
const APK_TYPE: &str = "application/vnd.android.package-archive";

/// The signed part of the address.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignedQuery {
    /// Until when the address holds, in seconds since 1970.
    expires: i64,
    /// What the server made of it.
    signature: String,
}

/// The APK, whole or a range of it.
#[utoipa::path(
    get, path = "/v1/agent/apk", tag = "enrollment", security(),
    params(SignedQuery),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/vnd.android.package-archive"),
        (status = 206, body = Vec<u8>, content_type = "application/vnd.android.package-archive"),
        (status = 304, description = "It is the one that is known already"),
        (status = 416, description = "The range is not in the file", body = wire::problem::Problem, content_type = "application/problem+json"),
        QueryRefusals, NotFoundRefusal, ConflictRefusal, DeviceRefusals
    )
)]
pub(crate) async fn download(
    State(app): State<Arc<App>>,
    query: Result<Query<SignedQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    let download = app.system.enrollment.agent_apk(query.expires, &query.signature).await?;
    let size = download.facts.size;
    let etag = format!("\"{}\"", download.facts.sha256);
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let mut response = if text(header::IF_NONE_MATCH).is_some_and(|known| names(known, &etag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        // A range of another version would not fit to what the caller has.
        let range = text(header::RANGE).filter(|_| text(header::IF_RANGE).is_none_or(|version| version == etag));
        let (status, bytes) = match range.and_then(|range| single(range, size)) {
            None => (StatusCode::OK, 0..=size.saturating_sub(1)),
            Some(Ok(bytes)) => (StatusCode::PARTIAL_CONTENT, bytes),
            Some(Err(())) => {
                let refusal = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "bad_range", format!("the file has {size} bytes"));
                let mut response = refusal.into_response();
                if let Ok(whole) = HeaderValue::from_str(&format!("bytes */{size}")) {
                    response.headers_mut().insert(header::CONTENT_RANGE, whole);
                }
                return Ok(response);
            }
        };
        let (from, to) = bytes.into_inner();
        let chunks = stream::unfold(download.bytes(from, to), |mut chunks| async move { chunks.recv().await.map(|chunk| (chunk, chunks)) });
        let mut response = (status, Body::from_stream(chunks)).into_response();
        let answer = response.headers_mut();
        answer.insert(header::CONTENT_LENGTH, HeaderValue::from(to + 1 - from));
        answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(APK_TYPE));
        answer.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"nexmdm-agent.apk\""));
        if status == StatusCode::PARTIAL_CONTENT
            && let Ok(part) = HeaderValue::from_str(&format!("bytes {from}-{to}/{size}"))
        {
            answer.insert(header::CONTENT_RANGE, part);
        }
        response
    };
    let answer = response.headers_mut();
    answer.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        answer.insert(header::ETAG, etag);
    }
    Ok(response)
}

/// Whether an `If-None-Match` names this version (RFC 9110, 13.1.2).
fn names(known: &str, etag: &str) -> bool {
    known.split(',').map(|tag| tag.trim().trim_start_matches("W/")).any(|tag| tag == etag || tag == "*")
}

/// The bytes of a `Range`. Several at once are answered with the whole, as is what is no range
/// (RFC 9110, 14.2); a range outside of the file is an error.
fn single(range: &str, size: u64) -> Option<Result<RangeInclusive<u64>, ()>> {
    let parsed = parse_range_header(range).ok()?;
    match parsed.validate(size) {
        Ok(ranges) => match ranges.as_slice() {
            [one] => Some(Ok(one.clone())),
            _ => None,
        },
        Err(_) => Some(Err(())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_single_and_within_the_file() {
        assert_eq!(single("bytes=0-3", 10), Some(Ok(0..=3)));
        assert_eq!(single("bytes=4-", 10), Some(Ok(4..=9)));
        assert_eq!(single("bytes=-2", 10), Some(Ok(8..=9)));
        assert_eq!(single("bytes=10-", 10), Some(Err(())));
        assert_eq!(single("bytes=0-1,4-5", 10), None);
        assert_eq!(single("lines=1-2", 10), None);
        assert!(names("\"a\", W/\"b\"", "\"b\"") && names("*", "\"x\"") && !names("\"a\"", "\"b\""));
    }
}
