//! `GET /v1/agent/socket`: a device's WebSocket, under the same rules as HTTP.
//!
//! One frame at a time: the next is read once the last is answered, so a device
//! that sends faster than it is served fills its own buffers, not ours.

use std::sync::Arc;
use std::time::Duration;

use actors::messages::DeviceCredentials;
use actors::sockets::SocketEntry;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::Response;
use domain::permits::{Claim, Class};
use link::messages::SocketPush;
use link::trace::TARGET;
use permits::Permit;
use serde_json::Value;
use services::ResultFormat;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::Instrument;
use wire::command::ActionResult;
use wire::deployment::DeploymentStatus;
use wire::device_body::{self, UnusableFields};
use wire::socket::{DownFrame, UpHeader};

use super::extract::{ClientAddress, Device};
use super::{ApiError, App};
use crate::{command_params, convert, deployment_params, present};

/// Read and write buffers of a socket; frames are small and sockets are many.
const BUFFER_BYTES: usize = 4 * 1024;
/// Frames queued to a socket while it sends; a command that finds no room goes another way.
const PUSHES_MAX: usize = 32;
/// RFC 6455, section 7.4.1: the endpoint is going away.
const CLOSE_GOING_AWAY: u16 = 1001;
/// RFC 6455, section 7.4.1: the peer does not speak the protocol.
const CLOSE_PROTOCOL: u16 = 1002;
/// RFC 6455, section 7.4.1: the peer broke a rule.
const CLOSE_POLICY: u16 = 1008;

/// Upgrades the connection of a device that proved who it is.
pub(crate) async fn upgrade(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    Device(credentials): Device,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|_| {
        let detail = "this route takes WebSocket upgrades only; a proxy in between has to pass them on (nginx: proxy_http_version 1.1 and the \
                      headers Upgrade and Connection)";
        ApiError::new(StatusCode::UPGRADE_REQUIRED, "not_a_websocket", detail)
    })?;
    app.system.agent.check(credentials).await?;
    let permit = app.sockets.take(Claim::device(Class::Regular, credentials.device_id, Some(address)))?;
    let limit_bytes = app.config.socket.frame_limit_bytes;
    Ok(upgrade
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(limit_bytes)
        .max_frame_size(limit_bytes)
        .on_upgrade(move |socket| run(app, credentials, socket, permit)))
}

async fn run(app: Arc<App>, credentials: DeviceCredentials, socket: WebSocket, permit: Permit) {
    let _permit = permit;
    let gauge = app.observability.services.actors.agent_sockets.clone();
    gauge.inc();
    let mut session = Session {
        send_timeout: Duration::from_millis(app.config.socket.send_timeout_ms),
        app,
        credentials,
        socket,
        entry: None,
        bad_frames: 0,
    };
    // An error means that the peer is gone; there is nobody left to tell.
    let _ = session.run().await;
    gauge.dec();
    if let Some(entry) = session.entry.take() {
        session.app.system.agent.detach_socket(session.credentials, entry).await;
    }
}

/// The connection is over.
struct Closed;

struct Session {
    app: Arc<App>,
    credentials: DeviceCredentials,
    socket: WebSocket,
    /// Under which the node knows it.
    entry: Option<SocketEntry>,
    bad_frames: u32,
    send_timeout: Duration,
}

impl Session {
    async fn run(&mut self) -> Result<(), Closed> {
        let settings = &self.app.config.socket;
        let (sender, mut pushes) = mpsc::channel(PUSHES_MAX);
        let dead_after = Duration::from_secs(settings.dead_after_seconds);
        let mut pings = tokio::time::interval(Duration::from_secs(settings.ping_interval_seconds));
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.reset();
        let stopping = self.app.stopping.clone();
        match self.app.system.agent.attach_socket(self.credentials, sender).await {
            Ok(entry) => self.entry = Some(entry),
            Err(error) => return self.refuse_and_close(error.into()).await,
        }
        let mut heard_at = Instant::now();
        loop {
            tokio::select! {
                () = stopping.cancelled() => return self.ask_to_reconnect().await,
                push = pushes.recv() => self.pushed(push).await?,
                _ = pings.tick() => {
                    if heard_at.elapsed() >= dead_after {
                        return Err(Closed);
                    }
                    self.send(Message::Ping(bytes::Bytes::new())).await?;
                }
                message = self.socket.recv() => {
                    heard_at = Instant::now();
                    match message {
                        Some(Ok(Message::Text(text))) => self.frame(text.as_bytes()).await?,
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                        Some(Ok(Message::Binary(_))) => self.bad_frame(Value::Null, not_text()).await?,
                        Some(Err(_)) => return self.protocol_broken().await,
                        Some(Ok(Message::Close(_))) | None => return Err(Closed),
                    }
                }
            }
        }
    }

    async fn frame(&mut self, text: &[u8]) -> Result<(), Closed> {
        let header: UpHeader = match device_body::read(text, &mut UnusableFields::default()) {
            Ok(header) => header,
            Err(error) => return self.bad_frame(Value::Null, error.into()).await,
        };
        let id = header.id.and_then(|id| serde_json::from_str(id.get()).ok()).unwrap_or(Value::Null);
        match header.kind.as_str() {
            "heartbeat" => self.heartbeat(id, text).await,
            "action_result" => self.action_result(id, text).await,
            "deployment_status" => self.deployment_status(id, text).await,
            _ => {
                let error = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_value", "type: not a frame type of devices");
                self.bad_frame(id, error).await
            }
        }
    }

    async fn action_result(&mut self, id: Value, text: &[u8]) -> Result<(), Closed> {
        let mut unusable = UnusableFields::default();
        let reported = device_body::read::<ActionResult>(text, &mut unusable).map_err(ApiError::from);
        let result = match reported.and_then(|reported| command_params::result(self.credentials.device_id, reported, &mut unusable)) {
            Ok(result) => result,
            Err(error) => return self.refused(id, &error).await,
        };
        self.app.observability.count_unusable_fields("action_result", &unusable);
        match self.app.system.agent.record_result(self.credentials, result, ResultFormat::Current).await {
            Ok(()) => self.send_frame(&DownFrame::Ack { id, next_heartbeat_seconds: None, owner: None }).await,
            Err(error @ (domain::ServiceError::Unauthorized | domain::ServiceError::DeviceDeleted)) => {
                self.refused(id, &error.into()).await?;
                self.close(CLOSE_POLICY, "refused").await
            }
            Err(error) => self.refused(id, &error.into()).await,
        }
    }

    async fn deployment_status(&mut self, id: Value, text: &[u8]) -> Result<(), Closed> {
        let mut unusable = UnusableFields::default();
        let mut about = None;
        let reported = device_body::read::<DeploymentStatus>(text, &mut unusable).map_err(ApiError::from).and_then(|reported| {
            let deployment = present::id("deployment", reported.deployment_id.as_deref().unwrap_or_default())?;
            about = Some(deployment);
            Ok(deployment_params::task_report(deployment, self.credentials.device_id, reported, &mut unusable)?)
        });
        let task_report = match reported {
            Ok(task_report) => task_report,
            Err(error) => {
                if let Some(deployment) = about {
                    self.app.system.agent.note_report_error(self.credentials, deployment);
                }
                return self.refused(id, &error).await;
            }
        };
        self.app.observability.count_unusable_fields("deployment_status", &unusable);
        match self.app.system.agent.record_task_report(self.credentials, task_report).await {
            Ok(()) => self.send_frame(&DownFrame::Ack { id, next_heartbeat_seconds: None, owner: None }).await,
            Err(error @ (domain::ServiceError::Unauthorized | domain::ServiceError::DeviceDeleted)) => {
                self.refused(id, &error.into()).await?;
                self.close(CLOSE_POLICY, "refused").await
            }
            Err(error) => self.refused(id, &error.into()).await,
        }
    }

    async fn heartbeat(&mut self, id: Value, text: &[u8]) -> Result<(), Closed> {
        let incoming = match convert::heartbeat(self.credentials.device_id, text, &self.app.opted_in, self.app.system.clock.now()) {
            Ok(incoming) => incoming,
            Err(error) => return self.refused(id, &error).await,
        };
        self.app.observability.count_unusable(&incoming.status.telemetry);
        let agent = &self.app.system.agent;
        let span = tracing::trace_span!(target: TARGET, "socket.heartbeat", otel.kind = "server");
        match agent.store_heartbeat(self.credentials, self.entry.as_ref(), incoming).instrument(span).await {
            Ok(acknowledged) => {
                let (next, owner) = (agent.next_heartbeat_s(), present::owner(&acknowledged));
                self.send_frame(&DownFrame::Ack { id, next_heartbeat_seconds: Some(next), owner: Some(owner) }).await?;
                for command in &acknowledged.commands {
                    self.send_frame(&DownFrame::Command(present::command(command))).await?;
                }
                Ok(())
            }
            Err(error @ (domain::ServiceError::Unauthorized | domain::ServiceError::DeviceDeleted)) => {
                self.refused(id, &error.into()).await?;
                self.close(CLOSE_POLICY, "refused").await
            }
            Err(error) => self.refused(id, &error.into()).await,
        }
    }

    /// A frame that is no JSON object or of no known type; a few are tolerated. One that is understood and refused is none of them.
    async fn bad_frame(&mut self, id: Value, error: ApiError) -> Result<(), Closed> {
        self.bad_frames += 1;
        self.refused(id, &error).await?;
        if self.bad_frames > self.app.config.socket.bad_frames_max {
            return self.close(CLOSE_POLICY, "too many unreadable frames").await;
        }
        Ok(())
    }

    /// Not WebSocket, or a frame over the limit: nothing that follows can be read.
    async fn protocol_broken(&mut self) -> Result<(), Closed> {
        self.app.observability.socket_refusals.with_label_values(&["protocol"]).inc();
        self.close(CLOSE_PROTOCOL, "unreadable or oversized frame").await
    }

    async fn refused(&mut self, id: Value, error: &ApiError) -> Result<(), Closed> {
        self.app.observability.socket_refusals.with_label_values(&[error.status().as_str()]).inc();
        let frame = DownFrame::Refused {
            id,
            status: error.status().as_u16(),
            detail: error.detail(),
            reason: error.reason().map(str::to_owned),
            retry_after_s: error.retry_after_s(),
        };
        self.send_frame(&frame).await
    }

    async fn refuse_and_close(&mut self, error: ApiError) -> Result<(), Closed> {
        self.refused(Value::Null, &error).await?;
        self.close(CLOSE_POLICY, "refused").await
    }

    async fn pushed(&mut self, push: Option<SocketPush>) -> Result<(), Closed> {
        match push {
            Some(SocketPush::Command(command)) => self.send_frame(&DownFrame::Command(present::command(&command))).await,
            Some(SocketPush::Replaced) => self.close(CLOSE_POLICY, "replaced by another connection of this device").await,
            Some(SocketPush::Revoked) => {
                let error = match self.app.system.agent.check(self.credentials).await {
                    Err(error) => error,
                    Ok(()) => domain::ServiceError::Unavailable,
                };
                self.refuse_and_close(error.into()).await
            }
            // Nobody can push to this socket any more: a new one is entered anew.
            None => self.ask_to_reconnect().await,
        }
    }

    async fn ask_to_reconnect(&mut self) -> Result<(), Closed> {
        let wait_ms = self.app.config.socket.reconnect_after_max_ms as f64 * self.app.system.clock.randomness().fraction();
        self.send_frame(&DownFrame::Reconnect { after_ms: wait_ms as u64 }).await?;
        self.close(CLOSE_GOING_AWAY, "reconnect").await
    }

    async fn close(&mut self, code: u16, reason: &'static str) -> Result<(), Closed> {
        self.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await?;
        Err(Closed)
    }

    async fn send_frame(&mut self, frame: &DownFrame) -> Result<(), Closed> {
        let text = serde_json::to_string(frame).map_err(|cause| {
            tracing::error!(event = "socket.frame_unwritable", %cause);
            Closed
        })?;
        self.send(Message::Text(text.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Closed> {
        match tokio::time::timeout(self.send_timeout, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Closed),
        }
    }
}

fn not_text() -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "malformed_json", "frames are JSON text")
}
