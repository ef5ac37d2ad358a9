//! The documents that the server renders itself: the page around the live part, and the sign-in form.

use std::fmt::Write;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use domain::UserId;

use crate::assets::Assets;

const CSP: &str = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                   frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// The headers of every document of ours.
pub(crate) fn protect(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(crate) fn head(assets: &Assets, title: &str, scripts: &[&str]) -> String {
    let mut head = format!(
        r#"<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="/favicon.svg" type="image/svg+xml"><script src="{}"></script><link rel="stylesheet" href="{}">"#,
        assets.url("theme.js"),
        assets.url("app.css"),
    );
    for script in scripts {
        // Writing to a String does not fail.
        let _ = write!(head, r#"<script src="{}" defer></script>"#, assets.url(script));
    }
    head + "</head>"
}

/// The document that opens the socket. It names the account, so that what one person typed is not shown to the next in the same tab.
pub(crate) fn live_page(assets: &Assets, account: Option<UserId>) -> Response {
    let account = account.map_or_else(String::new, |account| account.to_string());
    let body = r#"
<div id="live-banner" class="banner" role="status" hidden></div>
<div id="main"><div class="boot" aria-hidden="true"><span class="spinner"></span></div></div>
<noscript><p class="boot">NexMDM requires JavaScript. Please enable it.</p></noscript>
</body></html>"#;
    protect(Html(format!("{}<body data-account=\"{account}\">{body}", head(assets, "NexMDM", &["live.js"]))).into_response())
}

/// The document of a sign-in that cannot be checked right now.
pub(crate) fn unavailable(assets: &Assets, status: StatusCode) -> Response {
    let body = r#"<body class="centered"><main class="card login"><h1>Not available right now</h1>
<p>The server is running but cannot verify your session, most likely because its database is unavailable. This page retries automatically.</p>
<p><a class="button" href="">Retry now</a></p></main></body></html>"#;
    let mut response = protect((status, Html(format!("{}{body}", head(assets, "NexMDM", &[])))).into_response());
    response.headers_mut().insert(header::REFRESH, HeaderValue::from_static("5"));
    response
}

/// The sign-in form.
pub(crate) struct LoginPage<'a> {
    /// Page that follows the sign-in.
    pub(crate) next: &'a str,
    /// Name that was typed before.
    pub(crate) username: &'a str,
    /// Error of the last attempt.
    pub(crate) error: Option<&'a str>,
    /// Address of the form over https, if the browser reached this one without and would drop the cookies of a sign-in.
    pub(crate) https: Option<&'a str>,
    /// Whether links to set a password can be sent.
    pub(crate) sends_links: bool,
}

impl LoginPage<'_> {
    /// The form as an answer.
    pub(crate) fn render(&self, assets: &Assets, status: StatusCode) -> Response {
        protect((status, Html(self.html(assets))).into_response())
    }

    fn html(&self, assets: &Assets) -> String {
        let error = self.error.map_or_else(String::new, |error| {
            format!(r#"<p class="notice bad" role="alert" data-testid="login-error">{}</p>"#, escape(error))
        });
        let https = self.https.map_or_else(String::new, |url| {
            let url = escape(url);
            format!(
                r#"<p class="notice bad" role="alert" data-testid="login-https">This page was opened over http. This server takes sign-ins over https only, as the browser would drop the session. Sign in at <a href="{url}">{url}</a>.</p>"#
            )
        });
        let forgotten = if self.sends_links {
            r#"<p><a href="/password/forgot" data-testid="forgot-password">Forgot your password?</a></p>"#
        } else {
            ""
        };
        // Whoever was refused types the password again; the name is there already.
        let (focus_name, focus_password) = if self.username.is_empty() { (" autofocus", "") } else { ("", " autofocus") };
        format!(
            r#"{head}<body class="centered" data-next="{next}"><main class="card login">
<p class="brand"><img src="/favicon.svg" alt="" width="28" height="28"> NexMDM</p>
<h1>Sign in</h1>{https}{error}
<form method="post" action="/login">
<input type="hidden" name="next" value="{next}">
<label for="username">Username</label>
<input id="username" name="username" value="{username}" autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="200" required{focus_name}>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" maxlength="200" required{focus_password}>
<button class="button primary" data-testid="sign-in">Sign in</button>
</form>{forgotten}</main></body></html>"#,
            head = head(assets, "Sign in - NexMDM", &["login.js"]),
            next = escape(self.next),
            username = escape(self.username),
        )
    }
}

pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_comes_back_as_text() {
        let page = LoginPage { next: "/devices?q=\"x", username: "<script>", error: Some("no & no"), https: None, sends_links: false }
            .html(&Assets::new());
        assert!(page.contains("&lt;script&gt;") && page.contains("no &amp; no") && page.contains("/devices?q=&quot;x"));
        assert!(!page.contains("<script>") && !page.contains("login-https"));
        let over =
            LoginPage { next: "/", username: "", error: None, https: Some("https://mdm.example/login?next=/a&b=\""), sends_links: true };
        let page = over.html(&Assets::new());
        assert!(page.contains("forgot-password"));
        assert!(page.contains(r#"<a href="https://mdm.example/login?next=/a&amp;b=&quot;">"#), "{page}");
    }
}
