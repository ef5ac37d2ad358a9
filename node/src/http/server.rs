//! Accepts connections: bounded in number, with time limits, drained on stop.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use domain::permits::{Claim, Class, Limit, PoolName};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use permits::Permit;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Layer, util::MapRequestLayer};

use super::client_address::{client_address, client_scheme};
use super::host::Arrival;
use super::{App, router, tls};

/// Seconds after which a connection over the limit is told to come back.
const RETRY_AFTER_S: u32 = 5;
/// Pause after an accept that failed, usually for want of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// Largest head of a request, and buffer per connection.
const HEAD_MAX_BYTES: usize = 32 * 1024;

/// What a listener serves: the routes, and the TLS in front of them.
pub(crate) struct HttpService {
    app: Arc<App>,
    router: Router,
    tls: Option<TlsAcceptor>,
}

impl HttpService {
    /// The routes of a node, and its certificate, if it has one.
    ///
    /// # Errors
    /// The certificate or its key cannot be read.
    pub(crate) fn new(app: Arc<App>) -> anyhow::Result<Self> {
        Ok(Self { router: router(&app)?, tls: tls::acceptor(&app.config, app.stopping.clone())?, app })
    }
}

/// Serves until the node stops, then lets connections finish. Answers whether
/// all of them did in time.
pub(crate) async fn serve(listener: TcpListener, service: HttpService) -> bool {
    let HttpService { app, router, tls } = service;
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = app.stopping.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => match app.connections.try_take(claim_of(peer, &app)) {
                Ok(permit) => drop(connections.spawn(connection(stream, peer, tls.clone(), router.clone(), Arc::clone(&app), permit))),
                Err(limit) => {
                    app.observability.connections_refused.inc();
                    refuse(stream, limit);
                }
            },
            Err(cause) => {
                tracing::warn!(event = "http.accept_failed", %cause);
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
    drop(listener);
    connections.close();
    let patience = Duration::from_millis(app.config.shutdown.drain_timeout_ms);
    tokio::time::timeout(patience, connections.wait()).await.is_ok()
}

/// What a connection counts under: its address. Those of a trusted proxy are connections of many clients.
fn claim_of(peer: SocketAddr, app: &App) -> Claim {
    Claim::new(Class::Regular).from_address((!is_proxy(peer, app)).then(|| peer.ip().to_canonical()))
}

fn is_proxy(peer: SocketAddr, app: &App) -> bool {
    let address = peer.ip().to_canonical();
    app.trusted_proxies.iter().any(|network| network.contains(&address))
}

/// Tells the caller to come back later, without waiting for it.
fn refuse(stream: TcpStream, limit: Limit) {
    tokio::spawn(async move {
        let mut stream = stream;
        let problem = format!(
            r#"{{"type":"overloaded","title":"Service Unavailable","status":503,"detail":"{} is at its limit"}}"#,
            PoolName::Connections.setting(limit)
        );
        let answer = format!(
            "HTTP/1.1 503 Service Unavailable\r\nretry-after: {RETRY_AFTER_S}\r\nconnection: close\r\n\
             content-type: application/problem+json\r\ncontent-length: {}\r\n\r\n{problem}",
            problem.len()
        );
        let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(answer.as_bytes())).await;
    });
}

async fn connection(stream: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>, router: Router, app: Arc<App>, permit: Permit) {
    let _permit = permit;
    let _guard = ConnectionGuard::new(&app);
    // Small answers must not wait for an acknowledgement (Nagle).
    let _ = stream.set_nodelay(true);
    let local = stream.local_addr().ok().map(|address| address.ip());
    let Some(tls) = tls else { return http(stream, (peer, local), false, router, &app).await };
    let patience = Duration::from_millis(app.config.http.header_timeout_ms);
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(patience, tls.accept(stream)) => accepted,
        // Nothing was asked yet: there is nothing to finish.
        () = app.stopping.cancelled() => return,
    };
    // Errors are the peer's, as below.
    if let Ok(Ok(stream)) = accepted {
        http(stream, (peer, local), true, router, &app).await;
    }
}

/// HTTP over a connection, whatever carries it.
async fn http<S>(stream: S, (peer, local): (SocketAddr, Option<IpAddr>), over_tls: bool, router: Router, app: &App)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let trusted = app.trusted_proxies.clone();
    let arrival = Arrival { local, by_proxy: is_proxy(peer, app) };
    let service = MapRequestLayer::new(move |mut request: hyper::Request<hyper::body::Incoming>| {
        single_slashes(&mut request);
        let client = client_address(peer, request.headers(), &trusted);
        let scheme = client_scheme(peer, over_tls, request.headers(), &trusted);
        request.extensions_mut().insert(ConnectInfo(client));
        request.extensions_mut().insert(arrival);
        if let Some(scheme) = scheme {
            request.extensions_mut().insert(scheme);
        }
        request
    })
    .layer(router);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(app.config.http.header_timeout_ms))
        .max_buf_size(HEAD_MAX_BYTES)
        .half_close(false);
    let served = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).with_upgrades();
    until_drained(served, &app.stopping).await;
}

/// Takes a path with empty segments for the one without them: base URLs that end with a slash are common, and routes have none.
fn single_slashes<B>(request: &mut hyper::Request<B>) {
    if !request.uri().path().contains("//") {
        return;
    }
    let mut path = String::with_capacity(request.uri().path().len());
    for c in request.uri().path().chars() {
        if c != '/' || !path.ends_with('/') {
            path.push(c);
        }
    }
    if let Some(query) = request.uri().query() {
        path.push('?');
        path.push_str(query);
    }
    // A part of a valid path is one; the authority of a proxy's form of the request is not looked at.
    if let Ok(uri) = path.parse() {
        *request.uri_mut() = uri;
    }
}

/// Serves a connection; once the node stops, only the request in progress.
async fn until_drained<I, S>(served: http1::UpgradeableConnection<I, S>, stopping: &CancellationToken)
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = axum::body::Body>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let mut served = std::pin::pin!(served);
    // Errors here are the peer's: it hung up, was too slow, or did not speak HTTP.
    tokio::select! {
        _ = served.as_mut() => {}
        () = stopping.cancelled() => {
            served.as_mut().graceful_shutdown();
            let _ = served.await;
        }
    }
}

/// Guard that counts a connection while it is open.
struct ConnectionGuard(prometheus::IntGauge);

impl ConnectionGuard {
    fn new(app: &App) -> Self {
        let gauge = app.observability.connections.clone();
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_segments_of_a_path_do_not_count() {
        for (sent, routed) in [
            ("/v1/heartbeat", "/v1/heartbeat"),
            ("//v1/heartbeat", "/v1/heartbeat"),
            ("/v1///devices//x?a=b//c", "/v1/devices/x?a=b//c"),
            ("//", "/"),
            ("/%2F/x", "/%2F/x"),
        ] {
            let mut request = hyper::Request::builder().uri(sent).body(()).unwrap();
            single_slashes(&mut request);
            assert_eq!(request.uri().to_string(), routed, "{sent}");
        }
    }
}
