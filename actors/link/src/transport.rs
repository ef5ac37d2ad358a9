//! The streams between nodes: our own TCP and TLS, with deadlines, handed to the cluster library.
//!
//! The library notices a dead peer only by its connection's end. Here a stream on which nothing
//! was read for a while fails, and both sides send signs of life, so a silent peer is noticed too.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use domain::permits::PoolName;
use permits::Permit;
use ractor::ActorRef;
use ractor_cluster::node::NodeServerMessage;
use ractor_cluster::{BoxRead, BoxWrite, ClusterBidiStream, client_connect_external};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::LinkSettings;
use super::handshakes::Handshakes;
use super::tls::LinkTls;
use crate::metrics::Metrics;

/// Read buffer of a stream: the library reads each frame in two pieces.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// Pause after an accept that failed, usually for want of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// A reader that fails once nothing has come for a while.
struct IdleDeadline<R> {
    inner: R,
    idle: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl<R> IdleDeadline<R> {
    fn new(inner: R, idle: Duration) -> Self {
        Self { inner, idle, sleep: Box::pin(tokio::time::sleep(idle)) }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for IdleDeadline<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.inner).poll_read(cx, buffer) {
            let deadline = Instant::now() + self.idle;
            self.sleep.as_mut().reset(deadline);
            return Poll::Ready(read);
        }
        match self.sleep.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "nothing from the peer"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

struct LinkStream<S> {
    stream: S,
    peer: SocketAddr,
    idle: Duration,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> ClusterBidiStream for LinkStream<S> {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let (read, write) = tokio::io::split(self.stream);
        let read = BufReader::with_capacity(READ_BUFFER_BYTES, IdleDeadline::new(read, self.idle));
        (Box::new(read), Box::new(write))
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.peer.to_string())
    }
}

/// Error in dialing a peer.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// It does not answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// It cannot be reached, or refuses.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// This node stops.
    #[error("the link is stopping")]
    Stopping,
}

/// Dials a peer and hands the stream to the library.
pub(crate) async fn dial(
    server: &ActorRef<NodeServerMessage>,
    tls: &LinkTls,
    address: &str,
    settings: &LinkSettings,
    handshakes: &Handshakes,
) -> Result<(), DialError> {
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let peer = stream.peer_addr()?;
        io::Result::Ok((tls.connector.connect(tls.server_name.clone(), stream).await?, peer))
    };
    let (stream, peer) =
        timeout(settings.handshake_timeout, connecting).await.map_err(|_| DialError::TimedOut(settings.handshake_timeout))??;
    // Its certificate was checked; it may be the one that connects next time.
    handshakes.note_peer(peer.ip());
    let stream = LinkStream { stream, peer, idle: settings.idle_after };
    client_connect_external(server, Box::new(stream)).await.map_err(|_| DialError::Stopping)
}

/// The port that peers connect to.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) server: ActorRef<NodeServerMessage>,
    pub(crate) tls: LinkTls,
    pub(crate) settings: LinkSettings,
    pub(crate) handshakes: Arc<Handshakes>,
    pub(crate) metrics: Metrics,
}

impl Door {
    /// Accepts peers until `stopping`. Each shakes hands on its own, so that one that keeps silent
    /// holds up nobody.
    pub(crate) async fn accept(self, listener: TcpListener, stopping: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopping.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => match self.handshakes.take(peer.ip()) {
                    Ok(permit) => drop(tokio::spawn(self.clone().shake_hands(stream, peer, permit))),
                    Err(limit) => refused(&self.metrics, peer, "too_many_handshakes", PoolName::LinkHandshakes.setting(limit)),
                },
                Err(cause) => {
                    tracing::warn!(event = "link.accept_failed", %cause);
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    async fn shake_hands(self, stream: TcpStream, peer: SocketAddr, permit: Permit) {
        let _permit = permit;
        let _ = stream.set_nodelay(true);
        match timeout(self.settings.handshake_timeout, self.tls.acceptor.accept(stream)).await {
            Err(_) => refused(&self.metrics, peer, "silent", "no handshake in time"),
            Ok(Err(cause)) => refused(&self.metrics, peer, "certificate", &cause.to_string()),
            Ok(Ok(stream)) if !self.tls.is_of_this_cluster(stream.get_ref().1.peer_certificates()) => {
                refused(&self.metrics, peer, "other_cluster", "its certificate names another cluster");
            }
            Ok(Ok(stream)) => {
                self.handshakes.note_peer(peer.ip());
                let stream = Box::new(LinkStream { stream, peer, idle: self.settings.idle_after });
                // A server that stopped takes nobody in any more.
                let _ = self.server.cast(NodeServerMessage::ConnectionOpenedExternal { stream, is_server: true });
            }
        }
    }
}

fn refused(metrics: &Metrics, peer: SocketAddr, reason: &str, cause: &str) {
    metrics.link_refused.with_label_values(&[reason]).inc();
    tracing::warn!(event = "link.refused", %peer, reason, cause);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_fails_and_one_that_talks_does_not() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut reader = IdleDeadline::new(near, Duration::from_secs(2));
        for _ in 0..5 {
            tokio::time::advance(Duration::from_millis(1900)).await;
            far.write_all(b"x").await.unwrap();
            assert_eq!(reader.read_u8().await.unwrap(), b'x');
        }
        let started = Instant::now();
        assert_eq!(reader.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed().as_secs(), 2);
    }
}
