//! HTTP server of the stand-ins for services: HTTP/1.1 without TLS, whose answers may be missing or a reset.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Pause after a connection that could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(20);

/// Response of a stand-in.
pub(crate) type Reply = Response<Full<Bytes>>;

/// Serves until dropped; connections end with it. An answer of `None` resets the connection.
pub(crate) async fn serve<A, F>(listener: TcpListener, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Option<Reply>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => drop(connections.spawn(connection(stream, answer.clone()))),
            // Out of file descriptors, at worst; one may be free soon.
            Err(_) => sleep(ACCEPT_AGAIN).await,
        }
    }
}

async fn connection<A, F>(stream: TcpStream, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Send,
    F: Future<Output = Option<Reply>> + Send + 'static,
{
    let reset = Arc::new(AtomicBool::new(false));
    let service = {
        // Behind a pointer, as what serves has to be movable.
        let (reset, answer) = (Arc::clone(&reset), Box::new(answer));
        service_fn(move |request| {
            let (reset, answer) = (Arc::clone(&reset), answer(request));
            let answer: Pin<Box<dyn Future<Output = io::Result<Reply>> + Send>> = Box::pin(async move {
                answer.await.ok_or_else(|| {
                    reset.store(true, Ordering::Release);
                    io::ErrorKind::ConnectionReset.into()
                })
            });
            answer
        })
    };
    let mut served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let _ = poll_fn(|context| served.poll_without_shutdown(context)).await;
    let stream = served.into_parts().io.into_inner();
    if reset.load(Ordering::Acquire) {
        // A close then sends RST instead of FIN.
        let _ = stream.set_zero_linger();
    }
}
