//! A client of the agent and admin API for tests: every answer comes back with
//! its status, headers and JSON, so that refusals can be asserted.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use hyper::Method;
use serde::Serialize;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use wire::admin::{CreateEnrollTokens, CreatedEnrollToken, CreatedEnrollTokens, LoginRequest, LoginResponse};
use wire::agent::{Heartbeat, RegisterRequest, RegisterResponse, SessionResponse};
use wire::socket::{DownFrame, HeartbeatFrame};

pub use crate::http::Answer;
use crate::http::{Call, Http, HttpError, HttpLimits, ServerUrl};
use crate::websocket;

/// How long a frame may take to arrive.
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// Client of one node.
pub struct Client {
    http: Http,
}

/// Credentials of an enrolled device.
#[derive(Clone)]
pub struct EnrolledDevice {
    /// Identity.
    pub device_id: String,
    /// Long-lived token.
    pub device_token: String,
    /// Key of command signatures, hex.
    pub device_key: String,
    /// Session token made from the device token.
    pub session_token: String,
}

impl Client {
    /// A client of the node at `url`, like `http://127.0.0.1:8080`.
    pub fn new(url: &str) -> Result<Self> {
        Self::with_limits(url, HttpLimits::default())
    }

    /// A client with other limits.
    pub fn with_limits(url: &str, limits: HttpLimits) -> Result<Self> {
        let url: ServerUrl = url.parse().map_err(anyhow::Error::msg)?;
        Ok(Self { http: Http::new(url, limits) })
    }

    /// Any request.
    pub async fn send(&self, call: Call<'_>) -> Result<Answer, HttpError> {
        self.http.send(call).await
    }

    /// `GET path`, with or without a bearer token.
    pub async fn get(&self, path: &str, bearer: Option<&str>) -> Result<Answer, HttpError> {
        self.send(with_bearer(Call::get(path), bearer)).await
    }

    /// `GET path` that must be 200; its JSON.
    pub async fn get_json(&self, path: &str, bearer: &str) -> Result<Value> {
        let answer = self.get(path, Some(bearer)).await?;
        ensure!(answer.status == 200, "GET {path} answered {}: {}", answer.status, answer.detail());
        Ok(answer.json())
    }

    /// `POST path` with a JSON body.
    pub async fn post(&self, path: &str, bearer: Option<&str>, body: &impl Serialize) -> Result<Answer> {
        let body = serde_json::to_vec(body)?;
        Ok(self.send(with_bearer(Call::post(path, body), bearer)).await?)
    }

    /// `DELETE path`.
    pub async fn delete(&self, path: &str, bearer: &str) -> Result<Answer, HttpError> {
        self.send(Call::new(Method::DELETE, path).bearer(bearer)).await
    }

    /// `POST /v1/auth/login`.
    pub async fn login(&self, username: &str, password: &str) -> Result<Answer> {
        let body = LoginRequest { username: username.to_owned(), password: password.to_owned() };
        self.post("/v1/auth/login", None, &body).await
    }

    /// The access token of a login that must succeed.
    pub async fn access_token(&self, username: &str, password: &str) -> Result<String> {
        let answer = self.login(username, password).await?;
        ensure!(answer.status == 200, "login answered {}: {}", answer.status, answer.detail());
        Ok(answer.read::<LoginResponse>()?.access_token)
    }

    /// `POST /v1/enroll-tokens`.
    pub async fn create_tokens(&self, access_token: &str, wanted: &CreateEnrollTokens) -> Result<Answer> {
        self.post("/v1/enroll-tokens", Some(access_token), wanted).await
    }

    /// `count` enrollment tokens that must be granted, good for an hour.
    pub async fn tokens(&self, access_token: &str, count: i64) -> Result<Vec<CreatedEnrollToken>> {
        let wanted = CreateEnrollTokens { count: Some(count), expires_in_seconds: Some(3_600), ..CreateEnrollTokens::default() };
        let answer = self.create_tokens(access_token, &wanted).await?;
        ensure!(matches!(answer.status, 200 | 201), "enroll-tokens answered {}: {}", answer.status, answer.detail());
        Ok(answer.read::<CreatedEnrollTokens>()?.tokens)
    }

    /// `POST /v1/register`.
    pub async fn register(&self, enroll_token: &str, device: &RegisterRequest) -> Result<Answer> {
        self.post("/v1/register", Some(enroll_token), device).await
    }

    /// `POST /v1/agent/session`.
    pub async fn session(&self, device_token: &str) -> Result<Answer> {
        self.post("/v1/agent/session", Some(device_token), &serde_json::json!({})).await
    }

    /// `POST /v1/heartbeat`, with a device or a session token.
    pub async fn heartbeat(&self, token: &str, heartbeat: &Heartbeat) -> Result<Answer> {
        self.post("/v1/heartbeat", Some(token), heartbeat).await
    }

    /// `POST /v1/heartbeats`, a drained queue.
    pub async fn heartbeats(&self, token: &str, heartbeats: &[Heartbeat]) -> Result<Answer> {
        self.post("/v1/heartbeats", Some(token), &heartbeats).await
    }

    /// A new device called `alias`, enrolled and with a session.
    pub async fn enroll(&self, access_token: &str, alias: &str) -> Result<EnrolledDevice> {
        let token = self.tokens(access_token, 1).await?.pop().context("no token in the answer")?;
        let request = RegisterRequest { alias: Some(alias.to_owned()), ..RegisterRequest::default() };
        let answer = self.register(&token.token, &request).await?;
        ensure!(answer.status == 200, "register answered {}: {}", answer.status, answer.detail());
        let RegisterResponse { device_id, device_token, device_key, .. } = answer.read()?;
        let answer = self.session(&device_token).await?;
        ensure!(answer.status == 200, "session answered {}: {}", answer.status, answer.detail());
        let SessionResponse { session_token, .. } = answer.read()?;
        Ok(EnrolledDevice { device_id, device_token, device_key, session_token })
    }

    /// `GET /v1/agent/socket`; the outer error is no answer at all, the inner
    /// one the status of a refused upgrade.
    pub async fn socket(&self, token: &str) -> Result<Result<AgentSocket, u16>> {
        let authorization = format!("Bearer {token}");
        match websocket::connect(self.http.url(), "/v1/agent/socket", &[("authorization", &authorization)], websocket::AGENT_MESSAGE_BYTES)
            .await
        {
            Ok(stream) => Ok(Ok(AgentSocket { stream, next_id: 1 })),
            Err(WsError::Http(refusal)) => Ok(Err(refusal.status().as_u16())),
            Err(error) => Err(error.into()),
        }
    }
}

fn with_bearer<'a>(call: Call<'a>, bearer: Option<&'a str>) -> Call<'a> {
    match bearer {
        Some(token) => call.bearer(token),
        None => call,
    }
}

/// A device's socket.
pub struct AgentSocket {
    stream: WebSocketStream<TcpStream>,
    next_id: u64,
}

impl AgentSocket {
    /// Sends a heartbeat frame; the id that its answer will carry.
    pub async fn send_heartbeat(&mut self, heartbeat: &Heartbeat) -> Result<u64> {
        let id = self.next_id;
        self.next_id += 1;
        self.send_text(serde_json::to_string(&HeartbeatFrame { kind: "heartbeat", id, heartbeat })?).await?;
        Ok(id)
    }

    /// Sends any text as a frame.
    pub async fn send_text(&mut self, text: String) -> Result<()> {
        timeout(FRAME_TIMEOUT, self.stream.send(Message::text(text))).await.context("the socket accepts no more data")??;
        Ok(())
    }

    /// The next frame of the protocol; `None` once the node has closed. Pings
    /// are answered on the way.
    pub async fn next(&mut self) -> Result<Option<DownFrame>> {
        loop {
            let message = timeout(FRAME_TIMEOUT, self.stream.next()).await.context("timeout waiting for a frame")?;
            match message {
                None | Some(Ok(Message::Close(_))) | Some(Err(WsError::ConnectionClosed | WsError::Protocol(_) | WsError::Io(_))) => {
                    return Ok(None);
                }
                Some(Ok(Message::Text(text))) => {
                    return Ok(Some(serde_json::from_str(&text).with_context(|| format!("not a frame: {text}"))?));
                }
                Some(Ok(Message::Binary(_))) => bail!("a binary frame"),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }

    /// Closes the socket.
    pub async fn close(mut self) -> Result<()> {
        timeout(FRAME_TIMEOUT, self.stream.close(None)).await.context("the socket does not close")??;
        Ok(())
    }
}
