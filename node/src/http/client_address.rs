//! Client address of a request: the peer, or the address that trusted proxies report.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;
use web_dioxus::Scheme;

/// Each proxy appends the address that it was called from.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// The scheme that a proxy was called with.
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// The client's address. Only what a trusted proxy appended is believed: the list is read from
/// its end, through trusted hops, to the first that is not one. Anybody else may write anything.
pub(crate) fn client_address(peer: SocketAddr, headers: &HeaderMap, trusted: &[IpNet]) -> SocketAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let mut client = peer.ip();
    let mut hops = headers.get_all(FORWARDED_FOR).iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    while is_trusted(&client) {
        // An invalid hop was not written by a trusted proxy.
        let Some(hop) = hops.next().and_then(parse_hop) else { break };
        client = hop;
    }
    if client == peer.ip() { peer } else { SocketAddr::new(client, 0) }
}

/// Scheme by which a client reached the server: that of this connection, or behind a trusted proxy the one that it reports; `None`: it
/// reports none.
pub(crate) fn client_scheme(peer: SocketAddr, over_tls: bool, headers: &HeaderMap, trusted: &[IpNet]) -> Option<Scheme> {
    let peer = peer.ip().to_canonical();
    if over_tls {
        return Some(Scheme::Https);
    }
    if !trusted.iter().any(|network| network.contains(&peer)) {
        return Some(Scheme::Http);
    }
    // Of several proxies the first one, which the client reached, has written the first word.
    let reported = headers.get(FORWARDED_PROTO)?.to_str().ok()?.split(',').next()?.trim().to_ascii_lowercase();
    match reported.as_str() {
        "https" | "wss" => Some(Scheme::Https),
        "http" | "ws" => Some(Scheme::Http),
        _ => None,
    }
}

/// Parses one hop; some proxies add a port.
fn parse_hop(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim().trim_matches('"');
    let address = hop.parse::<IpAddr>().or_else(|_| hop.parse::<SocketAddr>().map(|address| address.ip()));
    let address = address.or_else(|_| hop.trim_start_matches('[').trim_end_matches(']').parse());
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "2001:db8::/32"].iter().map(|network| network.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
        }
        client_address(peer.parse().unwrap(), &headers, &trusted).ip().to_string()
    }

    #[test]
    fn the_scheme_is_that_of_the_connection_or_of_a_trusted_proxy() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let scheme = |peer: &str, over_tls, reported: Option<&'static str>| {
            let headers = reported.map(|reported| (FORWARDED_PROTO.parse().unwrap(), HeaderValue::from_static(reported)));
            client_scheme(peer.parse().unwrap(), over_tls, &headers.into_iter().collect(), &trusted)
        };
        assert_eq!(scheme("192.0.2.1:5", false, None), Some(Scheme::Http));
        assert_eq!(scheme("192.0.2.1:5", false, Some("https")), Some(Scheme::Http), "a client's own word");
        assert_eq!(scheme("192.0.2.1:5", true, Some("http")), Some(Scheme::Https));
        assert_eq!(scheme("10.0.0.1:5", false, None), None);
        assert_eq!(scheme("[::ffff:10.0.0.1]:5", false, Some("HTTPS")), Some(Scheme::Https));
        assert_eq!(scheme("10.0.0.1:5", false, Some("http, https")), Some(Scheme::Http));
        assert_eq!(scheme("10.0.0.1:5", false, Some("gopher")), None);
    }

    #[test]
    fn the_table_of_who_is_believed() {
        let cases: [(&str, &[&str], &str, &str); 14] = [
            ("192.0.2.1:5", &[], "192.0.2.1", "nobody in between"),
            ("192.0.2.1:5", &["198.51.100.9"], "192.0.2.1", "a client's own word"),
            ("10.0.0.1:5", &["198.51.100.9"], "198.51.100.9", "one proxy"),
            ("10.0.0.1:5", &["198.51.100.9, 10.0.0.2"], "198.51.100.9", "two proxies"),
            ("10.0.0.1:5", &["203.0.113.5, 198.51.100.9"], "198.51.100.9", "what the client wrote in front"),
            ("10.0.0.1:5", &["10.9.9.9, 198.51.100.9"], "198.51.100.9", "a client that plays a proxy"),
            ("10.0.0.1:5", &["203.0.113.5", "198.51.100.9"], "198.51.100.9", "several headers are one list"),
            ("10.0.0.1:5", &[], "10.0.0.1", "the proxy itself"),
            ("10.0.0.1:5", &["10.0.0.7, 10.0.0.2"], "10.0.0.7", "a client beside the proxies"),
            ("10.0.0.1:5", &["198.51.100.9, unknown"], "10.0.0.1", "no address"),
            ("10.0.0.1:5", &[""], "10.0.0.1", "nothing"),
            ("[::ffff:10.0.0.1]:5", &["198.51.100.9:4711"], "198.51.100.9", "mapped peer, hop with port"),
            ("[2001:db8::1]:5", &["[2001:470::1]:80"], "2001:470::1", "version 6"),
            ("10.0.0.1:5", &["::ffff:198.51.100.9"], "198.51.100.9", "mapped hop"),
        ];
        for (peer, forwarded, want, why) in cases {
            assert_eq!(client(peer, forwarded), want, "{why}");
        }
    }
}
