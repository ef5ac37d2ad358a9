//! Closed loop of one keep-alive connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::body::RequestTemplate;
use super::response::{Head, read_head};
use crate::http::ServerUrl;
use crate::measure::{Errors, Latencies};
use crate::signals::Stop;

/// Seconds of a bucket: the server stores one heartbeat per device in each.
pub(super) const BUCKET_S: i64 = 10;
/// Pause before a reconnect.
const RECONNECT: Duration = Duration::from_millis(100);

/// State that all connections of a run share.
pub(super) struct Run {
    pub(super) timeout: Duration,
    /// After each answer, before the next request.
    pub(super) pause: Duration,
    pub(super) measured_from: Instant,
    pub(super) ends_at: Instant,
    /// Heartbeats of later buckets would be ahead of the server's clock.
    pub(super) last_bucket_s: i64,
    /// The first bucket that no device has used yet.
    pub(super) next_bucket_s: AtomicI64,
    pub(super) acknowledged: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) stop: Stop,
}

/// Measurements of a connection.
#[derive(Default)]
pub(super) struct Measurements {
    pub(super) latency: Latencies,
    pub(super) errors: Errors,
    /// Acknowledgements after warm-up.
    pub(super) acknowledged: u64,
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(url: &ServerUrl) -> Result<Self, &'static str> {
        let stream = TcpStream::connect(url.authority()).await.map_err(|_| "connect")?;
        stream.set_nodelay(true).map_err(|_| "connect")?;
        Ok(Self { stream, buffer: Vec::with_capacity(2_048) })
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Head, &'static str> {
        self.stream.write_all(request).await.map_err(|_| "connection_lost")?;
        self.buffer.clear();
        let mut head: Option<Head> = None;
        loop {
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Err("connection_lost"),
                Ok(_) => {}
            }
            if head.is_none() {
                head = read_head(&self.buffer)?;
            }
            if let Some(found) = head.take() {
                let whole = found.head_len + found.body_len;
                match self.buffer.len().cmp(&whole) {
                    std::cmp::Ordering::Less => head = Some(found),
                    std::cmp::Ordering::Equal => return Ok(found),
                    std::cmp::Ordering::Greater => return Err("answer_too_long"),
                }
            }
        }
    }
}

/// Sends heartbeats of `devices` to `url` in turn, every round one bucket on.
pub(super) async fn drive(run: Arc<Run>, url: ServerUrl, mut devices: Vec<RequestTemplate>, first_bucket_s: i64) -> Measurements {
    let mut measured = Measurements::default();
    let mut connection = None;
    let mut bucket_s = first_bucket_s;
    let mut n = 0_u64;
    while bucket_s <= run.last_bucket_s {
        // Stored before its first use, as a killed run must not use it again.
        run.next_bucket_s.fetch_max(bucket_s + BUCKET_S, Ordering::Relaxed);
        let time = DateTime::<Utc>::from_timestamp(bucket_s, 0).unwrap_or_default();
        for device in &mut devices {
            if Instant::now() >= run.ends_at || *run.stop.borrow() {
                return measured;
            }
            n += 1;
            send(&run, &url, &mut connection, device.at(time, n), &mut measured).await;
            if run.pause > Duration::ZERO {
                sleep(run.pause).await;
            }
        }
        bucket_s += BUCKET_S;
    }
    measured.errors.count("history_used_up");
    measured
}

async fn send(run: &Run, url: &ServerUrl, connection: &mut Option<Connection>, request: &[u8], measured: &mut Measurements) {
    let mut open = match connection.take() {
        Some(open) => open,
        None => match timeout(run.timeout, Connection::open(url)).await.unwrap_or(Err("connect_timeout")) {
            Ok(open) => open,
            Err(kind) => return fail(run, measured, kind, RECONNECT).await,
        },
    };
    let started = Instant::now();
    match timeout(run.timeout, open.exchange(request)).await.unwrap_or(Err("timeout")) {
        Ok(head) => {
            if !head.close {
                *connection = Some(open);
            }
            if head.status != 200 {
                let wait = Duration::from_secs(head.retry_after_s.unwrap_or(0));
                return fail(run, measured, &format!("http_{}", head.status), wait).await;
            }
            run.acknowledged.fetch_add(1, Ordering::Relaxed);
            let now = Instant::now();
            if now >= run.measured_from && now <= run.ends_at {
                measured.acknowledged += 1;
                measured.latency.record(now - started);
            }
        }
        Err(kind) => fail(run, measured, kind, RECONNECT).await,
    }
}

async fn fail(run: &Run, measured: &mut Measurements, kind: &str, wait: Duration) {
    measured.errors.count(kind);
    run.failed.fetch_add(1, Ordering::Relaxed);
    sleep(wait.min(run.ends_at.saturating_duration_since(Instant::now()))).await;
}
