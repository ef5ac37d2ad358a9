//! A way to a database that falls silent: connections stay open and carry nothing, as behind a firewall that drops, or to a host that stands still.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Proxy on a local port, closed with its connections on drop.
pub struct SilentProxy {
    url: String,
    state: watch::Sender<State>,
    silent: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// Connections accepted so far; they have the numbers below.
    accepted: u64,
    /// Those of a lower number are silent for good.
    silent_below: u64,
    /// New ones are silent as well.
    all: bool,
    /// Words of a client behind which its connection is silent.
    words: Option<&'static str>,
}

impl SilentProxy {
    /// A proxy to the database at `url`, through which everything passes.
    ///
    /// # Panics
    /// The URL does not read, or no port is free.
    pub async fn start(url: &str) -> Self {
        let target: PgConnectOptions = url.parse().expect("a URL of PostgreSQL");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let database = target.get_database().unwrap_or(target.get_username()).to_owned();
        let url = format!("postgres://{}@127.0.0.1:{port}/{database}?sslmode=disable", target.get_username());
        let (state, silent) = (watch::Sender::new(State::default()), Arc::default());
        let task = tokio::spawn(accept(listener, target, state.clone(), Arc::clone(&silent)));
        Self { url, state, silent, task }
    }

    /// URL of the database through this proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Silences the open connections for good, and new ones as well.
    pub fn fall_silent(&self) {
        self.state.send_modify(|state| (state.silent_below, state.all) = (state.accepted, true));
    }

    /// Silences the open connections for good; new ones pass.
    pub fn strand(&self) {
        self.state.send_modify(|state| (state.silent_below, state.all) = (state.accepted, false));
    }

    /// Silences a connection for good once its client has said these words, which still pass: as a client that freezes there.
    pub fn freeze_after(&self, words: &'static str) {
        self.state.send_modify(|state| state.words = Some(words));
    }

    /// Silent connections that the client has not closed.
    pub fn silent_connections(&self) -> usize {
        self.silent.load(Ordering::Acquire)
    }
}

impl Drop for SilentProxy {
    fn drop(&mut self) {
        // The connections' tasks belong to this one.
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: PgConnectOptions, state: watch::Sender<State>, silent: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let mut number = 0;
        let mut all = false;
        state.send_modify(|state| {
            (number, all) = (state.accepted, state.all);
            state.accepted += 1;
        });
        let (target, mut watched, words, silent) = (target.clone(), state.subscribe(), state.subscribe(), Arc::clone(&silent));
        connections.spawn(async move {
            let falls_silent = async {
                if !all {
                    let _ = watched.wait_for(|state| number < state.silent_below).await;
                }
            };
            pass(client, &target, falls_silent, &words, &silent).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn pass(
    client: TcpStream,
    target: &PgConnectOptions,
    falls_silent: impl Future<Output = ()>,
    words: &watch::Receiver<State>,
    silent: &AtomicUsize,
) {
    let directory =
        target.get_socket().cloned().or_else(|| target.get_host().starts_with('/').then(|| Path::new(target.get_host()).into()));
    match directory {
        Some(directory) => {
            let server = UnixStream::connect(directory.join(format!(".s.PGSQL.{}", target.get_port()))).await;
            pass_to(client, server, falls_silent, words, silent).await;
        }
        None => {
            let server = TcpStream::connect((target.get_host(), target.get_port())).await;
            pass_to(client, server, falls_silent, words, silent).await;
        }
    }
}

async fn pass_to<S>(
    mut client: TcpStream,
    server: std::io::Result<S>,
    falls_silent: impl Future<Output = ()>,
    words: &watch::Receiver<State>,
    silent: &AtomicUsize,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Ok(server) = server else { return };
    // Both halves live as long as this: the server's side stays open.
    let (mut from_server, mut to_server) = split(server);
    {
        let (mut from_client, mut to_client) = client.split();
        tokio::select! {
            biased;
            () = falls_silent => {}
            freezes = pass_until(&mut from_client, &mut to_server, words) => {
                if !freezes {
                    return;
                }
            }
            _ = copy(&mut from_server, &mut to_client) => return,
        }
    }
    silent.fetch_add(1, Ordering::AcqRel);
    // What the client still says is taken and goes nowhere.
    let mut taken = [0; 4096];
    while client.read(&mut taken).await.is_ok_and(|read| read > 0) {}
    silent.fetch_sub(1, Ordering::AcqRel);
}

/// Passes on what the client says, until it ends, or has said the words behind which it freezes: `true`.
async fn pass_until(client: &mut (impl AsyncRead + Unpin), server: &mut (impl AsyncWrite + Unpin), state: &watch::Receiver<State>) -> bool {
    // A message of the tests fits.
    let mut said = vec![0; 64 * 1024];
    loop {
        let Ok(count @ 1..) = client.read(&mut said).await else { return false };
        if server.write_all(&said[..count]).await.is_err() || server.flush().await.is_err() {
            return false;
        }
        let words = state.borrow().words;
        if words.is_some_and(|words| said[..count].windows(words.len()).any(|part| part == words.as_bytes())) {
            return true;
        }
    }
}
