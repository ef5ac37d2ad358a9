//! Sinks of notifications: stand-ins for Discord, for receivers of webhooks and for a mail server, which record every message with its times
//! and fail on demand.
//!
//! In a program: [`AlertSinks::start`], whose URLs are those of channels. On the command line: `chaos sink`, which prints every message and
//! takes modes at `POST /fake/modes`.

mod arrival;
mod http;
mod log;
mod mail;
mod mode;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

use crate::signals::{Stop, unless_stopped};
pub use arrival::{Arrival, ListedAlert};
use log::Log;
pub use mode::SinkMode;

/// Running sinks; they end when dropped.
pub struct AlertSinks {
    log: Arc<Log>,
    http: SocketAddr,
    mail: SocketAddr,
    serving: [JoinHandle<()>; 2],
}

impl Drop for AlertSinks {
    fn drop(&mut self) {
        self.serving.iter().for_each(JoinHandle::abort);
    }
}

impl AlertSinks {
    /// Listens on free ports of 127.0.0.1.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start() -> io::Result<Self> {
        Self::start_on(Ipv4Addr::LOCALHOST).await
    }

    /// Listens on free ports of an address of this machine.
    ///
    /// # Errors
    /// The address is not of this machine, or has no free port.
    pub async fn start_on(address: Ipv4Addr) -> io::Result<Self> {
        let any = SocketAddr::from((address, 0));
        Self::listen(any, any, None).await
    }

    /// Listens; `file` gets a line per message.
    ///
    /// # Errors
    /// An address is taken, or the file cannot be written.
    pub async fn listen(http: SocketAddr, mail: SocketAddr, file: Option<PathBuf>) -> io::Result<Self> {
        let (http, mail) = (TcpListener::bind(http).await?, TcpListener::bind(mail).await?);
        let addresses = (http.local_addr()?, mail.local_addr()?);
        let log = Arc::new(Log::new(file.as_deref())?);
        let serving = [tokio::spawn(http::serve(http, Arc::clone(&log))), tokio::spawn(mail::serve(mail, Arc::clone(&log)))];
        Ok(Self { log, http: addresses.0, mail: addresses.1, serving })
    }

    /// URL of a webhook of Discord's kind; the sink's name is that of the channel.
    pub fn discord_url(&self, sink: &str) -> String {
        format!("http://{}/discord/{sink}", self.http)
    }

    /// URL of a generic webhook; the sink's name is that of the channel.
    pub fn webhook_url(&self, sink: &str) -> String {
        format!("http://{}/webhook/{sink}", self.http)
    }

    /// Address of the mail server; the sink of a mail is the local part of its first recipient.
    pub fn mail_address(&self) -> SocketAddr {
        self.mail
    }

    /// From now on a generic webhook refuses what is not signed with this key.
    pub fn require_signature(&self, sink: &str, key: &str) {
        self.log.require_signature(sink, key);
    }

    /// Messages so far, by the time of their arrival.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.log.arrivals()
    }

    /// What a sink does from now on, `times` times or for good.
    pub fn set_mode(&self, sink: &str, mode: SinkMode, times: Option<u32>) {
        self.log.set_mode(sink, mode, times);
    }
}

/// Arguments of `chaos sink`.
#[derive(Debug, Clone, Args)]
pub struct SinkArgs {
    /// Listen address of webhooks: /discord/NAME and /webhook/NAME
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9098")]
    pub listen: SocketAddr,
    /// Listen address of the mail server, without TLS
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9025")]
    pub mail: SocketAddr,
    /// Record file: a JSON line per message
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// Runs the sinks until they are stopped, and prints every message.
///
/// # Errors
/// An address is taken.
pub async fn run(args: SinkArgs, stop: Stop) -> Result<()> {
    let sinks = AlertSinks::listen(args.listen, args.mail, args.record).await.context("cannot listen")?;
    println!("webhooks: {} and {}", sinks.discord_url("NAME"), sinks.webhook_url("NAME"));
    println!("mail: {}, to NAME@any.domain", sinks.mail_address());
    let mut arrivals = sinks.log.subscribe();
    let printed = async {
        loop {
            match arrivals.recv().await {
                Ok(arrival) => {
                    println!("{}", serde_json::to_string(&arrival)?);
                    io::stdout().flush()?;
                }
                Err(RecvError::Lagged(missed)) => eprintln!("{missed} messages are not shown"),
                Err(RecvError::Closed) => return anyhow::Ok(()),
            }
        }
    };
    unless_stopped(&stop, printed).await.unwrap_or(Ok(()))
}
