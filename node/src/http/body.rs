//! Reads request bodies: bounded in size and time, with errors that name the field.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use services::Revalidation;
use wire::unique;

use super::content_coding::ContentCoding;
use super::{ApiError, App};

/// Limits for reading a body that is refused.
const LET_GO_BYTES: usize = 4 << 20;
const LET_GO_TIME: Duration = Duration::from_secs(2);

pub(super) fn too_large(limit_bytes: usize) -> ApiError {
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", format!("the body is larger than {limit_bytes} bytes"))
}

/// The bytes of a body of at most `limit_bytes`.
///
/// # Errors
/// 413 too large, 408 too slow, 400 cut off, 415 in a coding that is not taken.
pub(crate) async fn read(app: &App, headers: &HeaderMap, body: Body, limit_bytes: usize) -> Result<Bytes, ApiError> {
    let coding = ContentCoding::of(headers)?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit_bytes) {
        return Err(too_large(limit_bytes));
    }
    let whole = app.body_timeout() + app.arrival_time(announced.unwrap_or(limit_bytes));
    let arrived = tokio::time::timeout(whole, collected(app.body_timeout(), body, limit_bytes)).await;
    let arrived = arrived.unwrap_or_else(|_| Err(too_slow("the body came slower than http.body_min_bytes_per_second")))?;
    coding.decoded(arrived, limit_bytes).await
}

fn too_slow(detail: &str) -> ApiError {
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail)
}

fn broken_off(error: &(dyn std::error::Error + 'static)) -> ApiError {
    match Revalidation::within(error) {
        Some(refused) => refused.refusal().into(),
        None => ApiError::new(StatusCode::BAD_REQUEST, "body_cut_off", "the body ended early"),
    }
}

/// The bytes of a body, each piece within `standing` after the one before.
async fn collected(standing: Duration, body: Body, limit_bytes: usize) -> Result<Bytes, ApiError> {
    let mut body = Limited::new(body, limit_bytes);
    let mut pieces: Vec<Bytes> = Vec::new();
    loop {
        match tokio::time::timeout(standing, body.frame()).await {
            Ok(Some(Ok(frame))) => pieces.extend(frame.into_data().ok()),
            Ok(None) if pieces.len() == 1 => return Ok(pieces.swap_remove(0)),
            Ok(None) => return Ok(pieces.concat().into()),
            Ok(Some(Err(error))) if error.is::<LengthLimitError>() => return Err(too_large(limit_bytes)),
            Ok(Some(Err(error))) => return Err(broken_off(error.as_ref())),
            Err(_) => return Err(too_slow("no part of the body came for http.body_timeout_ms")),
        }
    }
}

/// Reads on for a moment after a refusal: whoever still sends would otherwise see a broken connection, not the answer.
pub(crate) async fn let_go(body: &mut BodyDataStream) {
    let mut left = LET_GO_BYTES;
    let reading = async {
        while let Some(Ok(piece)) = body.next().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(LET_GO_TIME, reading).await;
}

/// Ends a request of the dashboard that does not arrive, or is not answered, in time. A file that is uploaded has time limits of its own.
pub(crate) async fn deadline(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if request.uri().path() == web_dioxus::UPLOAD_PATH {
        return next.run(request).await;
    }
    let patience = app.body_timeout() + Duration::from_millis(app.config.auth.bcrypt_wait_ms);
    match tokio::time::timeout(patience, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", "the request did not arrive in time").into_response(),
    }
}

/// A JSON body of at most the usual limit.
///
/// # Errors
/// As [`read`] and [`parse`].
pub(crate) async fn json<T: DeserializeOwned>(app: &App, headers: &HeaderMap, body: Body) -> Result<T, ApiError> {
    parse_object(&read(app, headers, body, app.config.http.body_limit_bytes).await?)
}

/// A JSON body of at most the usual limit that may be left out.
///
/// # Errors
/// As [`read`] and [`parse`].
pub(crate) async fn optional_json<T: DeserializeOwned>(app: &App, headers: &HeaderMap, body: Body) -> Result<Option<T>, ApiError> {
    let bytes = read(app, headers, body, app.config.http.body_limit_bytes).await?;
    if bytes.trim_ascii().is_empty() { Ok(None) } else { parse_object(&bytes).map(Some) }
}

/// Reads a JSON object of a person or a script. A list must not pass for one, as serde would have it, and each key stands once.
///
/// # Errors
/// As [`parse`]; names the key that repeats.
pub(crate) fn parse_object<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ApiError> {
    match bytes.trim_ascii_start().first() {
        Some(b'[' | b'"' | b'0'..=b'9' | b'-' | b't' | b'f' | b'n') => Err(domain::Invalid::new("body", "not an object").into()),
        _ => match unique::repeated_key(bytes) {
            Some(key) => Err(domain::Invalid::new(key, "given more than once").into()),
            None => parse(bytes),
        },
    }
}

/// Reads JSON.
///
/// # Errors
/// 400 when it is not JSON, 422 with the field when it is not what is wanted.
pub(crate) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => wrong_shape::<T>(bytes),
        _ => ApiError::new(StatusCode::BAD_REQUEST, "malformed_json", format!("not JSON: line {} column {}", error.line(), error.column())),
    })
}

/// Reads again, now with an eye on where it fails; only the refused pay for that.
fn wrong_shape<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> ApiError {
    match serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_slice(bytes)) {
        Err(error) => {
            let field = error.path().to_string();
            // The library's message may repeat the value, however long; what is wrong comes first.
            let mut problem: String = error.into_inner().to_string().chars().take(160).collect();
            if let Some(position) = problem.rfind(" at line ") {
                problem.truncate(position);
            }
            domain::Invalid::new(if field == "." { "body".into() } else { field }, problem).into()
        }
        Ok(_) => ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_value", "invalid value"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::agent::Heartbeat;

    fn refused(json: &str) -> (u16, String) {
        let error = parse_object::<Heartbeat>(json.as_bytes()).unwrap_err();
        (error.status().as_u16(), error.detail())
    }

    #[test]
    fn what_is_not_json_is_400_and_what_does_not_fit_is_422_with_its_field() {
        assert_eq!(refused("{").0, 400);
        assert_eq!(refused("\0").0, 400);
        assert_eq!(refused(&"{\"a\":".repeat(100_000)).0, 400);
        assert_eq!(refused("[]").0, 422);
        let (status, detail) = refused(r#"{"battery":{"pct":87.5}}"#);
        assert!(status == 422 && detail.starts_with("battery.pct:"), "{detail}");
        let (status, detail) = refused(r#"{"is_device_owner":"perhaps"}"#);
        assert!(status == 422 && detail.starts_with("is_device_owner:"), "{detail}");
        assert_eq!(refused("7").0, 422);
    }

    #[test]
    fn a_key_that_repeats_is_named_whatever_type_reads_the_body() {
        assert_eq!(refused(r#"{"seq":1,"seq":2}"#), (422, "seq: given more than once".to_owned()));
        for (text, key) in [(r#"{"role":"viewer","role":"admin"}"#, "role"), (r#"{"filter":{"tags":["a"],"tags":[]}}"#, "filter.tags")] {
            let error = parse_object::<serde_json::Value>(text.as_bytes()).unwrap_err();
            assert_eq!((error.status().as_u16(), error.detail()), (422, format!("{key}: given more than once")), "{text}");
        }
    }

    #[test]
    fn a_huge_value_does_not_come_back_in_the_error() {
        let (_, detail) = refused(&format!(r#"{{"is_device_owner":"{}"}}"#, "x".repeat(50_000)));
        assert!(detail.len() < 300);
    }
}
