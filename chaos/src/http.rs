//! The HTTP client of simulated devices, operators and tests: plain HTTP/1.1, a bounded number of connections,
//! a deadline and a size limit on every call. `load` speaks HTTP itself, and says why.

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Request, Response, Url, redirect};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::timeout;

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

/// Error in place of an answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection.
    #[error("connecting failed: {0}")]
    Connect(String),
    /// The deadline passed.
    #[error("no answer within the deadline")]
    Timeout,
    /// The connection ended before the answer did.
    #[error("the connection was lost: {0}")]
    Lost(String),
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

impl From<reqwest::Error> for HttpError {
    fn from(error: reqwest::Error) -> Self {
        let mut cause: &dyn Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let cause = cause.to_string();
        if error.is_connect() {
            Self::Connect(cause)
        } else if error.is_builder() {
            Self::Invalid(cause)
        } else {
            Self::Lost(cause)
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

    fn build(self, server: &ServerUrl) -> Result<Request, HttpError> {
        let invalid = |what: &dyn fmt::Display| HttpError::Invalid(what.to_string());
        if !self.path.starts_with('/') {
            return Err(invalid(&"the path does not begin with /"));
        }
        let url = Url::parse(&format!("{server}{}", self.path)).map_err(|e| invalid(&e))?;
        let mut request = Request::new(self.method, url);
        let headers = request.headers_mut();
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
        *request.body_mut() = Some(self.body.into());
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

    /// Text about a refusal for people; never more than a line.
    pub fn detail(&self) -> String {
        let json = self.json();
        let text = json["detail"].as_str().or_else(|| json["title"].as_str()).unwrap_or("no detail given");
        text.chars().take(300).collect()
    }
}

/// Calls to one server.
pub struct Http {
    url: ServerUrl,
    limits: HttpLimits,
    permits: Semaphore,
    client: Client,
}

impl Http {
    /// A client without connections yet.
    pub fn new(url: ServerUrl, limits: HttpLimits) -> Self {
        let client = Client::builder()
            .http1_only()
            .no_proxy()
            .redirect(redirect::Policy::none())
            // TLS is not spoken here: no certificates need to be read.
            .tls_certs_only([])
            .pool_idle_timeout(IDLE_LIMIT)
            .pool_max_idle_per_host(limits.connections);
        #[allow(clippy::expect_used, reason = "without proxies and certificates there is nothing in it that can be wrong")]
        let client = client.build().expect("a client");
        Self { url, limits, permits: Semaphore::new(limits.connections.max(1)), client }
    }

    /// Whom it calls.
    pub fn url(&self) -> &ServerUrl {
        &self.url
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, call: Call<'_>) -> Result<Answer, HttpError> {
        self.exchange(call, usize::MAX).await
    }

    /// Sends a request and loses its connection on purpose once `bytes` of the
    /// body are there; a shorter body is read to its end.
    pub async fn send_part(&self, call: Call<'_>, bytes: usize) -> Result<Answer, HttpError> {
        self.exchange(call, bytes).await
    }

    async fn exchange(&self, call: Call<'_>, bytes: usize) -> Result<Answer, HttpError> {
        let request = call.build(&self.url)?;
        let exchange = async {
            // The semaphore is never closed: an error cannot happen, and would only
            // lift the bound.
            let _permit = self.permits.acquire().await.ok();
            let mut response = self.client.execute(request).await?;
            let (status, headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
            let body = read(response, bytes, self.limits.answer_bytes).await?;
            Ok(Answer { status, headers, body })
        };
        timeout(self.limits.timeout, exchange).await.unwrap_or(Err(HttpError::Timeout))
    }
}

/// The first `wanted` bytes of a body. A connection whose body is not read to its end is not used again.
async fn read(mut response: Response, wanted: usize, limit: usize) -> Result<Bytes, HttpError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() >= wanted {
            body.truncate(wanted);
            break;
        }
        if body.len() > limit {
            return Err(HttpError::TooLarge);
        }
    }
    Ok(body.freeze())
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

    fn node() -> ServerUrl {
        "http://node:8080".parse().unwrap()
    }

    #[test]
    fn what_is_asked_for_goes_on_the_wire_as_it_is() {
        let request = Call::get("/v1/devices?alias=a%2Fb&tag=x+y").build(&node()).unwrap();
        assert_eq!(request.url().as_str(), "http://node:8080/v1/devices?alias=a%2Fb&tag=x+y");
        assert!(!request.headers().contains_key(CONTENT_TYPE), "there is no body");
    }

    #[test]
    fn secrets_do_not_show_in_a_request() {
        let request = Call::get("/v1/devices").bearer("secret-token").build(&node()).unwrap();
        assert!(!format!("{request:?}").contains("secret-token"));
    }

    #[test]
    fn what_cannot_be_a_header_is_refused_before_it_is_sent() {
        assert!(matches!(Call::get("/").bearer("a\nb").build(&node()), Err(HttpError::Invalid(_))));
        assert!(matches!(Call::get("no path").build(&node()), Err(HttpError::Invalid(_))));
    }
}
