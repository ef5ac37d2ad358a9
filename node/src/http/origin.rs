//! Keeps other sites from acting through a signed-in browser.
//!
//! Browsers do not hold WebSockets to the same origin, and send cookies along
//! with requests that other pages make. So an upgrade with an `Origin`, and
//! every state-changing request with a cookie, must come from a page of ours.
//! Agents and scripts send neither.

use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::ApiError;

/// Refuses what another site's page sends.
pub(crate) async fn check(request: Request, next: Next) -> Response {
    if is_foreign(request.method(), request.headers()) {
        return ApiError::new(StatusCode::FORBIDDEN, "foreign_origin", "the request comes from another origin").into_response();
    }
    next.run(request).await
}

fn is_foreign(method: &Method, headers: &HeaderMap) -> bool {
    let is_upgrade = headers.contains_key(header::UPGRADE);
    if method.is_safe() && !is_upgrade {
        return false;
    }
    match headers.get(header::ORIGIN) {
        Some(origin) => !is_own(origin.to_str().ok(), headers),
        None => headers.contains_key(header::COOKIE),
    }
}

fn is_own(origin: Option<&str>, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let authority = origin.and_then(|origin| origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")));
    authority.is_some() && authority == host
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foreign(method: Method, headers: &[(&'static str, &'static str)]) -> bool {
        let mut map = HeaderMap::new();
        map.insert("host", "mdm.example:8080".parse().unwrap());
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        is_foreign(&method, &map)
    }

    #[test]
    fn the_table_of_who_may() {
        let (own, other) = (("origin", "http://mdm.example:8080"), ("origin", "http://evil.example"));
        let (cookie, upgrade) = (("cookie", "a=b"), ("upgrade", "websocket"));
        assert!(!foreign(Method::GET, &[other, cookie]), "looking changes nothing");
        assert!(!foreign(Method::POST, &[]), "a script");
        assert!(!foreign(Method::POST, &[own, cookie]));
        assert!(foreign(Method::POST, &[other, cookie]));
        assert!(foreign(Method::POST, &[other]), "a sign-in that another site starts");
        assert!(foreign(Method::POST, &[cookie]), "a cookie without an origin");
        assert!(foreign(Method::DELETE, &[("origin", "null"), cookie]));
        assert!(!foreign(Method::GET, &[upgrade]), "an agent");
        assert!(!foreign(Method::GET, &[upgrade, own, cookie]));
        assert!(foreign(Method::GET, &[upgrade, other, cookie]));
        assert!(foreign(Method::GET, &[upgrade, cookie]));
        assert!(foreign(Method::GET, &[upgrade, ("origin", "http://mdm.example"), cookie]), "another port");
    }
}
