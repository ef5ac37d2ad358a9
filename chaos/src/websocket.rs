//! WebSocket connections small enough to have 20,000 of them in one process.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, error::UrlError};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::http::ServerUrl;

/// From the TCP handshake to the upgrade.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Allocated per socket; frames of a node are mostly far below 1 KiB.
const READ_BUFFER_BYTES: usize = 1 << 10;
/// The largest message of the agent socket: a command with its parameters, a heartbeat.
pub const AGENT_MESSAGE_BYTES: usize = 256 << 10;

/// Opens a WebSocket whose messages have at most `message_bytes` either way;
/// `Error::Http` is a refused upgrade with its answer.
pub async fn connect(
    url: &ServerUrl,
    path: &str,
    headers: &[(&str, &str)],
    message_bytes: usize,
) -> Result<WebSocketStream<TcpStream>, Error> {
    let mut request = format!("ws://{}{path}", url.authority()).into_client_request()?;
    for (name, value) in headers {
        let name = HeaderName::try_from(*name).map_err(|_| Error::Url(UrlError::UnsupportedUrlScheme))?;
        let mut value = HeaderValue::try_from(*value).map_err(|_| Error::Url(UrlError::UnsupportedUrlScheme))?;
        value.set_sensitive(true);
        request.headers_mut().append(name, value);
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * message_bytes)
        .max_message_size(Some(message_bytes))
        .max_frame_size(Some(message_bytes));
    let open = async {
        let stream = TcpStream::connect(url.authority()).await?;
        stream.set_nodelay(true)?;
        // Boxed: the handshake's buffers are gone once it is done, not kept in
        // the task for as long as the socket lives.
        let (stream, _) = Box::pin(client_async_with_config(request, stream, Some(config))).await?;
        Ok(stream)
    };
    match timeout(CONNECT_TIMEOUT, open).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}
