//! A browser's part without the browser: signs in and keeps one live page open.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use hyper::header::SET_COOKIE;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::Message;

use crate::http::{Call, Http, HttpLimits, ServerUrl};
use crate::websocket;

/// Keep-alive message of the browser's script, and its interval.
const PING_TEXT: &str = "__ping__";
const PING_EVERY: Duration = Duration::from_secs(25);
/// A whole page in one message.
const PAGE_BYTES: usize = 8 << 20;

/// An open page; closed on drop.
pub(super) struct Dashboard {
    task: JoinHandle<u64>,
    stop: tokio::sync::watch::Sender<bool>,
}

impl Dashboard {
    /// Signs in through the form and opens the live page at `path`.
    pub(super) async fn open(url: &str, username: &str, password: &str, path: &str) -> Result<Self> {
        let url: ServerUrl = url.parse().map_err(anyhow::Error::msg)?;
        let cookies = sign_in(&url, username, password).await?;
        let origin = url.to_string();
        let target = format!("/live/ws?path={}", path.replace('/', "%2F"));
        let mut stream = websocket::connect(&url, &target, &[("cookie", &cookies), ("origin", &origin)], PAGE_BYTES)
            .await
            .context("opening the live page")?;
        match tokio::time::timeout(Duration::from_secs(10), stream.next()).await.context("the live page sent nothing")? {
            Some(Ok(Message::Binary(_) | Message::Text(_))) => {}
            other => bail!("unexpected first message of the live page: {other:?}"),
        }
        let (stop, mut stopped) = tokio::sync::watch::channel(false);
        let task = tokio::spawn(async move {
            let mut ping = interval(PING_EVERY);
            ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut bytes = 0;
            loop {
                tokio::select! {
                    _ = stopped.changed() => break,
                    _ = ping.tick() => if stream.send(Message::text(PING_TEXT)).await.is_err() { break },
                    message = stream.next() => match message {
                        Some(Ok(message)) => bytes += message.len() as u64,
                        _ => break,
                    },
                }
            }
            bytes
        });
        Ok(Self { task, stop })
    }

    /// Closes the page; the bytes it was sent. An error if it was lost before.
    pub(super) async fn close(self) -> Result<u64> {
        ensure!(!self.task.is_finished(), "the live page was closed by the node");
        self.stop.send_replace(true);
        Ok(self.task.await?)
    }
}

/// The cookies of a sign-in, as the next request carries them.
async fn sign_in(url: &ServerUrl, username: &str, password: &str) -> Result<String> {
    let http = Http::new(url.clone(), HttpLimits::default());
    let form = format!("username={}&password={}", form_encoded(username), form_encoded(password));
    let origin = url.to_string();
    let answer = http.send(Call::post("/login", form).content_type("application/x-www-form-urlencoded").header("origin", &origin)).await?;
    ensure!(answer.status < 400, "signing in answered {}: {}", answer.status, answer.detail());
    let cookies: Vec<&str> = answer.headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok()?.split(';').next()).collect();
    ensure!(!cookies.is_empty(), "signing in set no cookie (status {})", answer.status);
    Ok(cookies.join("; "))
}

fn form_encoded(text: &str) -> String {
    let encoded = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-._*".contains(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(encoded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_carries_any_password() {
        assert_eq!(form_encoded("a b&c=d%é"), "a%20b%26c%3Dd%25%C3%A9");
    }
}
