//! File responses with conditional and range requests (RFC 9110, 13 and 14).

use std::ops::RangeInclusive;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http_range_header::parse_range_header;
use tokio::sync::mpsc;

use super::ApiError;

/// Media type that Android takes for an APK.
const APK_TYPE: &str = "application/vnd.android.package-archive";

/// A file that never changes under its SHA-256.
pub(super) struct FileResponse<'a> {
    /// Length in bytes.
    pub(super) size: u64,
    /// SHA-256, hex.
    pub(super) sha256: &'a str,
    /// File name; letters, digits, `.` and `-`.
    pub(super) file_name: &'a str,
}

/// The answer to a request for an APK. `bytes` makes the bytes of a range, if some are wanted.
pub(super) fn answer(
    headers: &HeaderMap,
    whole: &FileResponse<'_>,
    bytes: impl FnOnce(u64, u64) -> mpsc::Receiver<std::io::Result<Bytes>>,
) -> Response {
    let size = whole.size;
    let etag = format!("\"{}\"", whole.sha256);
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let mut response = if text(header::IF_NONE_MATCH).is_some_and(|known| names(known, &etag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        // A range of another version would not fit to what the caller has.
        let range = text(header::RANGE).filter(|_| text(header::IF_RANGE).is_none_or(|version| version == etag));
        let (status, wanted) = match range.and_then(|range| single(range, size)) {
            None => (StatusCode::OK, 0..=size.saturating_sub(1)),
            Some(Ok(wanted)) => (StatusCode::PARTIAL_CONTENT, wanted),
            Some(Err(())) => {
                let refusal = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "bad_range", format!("the file has {size} bytes"));
                let mut response = refusal.into_response();
                set(&mut response, header::CONTENT_RANGE, &format!("bytes */{size}"));
                return response;
            }
        };
        let (from, to) = wanted.into_inner();
        let chunks = stream::unfold(bytes(from, to), |mut chunks| async move { chunks.recv().await.map(|chunk| (chunk, chunks)) });
        let mut response = (status, Body::from_stream(chunks)).into_response();
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(to + 1 - from));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(APK_TYPE));
        set(&mut response, header::CONTENT_DISPOSITION, &format!("attachment; filename=\"{}\"", whole.file_name));
        if status == StatusCode::PARTIAL_CONTENT {
            set(&mut response, header::CONTENT_RANGE, &format!("bytes {from}-{to}/{size}"));
        }
        response
    };
    response.headers_mut().insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    set(&mut response, header::ETAG, &etag);
    response
}

fn set(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
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
