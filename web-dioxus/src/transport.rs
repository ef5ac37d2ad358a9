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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::extract::WebSocketUpgrade;
    use axum::extract::ws::rejection::WebSocketUpgradeRejection;
    use axum::response::IntoResponse;
    use axum::routing::get;
    use dioxus::prelude::*;
    use domain::UserId;
    use domain::rate::RateLimit;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::watch;
    use tokio_util::task::LocalPoolHandle;

    use super::*;
    use crate::event_rate::EventRates;

    /// Events that wait in the socket of each page.
    const EVENTS: usize = 200;
    /// Renderings of one page in a row, while another has events as well.
    const IN_A_ROW_MAX: usize = 5;

    /// Number of a page, and the pages in the order in which they rendered.
    type Turns = (usize, Arc<Mutex<Vec<usize>>>);

    fn page() -> Element {
        let (page, turns) = use_context::<Turns>();
        turns.lock().unwrap().push(page);
        let mut events = use_signal(|| 0);
        rsx! {
            input { oninput: move |_| events += 1, value: "{events}" }
        }
    }

    /// A text frame of a client (RFC 6455), masked with zeros.
    fn frame(text: &str) -> Vec<u8> {
        let length = u16::try_from(text.len()).unwrap().to_be_bytes();
        [&[0x81, 0xfe][..], &length, &[0; 4], text.as_bytes()].concat()
    }

    #[tokio::test]
    async fn pages_of_one_thread_take_turns_by_rendering() {
        // Made for its side effect: it registers how events are read.
        drop(dioxus_liveview::LiveViewPool::new());
        let turns = Arc::<Mutex<Vec<usize>>>::default();
        let (begin, begun) = watch::channel(false);
        let (pool, limit) = (LocalPoolHandle::new(1), RateLimit { per_second: 1_000_000, burst: 1_000_000 });
        let numbers = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let seen = Arc::clone(&turns);
        let open = move |socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>| async move {
            let page_context: Turns = (numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed), Arc::clone(&seen));
            let (pool, mut begun) = (pool.clone(), begun.clone());
            let on_socket = move |socket| async move {
                let running = pool.spawn_pinned(move || async move {
                    let _ = begun.wait_for(|begun| *begun).await;
                    let events = EventRates::new(limit).of(UserId(uuid::Uuid::nil()));
                    run(VirtualDom::new(page).with_root_context(page_context), socket, &events, CancellationToken::new()).await
                });
                drop(running.await);
            };
            socket.map_or_else(IntoResponse::into_response, |socket| socket.on_upgrade(on_socket))
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/", get(open))).await });
        let event = r#"{"method":"user_event","params":{"name":"input","data":{"values":[],"value":"as long as a frame of two bytes of length has it"},
            "element":1,"bubbles":true}}"#;
        let mut clients = Vec::new();
        for _ in 0..2 {
            let mut client = TcpStream::connect(address).await.unwrap();
            let head = "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
            client.write_all(head.as_bytes()).await.unwrap();
            let mut status = [0; 12];
            client.read_exact(&mut status).await.unwrap();
            assert_eq!(&status, b"HTTP/1.1 101");
            client.write_all(&frame(event).repeat(EVENTS)).await.unwrap();
            clients.push(client);
        }
        begin.send(true).unwrap();
        let all = 2 * (EVENTS + 1);
        let finished = async {
            while turns.lock().unwrap().len() < all {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(30), finished).await.unwrap_or_else(|_| panic!("{} renderings", turns.lock().unwrap().len()));
        let turns = turns.lock().unwrap();
        let last = turns.last().unwrap();
        let until = turns.iter().rposition(|page| page != last).unwrap();
        let longest = turns[..=until].chunk_by(|one, other| one == other).map(<[_]>::len).max().unwrap();
        assert!(longest <= IN_A_ROW_MAX, "{longest} renderings in a row");
    }
}
