//! Socket transport of a device: heartbeats are frames that the node acknowledges; a backlog is sent as lists over HTTP
//! before the socket opens.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rand::RngExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use wire::command::ActionResultFrame;
use wire::socket::DownFrame;

use super::agent::Agent;
use super::commands::Path;
use super::{EndReason, Fleet, over_http};
use crate::identity::RequestFailure;
use crate::signals::stopped;
use crate::websocket;

/// Heartbeats in flight on a socket at the same time.
const WINDOW: usize = 8;
/// Time without a frame after which the socket is considered dead; a node pings every 30 s.
const SILENCE_LIMIT: Duration = Duration::from_secs(90);
/// Time to wait for outstanding acknowledgements before the socket is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// An open socket.
struct Link {
    stream: WebSocketStream<TcpStream>,
    received_at: Instant,
    /// Deadline of a graceful close: nothing more is sent, and the socket closes once everything is acknowledged.
    closing_until: Option<Instant>,
    fleet: Arc<Fleet>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.fleet.stats.sockets.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Status of the socket after a step.
enum SocketStatus {
    Keep,
    Close,
    Lost(&'static str),
    /// Dropped on purpose while the acknowledgement of this result is outstanding.
    Discarded(u64, Instant),
}

/// Runs the device until it ends or the run does.
pub(super) async fn run(agent: &mut Agent, starts_at: Instant) -> EndReason {
    let mut stop = agent.fleet.stop.clone();
    tokio::select! {
        () = stopped(&mut stop) => return EndReason::Stopped,
        () = sleep_until(starts_at) => {}
    }
    let mut link: Option<Link> = None;
    let mut opened_before = false;
    let mut stopping = false;
    loop {
        let at = Instant::now();
        if !*stop.borrow() {
            agent.create_due_heartbeats(at);
        }
        let status = match &mut link {
            None if stopping => return EndReason::Stopped,
            None if agent.may_send(at) => {
                let step = if agent.queue.len() > 1 {
                    Box::pin(over_http::send_heartbeats(agent)).await
                } else if agent.commands.results.ready(at) && agent.rng.random_bool(0.5) {
                    // Results need no socket; at random they wait for it nevertheless.
                    Box::pin(over_http::send_result(agent)).await
                } else if agent.installations.reports.ready() && agent.rng.random_bool(0.5) {
                    Box::pin(over_http::send_report(agent)).await
                } else {
                    Box::pin(open(agent)).await.map(|opened| link = opened)
                };
                if let Err(ending) = step {
                    return ending;
                }
                if link.is_some() && std::mem::replace(&mut opened_before, true) {
                    agent.fleet.stats.reconnects.add(1);
                }
                if *stop.borrow() {
                    stopping = true;
                }
                continue;
            }
            None => wait(agent, &mut stop, &mut stopping).await,
            Some(open) => match serve(agent, open, &mut stop, &mut stopping).await {
                Ok(status) => status,
                Err(ending) => return ending,
            },
        };
        match status {
            SocketStatus::Keep => {}
            SocketStatus::Close => {
                if let Some(mut closing) = link.take() {
                    // Best effort: the node notices the end of the connection anyway.
                    let _ = timeout(CLOSE_TIMEOUT, Box::pin(closing.stream.close(None))).await;
                }
                agent.requeue();
            }
            SocketStatus::Discarded(id, sent) => {
                link = None;
                agent.result_ack_lost(id, sent);
                agent.requeue();
            }
            SocketStatus::Lost(kind) => {
                link = None;
                // Without outstanding heartbeats it is an error, but not a failed attempt.
                match agent.queue.in_flight_since() {
                    Some(sent) => agent.record_failure(sent, None, kind),
                    None => agent.fleet.stats.error(kind),
                }
                agent.requeue();
                agent.change_server();
                agent.back_off(None);
            }
        }
    }
}

/// Waits without a socket until the next heartbeat is due or the back-off ends.
async fn wait(agent: &mut Agent, stop: &mut crate::signals::Stop, stopping: &mut bool) -> SocketStatus {
    let (wake, connected) = (agent.next_wakeup(Instant::now(), true), agent.is_connected());
    tokio::select! {
        biased;
        () = stopped(stop) => *stopping = true,
        item = agent.next_inbox_item(), if connected => agent.handle_inbox_item(item),
        () = sleep_until(wake) => {}
    }
    SocketStatus::Keep
}

/// Opens the socket; `None` when that failed, after which the agent backs off.
async fn open(agent: &mut Agent) -> Result<Option<Link>, EndReason> {
    let Some(token) = agent.session_token().await? else { return Ok(None) };
    let authorization = format!("Bearer {token}");
    let sent = Instant::now();
    match websocket::connect(agent.http().url(), "/v1/agent/socket", &[("authorization", &authorization)], websocket::AGENT_MESSAGE_BYTES)
        .await
    {
        Ok(stream) => {
            agent.fleet.stats.sockets.fetch_add(1, Ordering::Relaxed);
            agent.socket_opened();
            Ok(Some(Link { stream, received_at: Instant::now(), closing_until: None, fleet: Arc::clone(&agent.fleet) }))
        }
        Err(WsError::Http(answer)) => {
            let retry_after =
                answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
            agent.failed(&RequestFailure::Status { status: answer.status().as_u16(), retry_after, detail: String::new() }, sent)?;
            Ok(None)
        }
        Err(error) => {
            let kind = match &error {
                WsError::Io(io) if io.kind() == std::io::ErrorKind::TimedOut => "timeout",
                WsError::Io(_) => "connect",
                _ => "upgrade",
            };
            agent.record_failure(sent, None, kind);
            agent.change_server();
            agent.back_off(None);
            Ok(None)
        }
    }
}

/// Sends what is queued, then waits for the next event.
async fn serve(
    agent: &mut Agent,
    link: &mut Link,
    stop: &mut crate::signals::Stop,
    stopping: &mut bool,
) -> Result<SocketStatus, EndReason> {
    if agent.installations.take_restart() || !agent.is_connected() {
        return Ok(SocketStatus::Close); // the simulated network or system is down, and the socket with it
    }
    if link.closing_until.is_none()
        && let Some(status) = send_queued(agent, link).await
    {
        return Ok(status);
    }
    let at = Instant::now();
    if let Some(until) = link.closing_until
        && (agent.in_flight() == 0 || until <= at)
    {
        return Ok(SocketStatus::Close);
    }
    let reports_since = agent.installations.reports.in_flight_since();
    let unacknowledged_since =
        [agent.queue.in_flight_since(), agent.commands.results.in_flight_since(), reports_since].into_iter().flatten().min();
    let ack_deadline = unacknowledged_since.map(|since| since + agent.fleet.settings.timeout);
    if ack_deadline.is_some_and(|until| until <= at) {
        return Ok(SocketStatus::Lost("ack_timeout"));
    }
    let silent_until = link.received_at + SILENCE_LIMIT;
    if silent_until <= at {
        return Ok(SocketStatus::Lost("socket_silent"));
    }
    let has_heartbeats = agent.queue.waiting() > 0 && agent.queue.in_flight() < WINDOW && link.closing_until.is_none();
    // Nothing more is sent on a socket that is about to close.
    let wakes_at = if link.closing_until.is_none() { agent.next_wakeup(at, has_heartbeats) } else { silent_until };
    let wake = [Some(wakes_at), ack_deadline, link.closing_until].into_iter().flatten().fold(silent_until, Instant::min);
    tokio::select! {
        biased;
        () = stopped(stop), if !*stopping => {
            *stopping = true;
            link.closing_until = Some(at + CLOSE_TIMEOUT);
            Ok(SocketStatus::Keep)
        }
        item = agent.next_inbox_item() => {
            agent.handle_inbox_item(item);
            Ok(SocketStatus::Keep)
        }
        message = link.stream.next() => {
            link.received_at = Instant::now();
            match message {
                Some(Ok(Message::Text(text))) => frame(agent, link, &text),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(SocketStatus::Keep), // answered on the way
                Some(Ok(Message::Binary(_) | Message::Frame(_))) => Ok(SocketStatus::Lost("frame_not_understood")),
                None | Some(Err(_) | Ok(Message::Close(_))) if link.closing_until.is_some() => Ok(SocketStatus::Close),
                None | Some(Err(_) | Ok(Message::Close(_))) => Ok(SocketStatus::Lost("socket_closed")),
            }
        }
        () = sleep_until(wake) => Ok(SocketStatus::Keep),
    }
}

async fn send_queued(agent: &mut Agent, link: &mut Link) -> Option<SocketStatus> {
    loop {
        let at = Instant::now();
        if !agent.may_send(at) {
            return None;
        }
        let Some(pending) = agent.commands.results.next_to_send(at) else { break };
        let (id, lose) = (pending.id, pending.lose);
        // Serialization cannot fail: text, numbers and a map with text keys.
        let Ok(text) = serde_json::to_string(&ActionResultFrame { kind: "action_result", id, result: &pending.result }) else { break };
        agent.count_result_sent();
        if let Some(status) = send(agent, link, text).await {
            return Some(status);
        }
        if lose {
            return Some(SocketStatus::Discarded(id, at));
        }
    }
    while agent.may_send(Instant::now()) {
        let Some(outgoing) = agent.installations.reports.next_to_send(Instant::now()) else { break };
        // Serialization cannot fail: text and numbers.
        let Ok(text) = serde_json::to_string(&outgoing.frame()) else { break };
        if let Some(status) = send(agent, link, text).await {
            return Some(status);
        }
    }
    loop {
        let at = Instant::now();
        if !agent.may_send(at) {
            return None;
        }
        let entry = agent.queue.next_to_send(WINDOW, at)?.clone();
        agent.count_sent([&entry], at);
        // The heartbeat's fields are merged into the frame object.
        let text = format!(r#"{{"type":"heartbeat","id":{},{}"#, entry.id, &entry.body[1..]);
        if let Some(status) = send(agent, link, text).await {
            return Some(status);
        }
    }
}

async fn send(agent: &Agent, link: &mut Link, text: String) -> Option<SocketStatus> {
    match timeout(agent.fleet.settings.timeout, link.stream.send(Message::text(text))).await {
        Ok(Ok(())) => None,
        Ok(Err(_)) => Some(SocketStatus::Lost("socket_closed")),
        Err(_) => Some(SocketStatus::Lost("timeout")),
    }
}

fn frame(agent: &mut Agent, link: &mut Link, text: &str) -> Result<SocketStatus, EndReason> {
    match serde_json::from_str::<DownFrame>(text) {
        Ok(DownFrame::Ack { id, next_heartbeat_seconds, owner }) => {
            if let Some(id) = id.as_u64()
                && !agent.result_acknowledged(id, link.received_at)
                && !agent.report_acknowledged(id)
            {
                let sent = agent.queue.sent(id).unwrap_or(link.received_at);
                agent.acknowledged(id, sent, owner.as_deref());
            }
            if let Some(seconds) = next_heartbeat_seconds {
                agent.set_next_heartbeat(seconds);
            }
        }
        Ok(DownFrame::Refused { id, status, retry_after_s, .. }) => return refused(agent, id.as_u64(), status, retry_after_s),
        Ok(DownFrame::Command(command)) => agent.receive_commands(&[command], Path::Socket),
        Ok(DownFrame::Reconnect { after_ms }) => {
            agent.fleet.stats.reconnect_frames.add(1);
            agent.change_server();
            agent.pause_for(Duration::from_millis(after_ms.min(600_000)));
            link.closing_until = Some(Instant::now() + CLOSE_TIMEOUT);
        }
        Err(_) => agent.fleet.stats.error("frame_not_understood"),
    }
    Ok(SocketStatus::Keep)
}

fn refused(agent: &mut Agent, id: Option<u64>, status: u16, retry_after_s: Option<u32>) -> Result<SocketStatus, EndReason> {
    let retry_after = retry_after_s.map(|seconds| Duration::from_secs(u64::from(seconds)));
    if let Some(outcome) = id.and_then(|id| agent.result_refused(id, status, retry_after, Instant::now())) {
        return outcome.map(|()| if status == 401 { SocketStatus::Close } else { SocketStatus::Keep });
    }
    if let Some(outcome) = id.and_then(|id| agent.report_refused(id, status, retry_after)) {
        return outcome.map(|()| if status == 401 { SocketStatus::Close } else { SocketStatus::Keep });
    }
    let sent = id.and_then(|id| agent.queue.sent(id)).unwrap_or_else(Instant::now);
    agent.record_failure(sent, Some(status), &format!("refused_{status}"));
    match (status, id) {
        (410, _) => return Err(EndReason::Deleted),
        (401, _) => {
            agent.unauthorized()?;
            return Ok(SocketStatus::Close);
        }
        (408 | 425 | 429 | 500..=599, _) => {
            agent.queue.requeue(id);
            agent.back_off(retry_after);
        }
        (_, Some(id)) => agent.drop_heartbeat(id),
        // A frame without an id refers to nothing that was sent.
        (_, None) => {}
    }
    Ok(SocketStatus::Keep)
}
