//! A TCP proxy whose two directions can be slowed, silenced or cut while
//! connections run through it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

/// Bytes per read.
const CHUNK_BYTES: usize = 64 << 10;
/// Buffered chunks per direction, which bounds a slow link.
const CHUNKS: usize = 64;
/// Pause between attempts to rebind the port after a cut.
const BIND_AGAIN: Duration = Duration::from_millis(20);

/// Shortest wait before TCP sends a lost packet again, as Linux has it.
const RETRANSMISSION: Duration = Duration::from_millis(200);
/// Address of all that are behind one.
const SHARED_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);
/// Addresses of those that have one each.
const OWN_ADDRESSES: u64 = 1 << 16;

/// Mode of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Bytes pass.
    #[default]
    Pass,
    /// Bytes are delayed by this much, in order.
    Delay(Duration),
    /// Bytes are delayed, and this share of the pieces in which they are read by a further retransmission, as TCP does when a packet is lost.
    Lossy {
        /// Delay of all.
        delay: Duration,
        /// Share of the pieces that are lost at first, percent.
        loss_pct: u8,
    },
    /// Bytes are held until the mode changes; not even the end of a connection arrives.
    Blackhole,
    /// Connections are reset and new ones refused, in both directions.
    Cut,
}

/// The modes of both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Modes {
    /// From client to target.
    pub forward: Mode,
    /// From target to client.
    pub backward: Mode,
}

impl Modes {
    /// The same for both directions.
    pub fn both(mode: Mode) -> Self {
        Self { forward: mode, backward: mode }
    }

    fn is_cut(&self) -> bool {
        self.forward == Mode::Cut || self.backward == Mode::Cut
    }
}

/// Addresses from which a proxy connects to a target on this machine, and by which a node tells its clients apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sources {
    /// That of the machine, for all.
    #[default]
    Own,
    /// One address for this share of the connections, as behind a router that translates addresses, and one for each of the others.
    Shared {
        /// Share of the connections, percent.
        pct: u8,
    },
}

impl Sources {
    /// Address for the connection of this number.
    fn of(self, number: u64) -> Option<Ipv4Addr> {
        let Self::Shared { pct } = self else { return None };
        // Spread evenly, so that any hundred connections have the share.
        let (before, after) = (number * u64::from(pct) / 100, (number + 1) * u64::from(pct) / 100);
        if after > before {
            return Some(SHARED_ADDRESS);
        }
        let [.., high, low] = ((number - after) % OWN_ADDRESSES).to_be_bytes();
        Some(Ipv4Addr::new(127, 2, high, low))
    }
}

/// Target of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Direction of a pump.
#[derive(Debug, Clone, Copy)]
enum Direction {
    Forward,
    Backward,
}

impl Direction {
    fn of(self, modes: &Modes) -> Mode {
        match self {
            Self::Forward => modes.forward,
            Self::Backward => modes.backward,
        }
    }
}

/// Proxy on a local port; closed with its connections on drop.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddrV4,
    modes: watch::Sender<Modes>,
    target: Arc<Mutex<Target>>,
    sources: watch::Sender<Sources>,
    /// Number of resets.
    resets: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on any free port of 127.0.0.1.
    pub async fn start(target: Target) -> io::Result<Self> {
        Self::start_on(Ipv4Addr::LOCALHOST, target).await
    }

    /// Listens on a port of another address of this machine.
    pub async fn start_on(host: Ipv4Addr, target: Target) -> io::Result<Self> {
        let listener = TcpListener::bind((host, 0)).await?;
        let address = SocketAddrV4::new(host, listener.local_addr()?.port());
        let (modes, watched) = watch::channel(Modes::default());
        let target = Arc::new(Mutex::new(target));
        let (sources, watched_sources) = watch::channel(Sources::default());
        let (resets, watched_resets) = watch::channel(0);
        let task = tokio::spawn(accept(address, listener, Arc::clone(&target), watched, watched_sources, watched_resets));
        Ok(Self { address, modes, target, sources, resets, task })
    }

    /// Listen address.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Sets the modes, also of open connections.
    pub fn set(&self, modes: Modes) {
        self.modes.send_replace(modes);
    }

    /// The present modes.
    pub fn modes(&self) -> Modes {
        *self.modes.borrow()
    }

    /// Resets every connection that is open now; others are accepted all the while.
    pub fn reset(&self) {
        self.resets.send_modify(|resets| *resets += 1);
    }

    /// Sets the addresses from which new connections come.
    pub fn set_sources(&self, sources: Sources) {
        self.sources.send_replace(sources);
    }

    /// Sets the target of new connections.
    pub fn set_target(&self, target: Target) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The connections' tasks belong to this one.
        self.task.abort();
    }
}

async fn accept(
    address: SocketAddrV4,
    listener: TcpListener,
    target: Arc<Mutex<Target>>,
    modes: watch::Receiver<Modes>,
    sources: watch::Receiver<Sources>,
    resets: watch::Receiver<u64>,
) {
    let mut accepted_before = 0;
    let mut connections = JoinSet::new();
    let mut listener = Some(listener);
    let mut watched = modes.clone();
    loop {
        if watched.borrow_and_update().is_cut() {
            listener = None;
            if watched.wait_for(|modes| !modes.is_cut()).await.is_err() {
                return;
            }
            continue;
        }
        let Some(open) = &listener else {
            match TcpListener::bind(address).await {
                Ok(bound) => listener = Some(bound),
                Err(_) => sleep(BIND_AGAIN).await,
            }
            continue;
        };
        tokio::select! {
            changed = watched.changed() => if changed.is_err() { return },
            accepted = open.accept() => {
                if let Ok((client, _)) = accepted {
                    let target = target.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    let source = sources.borrow().of(accepted_before);
                    accepted_before += 1;
                    let mut resets = resets.clone();
                    // Those of before are none of its own.
                    resets.mark_unchanged();
                    connections.spawn(Box::pin(serve(client, target, source, modes.clone(), resets)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection.
async fn serve(
    mut client: TcpStream,
    target: Target,
    source: Option<Ipv4Addr>,
    modes: watch::Receiver<Modes>,
    mut resets: watch::Receiver<u64>,
) {
    let forwarded = tokio::select! {
        biased;
        // A mode that changes and changes back may never be seen, a number that has grown is. Without a proxy there is no connection either.
        _ = resets.changed() => Err(io::ErrorKind::ConnectionReset.into()),
        forwarded = forward(&mut client, target, source, modes) => forwarded,
    };
    if forwarded.is_err() {
        // Reset, not closed: the other end learns of it as of a crash. An end
        // that is gone already cannot be told.
        let _ = client.set_zero_linger();
    }
}

async fn forward(client: &mut TcpStream, target: Target, source: Option<Ipv4Addr>, mut modes: watch::Receiver<Modes>) -> io::Result<()> {
    client.set_nodelay(true)?;
    // A connection request would not get through either.
    wait_until_open(Direction::Forward, &mut modes).await;
    match target {
        Target::Tcp(address) => {
            let mut upstream = connect(address, source).await?;
            upstream.set_nodelay(true)?;
            let relayed = relay(client, &mut upstream, modes).await;
            let _ = if relayed.is_err() { upstream.set_zero_linger() } else { Ok(()) };
            relayed
        }
        Target::Unix(path) => relay(client, &mut UnixStream::connect(path).await?, modes).await,
    }
}

async fn connect(address: SocketAddr, source: Option<Ipv4Addr>) -> io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect(address).await };
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddrV4::new(source, 0).into())?;
    socket.connect(address).await
}

async fn relay<S: AsyncRead + AsyncWrite + Unpin>(
    client: &mut TcpStream,
    upstream: &mut S,
    modes: watch::Receiver<Modes>,
) -> io::Result<()> {
    let (client_reads, client_writes) = client.split();
    let (upstream_reads, upstream_writes) = tokio::io::split(upstream);
    let mut watched = modes.clone();
    let pumps = async {
        tokio::try_join!(
            pump(client_reads, upstream_writes, modes.clone(), Direction::Forward),
            pump(upstream_reads, client_writes, modes, Direction::Backward),
        )
        .map(drop)
    };
    tokio::select! {
        biased;
        // A proxy that is gone has cut its connections, too.
        _ = watched.wait_for(Modes::is_cut) => Err(io::ErrorKind::ConnectionReset.into()),
        ended = pumps => ended,
    }
}

/// Forwards one direction of a connection until its end.
async fn pump(
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
    modes: watch::Receiver<Modes>,
    direction: Direction,
) -> io::Result<()> {
    let (sender, chunks) = mpsc::channel(CHUNKS);
    tokio::try_join!(read_chunks(from, sender, modes.clone(), direction), write_chunks(to, chunks, modes, direction)).map(drop)
}

/// Reads, and notes when each chunk is due at the other end; an empty one is the end.
async fn read_chunks(
    mut from: impl AsyncRead + Unpin,
    chunks: mpsc::Sender<(Instant, Bytes)>,
    mut modes: watch::Receiver<Modes>,
    direction: Direction,
) -> io::Result<()> {
    let mut losses = 0;
    loop {
        wait_until_open(direction, &mut modes).await;
        let mut buffer = BytesMut::with_capacity(CHUNK_BYTES);
        tokio::select! {
            biased;
            changed = modes.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                continue;
            }
            read = from.read_buf(&mut buffer) => read?,
        };
        let delay = match direction.of(&modes.borrow()) {
            Mode::Delay(delay) => delay,
            Mode::Lossy { delay, loss_pct } => delay + retransmission(&mut losses, loss_pct, delay),
            _ => Duration::ZERO,
        };
        let ends = buffer.is_empty();
        if chunks.send((Instant::now() + delay, buffer.freeze())).await.is_err() || ends {
            return Ok(());
        }
    }
}

/// Further delay of a piece: every so often it is lost at first. `losses` is what has added up so far, percent.
fn retransmission(losses: &mut u32, loss_pct: u8, delay: Duration) -> Duration {
    *losses += u32::from(loss_pct);
    if *losses < 100 {
        return Duration::ZERO;
    }
    *losses %= 100;
    RETRANSMISSION.max(delay * 2)
}

async fn write_chunks(
    mut to: impl AsyncWrite + Unpin,
    mut chunks: mpsc::Receiver<(Instant, Bytes)>,
    mut modes: watch::Receiver<Modes>,
    direction: Direction,
) -> io::Result<()> {
    while let Some((due, chunk)) = chunks.recv().await {
        if due > Instant::now() {
            sleep_until(due).await;
        }
        wait_until_open(direction, &mut modes).await;
        if chunk.is_empty() {
            break;
        }
        to.write_all(&chunk).await?;
    }
    to.shutdown().await
}

/// Waits while the direction is silent.
async fn wait_until_open(direction: Direction, modes: &mut watch::Receiver<Modes>) {
    // Without a proxy there is no connection either: its task is being ended.
    let _ = modes.wait_for(|modes| direction.of(modes) != Mode::Blackhole).await;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_share_of_connections_has_one_address_and_each_other_one_its_own() {
        assert_eq!(Sources::Own.of(7), None);
        for pct in [0, 1, 50, 99, 100] {
            let sources: Vec<Ipv4Addr> = (0..1_000).map(|number| Sources::Shared { pct }.of(number).unwrap()).collect();
            let shared = sources.iter().filter(|source| **source == SHARED_ADDRESS).count();
            assert_eq!(shared, usize::from(pct) * 10, "{pct} %");
            let others: BTreeSet<&Ipv4Addr> = sources.iter().filter(|source| **source != SHARED_ADDRESS).collect();
            assert_eq!(others.len(), 1_000 - shared, "{pct} %");
        }
    }

    #[test]
    fn every_so_often_a_piece_waits_for_a_retransmission() {
        let mut losses = 0;
        let lost = (0..200).filter(|_| !retransmission(&mut losses, 5, Duration::from_millis(10)).is_zero()).count();
        assert_eq!(lost, 10);
        losses = 99;
        assert_eq!(retransmission(&mut losses, 5, Duration::from_millis(10)), RETRANSMISSION);
        losses = 99;
        assert_eq!(retransmission(&mut losses, 5, Duration::from_millis(400)), Duration::from_millis(800));
    }
}
