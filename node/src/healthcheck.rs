//! `nexmdm healthcheck`: whether the node of this configuration serves, asked on its own machine. A container without a shell has no
//! other program to ask with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::redirect::Policy;

use crate::config::Config;

/// Largest part of an answer that is shown.
const SHOWN_MAX_CHARS: usize = 300;

/// Asks `/readyz`, or `/healthz` where only the process counts.
///
/// # Errors
/// Nothing answers within `timeout`, or the answer is no success.
pub(crate) async fn run(config: &Config, live: bool, timeout: Duration) -> anyhow::Result<()> {
    if config.http.listen.port() == 0 {
        bail!("http.listen has port 0, so that nobody but the node knows where it listens: give it a port");
    }
    let scheme = if config.http.tls_certificate_file.is_empty() { "http" } else { "https" };
    let path = if live { "healthz" } else { "readyz" };
    let url = format!("{scheme}://{}/{path}", on_this_machine(config.http.listen));
    // The certificate is of the public host, not of this address; nothing secret is sent, and the answer is a word.
    let client = reqwest::Client::builder().no_proxy().redirect(Policy::none()).tls_danger_accept_invalid_certs(true).timeout(timeout);
    let mut answer = client.build()?.get(&url).send().await.map_err(reqwest::Error::without_url).with_context(|| url.clone())?;
    let status = answer.status();
    if status.is_success() {
        println!("{}", if live { "alive" } else { "ready" });
        return Ok(());
    }
    let body = answer.chunk().await.ok().flatten().unwrap_or_default();
    let text: String = String::from_utf8_lossy(&body).chars().filter(|c| !c.is_control()).take(SHOWN_MAX_CHARS).collect();
    bail!("{url} answers {status}: {text}")
}

/// The address by which this machine reaches a listener: a loopback address where it listens on all.
fn on_this_machine(listen: SocketAddr) -> SocketAddr {
    let address = match listen.ip() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    SocketAddr::new(address, listen.port())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::config::tests::parse;

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("127.0.0.1:9", "127.0.0.1:9"),
            ("10.0.0.7:443", "10.0.0.7:443"),
            ("[2001:db8::7]:443", "[2001:db8::7]:443"),
        ] {
            assert_eq!(on_this_machine(listen.parse().unwrap()).to_string(), asked, "{listen}");
        }
    }

    /// Answers one request, and tells which path it was for.
    fn answering(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut part) = (Vec::new(), [0; 1024]);
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                let read = stream.read(&mut part).unwrap();
                request.extend(&part[..read]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap().split(' ').nth(1).unwrap().to_owned()
        });
        (address, asked)
    }

    async fn checked(listen: &str, live: bool) -> Result<(), String> {
        let config = parse(&[("NEXMDM__HTTP__LISTEN", listen)]).unwrap();
        run(&config, live, Duration::from_secs(20)).await.map_err(|error| format!("{error:#}"))
    }

    #[tokio::test]
    async fn only_a_success_is_healthy() {
        let (address, asked) = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(checked(&address, false).await, Ok(()));
        assert_eq!(asked.join().unwrap(), "/readyz");
        let (address, asked) = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(checked(&address, true).await, Ok(()));
        assert_eq!(asked.join().unwrap(), "/healthz");
        let (address, _) = answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 8\r\n\r\nno\nlease");
        let problem = checked(&address, false).await.unwrap_err();
        assert!(problem.contains("503") && problem.contains("nolease"), "{problem}");
        // A redirect leads elsewhere, and says nothing of this node.
        let (address, _) = answering("HTTP/1.1 302 Found\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n");
        assert!(checked(&address, false).await.unwrap_err().contains("302"));
        assert!(checked("127.0.0.1:0", false).await.unwrap_err().contains("http.listen"));
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        assert!(checked(&closed, false).await.unwrap_err().contains(&closed));
    }
}
