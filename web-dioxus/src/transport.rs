//! Transport of one open page: a VirtualDom and the socket to its browser.
//!
//! Changes go out as binary frames, first byte 1; events come in as JSON
//! text. Nothing is ever evaluated on either side.

use std::any::Any;
use std::rc::Rc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use dioxus::core::{Event, VirtualDom};
use dioxus::html::{EventData, HtmlEvent};
use dioxus_interpreter_js::MutationState;
use serde::Deserialize;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::event_rate::EventRate;

/// Keep-alive message of the browser, and its reply.
const PING: &str = "__ping__";
const PONG: &[u8] = b"\0__pong__";
/// Timeout for sending a frame.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle timeout; the browser pings every 25 s.
const READ_TIMEOUT: Duration = Duration::from_secs(75);
/// Minimum interval of unsolicited frames.
const FRAME_INTERVAL: Duration = Duration::from_millis(50);
/// Time after an event in which frames are sent at once, as its consequences.
const QUICK: Duration = Duration::from_millis(500);
const QUICK_INTERVAL: Duration = Duration::from_millis(2);
/// Close code "going away": the browser comes back by itself.
const GOING_AWAY: u16 = 1001;

/// Reason for the end of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Closed by the browser, or connection lost.
    Closed,
    /// Idle timeout.
    Silent,
    /// Send timeout.
    Slow,
    /// Ended by the server: shutdown or invalid sign-in.
    Ended,
    /// Invalid message from the browser.
    Garbage,
}

#[derive(Deserialize)]
#[serde(tag = "method", content = "params")]
enum FromBrowser {
    #[serde(rename = "user_event")]
    Event(Box<HtmlEvent>),
    #[serde(other)]
    Other,
}

/// Runs a page until either side ends it. Events that come faster than `events` allows wait in the socket.
pub(crate) async fn run(mut document: VirtualDom, mut socket: WebSocket, events: &EventRate, ended: CancellationToken) -> End {
    let mut mutations = Box::<MutationState>::default();
    document.rebuild(&mut *mutations);
    if let Some(frame) = take(&mut mutations)
        && let Err(end) = send(&mut socket, frame).await
    {
        return end;
    }
    let mut last_frame = Instant::now();
    let mut silent_at = Instant::now() + READ_TIMEOUT;
    let mut quick_until = Instant::now() + QUICK;
    let mut readable_at = Instant::now();
    loop {
        // Events may always be waiting: pages of one thread take turns by rendering, whatever their sockets hold.
        tokio::task::yield_now().await;
        let interval = if Instant::now() < quick_until { QUICK_INTERVAL } else { FRAME_INTERVAL };
        let changes = async {
            document.wait_for_work().await;
            sleep_until(last_frame + interval).await;
        };
        tokio::select! {
            () = changes => {}
            () = ended.cancelled() => {
                let close = Message::Close(Some(CloseFrame { code: GOING_AWAY, reason: "".into() }));
                let _ = timeout(SEND_TIMEOUT, socket.send(close)).await;
                return End::Ended;
            }
            () = sleep_until(silent_at) => return End::Silent,
            message = async { sleep_until(readable_at).await; socket.recv().await } => {
                silent_at = Instant::now() + READ_TIMEOUT;
                match message {
                    Some(Ok(Message::Text(text))) if text.as_str() == PING => {
                        if let Err(end) = send(&mut socket, PONG.to_vec()).await {
                            return end;
                        }
                        continue;
                    }
                    Some(Ok(Message::Text(text))) => {
                        quick_until = Instant::now() + QUICK;
                        readable_at = Instant::now() + events.count();
                        handle(&document, text.as_str());
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Binary(_))) => return End::Garbage,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return End::Closed,
                }
            }
        }
        document.render_immediate(&mut *mutations);
        if let Some(frame) = take(&mut mutations) {
            last_frame = Instant::now();
            if let Err(end) = send(&mut socket, frame).await {
                return end;
            }
        }
    }
}

/// Dispatches an event to its handlers; an invalid one is ignored.
pub(crate) fn handle(document: &VirtualDom, text: &str) {
    let Ok(FromBrowser::Event(event)) = serde_json::from_str(text) else { return };
    // Elements are not reachable from here, so there is nothing to mount.
    if matches!(event.data, EventData::Mounted) {
        return;
    }
    let (name, element, bubbles) = (event.name, event.element, event.bubbles);
    let data: Rc<dyn Any> = event.data.into_any();
    document.runtime().handle_event(&name, Event::new(data, bubbles), element);
}

async fn send(socket: &mut WebSocket, frame: Vec<u8>) -> Result<(), End> {
    match timeout(SEND_TIMEOUT, socket.send(Message::Binary(frame.into()))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Closed),
        Err(_) => Err(End::Slow),
    }
}

fn take(mutations: &mut MutationState) -> Option<Vec<u8>> {
    let mut frame = vec![1];
    mutations.write_memory_into(&mut frame);
    (frame.len() > 1).then_some(frame)
}
