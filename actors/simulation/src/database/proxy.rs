//! Proxy between one node and the database: passes messages on, late or not at all.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

use tokio_util::sync::CancellationToken;

use super::frames::{Frame, Frames};
use super::{MARKER, Traffic};

/// Name of the socket's file: PostgreSQL's, with the port of the URL.
const SOCKET: &str = ".s.PGSQL.5432";
/// Bytes that are read at once.
const READ_BYTES: usize = 16 * 1024;

static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

/// How a node reaches the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathState {
    /// Each message takes up to so many ms, each way.
    Up(u64),
    /// Messages stop on their way, and arrive once that is over.
    Stalled,
    /// Connections break, and no new one is made.
    Down,
}

/// The way of one start of a node to the database.
pub(crate) struct DatabaseProxy {
    url: String,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: PathBuf,
    traffic: Arc<Traffic>,
    path: watch::Sender<PathState>,
    changes: AtomicU64,
    chance: Mutex<StdRng>,
    /// Server processes that have served this node.
    backends: Mutex<HashSet<i32>>,
    closing: CancellationToken,
}

impl Shared {
    /// Time that a message takes; waits as long as messages stall.
    async fn delay(&self) {
        let mut path = self.path.subscribe();
        // The sender lives as long as this.
        let up_to_ms = match *path.borrow_and_update() {
            PathState::Up(up_to_ms) => up_to_ms,
            PathState::Stalled | PathState::Down => 0,
        };
        if up_to_ms > 0 {
            let ms = self.chance.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..=up_to_ms);
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        let _ = path.wait_for(|path| *path != PathState::Stalled).await;
    }

    /// Ends when connections break.
    async fn cut(&self) {
        let mut path = self.path.subscribe();
        tokio::select! {
            _ = path.wait_for(|path| *path == PathState::Down) => {}
            () = self.closing.cancelled() => {}
        }
    }
}

impl DatabaseProxy {
    pub(crate) fn start(upstream_url: &str, folder: &Path, traffic: Arc<Traffic>, seed: u64) -> Self {
        std::fs::create_dir_all(folder).expect("a folder for the socket");
        let upstream: PgConnectOptions = upstream_url.parse().expect("the URL of a test database");
        let socket_folder = upstream.get_socket().expect("test databases are reached by a socket");
        let (user, database) = (upstream.get_username(), upstream.get_database().unwrap_or_default());
        let shared = Arc::new(Shared {
            upstream: socket_folder.join(format!(".s.PGSQL.{}", upstream.get_port())),
            traffic,
            path: watch::Sender::new(PathState::Up(0)),
            changes: AtomicU64::new(0),
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
            backends: Mutex::default(),
            closing: CancellationToken::new(),
        });
        let listener = UnixListener::bind(folder.join(SOCKET)).expect("a socket in a new folder");
        tokio::spawn(accept(listener, Arc::clone(&shared)));
        let folder = folder.to_string_lossy().replace('/', "%2F");
        Self { url: format!("postgres://{user}@{folder}:5432/{database}?sslmode=disable"), shared }
    }

    /// URL of the database through this proxy.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Changes how the node reaches the database; the number of the change.
    pub(crate) fn set(&self, path: PathState) -> u64 {
        self.shared.path.send_replace(path);
        self.shared.changes.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Ends a change, unless there was another one since.
    pub(crate) fn end(&self, change: u64) {
        if self.shared.changes.load(Ordering::Acquire) == change {
            self.set(PathState::Up(0));
        }
    }

    /// Whether a server process has served this node.
    pub(crate) fn has_used(&self, backend: i32) -> bool {
        self.shared.backends.lock().unwrap_or_else(PoisonError::into_inner).contains(&backend)
    }

    /// Breaks every connection for good.
    pub(crate) fn close(&self) {
        self.shared.closing.cancel();
    }
}

async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.closing.cancelled() => return,
        };
        let Ok((client, _)) = accepted else { return };
        shared.traffic.pass();
        if *shared.path.borrow() != PathState::Down {
            tokio::spawn(serve(client, Arc::clone(&shared)));
        }
    }
}

/// One connection, in both directions.
struct ProxiedConnection {
    id: u64,
    shared: Arc<Shared>,
    /// Statements of this connection that the server has not answered.
    unanswered: AtomicUsize,
    /// Whether one of them makes it a listener.
    will_listen: AtomicBool,
    /// The client's side is closed.
    broken: CancellationToken,
}

async fn serve(client: UnixStream, shared: Arc<Shared>) {
    let Ok(server) = UnixStream::connect(&shared.upstream).await else { return };
    let connection = Arc::new(ProxiedConnection {
        id: NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed),
        shared,
        unanswered: AtomicUsize::new(0),
        will_listen: AtomicBool::new(false),
        broken: CancellationToken::new(),
    });
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let (answers, answered) = mpsc::unbounded_channel();
    let breaking = {
        let connection = Arc::clone(&connection);
        async move {
            connection.shared.cut().await;
            connection.broken.cancel();
        }
    };
    let requests = tokio::spawn(Arc::clone(&connection).forward_requests(from_client, to_server));
    let to_client = tokio::spawn(Arc::clone(&connection).write_answers(to_client, answered));
    let breaking = tokio::spawn(breaking);
    // The server is heard to the end: what it was told it does, whether or not somebody waits for the answer.
    connection.read_answers(from_server, answers).await;
    connection.shared.traffic.pass();
    connection.shared.traffic.ended(connection.unanswered.swap(0, Ordering::AcqRel));
    connection.shared.traffic.closed(connection.id);
    let _ = to_client.await;
    connection.broken.cancel();
    let _ = requests.await;
    // The client's side may have closed, and may have listened, after the server's had closed.
    connection.shared.traffic.ended(connection.unanswered.swap(0, Ordering::AcqRel));
    connection.shared.traffic.closed(connection.id);
    breaking.abort();
}

impl ProxiedConnection {
    /// Passes messages of the client on, until it closes or breaks off.
    async fn forward_requests(self: Arc<Self>, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut frames = Frames::of_client();
        let mut bytes = vec![0; READ_BYTES];
        let mut batch: Vec<Frame> = Vec::new();
        loop {
            let read = tokio::select! {
                read = from.read(&mut bytes) => read.unwrap_or(0),
                () = self.broken.cancelled() => 0,
            };
            if read == 0 {
                break;
            }
            self.shared.traffic.pass();
            frames.add(&bytes[..read]);
            batch.extend(std::iter::from_fn(|| frames.next()));
            if batch.last().is_some_and(|last| last.is_answered() || last.kind == Some(b'X'))
                && self.pass_on(&mut batch, &mut to).await.is_err()
            {
                break;
            }
        }
        // The server may end once it has answered; a transaction that is open ends with the connection, and others may wait
        // for its locks. A server process that waits for a lock itself does not notice before it has it.
        if self.unanswered.load(Ordering::Acquire) == 0 {
            self.unanswered.fetch_add(1, Ordering::AcqRel);
            self.shared.traffic.began(1);
        }
        let _ = to.shutdown().await;
        self.shared.traffic.pass();
    }

    async fn pass_on(&self, batch: &mut Vec<Frame>, to: &mut OwnedWriteHalf) -> std::io::Result<()> {
        let traffic = &self.shared.traffic;
        tokio::select! {
            () = self.shared.delay() => {}
            // What is on its way when a connection breaks does not arrive.
            () = self.broken.cancelled() => return Err(std::io::ErrorKind::ConnectionReset.into()),
        }
        let statements = batch.iter().filter(|frame| frame.is_answered()).count();
        self.unanswered.fetch_add(statements, Ordering::AcqRel);
        traffic.began(statements);
        traffic.set_clock().await;
        if batch.iter().any(Frame::unlistens) {
            // A node that stops does this, and keeps the connection for a while.
            traffic.closed(self.id);
        }
        if batch.iter().any(Frame::listens) {
            self.will_listen.store(true, Ordering::Release);
        }
        let bytes: Vec<u8> = batch.drain(..).flat_map(|frame| frame.bytes).collect();
        traffic.pass();
        to.write_all(&bytes).await
    }

    /// Hears the server, counts what it has answered, and hands its messages on.
    async fn read_answers(&self, mut from: OwnedReadHalf, answers: mpsc::UnboundedSender<Vec<u8>>) {
        let mut frames = Frames::of_server();
        let mut bytes = vec![0; READ_BYTES];
        loop {
            let read = from.read(&mut bytes).await.unwrap_or(0);
            if read == 0 {
                return;
            }
            self.shared.traffic.pass();
            frames.add(&bytes[..read]);
            let (mut answer, mut done) = (Vec::new(), 0);
            while let Some(frame) = frames.next() {
                done += usize::from(frame.is_ready());
                if let Some(backend) = frame.backend() {
                    self.shared.backends.lock().unwrap_or_else(PoisonError::into_inner).insert(backend);
                }
                let marker = frame.notification().and_then(|payload| payload.strip_prefix(MARKER)?.strip_prefix(':')?.parse().ok());
                match marker {
                    Some(marker) => self.shared.traffic.has_marker(self.id, marker),
                    None => answer.extend(frame.bytes),
                }
            }
            if !answer.is_empty() {
                // A client that has closed hears nothing any more.
                let _ = answers.send(answer);
            }
            let done = done.min(self.unanswered.load(Ordering::Acquire));
            // A client asks for the next only once it has the answer.
            if done > 0 && self.will_listen.swap(false, Ordering::AcqRel) {
                self.shared.traffic.listens(self.id);
            }
            self.unanswered.fetch_sub(done, Ordering::AcqRel);
            self.shared.traffic.ended(done);
        }
    }

    /// Gives answers to the client, each after its time on the way.
    async fn write_answers(self: Arc<Self>, mut to: OwnedWriteHalf, mut answers: mpsc::UnboundedReceiver<Vec<u8>>) {
        let giving = async {
            while let Some(answer) = answers.recv().await {
                self.shared.delay().await;
                self.shared.traffic.pass();
                if to.write_all(&answer).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = giving => {}
            () = self.broken.cancelled() => {}
        }
    }
}
