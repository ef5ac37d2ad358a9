//! Notifications to the service manager that started the node: sd_notify(3) of systemd, a datagram to the socket that `NOTIFY_SOCKET`
//! names. Where there is none, nothing is told.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// How long the service manager may leave a notification unread.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// State of the node.
pub(crate) enum State<'a> {
    /// It serves at this URL.
    Ready {
        /// Its public URL.
        url: &'a str,
    },
    /// It hands over and ends.
    Stopping,
}

impl State<'_> {
    fn message(&self) -> String {
        match self {
            Self::Ready { url } => format!("READY=1\nSTATUS=Serving {url}\n"),
            Self::Stopping => "STOPPING=1\nSTATUS=Handing devices over\n".to_owned(),
        }
    }
}

/// Tells the service manager, if there is one. That it cannot be told is logged, and changes nothing.
pub(crate) fn notify(state: &State<'_>) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else { return };
    if let Err(cause) = send(&socket, &state.message()) {
        tracing::warn!(event = "node.service_manager_not_told", %cause);
    }
}

fn send(socket: &OsStr, message: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let datagram = UnixDatagram::unbound()?;
    datagram.set_write_timeout(Some(SEND_TIMEOUT))?;
    datagram.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(listener: &UnixDatagram) -> String {
        let mut bytes = [0; 512];
        listener.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let length = listener.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn states_reach_sockets_of_either_kind() {
        let folder = chaos::harness::TempDir::new("notify").unwrap();
        let path = folder.path().join("s");
        let listener = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), &State::Ready { url: "https://mdm.example.com" }.message()).unwrap();
        assert_eq!(received(&listener), "READY=1\nSTATUS=Serving https://mdm.example.com\n");
        let name = format!("nexmdm-notify-{}", std::process::id());
        let listener = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(OsStr::new(&format!("@{name}")), &State::Stopping.message()).unwrap();
        assert!(received(&listener).starts_with("STOPPING=1\n"));
        assert!(send(folder.path().join("absent").as_os_str(), "READY=1").is_err());
    }
}
