//! A small HTTP/1.1 client: plain TCP, a bounded pool of kept-alive
//! connections per server, a deadline and a size limit on every call.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// An idle connection older than this is not used again: servers close idle
/// connections too, and a request that meets such a close is lost.
const IDLE_LIMIT: Duration = Duration::from_secs(15);

/// The address of a node: `http://host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    host: String,
    port: u16,
}

impl ServerUrl {
    /// `host:port`, for connecting and for the `Host` header.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("https://") {
            return Err("https is not spoken here: the simulator measures nodes, not TLS; give the node's plain http address".into());
        }
        let rest = text.strip_prefix("http://").ok_or_else(|| format!("`{text}` does not start with http://"))?;
        let authority = rest.trim_end_matches('/');
        if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ']) {
            return Err(format!("`{text}`: expected the form http://host:port"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| format!("`{port}` is not a port"))?),
            _ => (authority, 80),
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

/// Limits of one client.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// Connections at the same time, busy and idle together.
    pub connections: usize,
    /// For a whole call: waiting for a connection, sending, reading the answer.
    pub timeout: Duration,
    /// Largest answer that is read.
    pub answer_bytes: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self { connections: 64, timeout: Duration::from_secs(10), answer_bytes: 8 << 20 }
    }
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection.
    #[error("connecting failed: {0}")]
    Connect(std::io::Error),
    /// The deadline passed.
    #[error("no answer within the deadline")]
    Timeout,
    /// The connection ended before the answer did.
    #[error("the connection was lost: {0}")]
    Lost(hyper::Error),
    /// The answer is larger than the limit.
    #[error("the answer is larger than the limit")]
    TooLarge,
    /// The request cannot be put on the wire.
    #[error("not a valid request: {0}")]
    Invalid(String),
}

impl HttpError {
    /// Short name for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Timeout => "timeout",
            Self::Lost(_) => "connection_lost",
            Self::TooLarge => "answer_too_large",
            Self::Invalid(_) => "invalid_request",
        }
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    method: Method,
    path: &'a str,
    bearer: Option<&'a str>,
    content_type: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    body: Bytes,
}

impl<'a> Call<'a> {
    /// By another method.
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// A request of any method, without a body.
    pub fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, bearer: None, content_type: "application/json", headers: Vec::new(), body: Bytes::new() }
    }

    /// `GET path`.
    pub fn get(path: &'a str) -> Self {
        Self::new(Method::GET, path)
    }

    /// `POST path` with a JSON body.
    pub fn post(path: &'a str, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::new(Method::POST, path) }
    }

    /// With `Authorization: Bearer`.
    pub fn bearer(mut self, token: &'a str) -> Self {
        self.bearer = Some(token);
        self
    }

    /// With a body of another type than JSON.
    pub fn content_type(mut self, content_type: &'a str) -> Self {
        self.content_type = content_type;
        self
    }

    /// With one more header.
    pub fn header(mut self, name: &'a str, value: &'a str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn build(self, host: &HeaderValue) -> Result<Request<Full<Bytes>>, HttpError> {
        let invalid = |what: &dyn fmt::Display| HttpError::Invalid(what.to_string());
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.path.parse().map_err(|e| invalid(&e))?;
        let headers = request.headers_mut();
        headers.insert(HOST, host.clone());
        if !self.body.is_empty() {
            headers.insert(CONTENT_TYPE, self.content_type.parse().map_err(|e| invalid(&e))?);
        }
        if let Some(token) = self.bearer {
            let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|e| invalid(&e))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        for (name, value) in self.headers {
            let name = HeaderName::try_from(name).map_err(|e| invalid(&e))?;
            headers.append(name, value.parse().map_err(|e| invalid(&e))?);
        }
        Ok(request)
    }
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as a type of the API.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// How long the server asks to stay away.
    pub fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after")?.trim().parse().ok().map(Duration::from_secs)
    }

    /// What a person may read about a refusal; never more than a line.
    pub fn detail(&self) -> String {
        let json = self.json();
        let text = json["detail"].as_str().or_else(|| json["title"].as_str()).unwrap_or("no detail given");
        text.chars().take(300).collect()
    }
}

struct Idle {
    sender: SendRequest<Full<Bytes>>,
    since: Instant,
}

/// Calls to one server.
pub struct Http {
    url: ServerUrl,
    host: HeaderValue,
    limits: HttpLimits,
    permits: Semaphore,
    idle: Mutex<Vec<Idle>>,
}

impl Http {
    /// A client without connections yet.
    pub fn new(url: ServerUrl, limits: HttpLimits) -> Self {
        // A parsed authority holds no byte that a header cannot; were it so, the
        // server would refuse the empty one.
        let host = HeaderValue::try_from(url.authority()).unwrap_or(HeaderValue::from_static(""));
        Self { url, host, limits, permits: Semaphore::new(limits.connections.max(1)), idle: Mutex::new(Vec::new()) }
    }

    /// Whom it calls.
    pub fn url(&self) -> &ServerUrl {
        &self.url
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, call: Call<'_>) -> Result<Answer, HttpError> {
        let request = call.build(&self.host)?;
        timeout(self.limits.timeout, self.exchange(request)).await.unwrap_or(Err(HttpError::Timeout))
    }

    /// Sends a request over a connection of its own and loses it on purpose once `bytes` of the
    /// body are there; a shorter body is read to its end.
    pub async fn send_part(&self, call: Call<'_>, bytes: usize) -> Result<Answer, HttpError> {
        let request = call.build(&self.host)?;
        let part = async {
            let _permit = self.permits.acquire().await.ok();
            let mut sender = self.connect().await?;
            let (head, mut body) = sender.send_request(request).await.map_err(HttpError::Lost)?.into_parts();
            let mut read = Vec::new();
            while read.len() < bytes.min(self.limits.answer_bytes)
                && let Some(frame) = body.frame().await
            {
                read.extend_from_slice(frame.map_err(HttpError::Lost)?.data_ref().map_or(&[][..], |data| data));
            }
            read.truncate(bytes);
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: read.into() })
        };
        timeout(self.limits.timeout, part).await.unwrap_or(Err(HttpError::Timeout))
    }

    async fn exchange(&self, mut request: Request<Full<Bytes>>) -> Result<Answer, HttpError> {
        // The semaphore is never closed: an error cannot happen, and would only
        // lift the bound.
        let _permit = self.permits.acquire().await.ok();
        loop {
            let (mut sender, reused) = match self.take_idle() {
                Some(sender) => (sender, true),
                None => (self.connect().await?, false),
            };
            if sender.ready().await.is_err() && reused {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let answer = self.read(response).await?;
                    self.keep(sender);
                    return Ok(answer);
                }
                // The request comes back when none of it was sent: the kept
                // connection had ended, another one may serve.
                Err(mut error) => match error.take_message() {
                    Some(unsent) if reused => request = unsent,
                    _ => return Err(HttpError::Lost(error.into_error())),
                },
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, HttpError> {
        let stream = TcpStream::connect(self.url.authority()).await.map_err(HttpError::Connect)?;
        stream.set_nodelay(true).map_err(HttpError::Connect)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(HttpError::Lost)?;
        // Ends when the sender is dropped or the server closes; its error is the
        // sender's too.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Answer, HttpError> {
        let (head, body) = response.into_parts();
        let body =
            Limited::new(body, self.limits.answer_bytes).collect().await.map_err(|error| match error.downcast::<hyper::Error>() {
                Ok(lost) => HttpError::Lost(*lost),
                Err(other) if other.is::<LengthLimitError>() => HttpError::TooLarge,
                Err(other) => HttpError::Invalid(other.to_string()),
            })?;
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes() })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle();
        while let Some(Idle { sender, since }) = idle.pop() {
            if since.elapsed() > IDLE_LIMIT {
                idle.clear(); // all that lie below are older still
                return None;
            }
            if !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    fn keep(&self, sender: SendRequest<Full<Bytes>>) {
        if !sender.is_closed() {
            self.idle().push(Idle { sender, since: Instant::now() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_http_with_a_host_and_a_port() {
        assert_eq!("http://127.0.0.1:8080".parse::<ServerUrl>().unwrap().authority(), "127.0.0.1:8080");
        assert_eq!("http://node-1/".parse::<ServerUrl>().unwrap().authority(), "node-1:80");
        assert_eq!("http://[::1]:8080".parse::<ServerUrl>().unwrap().authority(), "[::1]:8080");
        assert_eq!("http://[::1]".parse::<ServerUrl>().unwrap().authority(), "[::1]:80");
        for text in ["127.0.0.1:8080", "http://", "http://a/b", "http://a:b", "http://user@a", "ftp://a"] {
            assert!(text.parse::<ServerUrl>().is_err(), "{text}");
        }
        assert!("https://a".parse::<ServerUrl>().unwrap_err().contains("plain http"));
    }

    #[test]
    fn secrets_do_not_show_in_a_request() {
        let host = HeaderValue::from_static("node");
        let request = Call::get("/v1/devices").bearer("secret-token").build(&host).unwrap();
        assert!(!format!("{request:?}").contains("secret-token"));
    }

    #[test]
    fn what_cannot_be_a_header_is_refused_before_it_is_sent() {
        let host = HeaderValue::from_static("node");
        assert!(matches!(Call::get("/").bearer("a\nb").build(&host), Err(HttpError::Invalid(_))));
        assert!(matches!(Call::get("no path").build(&host), Err(HttpError::Invalid(_))));
    }
}
