//! Fake node: an in-memory implementation of the agent API over real sockets, which can be configured to misbehave.

pub(crate) mod deployments;
pub(crate) mod scheduling;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use chaos::agent_command::{DeviceKey, sign};
use chaos::clock::now;
use chaos::fleet::FleetArgs;
use chaos::harness::TempDir;
use chaos::signals::Stop;
use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server;
use wire::agent::Command;

/// That of `chaos::harness::NodeOptions` too, so that this node can stand in for a process.
pub(crate) const PASSWORD: &str = "admin:correct-horse-battery-staple";

/// State of the fake node, and its configured behaviour.
#[derive(Default)]
pub(crate) struct NodeState {
    pub(crate) enroll_tokens: BTreeMap<String, String>,
    pub(crate) aliases: BTreeSet<String>,
    /// Device token to device id.
    pub(crate) devices: BTreeMap<String, String>,
    /// Heartbeats acknowledged: device id and timestamp, with how often.
    pub(crate) stored: BTreeMap<(String, String), u32>,
    /// Items of each list that arrived.
    pub(crate) lists: Vec<usize>,
    /// Requests that arrived, by path.
    pub(crate) calls: BTreeMap<String, u32>,
    pub(crate) logins: u32,
    pub(crate) sockets_opened: u32,
    /// Statuses for the next calls of a path, instead of the usual answer.
    pub(crate) refuse_next: VecDeque<(&'static str, u16, Option<u32>)>,
    /// Status for every heartbeat, over HTTP and sockets.
    pub(crate) refuse_heartbeats: Option<u16>,
    pub(crate) refuse_devices: bool,
    pub(crate) next_heartbeat_seconds: u32,
    /// Whether each socket gets a reconnect frame after its first acknowledgement.
    pub(crate) reconnect_after_first: bool,
    /// Whether sockets acknowledge nothing.
    pub(crate) mute: bool,
    /// Device keys by device id, as enrollment hands them over.
    pub(crate) keys: BTreeMap<String, String>,
    /// Commands by device id: they go out with every acknowledgement until they have ended.
    pub(crate) commands: BTreeMap<String, Vec<Command>>,
    /// Final outcomes by request id.
    pub(crate) outcomes: BTreeMap<String, String>,
    /// Number of reports by request id and outcome.
    pub(crate) results: BTreeMap<(String, String), u32>,
    /// Status for every action result.
    pub(crate) refuse_results: Option<u16>,
    /// Reported push tokens by device id.
    pub(crate) push_tokens: BTreeMap<String, String>,
    /// Command requests by idempotency key.
    pub(crate) requests: BTreeMap<String, String>,
    /// Number of accepted command requests to answer with 503.
    pub(crate) lose_requests: u32,
    pub(crate) deployments: deployments::Deployments,
    /// The last heartbeat of each device.
    pub(crate) last: BTreeMap<String, Value>,
}

#[derive(Clone)]
pub(crate) struct FakeNode {
    pub(crate) url: String,
    state: Arc<Mutex<NodeState>>,
}

impl FakeNode {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    pub(crate) async fn start_at(address: &str) -> Self {
        scheduling::shared();
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = NodeState { next_heartbeat_seconds: 1, ..NodeState::default() };
        let node = Self { url, state: Arc::new(Mutex::new(state)) };
        tokio::spawn(node.clone().accept(listener));
        node
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, NodeState> {
        self.state.lock().unwrap()
    }

    /// Polls the state until a condition holds.
    pub(crate) async fn until(&self, what: &str, is_true: impl Fn(&NodeState) -> bool) {
        for _ in 0..1_000 {
            if is_true(&self.state()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not within 10 s: {what}");
    }

    async fn accept(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(self.clone().serve(stream));
        }
    }

    async fn serve(self, stream: TcpStream) {
        let mut start = [0; 32];
        let n = stream.peek(&mut start).await.unwrap_or(0);
        if start[..n].starts_with(b"GET /v1/agent/socket") {
            return self.socket(stream).await;
        }
        let service = service_fn(|request| {
            let node = self.clone();
            async move { Ok::<_, Infallible>(node.answer(request).await) }
        });
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let bearer =
            request.headers().get("authorization").and_then(|v| v.to_str().ok()?.strip_prefix("Bearer ")).unwrap_or_default().to_owned();
        let idempotency_key = request.headers().get("idempotency-key").map(|v| v.to_str().unwrap().to_owned());
        if path.ends_with("/file") {
            return self.state().deployments.file(request.headers());
        }
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        assert!(body.len() <= 64 << 10, "a body of {} bytes", body.len());
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        let (status, retry_after, answer) = match idempotency_key {
            Some(key) => self.request(&path, &key, &json),
            None if path == "/v1/agent/update" => self.state().deployments.update(&query),
            None => self.decide(&path, &bearer, &json),
        };
        let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
        *response.status_mut() = status.try_into().unwrap();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert("retry-after", seconds.into());
        }
        response
    }

    fn decide(&self, path: &str, bearer: &str, body: &Value) -> (u16, Option<u32>, Value) {
        let mut state = self.state();
        *state.calls.entry(path.to_owned()).or_default() += 1;
        if let Some(at) = state.refuse_next.iter().position(|(p, _, _)| *p == path) {
            let (_, status, retry_after) = state.refuse_next.remove(at).unwrap();
            return (status, retry_after, json!({"detail": "told to"}));
        }
        match path {
            "/readyz" => (200, None, json!({})),
            "/v1/auth/login" => {
                state.logins += 1;
                let known = body["username"] == "admin" && body["password"] == "correct-horse-battery-staple";
                if known { (200, None, json!({"access_token": "access", "expires_in": 900})) } else { (401, None, json!({"detail": "no"})) }
            }
            "/v1/enroll-tokens" if bearer == "access" => {
                let (count, first) = (body["count"].as_u64().unwrap(), body["start_number"].as_u64().unwrap());
                assert!((1..=500).contains(&count));
                let tokens: Vec<Value> = (first..first + count)
                    .map(|n| {
                        let alias = body["alias_pattern"].as_str().unwrap().replace("{n}", &n.to_string());
                        let token = format!("enroll-{alias}");
                        state.enroll_tokens.insert(token.clone(), alias.clone());
                        json!({"id": n.to_string(), "token": token, "alias": alias, "expires_at": "2100-01-01T00:00:00Z"})
                    })
                    .collect();
                (201, None, json!({"tokens": tokens}))
            }
            "/v1/register" => {
                let Some(alias) = state.enroll_tokens.get(bearer).cloned() else { return (401, None, json!({})) };
                if !state.aliases.insert(alias.clone()) {
                    return (409, None, json!({"detail": "alias in use"}));
                }
                state.enroll_tokens.remove(bearer);
                let device_id = format!("id-of-{alias}");
                state.devices.insert(format!("device-{alias}"), device_id.clone());
                let device_key = hex::encode(format!("{alias:0>32}"));
                state.keys.insert(device_id.clone(), device_key.clone());
                (
                    200,
                    None,
                    json!({"device_id": device_id, "device_token": format!("device-{alias}"), "device_key": device_key, "server_time": "",
                    "heartbeat_interval_seconds": 300, "socket_url": ""}),
                )
            }
            "/v1/agent/session" => match state.devices.get(bearer) {
                Some(id) if !state.refuse_devices => {
                    (200, None, json!({"session_token": format!("session-{id}"), "expires_at": "2100-01-01T00:00:00Z"}))
                }
                _ => (401, None, json!({})),
            },
            "/v1/heartbeat" | "/v1/heartbeats" => {
                let Some(id) = bearer.strip_prefix("session-").filter(|_| !state.refuse_devices).map(str::to_owned) else {
                    return (401, None, json!({}));
                };
                if let Some(status) = state.refuse_heartbeats {
                    return (status, None, json!({"detail": "told to"}));
                }
                let told = json!({"ok": true, "next_heartbeat_seconds": state.next_heartbeat_seconds,
                    "commands": state.waiting(&id), "server_time": ""});
                if path == "/v1/heartbeat" {
                    state.store(&id, body);
                    return (200, None, told);
                }
                let items = body.as_array().unwrap();
                assert!(items.len() <= 100);
                state.lists.push(items.len());
                items.iter().for_each(|item| state.store(&id, item));
                let results: Vec<Value> = (0..items.len()).map(|index| json!({"index": index, "status": 200})).collect();
                let mut answer = told;
                answer["results"] = results.into();
                (200, None, answer)
            }
            "/v1/action-result" => {
                let Some(id) = bearer.strip_prefix("session-").map(str::to_owned) else { return (401, None, json!({})) };
                (state.end(&id, body), None, json!({"ok": true}))
            }
            "/v1/devices" => {
                let ids: Vec<Value> = state.devices.values().map(|id| json!({"id": id})).collect();
                (200, None, json!({"items": ids, "next_cursor": null}))
            }
            "/v1/agent/update/report" => {
                state.deployments.update_reports.push(body.clone());
                (200, None, json!({}))
            }
            _ => match deployments::status_path(path) {
                Some((deployment_id, device_id)) if bearer == format!("session-{device_id}") => {
                    (state.deployments.status(device_id, deployment_id, body), None, json!({"detail": "told to"}))
                }
                Some(_) => (403, None, json!({})),
                None => (404, None, json!({})),
            },
        }
    }

    /// Handles a request of one command, accepted once per key.
    fn request(&self, path: &str, key: &str, body: &Value) -> (u16, Option<u32>, Value) {
        let Some(device_id) = path.strip_prefix("/v1/devices/").and_then(|rest| rest.strip_suffix("/commands")) else {
            return (404, None, json!({"detail": "no such thing here"}));
        };
        let mut state = self.state();
        let request_id = match state.requests.get(key) {
            Some(known) => known.clone(),
            None => {
                let request_id = state.command(device_id, body["action"].as_str().unwrap(), &body["params"].to_string());
                state.requests.insert(key.to_owned(), request_id.clone());
                request_id
            }
        };
        if state.lose_requests > 0 {
            state.lose_requests -= 1;
            return (503, None, json!({"detail": "told to"}));
        }
        (201, None, json!({"request_id": request_id}))
    }

    async fn socket(self, stream: TcpStream) {
        let mut device_id = None;
        #[allow(clippy::result_large_err, reason = "the signature is the library's")]
        let check = |request: &server::Request, response: server::Response| {
            let bearer = request.headers().get("authorization").and_then(|v| v.to_str().ok()?.strip_prefix("Bearer session-"));
            device_id = bearer.map(str::to_owned);
            if device_id.is_some() && !self.state().refuse_devices {
                return Ok(response);
            }
            let mut refusal = server::ErrorResponse::new(None);
            *refusal.status_mut() = hyper::StatusCode::UNAUTHORIZED;
            Err(refusal)
        };
        let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, check).await else { return };
        let Some(device_id) = device_id else { return };
        self.state().sockets_opened += 1;
        let _ = socket.send(Message::Ping(Bytes::new())).await;
        let mut first = true;
        while let Some(Ok(message)) = socket.next().await {
            let Message::Text(text) = message else { continue };
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["type"] == "action_result" || frame["type"] == "deployment_status" {
                let status = match frame["deployment_id"].as_str() {
                    Some(deployment_id) => self.state().deployments.status(&device_id, deployment_id, &frame),
                    None => self.state().end(&device_id, &frame),
                };
                let answer = match status {
                    200 => json!({"type": "ack", "id": frame["id"]}),
                    status => json!({"type": "refused", "id": frame["id"], "status": status, "detail": "told to"}),
                };
                if socket.send(Message::text(answer.to_string())).await.is_err() {
                    return;
                }
                continue;
            }
            assert_eq!(frame["type"], "heartbeat");
            let (refuse, mute, told, reconnect) = {
                let state = self.state();
                (state.refuse_heartbeats, state.mute, state.next_heartbeat_seconds, state.reconnect_after_first)
            };
            if mute {
                continue;
            }
            let answer = match refuse {
                Some(status) => json!({"type": "refused", "id": frame["id"], "status": status, "detail": "told to"}),
                None => {
                    self.state().store(&device_id, &frame);
                    json!({"type": "ack", "id": frame["id"], "next_heartbeat_seconds": told})
                }
            };
            if socket.send(Message::text(answer.to_string())).await.is_err() {
                return;
            }
            let waiting = self.state().waiting(&device_id);
            for command in waiting {
                let mut frame = serde_json::to_value(&command).unwrap();
                frame["type"] = "command".into();
                if socket.send(Message::text(frame.to_string())).await.is_err() {
                    return;
                }
            }
            if reconnect && std::mem::take(&mut first) {
                let _ = socket.send(Message::text(json!({"type": "reconnect", "after_ms": 50}).to_string())).await;
            }
        }
    }
}

impl NodeState {
    fn store(&mut self, device_id: &str, heartbeat: &Value) {
        assert!(heartbeat["battery"]["pct"].is_i64(), "{heartbeat}");
        let timestamp = heartbeat["timestamp_utc"].as_str().unwrap().to_owned();
        *self.stored.entry((device_id.to_owned(), timestamp)).or_default() += 1;
        self.last.insert(device_id.to_owned(), heartbeat.clone());
        if let Some(token) = heartbeat["fcm_token"].as_str() {
            self.push_tokens.insert(device_id.to_owned(), token.to_owned());
        }
    }

    /// Queues a signed command; its request id.
    pub(crate) fn command(&mut self, device_id: &str, action: &str, params: &str) -> String {
        let command = self.signed(device_id, action, params);
        let request_id = command.request_id.clone();
        self.commands.entry(device_id.to_owned()).or_default().push(command);
        request_id
    }

    /// A signed command that is not queued.
    pub(crate) fn signed(&self, device_id: &str, action: &str, params: &str) -> Command {
        let text = |at: DateTime<Utc>| at.to_rfc3339();
        let mut command = Command {
            request_id: uuid::Uuid::new_v4().to_string(),
            device_id: device_id.to_owned(),
            action: action.to_owned(),
            ts: text(now()),
            expires_at: text(now() + TimeDelta::minutes(10)),
            params: params.to_owned(),
            signature: String::new(),
            v: "1".into(),
        };
        command.signature = sign(&DeviceKey::from_hex(&self.keys[device_id]).unwrap(), &command);
        command
    }

    fn waiting(&self, device_id: &str) -> Vec<Command> {
        let commands = self.commands.get(device_id).into_iter().flatten();
        commands.filter(|command| !self.outcomes.contains_key(&command.request_id)).cloned().collect()
    }

    /// Handles a result as the agent API requires.
    fn end(&mut self, device_id: &str, result: &Value) -> u16 {
        if let Some(status) = self.refuse_results {
            return status;
        }
        let text = |name: &str| result[name].as_str().unwrap().to_owned();
        let (request_id, outcome) = (text("request_id"), text("outcome"));
        *self.results.entry((request_id.clone(), outcome.clone())).or_default() += 1;
        if !self.commands.get(device_id).into_iter().flatten().any(|command| command.request_id == request_id) {
            return 404;
        }
        match self.outcomes.get(&request_id) {
            _ if outcome == "received" => 200,
            Some(known) if *known != outcome => 409,
            _ => {
                self.outcomes.insert(request_id, outcome);
                200
            }
        }
    }

    pub(crate) fn heartbeats(&self) -> u32 {
        self.stored.values().sum()
    }
}

/// Arguments of a command of `chaos` from the words of its command line, the first of which is its name.
pub(crate) fn parse_args<A: Args>(words: impl IntoIterator<Item: Into<OsString> + Clone>) -> A {
    let matches = A::augment_args(clap::Command::new("chaos")).try_get_matches_from(words).unwrap();
    A::from_arg_matches(&matches).unwrap()
}

/// A temporary folder for a test.
pub(crate) fn folder() -> TempDir {
    TempDir::new("chaos-test").unwrap()
}

/// Arguments of a well-behaved fleet, and some more.
pub(crate) fn fleet_args(node: &FakeNode, state_dir: &Path, more: &[&str]) -> FleetArgs {
    let state_dir = state_dir.display().to_string();
    let common = ["fleet", "--server", &node.url, "--state-dir", &state_dir, "--enroll-with", PASSWORD, "--ramp-seconds", "0"];
    let calm = ["--duplicate-share", "0", "--late-share", "0", "--clock-off-share", "0", "--outages-per-hour", "0"];
    let impatient = ["--retry-min", "50ms", "--retry-max", "200ms", "--timeout", "2s"];
    let given: Vec<&str> = more.iter().step_by(2).copied().collect();
    let defaults = calm.chunks(2).chain(impatient.chunks(2)).filter(|pair| !given.contains(&pair[0])).flatten().copied();
    parse_args(common.into_iter().chain(defaults).chain(more.iter().copied()))
}

/// A stop signal that is never set, with its sender.
pub(crate) fn never() -> (watch::Sender<bool>, Stop) {
    watch::channel(false)
}
