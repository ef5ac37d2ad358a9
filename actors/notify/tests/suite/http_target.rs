//! A target of webhooks on this machine: records each request, and answers as a test wants.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Longest wait for requests to come in.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answer of a target.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Status, headers and body.
    Status(u16, &'static [(&'static str, &'static str)], String),
    /// Status, and so many bytes.
    Huge(u16, usize),
    /// None: the connection stays open.
    Hang,
}

impl Answer {
    pub(crate) fn of(status: u16) -> Self {
        Self::Status(status, &[], String::new())
    }
}

/// Request that came in.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A target.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) port: u16,
    answer: Arc<Mutex<Answer>>,
    requests: Arc<Mutex<Vec<Request>>>,
    count: watch::Receiver<usize>,
}

impl Target {
    pub(crate) async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (counted, count) = watch::channel(0);
        let target =
            Self { port: listener.local_addr().unwrap().port(), answer: Arc::new(Mutex::new(answer)), requests: Arc::default(), count };
        let (own, counted) = (target.clone(), Arc::new(counted));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(own.clone().serve(stream, Arc::clone(&counted)));
            }
        });
        target
    }

    /// URL of a path below the target.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits until so many requests have come in.
    pub(crate) async fn received(&self, least: usize) -> Vec<Request> {
        let waiting = self.count.clone();
        let came = tokio::time::timeout(PATIENCE, waiting.clone().wait_for(|count| *count >= least)).await.map(|counted| counted.is_ok());
        assert_eq!(came, Ok(true), "{} of {least} requests came", self.requests().len());
        self.requests()
    }

    async fn serve(self, mut stream: TcpStream, counted: Arc<watch::Sender<usize>>) {
        while let Some(request) = read_request(&mut stream).await {
            self.requests.lock().unwrap().push(request);
            counted.send_modify(|count| *count += 1);
            let answer = self.answer.lock().unwrap().clone();
            match answer {
                Answer::Status(status, headers, body) => {
                    let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
                    let text = format!("{head}\r\n{body}");
                    if stream.write_all(text.as_bytes()).await.is_err() {
                        return;
                    }
                }
                Answer::Huge(status, bytes) => {
                    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {bytes}\r\n\r\n");
                    let _ = stream.write_all(head.as_bytes()).await;
                    for _ in 0..bytes / 65_536 {
                        if stream.write_all(&[b'x'; 65_536]).await.is_err() {
                            return;
                        }
                    }
                }
                Answer::Hang => {
                    let mut rest = Vec::new();
                    let _ = stream.read_to_end(&mut rest).await;
                    return;
                }
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(read[..end].to_vec()).ok()?;
    let mut lines = head.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: Vec<_> =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let length: usize = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    while read.len() < end + length {
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
    Some(Request { path, headers, body: read[end..end + length].to_vec() })
}
