//! Setting a password by a link that was sent by mail: asking for one, and using it. For whoever is not signed in.

use std::sync::Arc;

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use domain::ServiceError;
use secrecy::SecretString;
use serde::Deserialize;
use services::run_detached;

use crate::Dashboard;
use crate::assets::Assets;
use crate::shell::{escape, head, protect};
use crate::signin::{OriginExtension, origin, status_of};

#[derive(Deserialize)]
pub(crate) struct Link {
    #[serde(default)]
    token: String,
}

#[derive(Deserialize)]
pub(crate) struct ForgotForm {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize)]
pub(crate) struct NewForm {
    #[serde(default)]
    token: String,
    #[serde(default)]
    password: String,
}

/// A page for whoever is not signed in; its content is HTML.
fn page(assets: &Assets, status: StatusCode, title: &str, content: &str) -> Response {
    let html = format!(
        r#"{head}<body class="centered"><main class="card login">
<p class="brand"><img src="/favicon.svg" alt="" width="28" height="28"> NexMDM</p>
<h1>{title}</h1>{content}
<p><a href="/login">Back to sign-in</a></p></main></body></html>"#,
        head = head(assets, &format!("{title} - NexMDM"), &[]),
    );
    let mut response = protect((status, Html(html)).into_response());
    // The address of the page that a link leads to is a secret.
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn notice(kind: &str, role: &str, text: &str) -> String {
    format!(r#"<p class="notice {kind}" role="{role}" data-testid="password-notice">{}</p>"#, escape(text))
}

/// `GET /password/forgot`
pub(crate) async fn forgot(State(dashboard): State<Arc<Dashboard>>) -> Response {
    let content = if dashboard.system.account_mail.is_on() {
        r#"<p>A link by which you set a new password is sent to the address of your account.</p>
<form method="post" action="/password/forgot">
<label for="username">Username</label>
<input id="username" name="username" autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="200" required autofocus>
<button class="button primary" data-testid="send-link">Send the link</button>
</form>"#
            .to_owned()
    } else {
        notice("info", "status", "This server sends no mail. Ask an admin to reset your password.")
    };
    page(&dashboard.assets, StatusCode::OK, "Forgot your password?", &content)
}

/// `POST /password/forgot`
pub(crate) async fn send(
    State(dashboard): State<Arc<Dashboard>>,
    request_origin: OriginExtension,
    form: Result<Form<ForgotForm>, FormRejection>,
) -> Response {
    let Ok(Form(form)) = form else {
        let content = notice("bad", "alert", "The form was incomplete. Try again.");
        return page(&dashboard.assets, StatusCode::BAD_REQUEST, "Forgot your password?", &content);
    };
    dashboard.system.account_mail.request_link(&form.username, origin(request_origin));
    // The same whether or not there is such an account.
    let text = "If there is an account of this name with an e-mail address, a link is on its way to it. It is valid for 30 minutes.";
    page(&dashboard.assets, StatusCode::OK, "Check your e-mail", &notice("info", "status", text))
}

/// `GET /password/new`
pub(crate) async fn form(State(dashboard): State<Arc<Dashboard>>, Query(link): Query<Link>) -> Response {
    match dashboard.system.account_mail.account_of(&link.token).await {
        Ok(username) => new_password(&dashboard.assets, StatusCode::OK, &username, &link.token, None),
        Err(error) => unusable(&dashboard.assets, &error),
    }
}

/// `POST /password/new`
pub(crate) async fn set(
    State(dashboard): State<Arc<Dashboard>>,
    request_origin: OriginExtension,
    form: Result<Form<NewForm>, FormRejection>,
) -> Response {
    let Ok(Form(NewForm { token, password })) = form else {
        let content = notice("bad", "alert", "The form was incomplete. Open the link again.");
        return page(&dashboard.assets, StatusCode::BAD_REQUEST, "Set a password", &content);
    };
    let username = match dashboard.system.account_mail.account_of(&token).await {
        Ok(username) => username,
        Err(error) => return unusable(&dashboard.assets, &error),
    };
    let (system, used, password) = (Arc::clone(&dashboard.system), token.clone(), SecretString::from(password));
    let origin = origin(request_origin);
    match run_detached(async move { system.account_mail.redeem(&used, &password, origin).await }).await {
        Ok(()) => Redirect::to("/login").into_response(),
        Err(ServiceError::Invalid(invalid)) => {
            let error = format!("The password {}.", invalid.problem);
            new_password(&dashboard.assets, StatusCode::UNPROCESSABLE_ENTITY, &username, &token, Some(&error))
        }
        Err(error) => unusable(&dashboard.assets, &error),
    }
}

fn new_password(assets: &Assets, status: StatusCode, username: &str, token: &str, error: Option<&str>) -> Response {
    let content = format!(
        r#"{error}<p>For the account <strong>{username}</strong>. Its sessions end, and its API tokens are revoked.</p>
<form method="post" action="/password/new">
<input type="hidden" name="token" value="{token}">
<input type="hidden" name="username" value="{username}" autocomplete="username">
<label for="password">New password</label>
<input id="password" name="password" type="password" autocomplete="new-password" minlength="10" maxlength="72" required autofocus>
<button class="button primary" data-testid="set-password">Set the password</button>
</form>"#,
        error = error.map_or_else(String::new, |error| notice("bad", "alert", error)),
        username = escape(username),
        token = escape(token),
    );
    page(assets, status, "Set a password", &content)
}

fn unusable(assets: &Assets, error: &ServiceError) -> Response {
    let text = match error {
        ServiceError::NotFound(_) => "This link is not valid any more: it was used, has expired, or a newer one was sent.",
        _ => "The server cannot set passwords right now. Try again in a moment.",
    };
    page(assets, status_of(error), "Set a password", &notice("bad", "alert", text))
}
