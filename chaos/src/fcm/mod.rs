//! A stand-in for Google's side of push: the OAuth 2.0 token endpoint and FCM's HTTP v1 API, as strict as
//! the real ones, with faults on demand.
//!
//! In a program: [`FakeFcm::start`], then [`FakeFcm::write_account`] for the node, and a device
//! [`FakeFcm::subscribe`]s with its push token. On the command line: `chaos fcm`, which prints every message
//! and takes faults at `POST /fake/faults`.

mod account;
mod fault;
mod message;
mod server;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;

use crate::duration;
use crate::signals::{Stop, unless_stopped};
use account::Account;
pub use fault::{Fault, FaultScope};
use server::State;

/// Queued messages per subscriber; further ones are lost.
const SUBSCRIBER_QUEUE: usize = 256;

/// Options of the fake.
#[derive(Debug, Clone)]
pub struct FakeFcmOptions {
    /// Listen address; port 0: any free one.
    pub listen: SocketAddr,
    /// The Firebase project.
    pub project_id: String,
    /// Lifetime of access tokens, whole seconds.
    pub token_life: Duration,
    /// Delay of each response to a message.
    pub latency: Duration,
    /// Whether push tokens without a subscriber are answered with `UNREGISTERED`.
    pub strict: bool,
}

impl Default for FakeFcmOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            project_id: "nexmdm-fake".into(),
            token_life: Duration::from_secs(3600),
            latency: Duration::ZERO,
            strict: false,
        }
    }
}

/// A message delivered to its device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// The device's push token.
    pub token: String,
    /// Data of the message.
    pub data: BTreeMap<String, String>,
    /// Time to live, seconds.
    pub ttl_s: u32,
    /// Whether the priority is high.
    pub high_priority: bool,
    /// Collapse key.
    pub collapse_key: Option<String>,
    /// Time of acceptance.
    pub at: DateTime<Utc>,
}

/// Counters of requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Access tokens requested.
    pub token_requests: u64,
    /// Access tokens issued.
    pub tokens_granted: u64,
    /// Messages sent to it, faults included.
    pub messages: u64,
    /// Messages accepted.
    pub accepted: u64,
    /// Most concurrent messages.
    pub at_a_time_max: u64,
}

/// A running fake; it ends when dropped.
pub struct FakeFcm {
    state: Arc<State>,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for FakeFcm {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl FakeFcm {
    /// Makes a key pair and listens.
    ///
    /// # Errors
    /// The address is taken, or no key could be made.
    pub async fn start(options: FakeFcmOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let account = Account::new(&options.project_id, &format!("http://{address}/token")).map_err(io::Error::other)?;
        let state = Arc::new(State::new(options, account));
        let serving = tokio::spawn(server::serve(listener, Arc::clone(&state)));
        Ok(Self { state, address, serving })
    }

    /// Value for `fcm.base_url` of a node.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The service account, JSON; its `token_uri` is here.
    pub fn account_json(&self) -> &str {
        self.state.account.json()
    }

    /// Writes the service account where `fcm.service_account_file` of a node points, mode 0600.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_account(&self, file: &Path) -> io::Result<()> {
        // The mode counts only for a file that is new.
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
        out.write_all(self.account_json().as_bytes())
    }

    /// The messages to a push token from now on. A new subscription takes the place of an older one; once the
    /// receiver is dropped, the token is `UNREGISTERED`, as after the app was removed.
    pub fn subscribe(&self, token: &str) -> mpsc::Receiver<Delivery> {
        let (sender, receiver) = mpsc::channel(SUBSCRIBER_QUEUE);
        self.state.subscribe(token, sender);
        receiver
    }

    /// All messages from now on; a slow receiver misses some.
    pub fn deliveries(&self) -> broadcast::Receiver<Delivery> {
        self.state.everybody.subscribe()
    }

    /// The latest accepted messages, oldest first; at most 1,000.
    pub fn delivered(&self) -> Vec<Delivery> {
        self.state.inner().delivered.iter().cloned().collect()
    }

    /// Counters so far.
    pub fn counts(&self) -> Counts {
        self.state.inner().counts
    }

    /// From now on requests of this scope fail like this, `times` times or until [`FakeFcm::heal`]. A fault of a
    /// token comes before one of everybody.
    pub fn fail(&self, scope: FaultScope, fault: Fault, times: Option<u32>) {
        self.state.inner().faults.set(scope, fault, times);
    }

    /// Removes all faults.
    pub fn heal(&self) {
        self.state.inner().faults.clear();
    }

    /// Invalidates all issued access tokens.
    pub fn expire_access_tokens(&self) {
        self.state.inner().access_tokens.clear();
    }
}

/// Arguments of `chaos fcm`.
#[derive(Debug, Clone, Args)]
pub struct FcmArgs {
    /// Listen address
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9099")]
    pub listen: SocketAddr,
    /// Output file of the service account (fcm.service_account_file)
    #[arg(long, value_name = "FILE")]
    pub account_out: PathBuf,
    /// The Firebase project
    #[arg(long, value_name = "ID", default_value = "nexmdm-fake")]
    pub project: String,
    /// Lifetime of access tokens
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
    pub token_life: Duration,
    /// Delay of each response
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration::parse)]
    pub latency: Duration,
}

/// Serves until stopped; prints every message as a line of JSON.
///
/// # Errors
/// It does not start.
pub async fn run(args: FcmArgs, stop: Stop) -> Result<()> {
    let options =
        FakeFcmOptions { listen: args.listen, project_id: args.project, token_life: args.token_life, latency: args.latency, strict: false };
    let fake = FakeFcm::start(options).await.with_context(|| args.listen.to_string())?;
    fake.write_account(&args.account_out).with_context(|| args.account_out.display().to_string())?;
    eprintln!("Start a node with NEXMDM__FCM__BASE_URL={} NEXMDM__FCM__SERVICE_ACCOUNT_FILE={}", fake.url(), args.account_out.display());
    let mut deliveries = fake.deliveries();
    while let Some(next) = unless_stopped(&stop, deliveries.recv()).await {
        match next {
            Ok(delivery) => println!("{}", serde_json::to_string(&delivery)?),
            Err(broadcast::error::RecvError::Lagged(missed)) => eprintln!("{missed} messages not shown"),
            Err(broadcast::error::RecvError::Closed) => break,
        }
    }
    println!("{}", serde_json::to_string(&fake.counts())?);
    Ok(())
}
