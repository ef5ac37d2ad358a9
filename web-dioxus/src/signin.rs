//! Sign-in and out: the form, the cookies, and renewing them.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::rejection::FormRejection;
use axum::extract::{Extension, Form, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use domain::ServiceError;
use domain::access::{Origin, Principal};
use serde::Deserialize;
use services::{ClientInfo, run_detached};

use crate::shell::{self, LoginPage};
use crate::{Dashboard, cookies};

#[derive(Deserialize)]
pub(crate) struct Next {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(crate) struct LoginForm {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    next: String,
}

/// Principal of a request with these cookies.
pub(crate) async fn principal(
    dashboard: &Dashboard,
    request_origin: OriginExtension,
    headers: &HeaderMap,
) -> Result<Principal, ServiceError> {
    let access_token = cookies::read(headers, cookies::ACCESS).ok_or(ServiceError::Unauthorized)?;
    dashboard.system.auth.authenticate(access_token, origin(request_origin)).await
}

/// The outcome of a request beside the socket, with a refusal recorded in the audit trail as those of the API are.
pub(crate) async fn recorded<T>(
    dashboard: &Dashboard,
    principal: &Principal,
    request: &str,
    outcome: Result<T, ServiceError>,
) -> Result<T, ServiceError> {
    if let Err(ServiceError::Forbidden(refused)) = &outcome {
        dashboard.system.trail.refused(principal, request, &refused.to_string()).await;
    }
    outcome
}

/// Scheme by which a request reached the server, as far as the node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// TLS, of the node itself or of a proxy in front of it.
    Https,
}

/// Scheme of the request, as the node found it.
type SchemeExtension = Option<Extension<Scheme>>;

/// Origin of the request, as recorded by the node.
pub(crate) type OriginExtension = Option<Extension<Origin>>;

pub(crate) fn origin(request_origin: OriginExtension) -> Origin {
    request_origin.map(|Extension(origin)| origin).unwrap_or_default()
}

/// Path on this server to continue to, else the overview.
pub(crate) fn local_path(next: &str) -> &str {
    let local = next.starts_with('/')
        && !next.starts_with("//")
        && next.len() <= 4096
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        && !next.starts_with("/login")
        && !next.starts_with("/logout");
    if local { next } else { "/" }
}

/// Address of the form over https, if this request came from a browser that would drop the cookies of a sign-in: they are for https
/// alone, and a browser keeps such cookies of its own machine only.
fn https_form(dashboard: &Dashboard, headers: &HeaderMap, scheme: SchemeExtension, next: &str) -> Option<String> {
    let public = dashboard.https_url.as_deref()?;
    // A form says where it came from; a page that is asked for says so by the way that it came.
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let is_plain = match origin {
        Some(origin) => origin.starts_with("http://"),
        None => scheme.is_some_and(|Extension(scheme)| scheme == Scheme::Http),
    };
    let host = match origin {
        Some(origin) => origin.strip_prefix("http://"),
        None => headers.get(header::HOST).and_then(|host| host.to_str().ok()),
    };
    let is_kept = host.is_some_and(is_own_machine);
    (is_plain && !is_kept).then(|| match next {
        "/" => format!("{public}/login"),
        next => format!("{public}/login?next={}", percent_encoding::utf8_percent_encode(next, percent_encoding::NON_ALPHANUMERIC)),
    })
}

/// Whether a host, with a port or without, is the machine of the browser.
fn is_own_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// `GET /login`
pub(crate) async fn form(
    State(dashboard): State<Arc<Dashboard>>,
    Query(query): Query<Next>,
    request_origin: OriginExtension,
    scheme: SchemeExtension,
    headers: HeaderMap,
) -> Response {
    let next = local_path(&query.next);
    let https = https_form(&dashboard, &headers, scheme, next);
    match principal(&dashboard, request_origin, &headers).await {
        Ok(_) => Redirect::to(next).into_response(),
        Err(_) => {
            LoginPage { next, username: "", error: None, https: https.as_deref(), sends_links: dashboard.system.account_mail.is_on() }
                .render(&dashboard.assets, StatusCode::OK)
        }
    }
}

/// `POST /login`
pub(crate) async fn login(
    State(dashboard): State<Arc<Dashboard>>,
    request_origin: OriginExtension,
    headers: HeaderMap,
    form: Result<Form<LoginForm>, FormRejection>,
) -> Response {
    let page = |form: &LoginForm, error: String, status| {
        LoginPage {
            next: local_path(&form.next),
            username: &form.username,
            error: Some(&error),
            https: None,
            sends_links: dashboard.system.account_mail.is_on(),
        }
        .render(&dashboard.assets, status)
    };
    let Ok(Form(form)) = form else {
        let empty = LoginForm { username: String::new(), password: String::new(), next: String::new() };
        return page(&empty, "The form was incomplete. Try again.".into(), StatusCode::BAD_REQUEST);
    };
    // Only a form says that it was opened over http; scripts that sign in here keep cookies as they like. No session is begun that
    // its browser would forget.
    let next = local_path(&form.next);
    if let Some(https) = https_form(&dashboard, &headers, None, next) {
        return LoginPage { next, username: &form.username, error: None, https: Some(&https), sends_links: false }
            .render(&dashboard.assets, StatusCode::FORBIDDEN);
    }
    let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let client = ClientInfo { origin: origin(request_origin), user_agent };
    let (system, username, password) = (Arc::clone(&dashboard.system), form.username.clone(), form.password.clone());
    match run_detached(async move { system.auth.login(&username, &password, client).await }).await {
        Ok(signed_in) => {
            let mut response = Redirect::to(local_path(&form.next)).into_response();
            cookies::set(response.headers_mut(), &signed_in, dashboard.system.clock.now(), dashboard.secure_cookies);
            response
        }
        Err(ServiceError::Throttled { retry_after_s }) => {
            let error = format!("Too many failed attempts. Try again in {}.", crate::format::duration(i64::from(retry_after_s)));
            let mut response = page(&form, error, StatusCode::TOO_MANY_REQUESTS);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s));
            response
        }
        Err(error) => {
            let (status, text) = match error {
                ServiceError::Unauthorized => (StatusCode::UNAUTHORIZED, "The username or the password is wrong."),
                ServiceError::Unavailable | ServiceError::Overloaded(_) => {
                    (StatusCode::SERVICE_UNAVAILABLE, "The server cannot check passwords right now. Try again in a moment.")
                }
                _ => (StatusCode::INTERNAL_SERVER_ERROR, "Sign-in failed. See the server log."),
            };
            page(&form, text.into(), status)
        }
    }
}

/// `POST /logout`
pub(crate) async fn logout(State(dashboard): State<Arc<Dashboard>>, request_origin: OriginExtension, headers: HeaderMap) -> Response {
    // An expired access token leaves the session to its refresh token, so that one is used to end it.
    let principal = match principal(&dashboard, request_origin.clone(), &headers).await {
        Ok(principal) => Some(principal),
        Err(_) => renewed(&dashboard, request_origin, &headers).await.ok().map(|(_, principal)| principal),
    };
    if let Some(principal) = principal
        && let Err(cause) = dashboard.system.auth.logout(&principal).await
    {
        // The cookies go all the same; what is left ends by itself.
        tracing::warn!(event = "dashboard.logout_incomplete", %cause);
    }
    let mut response = Redirect::to("/login").into_response();
    cookies::clear(response.headers_mut(), dashboard.secure_cookies);
    response
}

/// A new pair of tokens for the refresh cookie, and its principal.
pub(crate) async fn renewed(
    dashboard: &Dashboard,
    request_origin: OriginExtension,
    headers: &HeaderMap,
) -> Result<(services::SignedIn, Principal), ServiceError> {
    let refresh_token = cookies::read(headers, cookies::REFRESH).ok_or(ServiceError::Unauthorized)?;
    let origin = origin(request_origin);
    let signed_in = dashboard.system.auth.refresh(refresh_token, origin.clone()).await?;
    let principal = dashboard.system.auth.authenticate(&signed_in.access_token, origin).await?;
    Ok((signed_in, principal))
}

/// `GET /live/check`
pub(crate) async fn check(State(dashboard): State<Arc<Dashboard>>, request_origin: OriginExtension, headers: HeaderMap) -> Response {
    match principal(&dashboard, request_origin, &headers).await {
        Ok(principal) => {
            // A refused upgrade tells a browser nothing, so it is told here.
            let (status, text) = match dashboard.sessions.refusal(&principal) {
                Some(limit) => (StatusCode::TOO_MANY_REQUESTS, limit),
                None => (StatusCode::OK, dashboard.build_id.clone()),
            };
            (status, [(header::CACHE_CONTROL, "no-store")], text).into_response()
        }
        Err(error) => status_of(&error).into_response(),
    }
}

/// `POST /live/refresh`
pub(crate) async fn refresh(State(dashboard): State<Arc<Dashboard>>, request_origin: OriginExtension, headers: HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    match renewed(&dashboard, request_origin, &headers).await {
        Ok((signed_in, _)) => cookies::set(response.headers_mut(), &signed_in, dashboard.system.clock.now(), dashboard.secure_cookies),
        Err(error) => {
            *response.status_mut() = status_of(&error);
            if matches!(error, ServiceError::Unauthorized) {
                cookies::clear(response.headers_mut(), dashboard.secure_cookies);
            }
        }
    }
    shell::protect(response)
}

/// Status of a refused or failed request beside the socket, as the API has it.
pub(crate) fn status_of(error: &ServiceError) -> StatusCode {
    match error {
        ServiceError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        ServiceError::Unauthorized => StatusCode::UNAUTHORIZED,
        ServiceError::Forbidden(_) | ServiceError::ForeignDevice | ServiceError::SignInRequired => StatusCode::FORBIDDEN,
        ServiceError::NotFound(_) => StatusCode::NOT_FOUND,
        ServiceError::LastAdmin
        | ServiceError::AliasInUse
        | ServiceError::AliasHeld(_)
        | ServiceError::FilterNameInUse
        | ServiceError::UsernameInUse
        | ServiceError::WrongState(_)
        | ServiceError::NoRollback(_)
        | ServiceError::DeploymentRefused(_)
        | ServiceError::Conflict(_) => StatusCode::CONFLICT,
        ServiceError::DeviceDeleted => StatusCode::GONE,
        ServiceError::Throttled { .. } => StatusCode::TOO_MANY_REQUESTS,
        ServiceError::Unavailable | ServiceError::NotOwner | ServiceError::Overloaded(_) => StatusCode::SERVICE_UNAVAILABLE,
        ServiceError::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_keep_the_cookies_of_their_own_machine() {
        for own in ["localhost", "LOCALHOST:8080", "mdm.localhost:80", "127.0.0.1:8080", "127.1.2.3", "[::1]:8080", "[::ffff:127.0.0.1]"] {
            assert!(is_own_machine(own), "{own}");
        }
        for other in ["mdm.example", "10.0.0.1:8080", "localhost.example", "[2001:db8::1]:80", "", "127.0.0.1.example"] {
            assert!(!is_own_machine(other), "{other}");
        }
    }

    #[test]
    fn only_paths_on_this_server_are_gone_on_to() {
        for good in ["/", "/devices?q=a", "/devices/018f"] {
            assert_eq!(local_path(good), good);
        }
        let long = format!("/{}", "a".repeat(5000));
        for bad in ["", "//evil.example", "https://evil.example", "/\\evil.example", "/a\nb", "/login", "/logout", "javascript:x", &long] {
            assert_eq!(local_path(bad), "/", "{bad:?}");
        }
    }
}
