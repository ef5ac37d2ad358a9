//! Client of an installation, over HTTP or HTTPS and WebSocket, with bounded answers.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use reqwest::header::{CONNECTION, HeaderMap, UPGRADE};
use reqwest::{Client, Method, StatusCode, Upgraded, redirect};
use serde_json::Value;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use wire::socket::DownFrame;

use crate::websocket::AGENT_MESSAGE_BYTES;

/// Largest answer that is read, but for files.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// An installation.
pub(super) struct Site {
    client: Client,
    url: String,
    timeout: Duration,
}

/// Answer of an installation.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) bytes: Vec<u8>,
    /// Time from sending to the whole answer.
    pub(super) took: Duration,
}

impl Reply {
    /// The body as JSON; null when it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }

    /// The body as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// What it says of a refusal, in a line.
    pub(super) fn detail(&self) -> String {
        let json = self.json();
        let text = json["detail"].as_str().or_else(|| json["title"].as_str()).unwrap_or("no detail");
        format!("{}: {}", self.status, text.chars().take(200).collect::<String>())
    }
}

impl Site {
    /// Client of the installation at `http[s]://host[:port][/path]`.
    ///
    /// # Errors
    /// The URL is none of these.
    pub(super) fn new(url: &str, timeout: Duration) -> Result<Self> {
        let parsed: reqwest::Url = url.parse().with_context(|| format!("--server `{url}` is no URL"))?;
        ensure!(matches!(parsed.scheme(), "http" | "https") && parsed.has_host(), "--server `{url}` has to be http://HOST or https://HOST");
        ensure!(parsed.username().is_empty() && parsed.password().is_none(), "--server has credentials: give them with --token");
        ensure!(parsed.query().is_none() && parsed.fragment().is_none(), "--server `{url}` has more than a path");
        // WebSockets begin as HTTP/1.1.
        let client = Client::builder().http1_only().connect_timeout(timeout).redirect(redirect::Policy::none()).build()?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned(), timeout })
    }

    /// Its URL, without a slash at the end.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// One request.
    pub(super) async fn call(&self, method: Method, path: &str, bearer: Option<&str>, body: Option<&Value>) -> Result<Reply> {
        self.fetch(method, &format!("{}{path}", self.url), bearer, body, ANSWER_BYTES_MAX).await
    }

    /// One request to any URL, with a limit of its own.
    pub(super) async fn fetch(
        &self,
        method: Method,
        url: &str,
        bearer: Option<&str>,
        body: Option<&Value>,
        bytes_max: usize,
    ) -> Result<Reply> {
        let mut request = self.client.request(method.clone(), url);
        if let Some(token) = bearer {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let began = Instant::now();
        let exchange = async {
            let mut response = request.send().await.map_err(reqwest::Error::without_url)?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let mut bytes = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
                ensure!(bytes.len() + chunk.len() <= bytes_max, "the answer has more than {bytes_max} bytes");
                bytes.extend_from_slice(&chunk);
            }
            Ok(Reply { status, headers, bytes, took: began.elapsed() })
        };
        let outcome = timeout(self.timeout, exchange).await;
        // The URL of a file is signed: it is not shown.
        outcome.with_context(|| format!("{method}: no answer within {:?}", self.timeout))?.with_context(|| format!("{method} failed"))
    }

    /// The agent socket.
    pub(super) async fn socket(&self, token: &str) -> Result<Socket> {
        let key = generate_key();
        let request = self
            .client
            .get(format!("{}/v1/agent/socket", self.url))
            .bearer_auth(token)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", &key);
        let open = async {
            let response = request.send().await.map_err(reqwest::Error::without_url)?;
            ensure!(response.status() == StatusCode::SWITCHING_PROTOCOLS, "the upgrade was answered {}", response.status());
            let accepted = response.headers().get("sec-websocket-accept").map(|value| value.as_bytes().to_vec());
            ensure!(accepted == Some(derive_accept_key(key.as_bytes()).into_bytes()), "the upgrade was answered to somebody else's key");
            let config = WebSocketConfig::default().max_message_size(Some(AGENT_MESSAGE_BYTES)).max_frame_size(Some(AGENT_MESSAGE_BYTES));
            let stream = WebSocketStream::from_raw_socket(response.upgrade().await?, Role::Client, Some(config)).await;
            Ok(Socket { stream, timeout: self.timeout })
        };
        timeout(self.timeout, Box::pin(open)).await.with_context(|| format!("no socket within {:?}", self.timeout))?
    }
}

/// Socket of a device.
pub(super) struct Socket {
    stream: WebSocketStream<Upgraded>,
    timeout: Duration,
}

impl Socket {
    /// Sends a frame.
    pub(super) async fn send(&mut self, frame: &Value) -> Result<()> {
        Ok(timeout(self.timeout, self.stream.send(Message::text(frame.to_string()))).await.context("the socket takes nothing")??)
    }

    /// The first frame that `find` takes, past all others.
    pub(super) async fn find<T>(&mut self, mut find: impl FnMut(DownFrame) -> Option<T>) -> Result<T> {
        let look = async {
            loop {
                match self.stream.next().await {
                    Some(Ok(Message::Text(text))) => {
                        let frame = serde_json::from_str(&text).with_context(|| format!("not a frame: {text}"))?;
                        if let Some(found) = find(frame) {
                            return Ok(found);
                        }
                    }
                    Some(Ok(Message::Close(_))) | None => bail!("the socket was closed"),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                }
            }
        };
        timeout(self.timeout, look).await.with_context(|| format!("no such frame within {:?}", self.timeout))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_are_no_installation_are_refused_by_name() {
        let site =
            |url: &str| Site::new(url, Duration::from_secs(1)).map(|site| site.url().to_owned()).map_err(|error| format!("{error:#}"));
        assert_eq!(site("https://mdm.example/base/").unwrap(), "https://mdm.example/base");
        for (url, problem) in [
            ("mdm.example", "is no URL"),
            ("ftp://mdm.example", "has to be http://HOST"),
            ("http://me:geheim@mdm.example", "give them with --token"),
            ("http://mdm.example/?a=b", "has more than a path"),
        ] {
            let error = site(url).unwrap_err();
            assert!(error.contains(problem) && !error.contains("geheim"), "{url}: {error}");
        }
    }
}
