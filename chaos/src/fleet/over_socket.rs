//! A device that keeps a socket open: heartbeats are frames that the node
//! acknowledges; a backlog goes out as lists over HTTP before the socket opens.

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
use super::{Ending, Fleet, over_http};
use crate::identity::Trouble;
use crate::signals::stopped;
use crate::websocket;

/// Heartbeats on a socket at the same time.
const WINDOW: usize = 8;
/// A node pings every 30 s: after this long without a sign it is dead.
const DEAD_AFTER: Duration = Duration::from_secs(90);
/// How long a parting device waits for what the node still owes.
const PARTING: Duration = Duration::from_secs(2);

/// An open socket.
struct Link {
    stream: WebSocketStream<TcpStream>,
    heard_at: Instant,
    /// Nothing more is sent; closed when all is answered, at this time at the latest.
    parting_until: Option<Instant>,
    fleet: Arc<Fleet>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.fleet.stats.sockets.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What became of the socket.
enum Turn {
    Keep,
    Close,
    Lost(&'static str),
    /// Thrown away on purpose, with this answer on its way.
    ThrownAway(u64, Instant),
}

/// Lives until the run ends or the device does.
pub(super) async fn run(agent: &mut Agent, starts_at: Instant) -> Ending {
    let mut stop = agent.fleet.stop.clone();
    tokio::select! {
        () = stopped(&mut stop) => return Ending::Stopped,
        () = sleep_until(starts_at) => {}
    }
    let mut link: Option<Link> = None;
    let mut opened_before = false;
    let mut stopping = false;
    loop {
        let at = Instant::now();
        if !*stop.borrow() {
            agent.make_due(at);
        }
        let turn = match &mut link {
            None if stopping => return Ending::Stopped,
            None if agent.may_talk(at) => {
                let step = if agent.queue.len() > 1 {
                    Box::pin(over_http::deliver(agent)).await
                } else if agent.commands.answers.ready(at) && agent.rng.random_bool(0.5) {
                    // Answers need no socket; now and then they wait for it nevertheless.
                    Box::pin(over_http::answer(agent)).await
                } else if agent.deploys.reports.ready() && agent.rng.random_bool(0.5) {
                    Box::pin(over_http::report(agent)).await
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
                Ok(turn) => turn,
                Err(ending) => return ending,
            },
        };
        match turn {
            Turn::Keep => {}
            Turn::Close => {
                if let Some(mut closing) = link.take() {
                    // A courtesy: the node notices the end of the connection anyway.
                    let _ = timeout(PARTING, Box::pin(closing.stream.close(None))).await;
                }
                agent.land();
            }
            Turn::ThrownAway(id, sent) => {
                link = None;
                agent.answer_lost(id, sent);
                agent.land();
            }
            Turn::Lost(kind) => {
                link = None;
                // A socket that owed nothing is an error, but no try that failed.
                match agent.queue.in_flight_since() {
                    Some(sent) => agent.note_failure(sent, None, kind),
                    None => agent.fleet.stats.error(kind),
                }
                agent.land();
                agent.change_server();
                agent.block(None);
            }
        }
    }
}

/// Without a socket: until the next heartbeat is due, or talking is allowed.
async fn wait(agent: &mut Agent, stop: &mut crate::signals::Stop, stopping: &mut bool) -> Turn {
    let (wake, connected) = (agent.wakes_at(Instant::now(), true), agent.is_connected());
    tokio::select! {
        biased;
        () = stopped(stop) => *stopping = true,
        news = agent.news(), if connected => agent.heard(news),
        () = sleep_until(wake) => {}
    }
    Turn::Keep
}

/// Opens the socket; `None` when that failed and the agent is blocked.
async fn open(agent: &mut Agent) -> Result<Option<Link>, Ending> {
    let Some(token) = agent.session_token().await? else { return Ok(None) };
    let authorization = format!("Bearer {token}");
    let sent = Instant::now();
    match websocket::connect(agent.http().url(), "/v1/agent/socket", &[("authorization", &authorization)], websocket::AGENT_MESSAGE_BYTES)
        .await
    {
        Ok(stream) => {
            agent.fleet.stats.sockets.fetch_add(1, Ordering::Relaxed);
            agent.linked();
            Ok(Some(Link { stream, heard_at: Instant::now(), parting_until: None, fleet: Arc::clone(&agent.fleet) }))
        }
        Err(WsError::Http(answer)) => {
            let retry_after =
                answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
            agent.failed(&Trouble::Status { status: answer.status().as_u16(), retry_after, detail: String::new() }, sent)?;
            Ok(None)
        }
        Err(error) => {
            let kind = match &error {
                WsError::Io(io) if io.kind() == std::io::ErrorKind::TimedOut => "timeout",
                WsError::Io(_) => "connect",
                _ => "upgrade",
            };
            agent.note_failure(sent, None, kind);
            agent.change_server();
            agent.block(None);
            Ok(None)
        }
    }
}

/// Sends what may be sent, then waits for the next thing to happen.
async fn serve(agent: &mut Agent, link: &mut Link, stop: &mut crate::signals::Stop, stopping: &mut bool) -> Result<Turn, Ending> {
    if agent.deploys.take_restart() || !agent.is_connected() {
        return Ok(Turn::Close); // the simulated network or the system is gone, and the socket with it
    }
    if link.parting_until.is_none()
        && let Some(lost) = send_waiting(agent, link).await
    {
        return Ok(lost);
    }
    let at = Instant::now();
    if let Some(until) = link.parting_until
        && (agent.in_flight() == 0 || until <= at)
    {
        return Ok(Turn::Close);
    }
    let reports_since = agent.deploys.reports.in_flight_since();
    let owed_since = [agent.queue.in_flight_since(), agent.commands.answers.in_flight_since(), reports_since].into_iter().flatten().min();
    let owed_until = owed_since.map(|since| since + agent.fleet.settings.timeout);
    if owed_until.is_some_and(|until| until <= at) {
        return Ok(Turn::Lost("ack_timeout"));
    }
    let dead_at = link.heard_at + DEAD_AFTER;
    if dead_at <= at {
        return Ok(Turn::Lost("socket_silent"));
    }
    let talk = agent.queue.waiting() > 0 && agent.queue.in_flight() < WINDOW && link.parting_until.is_none();
    // On a socket that is about to close answers wait as well.
    let wakes_at = if link.parting_until.is_none() { agent.wakes_at(at, talk) } else { dead_at };
    let wake = [Some(wakes_at), owed_until, link.parting_until].into_iter().flatten().fold(dead_at, Instant::min);
    tokio::select! {
        biased;
        () = stopped(stop), if !*stopping => {
            *stopping = true;
            link.parting_until = Some(at + PARTING);
            Ok(Turn::Keep)
        }
        news = agent.news() => {
            agent.heard(news);
            Ok(Turn::Keep)
        }
        message = link.stream.next() => {
            link.heard_at = Instant::now();
            match message {
                Some(Ok(Message::Text(text))) => frame(agent, link, &text),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(Turn::Keep), // answered on the way
                Some(Ok(Message::Binary(_) | Message::Frame(_))) => Ok(Turn::Lost("frame_not_understood")),
                None | Some(Err(_) | Ok(Message::Close(_))) if link.parting_until.is_some() => Ok(Turn::Close),
                None | Some(Err(_) | Ok(Message::Close(_))) => Ok(Turn::Lost("socket_closed")),
            }
        }
        () = sleep_until(wake) => Ok(Turn::Keep),
    }
}

async fn send_waiting(agent: &mut Agent, link: &mut Link) -> Option<Turn> {
    loop {
        let at = Instant::now();
        if !agent.may_talk(at) {
            return None;
        }
        let Some(answer) = agent.commands.answers.launch(at) else { break };
        let (id, lose) = (answer.id, answer.lose);
        // A result is text, numbers and a map with text keys: it always serialises.
        let Ok(text) = serde_json::to_string(&ActionResultFrame { kind: "action_result", id, result: &answer.result }) else { break };
        agent.answering();
        if let Some(lost) = send(agent, link, text).await {
            return Some(lost);
        }
        if lose {
            return Some(Turn::ThrownAway(id, at));
        }
    }
    while agent.may_talk(Instant::now()) {
        let Some(outgoing) = agent.deploys.reports.launch(Instant::now()) else { break };
        // Text and numbers: it always serialises.
        let Ok(text) = serde_json::to_string(&outgoing.frame()) else { break };
        if let Some(lost) = send(agent, link, text).await {
            return Some(lost);
        }
    }
    loop {
        let at = Instant::now();
        if !agent.may_talk(at) {
            return None;
        }
        let entry = agent.queue.launch(WINDOW, at)?.clone();
        agent.sending([&entry], at);
        // The heartbeat's fields stand beside the frame's own.
        let text = format!(r#"{{"type":"heartbeat","id":{},{}"#, entry.id, &entry.body[1..]);
        if let Some(lost) = send(agent, link, text).await {
            return Some(lost);
        }
    }
}

async fn send(agent: &Agent, link: &mut Link, text: String) -> Option<Turn> {
    match timeout(agent.fleet.settings.timeout, link.stream.send(Message::text(text))).await {
        Ok(Ok(())) => None,
        Ok(Err(_)) => Some(Turn::Lost("socket_closed")),
        Err(_) => Some(Turn::Lost("timeout")),
    }
}

fn frame(agent: &mut Agent, link: &mut Link, text: &str) -> Result<Turn, Ending> {
    match serde_json::from_str::<DownFrame>(text) {
        Ok(DownFrame::Ack { id, next_heartbeat_seconds, owner }) => {
            if let Some(id) = id.as_u64()
                && !agent.answer_acknowledged(id, link.heard_at)
                && !agent.report_acknowledged(id)
            {
                let sent = agent.queue.sent(id).unwrap_or(link.heard_at);
                agent.acknowledged(id, sent, owner.as_deref());
            }
            if let Some(seconds) = next_heartbeat_seconds {
                agent.told(seconds);
            }
        }
        Ok(DownFrame::Refused { id, status, retry_after_s, .. }) => return refused(agent, id.as_u64(), status, retry_after_s),
        Ok(DownFrame::Command(command)) => agent.commanded(&[command], Path::Socket),
        Ok(DownFrame::Reconnect { after_ms }) => {
            agent.fleet.stats.reconnect_frames.add(1);
            agent.change_server();
            agent.block_for(Duration::from_millis(after_ms.min(600_000)));
            link.parting_until = Some(Instant::now() + PARTING);
        }
        Err(_) => agent.fleet.stats.error("frame_not_understood"),
    }
    Ok(Turn::Keep)
}

fn refused(agent: &mut Agent, id: Option<u64>, status: u16, retry_after_s: Option<u32>) -> Result<Turn, Ending> {
    let retry_after = retry_after_s.map(|seconds| Duration::from_secs(u64::from(seconds)));
    if let Some(outcome) = id.and_then(|id| agent.answer_refused(id, status, retry_after, Instant::now())) {
        return outcome.map(|()| if status == 401 { Turn::Close } else { Turn::Keep });
    }
    if let Some(outcome) = id.and_then(|id| agent.report_refused(id, status, retry_after)) {
        return outcome.map(|()| if status == 401 { Turn::Close } else { Turn::Keep });
    }
    let sent = id.and_then(|id| agent.queue.sent(id)).unwrap_or_else(Instant::now);
    agent.note_failure(sent, Some(status), &format!("refused_{status}"));
    match (status, id) {
        (410, _) => return Err(Ending::Deleted),
        (401, _) => {
            agent.unauthorized()?;
            return Ok(Turn::Close);
        }
        (408 | 425 | 429 | 500..=599, _) => {
            agent.queue.land(id);
            agent.block(retry_after);
        }
        (_, Some(id)) => agent.give_up(id),
        // A frame without an id is none of ours: nothing to take back.
        (_, None) => {}
    }
    Ok(Turn::Keep)
}
