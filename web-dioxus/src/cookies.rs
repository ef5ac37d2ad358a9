//! The cookies of a sign-in: written, read, and taken back.

use axum::http::{HeaderMap, HeaderValue, header};
use cookie::{Cookie, SameSite};
use domain::Timestamp;
use services::SignedIn;

/// Carries the access token.
pub(crate) const ACCESS: &str = "nexmdm_access";
/// Carries the refresh token.
pub(crate) const REFRESH: &str = "nexmdm_refresh";
/// Tells the page's script when the access token expires, in Unix seconds; no secret.
const ACCESS_UNTIL: &str = "nexmdm_access_until";

/// Prefix of the names over https: the browser then takes the cookie from this host and over TLS alone, so that no other host of the
/// domain can plant one (RFC 6265bis, section 4.1.3.2).
const HOST_PREFIX: &str = "__Host-";

/// The value of a cookie that the browser sent: that of this host alone; from a browser that has none of these, the one without the
/// prefix, which plain HTTP and earlier builds set. Beside them it may be another host's.
pub(crate) fn read<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let own = |name: &str| sent(headers, &format!("{HOST_PREFIX}{name}"));
    match own(name) {
        None if own(ACCESS).is_none() && own(REFRESH).is_none() => sent(headers, name),
        found => found,
    }
}

fn sent<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(Cookie::split_parse)
        .filter_map(Result::ok)
        .find(|cookie| cookie.name() == name && !cookie.value().is_empty())
        .and_then(|cookie| cookie.value_raw())
}

/// Sets the cookies of a sign-in. Without a new refresh token the browser keeps its own.
pub(crate) fn set(headers: &mut HeaderMap, signed_in: &SignedIn, now: Timestamp, secure: bool) {
    let access_s = seconds_until(signed_in.access_expires_at, now);
    append(headers, ACCESS, &signed_in.access_token, access_s, true, secure);
    append(headers, ACCESS_UNTIL, &signed_in.access_expires_at.timestamp().to_string(), access_s, false, secure);
    if let Some(token) = &signed_in.refresh_token {
        append(headers, REFRESH, token, seconds_until(signed_in.session_expires_at, now), true, secure);
    }
}

/// Takes every cookie of a sign-in back.
pub(crate) fn clear(headers: &mut HeaderMap, secure: bool) {
    for (name, http_only) in [(ACCESS, true), (REFRESH, true), (ACCESS_UNTIL, false)] {
        append(headers, name, "", 0, http_only, secure);
        if secure {
            append_named(headers, name, "", 0, http_only, secure);
        }
    }
}

fn seconds_until(at: Timestamp, now: Timestamp) -> i64 {
    (at - now).num_seconds().max(0)
}

fn append(headers: &mut HeaderMap, name: &str, value: &str, max_age_s: i64, http_only: bool, secure: bool) {
    let prefix = if secure { HOST_PREFIX } else { "" };
    append_named(headers, &format!("{prefix}{name}"), value, max_age_s, http_only, secure);
}

fn append_named(headers: &mut HeaderMap, name: &str, value: &str, max_age_s: i64, http_only: bool, secure: bool) {
    let cookie = Cookie::build((name, value))
        .path("/")
        .same_site(SameSite::Strict)
        .max_age(cookie::time::Duration::seconds(max_age_s))
        .http_only(http_only)
        .secure(secure)
        .build();
    // Tokens are base64url and dots, so this holds for every cookie of ours.
    if let Ok(cookie) = HeaderValue::from_str(&cookie.to_string()) {
        headers.append(header::SET_COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::access::Role;

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }

    fn signed_in(refresh_token: Option<&str>) -> SignedIn {
        SignedIn {
            access_token: "a.b.c".into(),
            access_expires_at: at(900),
            refresh_token: refresh_token.map(Into::into),
            session_expires_at: at(86_400),
            username: "admin".into(),
            role: Role::Admin,
        }
    }

    fn written(headers: &HeaderMap) -> Vec<&str> {
        headers.get_all(header::SET_COOKIE).iter().map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn a_cookie_that_another_host_may_have_planted_is_not_read_beside_ours() {
        let read_of = |cookies: &'static str, name| {
            let headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static(cookies))]);
            read(&headers, name).map(str::to_owned)
        };
        assert_eq!(read_of("__Host-nexmdm_refresh=own; nexmdm_access=planted", ACCESS), None);
        assert_eq!(read_of("nexmdm_access=planted; __Host-nexmdm_access=own", ACCESS).as_deref(), Some("own"));
        assert_eq!(read_of("nexmdm_access=own", ACCESS).as_deref(), Some("own"), "of plain HTTP, or of an earlier build");
    }

    #[test]
    fn finds_a_cookie_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("x=1; nexmdm_access=a.b.c;nexmdm_refresh="));
        headers.append(header::COOKIE, HeaderValue::from_static("y=2"));
        assert_eq!(read(&headers, ACCESS), Some("a.b.c"));
        assert_eq!(read(&headers, "y"), Some("2"));
        assert_eq!(read(&headers, REFRESH), None, "an empty cookie is none");
        assert_eq!(read(&headers, "nexmdm"), None);
    }

    #[test]
    fn secrets_are_out_of_reach_of_scripts_and_other_sites() {
        let mut headers = HeaderMap::new();
        set(&mut headers, &signed_in(Some("r")), at(0), true);
        let cookies = written(&headers);
        assert_eq!(cookies[0], "__Host-nexmdm_access=a.b.c; HttpOnly; SameSite=Strict; Secure; Path=/; Max-Age=900");
        assert_eq!(cookies[2], "__Host-nexmdm_refresh=r; HttpOnly; SameSite=Strict; Secure; Path=/; Max-Age=86400");
    }

    #[test]
    fn a_twin_of_a_refresh_leaves_the_refresh_cookie_alone() {
        let mut headers = HeaderMap::new();
        set(&mut headers, &signed_in(None), at(0), false);
        assert!(written(&headers).iter().all(|cookie| !cookie.starts_with(REFRESH)));
        assert!(written(&headers).iter().all(|cookie| !cookie.contains("Secure")));
    }

    #[test]
    fn signing_out_expires_every_cookie() {
        let mut headers = HeaderMap::new();
        clear(&mut headers, false);
        let cookies = written(&headers);
        assert_eq!(cookies.len(), 3);
        assert!(cookies.iter().all(|cookie| cookie.contains("Max-Age=0")));
        let mut headers = HeaderMap::new();
        clear(&mut headers, true);
        assert_eq!(written(&headers).len(), 6, "those of an earlier build as well");
    }

    #[test]
    fn the_cookie_of_this_host_alone_comes_first_and_the_old_name_is_still_read() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("nexmdm_access=old"));
        assert_eq!(read(&headers, ACCESS), Some("old"));
        headers.append(header::COOKIE, HeaderValue::from_static("__Host-nexmdm_access=new"));
        assert_eq!(read(&headers, ACCESS), Some("new"));
    }
}
