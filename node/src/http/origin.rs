//! Keeps other sites from acting through a signed-in browser.
//!
//! Browsers do not hold WebSockets to the same origin, and send cookies along
//! with requests that other pages make. So an upgrade with an `Origin`, and
//! every state-changing request with a cookie, must come from a page of ours.
//! Agents and scripts send neither, or a bearer token instead of a cookie, which
//! no page of another site can have a browser send (there is no CORS here).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::Timestamp;
use url::Url;

use super::{ApiError, App, closed};

/// Shortest time between two log lines about foreign origins, ms: anybody can cause one.
const LOG_INTERVAL_MS: i64 = 60_000;
/// Longest host that is repeated to its sender.
const HOST_MAX_CHARS: usize = 255;

/// Origin of the server's own pages.
pub(crate) struct OwnOrigin {
    /// `http.public_url`, or where this node listens.
    public: String,
    logged_at_ms: AtomicI64,
}

impl OwnOrigin {
    /// The origin of a URL of this server.
    pub(crate) fn new(public_url: String) -> Self {
        Self { public: public_url, logged_at_ms: AtomicI64::new(i64::MIN) }
    }

    /// The problem of a request that another site's page may have caused; `None`: it is ours, or no browser's.
    fn problem(&self, method: &Method, headers: &HeaderMap) -> Option<String> {
        let is_upgrade = headers.contains_key(header::UPGRADE);
        if method.is_safe() && !is_upgrade {
            return None;
        }
        let has_cookie = headers.contains_key(header::COOKIE);
        if !has_cookie && has_bearer(headers) {
            return None;
        }
        let host = text(headers, header::HOST);
        match headers.get(header::ORIGIN) {
            None if !has_cookie => None,
            None => Some(
                "the request has a cookie and no Origin header, which browsers send with every form and socket: a proxy in between has to \
                 pass it on unchanged"
                    .into(),
            ),
            Some(origin) => match origin.to_str().ok().and_then(|origin| Url::parse(origin).ok()).filter(is_web) {
                None => Some("the request comes from a page without an origin, or of another site".into()),
                Some(origin) if self.is_own(&origin, host) => None,
                Some(origin) => Some(self.mismatch(&origin, host)),
            },
        }
    }

    /// Whether a page of this origin is ours: that of `http.public_url`, or the host that was asked for.
    fn is_own(&self, origin: &Url, host: Option<&str>) -> bool {
        let is_public = Url::parse(&self.public).is_ok_and(|public| public.origin() == origin.origin());
        is_public || asked_for(origin, host).is_some_and(|asked| asked.origin() == origin.origin())
    }

    /// What does not fit, and the setting that mends it.
    fn mismatch(&self, origin: &Url, host: Option<&str>) -> String {
        let (public, named) = (&self.public, origin.origin().ascii_serialization());
        let shown: String = host.unwrap_or_default().chars().take(HOST_MAX_CHARS).collect();
        let facts = format!("the page's origin is {named}, the request came with the Host {shown:?}, and http.public_url is {public}");
        let is_port_lost = asked_for(origin, host).is_some_and(|asked| asked.host_str() == origin.host_str());
        let cause = if is_port_lost { "the port differs" } else { "the host differs" };
        format!(
            "the request comes from another origin: {facts}; {cause}. If {named} is this server, set http.public_url to it, or let the proxy \
             pass the Host as it came (nginx: proxy_set_header Host $http_host, not $host or $proxy_host; Caddy: no header_up Host; HAProxy: \
             no http-request set-header Host)"
        )
    }

    /// Whether it is time for a log line.
    fn is_to_be_logged(&self, now: Timestamp) -> bool {
        let now_ms = now.timestamp_millis();
        let last_ms = self.logged_at_ms.load(Ordering::Relaxed);
        now_ms.saturating_sub(last_ms) >= LOG_INTERVAL_MS
            && self.logged_at_ms.compare_exchange(last_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// Refuses what another site's page sends.
pub(crate) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Some(problem) = app.origin.problem(request.method(), request.headers()) else { return next.run(request).await };
    if app.origin.is_to_be_logged(app.system.clock.now()) {
        tracing::warn!(event = "http.foreign_origin", path = request.uri().path(), problem);
    }
    if closed::is_person(request.headers()) {
        return (StatusCode::FORBIDDEN, format!("This request was refused: {problem}.\n")).into_response();
    }
    ApiError::new(StatusCode::FORBIDDEN, "foreign_origin", problem).into_response()
}

fn has_bearer(headers: &HeaderMap) -> bool {
    let scheme = text(headers, header::AUTHORIZATION).and_then(|value| value.split_once(' '));
    scheme.is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

/// The host that was asked for, by the scheme of the page: a proxy may have ended its TLS.
fn asked_for(origin: &Url, host: Option<&str>) -> Option<Url> {
    let asked = Url::parse(&format!("{}://{}", origin.scheme(), host?)).ok()?;
    (asked.path() == "/" && asked.username().is_empty() && asked.password().is_none()).then_some(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(public: &str, method: Method, headers: &[(&'static str, &str)]) -> Option<String> {
        let map = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect();
        OwnOrigin::new(public.into()).problem(&method, &map)
    }

    fn foreign(method: Method, headers: &[(&'static str, &'static str)]) -> bool {
        problem("http://127.0.0.1:8080", method, &[&[("host", "mdm.example:8080")], headers].concat()).is_some()
    }

    #[test]
    fn the_table_of_who_may() {
        let (own, other) = (("origin", "http://mdm.example:8080"), ("origin", "http://evil.example"));
        let (cookie, upgrade, bearer) = (("cookie", "a=b"), ("upgrade", "websocket"), ("authorization", "Bearer x"));
        assert!(!foreign(Method::GET, &[other, cookie]), "looking changes nothing");
        assert!(!foreign(Method::POST, &[]), "a script");
        assert!(!foreign(Method::POST, &[own, cookie]));
        assert!(foreign(Method::POST, &[other, cookie]));
        assert!(foreign(Method::POST, &[other]), "a sign-in that another site starts");
        assert!(foreign(Method::POST, &[cookie]), "a cookie without an origin");
        assert!(foreign(Method::DELETE, &[("origin", "null"), cookie]));
        assert!(!foreign(Method::GET, &[upgrade]), "an agent");
        assert!(!foreign(Method::GET, &[upgrade, other, bearer]), "an agent whose library names an origin");
        assert!(foreign(Method::GET, &[upgrade, other, bearer, cookie]), "the cookie could be the one that counts");
        assert!(foreign(Method::POST, &[other, ("authorization", "Basic x")]), "browsers send that by themselves");
        assert!(!foreign(Method::GET, &[upgrade, own, cookie]));
        assert!(foreign(Method::GET, &[upgrade, other, cookie]));
        assert!(foreign(Method::GET, &[upgrade, cookie]));
        assert!(foreign(Method::GET, &[upgrade, ("origin", "http://mdm.example"), cookie]), "another port");
    }

    #[test]
    fn the_public_url_is_own_in_any_spelling_and_whatever_host_a_proxy_names() {
        for (public, origin) in [
            ("https://mdm.example.com", "https://mdm.example.com"),
            ("https://mdm.example.com", "https://mdm.example.com:443"),
            ("https://mdm.example.com", "https://MDM.example.com"),
            ("https://mdm.example.com:8443", "https://mdm.example.com:8443"),
            ("http://mdm.example.com", "http://mdm.example.com:80"),
            ("http://[2001:db8::1]:8080", "http://[2001:db8::1]:8080"),
        ] {
            for host in ["mdm.example.com", "mdm.example.com:443", "127.0.0.1:8080", "backend", ""] {
                let found = problem(public, Method::POST, &[("origin", origin), ("host", host), ("cookie", "a=b")]);
                assert_eq!(found, None, "{public} {origin} {host}");
            }
        }
        // Without the setting it is the host that was asked for.
        for (origin, host, own) in [
            ("https://mdm.example.com", "mdm.example.com", true),
            ("https://mdm.example.com", "mdm.example.com:443", true),
            ("https://mdm.example.com", "MDM.example.com", true),
            ("https://mdm.example.com:8443", "mdm.example.com:8443", true),
            ("http://mdm.example.com", "mdm.example.com:80", true),
            ("http://mdm.example.com", "mdm.example.com:443", false),
            ("https://mdm.example.com:8443", "mdm.example.com", false),
            ("https://mdm.example.com", "mdm.example.com:8443", false),
            ("https://mdm.example.com", "mdm.example.com.evil.example", false),
            ("https://evil.example", "mdm.example.com@evil.example", false),
            ("https://evil.example", "evil.example/mdm.example.com", false),
            ("https://mdm.example.com", "", false),
            ("file:///etc", "mdm.example.com", false),
        ] {
            let found = problem("http://127.0.0.1:8080", Method::POST, &[("origin", origin), ("host", host)]);
            assert_eq!(found.is_none(), own, "{origin} {host}: {found:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_differs_and_which_directive_mends_it() {
        let refused = |origin, host| problem("https://mdm.example.com", Method::POST, &[("origin", origin), ("host", host)]).unwrap();
        let port = refused("https://mdm.example.com:8443", "mdm.example.com");
        for part in ["the port differs", "https://mdm.example.com:8443", "http.public_url", "proxy_set_header Host $http_host"] {
            assert!(port.contains(part), "{port}");
        }
        let host = refused("https://devices.example.com", "127.0.0.1:8080");
        assert!(host.contains("the host differs") && host.contains("\"127.0.0.1:8080\"") && host.contains("set-header Host"), "{host}");
        let absent = problem("https://mdm.example.com", Method::POST, &[("cookie", "a=b")]).unwrap();
        assert!(absent.contains("no Origin header"), "{absent}");
        let long = refused("https://mdm.example.com:8443", &"x".repeat(9_000));
        assert!(long.len() < 2_000, "{}", long.len());
    }

    #[test]
    fn the_log_has_one_line_a_minute() {
        let (own, at) = (OwnOrigin::new(String::new()), |ms| chrono::DateTime::from_timestamp_millis(ms).unwrap());
        let logged: Vec<_> = [0, 1, 59_999, 60_000, 60_001, 120_000].into_iter().map(|ms| own.is_to_be_logged(at(ms))).collect();
        assert_eq!(logged, [true, false, false, true, false, true]);
    }
}
