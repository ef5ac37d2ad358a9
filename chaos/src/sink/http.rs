//! The HTTP side of the sinks: `POST /discord/NAME`, `POST /webhook/NAME`, and `/fake/modes`.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::arrival::Arrival;
use super::log::Log;
use super::mode::SinkMode;
use crate::clock;
use crate::fake_server::{self, Reply};

/// Largest accepted body.
const BODY_MAX_BYTES: usize = 1 << 20;

/// Age of a signature beyond which it is refused, s.
const SIGNED_WITHIN_S: i64 = 300;

/// Serves until dropped.
pub(super) async fn serve(listener: TcpListener, log: Arc<Log>) {
    let answer = move |request| {
        let log = Arc::clone(&log);
        async move { answer(&log, request).await }
    };
    fake_server::serve(listener, answer).await;
}

fn reply(status: u16, body: impl Into<Bytes>) -> Reply {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

async fn answer(log: &Arc<Log>, request: Request<Incoming>) -> Option<Reply> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_MAX_BYTES).collect().await else {
        return Some(reply(413, "{}"));
    };
    let body = body.to_bytes();
    let path = head.uri.path().trim_start_matches('/');
    match (&head.method, path.split_once('/').unwrap_or((path, ""))) {
        (&Method::POST, ("discord", sink)) => take(log, Arrival::of_discord(sink, &body), 204).await,
        (&Method::POST, ("webhook", sink)) => {
            if log.key(sink).is_some_and(|key| !is_signed(&key, &head.headers, &body, clock::now().timestamp())) {
                return Some(reply(401, json!({"message": "the signature is missing, old or wrong"}).to_string()));
            }
            take(log, Arrival::of_webhook(sink, &body), 200).await
        }
        (&Method::POST, ("fake", "modes")) => Some(set_mode(log, &body)),
        (&Method::DELETE, ("fake", "modes")) => {
            log.clear_modes();
            Some(reply(200, "{}"))
        }
        _ => Some(reply(404, json!({"message": "Unknown Webhook", "code": 10_015}).to_string())),
    }
}

/// Whether a body is signed with a key, not long ago: HMAC-SHA256 over `v1.SECONDS.BODY`.
fn is_signed(key: &str, headers: &HeaderMap, body: &[u8], now_s: i64) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (at, signature) = (text("x-nexmdm-timestamp"), text("x-nexmdm-signature"));
    let is_recent = at.parse::<i64>().is_ok_and(|at_s| (now_s - at_s).abs() <= SIGNED_WITHIN_S);
    let given = signature.strip_prefix("v1=").and_then(|hex| hex::decode(hex).ok());
    let (Some(given), Ok(mut mac)) = (given, Hmac::<Sha256>::new_from_slice(key.as_bytes())) else { return false };
    mac.update(format!("v1.{at}.").as_bytes());
    mac.update(body);
    is_recent && mac.verify_slice(&given).is_ok()
}

/// Records a message, and answers it as the sink's mode has it. `None`: the connection is to be reset.
async fn take(log: &Arc<Log>, arrival: Result<Arrival, String>, accepted: u16) -> Option<Reply> {
    let arrival = match arrival {
        Ok(arrival) => arrival,
        Err(problem) => return Some(reply(400, json!({"message": problem}).to_string())),
    };
    let mode = log.take_mode(&arrival.sink);
    let open = log.open(arrival);
    let (status, body, retry_after_ms) = match mode {
        SinkMode::Accept => (accepted, String::new(), None),
        SinkMode::Slow { delay_ms } => {
            sleep(Duration::from_millis(delay_ms)).await;
            (accepted, String::new(), None)
        }
        SinkMode::Status { status } => (status, json!({"message": "no"}).to_string(), None),
        SinkMode::TooMany { retry_after_ms } => {
            let body = json!({"message": "You are being rate limited.", "retry_after": retry_after_ms as f64 / 1_000.0, "global": false});
            (429, body.to_string(), Some(retry_after_ms))
        }
        SinkMode::Reset => return None,
        SinkMode::Hang => pending().await,
    };
    let mut answer = reply(status, body);
    if let Some(ms) = retry_after_ms {
        let seconds = HeaderValue::from(ms.div_ceil(1_000));
        answer.headers_mut().insert(RETRY_AFTER, seconds.clone());
        answer.headers_mut().insert(HeaderName::from_static("x-ratelimit-remaining"), HeaderValue::from(0));
        answer.headers_mut().insert(HeaderName::from_static("x-ratelimit-reset-after"), seconds);
    }
    open.answer(status);
    Some(answer)
}

/// Body of a mode request, such as `{"sink": "ops", "mode": {"kind": "too_many", "retry_after_ms": 1500}, "times": 2}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModeRequest {
    sink: String,
    mode: SinkMode,
    times: Option<u32>,
}

fn set_mode(log: &Log, body: &[u8]) -> Reply {
    match serde_json::from_slice(body) {
        Ok(ModeRequest { sink, mode, times }) => {
            log.set_mode(&sink, mode, times);
            reply(200, "{}")
        }
        Err(error) => reply(400, json!({"message": error.to_string()}).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use hyper::Method;
    use hyper::header::HeaderMap;

    use super::is_signed;
    use crate::http::{Call, Http, HttpLimits};
    use crate::sink::{AlertSinks, SinkMode};

    /// The documented vector.
    #[test]
    fn signatures_are_over_time_and_body() {
        let mut headers = HeaderMap::new();
        assert!(!is_signed("a secret of channels", &headers, b"{\"a\":1}", 1_780_000_000));
        headers.insert("x-nexmdm-timestamp", "1780000000".parse().unwrap());
        let signature = "v1=6db156495aacf282df1d8be9549a5a05908a54421ae9f779908aa7722756c89b";
        headers.insert("x-nexmdm-signature", signature.parse().unwrap());
        assert!(is_signed("a secret of channels", &headers, b"{\"a\":1}", 1_780_000_300));
        assert!(!is_signed("a secret of channels", &headers, b"{\"a\":1}", 1_780_000_301), "it is old");
        assert!(!is_signed("a secret of channels", &headers, b"{\"a\":2}", 1_780_000_000));
        assert!(!is_signed("another secret of channels", &headers, b"{\"a\":1}", 1_780_000_000));
    }

    #[tokio::test]
    async fn every_message_is_recorded_with_its_answer() {
        let sinks = AlertSinks::start().await.unwrap();
        let url = sinks.webhook_url("hook");
        let (server, path) = url.split_at(url.find("/webhook").unwrap());
        let http = Http::new(server.parse().unwrap(), HttpLimits::default());
        let event = br#"{"specversion":"1.0","id":"n1","source":"s","type":"nexmdm.alert.test","data":{}}"#;
        let post = async || http.send(Call::post(path, event.to_vec())).await.map(|answer| answer.status);
        assert_eq!(post().await.unwrap(), 200);
        sinks.set_mode("hook", SinkMode::TooMany { retry_after_ms: 1_500 }, Some(1));
        assert_eq!(post().await.unwrap(), 429);
        sinks.set_mode("hook", SinkMode::Reset, Some(1));
        post().await.unwrap_err();
        let modes = br#"{"sink":"hook","mode":{"kind":"status","status":500},"times":1}"#;
        let set = http.send(Call::post("/fake/modes", modes.to_vec()).method(Method::POST)).await.unwrap();
        assert_eq!((set.status, post().await.unwrap(), post().await.unwrap()), (200, 500, 200));
        let statuses: Vec<_> = sinks.arrivals().iter().map(|arrival| arrival.status).collect();
        assert_eq!(statuses, [Some(200), Some(429), None, Some(500), Some(200)]);
        assert!(sinks.arrivals().iter().all(|arrival| arrival.notification.as_deref() == Some("n1")));
        let nonsense = http.send(Call::post(path, b"{}".to_vec())).await.unwrap();
        assert_eq!((nonsense.status, sinks.arrivals().len()), (400, 5));
    }
}
