//! The mail server of the sinks: SMTP (RFC 5321) on plain text, which delivers nothing.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::arrival::Arrival;
use super::log::Log;
use super::mode::SinkMode;

/// Longest mail, lines.
const LINES_MAX: usize = 20_000;
/// Longest line, bytes; RFC 5321 has 1,000.
const LINE_MAX_BYTES: usize = 4_096;
/// Longest silence of a client.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// Pause after a connection that could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(20);

/// Serves until dropped; connections end with it.
pub(super) async fn serve(listener: TcpListener, log: Arc<Log>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            // An error is that of a client that breaks off.
            Ok((stream, _)) => drop(connections.spawn({
                let log = Arc::clone(&log);
                async move { drop(Session::new(stream, log).run().await) }
            })),
            Err(_) => sleep(ACCEPT_AGAIN).await,
        }
    }
}

/// Conversation with a client.
struct Session {
    stream: BufReader<TcpStream>,
    log: Arc<Log>,
    sink: Option<String>,
    mode: SinkMode,
}

impl Session {
    fn new(stream: TcpStream, log: Arc<Log>) -> Self {
        Self { stream: BufReader::new(stream), log, sink: None, mode: SinkMode::Accept }
    }

    async fn say(&mut self, line: &str) -> io::Result<()> {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        self.stream.flush().await
    }

    /// The next line without its end; `None`: there is none.
    async fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let read = timeout(IDLE_MAX, self.stream.read_until(b'\n', &mut line)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if read == 0 || line.len() > LINE_MAX_BYTES {
            return Ok(None);
        }
        while line.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
            line.pop();
        }
        Ok(Some(String::from_utf8_lossy(&line).into_owned()))
    }

    async fn run(mut self) -> io::Result<()> {
        self.say("220 sink.invalid ESMTP").await?;
        while let Some(line) = self.line().await? {
            let verb = line.split_once([' ', ':']).map_or(line.as_str(), |(verb, _)| verb).to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" => self.say("250-sink.invalid\r\n250-8BITMIME\r\n250 SMTPUTF8").await?,
                "HELO" | "NOOP" => self.say("250 OK").await?,
                "MAIL" | "RSET" => {
                    self.sink = None;
                    self.say("250 OK").await?;
                }
                "RCPT" => self.recipient(&line).await?,
                "DATA" if self.sink.is_some() => {
                    if !self.data().await? {
                        return Ok(());
                    }
                }
                "DATA" => self.say("503 no recipient").await?,
                "QUIT" => return self.say("221 bye").await,
                _ => self.say("502 not implemented").await?,
            }
        }
        Ok(())
    }

    async fn recipient(&mut self, line: &str) -> io::Result<()> {
        let Some(sink) = line.split_once('<').and_then(|(_, rest)| rest.split(['@', '>']).next()).map(str::to_owned) else {
            return self.say("501 no address").await;
        };
        if self.sink.is_none() {
            self.mode = self.log.take_mode(&sink);
        }
        match self.mode {
            SinkMode::Status { .. } => self.say("550 no such mailbox").await,
            SinkMode::TooMany { .. } => self.say("451 4.7.1 greylisted, try again later").await,
            _ => {
                self.sink.get_or_insert(sink);
                self.say("250 OK").await
            }
        }
    }

    /// Receives a mail; false: the connection ends.
    async fn data(&mut self) -> io::Result<bool> {
        self.say("354 go ahead").await?;
        let mut lines = Vec::new();
        loop {
            let Some(line) = self.line().await? else { return Ok(false) };
            if line == "." {
                break;
            }
            // A dot that begins a line is sent twice.
            lines.push(line.strip_prefix('.').map_or(line.clone(), str::to_owned));
            if lines.len() > LINES_MAX {
                self.say("552 too long").await?;
                return Ok(false);
            }
        }
        let open = self.log.open(Arrival::of_mail(&self.sink.take().unwrap_or_default(), &lines));
        match self.mode {
            SinkMode::Reset => return Ok(false),
            // It waits for the client to give up.
            SinkMode::Hang => return self.line().await.map(|_| false),
            SinkMode::Slow { delay_ms } => sleep(Duration::from_millis(delay_ms)).await,
            _ => {}
        }
        open.answer(250);
        self.say("250 OK").await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::AlertSinks;

    async fn talk(sinks: &AlertSinks, lines: &[&str]) -> Vec<String> {
        let mut stream = BufReader::new(TcpStream::connect(sinks.mail_address()).await.unwrap());
        let mut answers = Vec::new();
        for line in [""].iter().chain(lines) {
            if !line.is_empty() {
                stream.write_all(line.replace('\n', "\r\n").as_bytes()).await.unwrap();
                stream.write_all(b"\r\n").await.unwrap();
            }
            loop {
                let mut answer = String::new();
                if stream.read_line(&mut answer).await.unwrap_or(0) == 0 {
                    answers.push("gone".into());
                    return answers;
                }
                if answer.as_bytes().get(3) == Some(&b' ') {
                    answers.push(answer[..3].to_owned());
                    break;
                }
            }
        }
        answers
    }

    #[tokio::test]
    async fn mail_is_received_without_stuffed_dots() {
        let sinks = AlertSinks::start().await.unwrap();
        let mail = "Message-ID: <device_offline-1@x>\nSubject: ..two dots\n\n..\nthe end\n.";
        let begin = ["EHLO me", "MAIL FROM:<a@b>", "RCPT TO:<ops@example.org>", "DATA"];
        let answers = talk(&sinks, &[&begin[..], &[mail, "QUIT"]].concat()).await;
        assert_eq!(answers, ["220", "250", "250", "250", "354", "250", "221"]);
        let [arrival] = &sinks.arrivals()[..] else { panic!() };
        assert_eq!((arrival.sink.as_str(), arrival.thread.as_deref(), arrival.status), ("ops", Some("device_offline-1"), Some(250)));
        assert_eq!(arrival.title, "..two dots");

        sinks.set_mode("ops", SinkMode::TooMany { retry_after_ms: 0 }, Some(1));
        assert_eq!(talk(&sinks, &begin[..3]).await, ["220", "250", "250", "451"]);
        sinks.set_mode("ops", SinkMode::Reset, Some(1));
        assert_eq!(talk(&sinks, &[&begin[..], &[mail]].concat()).await, ["220", "250", "250", "250", "354", "gone"]);
        assert!(!sinks.arrivals()[1].is_acknowledged());
    }
}
