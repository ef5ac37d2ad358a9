//! The document around the live part of every page, for whoever is signed in.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use domain::ServiceError;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::shell::{live_page, protect, unavailable};
use crate::signin::OriginExtension;
use crate::{Dashboard, cookies, signin};

/// Any path that nothing else answers: the live page, for whoever is signed in.
pub(crate) async fn page(
    State(dashboard): State<Arc<Dashboard>>,
    method: Method,
    uri: Uri,
    request_origin: OriginExtension,
    headers: HeaderMap,
) -> Response {
    if method != Method::GET && method != Method::HEAD {
        let text = "There is no such address, or it takes other methods.";
        return protect((StatusCode::METHOD_NOT_ALLOWED, text).into_response());
    }
    match signin::principal(&dashboard, request_origin.clone(), &headers).await {
        Ok(principal) => live_page(&dashboard.assets, principal.user_id()),
        Err(ServiceError::Unauthorized) => match signin::renewed(&dashboard, request_origin, &headers).await {
            Ok((signed_in, principal)) => {
                let mut response = live_page(&dashboard.assets, principal.user_id());
                cookies::set(response.headers_mut(), &signed_in, dashboard.system.clock.now(), dashboard.secure_cookies);
                response
            }
            Err(ServiceError::Unauthorized) => {
                let wanted = uri.path_and_query().map_or("/", |path| path.as_str());
                protect(Redirect::to(&login_url(wanted)).into_response())
            }
            Err(error) => unavailable(&dashboard.assets, signin::status_of(&error)),
        },
        Err(error) => unavailable(&dashboard.assets, signin::status_of(&error)),
    }
}

/// The sign-in form that goes on to `wanted`.
fn login_url(wanted: &str) -> String {
    let wanted = signin::local_path(wanted);
    if wanted == "/" {
        return "/login".into();
    }
    format!("/login?next={}", utf8_percent_encode(wanted, PATH))
}

/// Everything but unreserved characters and `/`.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asked_for_survives_the_sign_in() {
        assert_eq!(login_url("/"), "/login");
        assert_eq!(login_url("/devices?q=a&b"), "/login?next=/devices%3Fq%3Da%26b");
        assert_eq!(login_url("//evil.example"), "/login");
    }
}
