//! Hosts that requests are for. Nothing is made of a Host header: links are made of `http.public_url`. What is for another host is refused all
//! the same, so that a page of another name that leads here (DNS rebinding) gets no answer, and a misconfigured proxy is noticed.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::text::excerpt;
use url::{Host, Url};

use super::{ApiError, App, closed};
use crate::config::KnownHosts;

/// Longest host that is repeated to its sender, in characters.
const HOST_MAX_CHARS: usize = 255;

/// Way by which a request came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// Address of this machine that it was sent to.
    pub(crate) local: Option<IpAddr>,
    /// Whether a trusted proxy sent it.
    pub(crate) by_proxy: bool,
}

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refused {
    /// It names no host, several, or one that is none.
    Unreadable,
    /// It is for a host that the server is not known by.
    Unknown(String),
}

fn host_checked(known: &KnownHosts, uri: &Uri, headers: &HeaderMap, arrival: Option<Arrival>) -> Result<(), Refused> {
    if known.names.is_empty() || arrival.is_some_and(|arrival| arrival.by_proxy) {
        return Ok(());
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let named = match (uri.authority(), hosts.next(), hosts.next()) {
        (_, _, Some(_)) | (None, None, None) => return Err(Refused::Unreadable),
        // RFC 9112, section 3.2.2: of a proxy's form of the request the host of its target counts.
        (Some(authority), _, None) => authority.as_str(),
        (None, Some(host), None) => host.to_str().map_err(|_| Refused::Unreadable)?,
    };
    let host = host_of(named).ok_or(Refused::Unreadable)?;
    let is_known = match &host {
        Host::Domain(name) if name == "localhost" || name.ends_with(".localhost") => true,
        Host::Ipv4(address) if is_here(IpAddr::V4(*address), arrival) => true,
        Host::Ipv6(address) if is_here(IpAddr::V6(*address), arrival) => true,
        host => known.names.contains(host),
    };
    if is_known { Ok(()) } else { Err(Refused::Unknown(excerpt(named, HOST_MAX_CHARS))) }
}

fn answer(known: &KnownHosts, refused: Refused) -> ApiError {
    match refused {
        Refused::Unreadable => {
            ApiError::new(StatusCode::BAD_REQUEST, "bad_host", "the request names no host, several, or one that is none")
        }
        Refused::Unknown(host) => {
            let detail = format!(
                "the request is for the host {host:?}, and this server is {} (http.public_url). If that host leads here on purpose, name it \
                 in http.hosts; if a proxy named it, name the proxy in http.trusted_proxies or let it pass the Host as it came (nginx: \
                 proxy_set_header Host $http_host)",
                known.public_url
            );
            ApiError::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", detail)
        }
    }
}

/// Whether an address is this machine's own, as far as the request shows.
fn is_here(address: IpAddr, arrival: Option<Arrival>) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || arrival.and_then(|arrival| arrival.local).is_some_and(|local| local.to_canonical() == address)
}

/// The host of a `Host` header, without its port.
fn host_of(named: &str) -> Option<Host> {
    let url = Url::parse(&format!("http://{}", named.trim())).ok()?;
    let is_host =
        url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    match url.host().filter(|_| is_host)? {
        Host::Domain(name) => Some(Host::Domain(name.trim_end_matches('.').to_owned())),
        Host::Ipv4(address) => Some(Host::Ipv4(address)),
        Host::Ipv6(address) => Some(Host::Ipv6(address)),
    }
}

/// Refuses what is for another host.
pub(crate) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let arrival = request.extensions().get::<Arrival>().copied();
    let Err(refused) = host_checked(&app.hosts, request.uri(), request.headers(), arrival) else { return next.run(request).await };
    let answer = answer(&app.hosts, refused);
    if closed::is_person(request.headers()) {
        return (answer.status(), format!("This request was refused: {}.\n", answer.detail())).into_response();
    }
    answer.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn known() -> KnownHosts {
        KnownHosts::new(Some("https://mdm.example.com:8443".into()), "devices.example.com, 192.0.2.7, [2001:db8::1]").unwrap()
    }

    fn refused(uri: &str, named: &[&str], arrival: Option<Arrival>) -> Option<u16> {
        let mut headers = HeaderMap::new();
        for host in named {
            headers.append(header::HOST, HeaderValue::from_bytes(host.as_bytes()).unwrap());
        }
        let known = known();
        host_checked(&known, &uri.parse().unwrap(), &headers, arrival).err().map(|refused| answer(&known, refused).status().as_u16())
    }

    #[test]
    fn the_table_of_hosts() {
        let here = Some(Arrival { local: Some("10.0.0.5".parse().unwrap()), by_proxy: false });
        for (host, status) in [
            ("mdm.example.com", None),
            ("mdm.example.com:443", None),
            ("MDM.Example.Com:8443", None),
            ("mdm.example.com.", None),
            ("mdm.example.com.:443", None),
            ("devices.example.com", None),
            ("192.0.2.7:8080", None),
            ("[2001:db8::1]:8080", None),
            ("127.0.0.1:8080", None),
            ("127.1.2.3", None),
            ("[::1]:8080", None),
            ("[::ffff:127.0.0.1]", None),
            ("localhost:8080", None),
            ("node.localhost", None),
            ("10.0.0.5:8080", None),
            ("10.0.0.6:8080", Some(421)),
            ("evil.example", Some(421)),
            ("mdm.example.com.evil.example", Some(421)),
            ("localhost.evil.example", Some(421)),
            ("backend", Some(421)),
            ("xn--mnchen-3ya.example", Some(421)),
            ("", Some(400)),
            ("mdm.example.com/evil", Some(400)),
            ("mdm.example.com@evil.example", Some(400)),
            ("mdm.example.com:port", Some(400)),
            ("mdm.example.com, evil.example", Some(400)),
            ("évil.example", Some(400)),
        ] {
            assert_eq!(refused("/login", &[host], here), status, "{host}");
        }
        assert_eq!(refused("/login", &["mdm.example.com", "evil.example"], here), Some(400), "two of them");
        assert_eq!(refused("/login", &[], here), Some(400));
        assert_eq!(refused("http://evil.example/login", &["mdm.example.com"], here), Some(421), "the target counts");
        assert_eq!(refused("http://mdm.example.com/login", &["evil.example"], here), None);
    }

    #[test]
    fn a_trusted_proxy_names_what_it_likes_and_without_a_public_url_there_is_nothing_to_compare() {
        assert_eq!(refused("/login", &["backend"], Some(Arrival { local: None, by_proxy: true })), None);
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("evil.example"));
        assert_eq!(host_checked(&KnownHosts::default(), &"/".parse().unwrap(), &headers, None), Ok(()));
    }

    #[test]
    fn a_refusal_names_the_host_shortly_and_what_mends_it() {
        let detail = answer(&known(), Refused::Unknown("evil.example".into())).detail();
        for part in ["\"evil.example\"", "https://mdm.example.com:8443", "http.hosts", "http.trusted_proxies", "$http_host"] {
            assert!(detail.contains(part), "{detail}");
        }
    }
}
