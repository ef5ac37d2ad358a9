//! Security headers of every answer: one table, by the class of the route.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use super::App;

/// Class of a route by what browsers may do with its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderClass {
    /// JSON, tables and files of the API, and signals: nothing that a browser shows.
    Data,
    /// The documentation of the API.
    Docs,
    /// The dashboard.
    Page,
}

/// Answers that a browser shows as a document run nothing, load nothing and stand in no frame.
const CSP_DATA: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/// The page that shows the API styles itself inline and draws its pictures from data.
const CSP_DOCS: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; \
                        form-action 'self'";
const CSP_PAGE: &str = "frame-ancestors 'none'";
/// A year, for this host alone: whether its subdomains have certificates, it does not know.
const STRICT_TRANSPORT_SECURITY: &str = "max-age=31536000";
/// Only what says otherwise is kept by browsers and proxies.
const NOT_STORED: &str = "no-store";

impl HeaderClass {
    /// Class of the route at this path.
    pub(crate) fn of(path: &str) -> Self {
        let is_below = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if is_below("/docs") {
            Self::Docs
        } else if is_below("/v1") || matches!(path, "/openapi.json" | "/healthz" | "/readyz" | "/metrics") {
            Self::Data
        } else {
            Self::Page
        }
    }

    /// Headers of the class. What a handler sets itself stays: pages have a stricter policy of their own, and files that do not change may
    /// be kept.
    pub(crate) fn headers(self) -> [(HeaderName, &'static str); 5] {
        let (policy, referrer) = match self {
            Self::Data => (CSP_DATA, "no-referrer"),
            Self::Docs => (CSP_DOCS, "same-origin"),
            Self::Page => (CSP_PAGE, "same-origin"),
        };
        [
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::CONTENT_SECURITY_POLICY, policy),
            (header::REFERRER_POLICY, referrer),
            (header::CACHE_CONTROL, NOT_STORED),
        ]
    }
}

fn complete(headers: &mut HeaderMap, class: HeaderClass, is_https: bool) {
    for (name, value) in class.headers() {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if is_https {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(STRICT_TRANSPORT_SECURITY));
    }
}

/// Completes the headers of every answer.
pub(crate) async fn protect(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let class = HeaderClass::of(request.uri().path());
    let mut response = next.run(request).await;
    complete(response.headers_mut(), class, app.is_https);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_its_class() {
        for (path, class) in [
            ("/v1/devices", HeaderClass::Data),
            ("/v1", HeaderClass::Data),
            ("/metrics", HeaderClass::Data),
            ("/openapi.json", HeaderClass::Data),
            ("/docs", HeaderClass::Docs),
            ("/docs/index.css", HeaderClass::Docs),
            ("/docsx", HeaderClass::Page),
            ("/v1x", HeaderClass::Page),
            ("/", HeaderClass::Page),
            ("/login", HeaderClass::Page),
        ] {
            assert_eq!(HeaderClass::of(path), class, "{path}");
        }
    }

    #[test]
    fn what_a_handler_set_stays_and_https_is_remembered() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        complete(&mut headers, HeaderClass::Data, true);
        assert_eq!(headers[header::CACHE_CONTROL], "private, no-cache");
        assert_eq!(headers[header::STRICT_TRANSPORT_SECURITY], "max-age=31536000");
        assert!(headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("frame-ancestors 'none'"));
        let mut headers = HeaderMap::new();
        complete(&mut headers, HeaderClass::Page, false);
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert!(!headers.contains_key(header::STRICT_TRANSPORT_SECURITY));
    }
}
