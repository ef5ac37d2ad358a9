//! `ctl users`, `ctl api-tokens` and `ctl whoami`.

use anyhow::Context;
use reqwest::Method;
use serde_json::{Value, json};

use super::Ctl;
use super::api::{Api, encoded};
use super::args::{ApiTokenCommand, Format, UserCommand};
use super::output::{self, Column};
use super::session::line;

const USERS: &[Column] =
    &[("NAME", "/username"), ("ROLE", "/role"), ("DISABLED", "/disabled"), ("E-MAIL", "/email"), ("CREATED", "/created_at"), ("ID", "/id")];

const API_TOKENS: &[Column] = &[
    ("ID", "/id"),
    ("NAME", "/name"),
    ("STATUS", "/status"),
    ("PREFIX", "/prefix"),
    ("OWNER", "/owner"),
    ("SCOPES", "/scopes"),
    ("EXPIRES", "/expires_at"),
    ("LAST USED", "/last_used_at"),
];

/// `ctl whoami`.
pub(super) async fn whoami(ctl: &mut Ctl) -> anyhow::Result<()> {
    let me = ctl.api.get("/v1/me", &[]).await?;
    output::one(ctl.format, &me, &[("Name", "/username"), ("Role", "/role"), ("Scopes", "/scopes")])
}

/// `ctl users ...`.
pub(super) async fn users(ctl: &mut Ctl, command: UserCommand) -> anyhow::Result<()> {
    match command {
        UserCommand::List => {
            let users = ctl.api.list("/v1/users", &[], 0).await?;
            output::rows(ctl.format, &users, USERS)
        }
        UserCommand::Add { username, role, password_stdin, email } => {
            let given = if password_stdin { Some(line()?) } else { None };
            let body = json!({"username": username, "role": role, "password": given, "email": email});
            let answer = ctl.api.call(Method::POST, "/v1/users", Some(&body)).await?;
            let invited = if answer["invited"] == true { " An invitation is on its way." } else { "" };
            print_created(ctl.format, &answer, &format!("Added {username} ({role}).{invited}"))
        }
        UserCommand::Email { username, email } => change(ctl, &username, &json!({"email": email}), "has another e-mail address").await,
        UserCommand::Invite { username } => {
            let id = id_of(&mut ctl.api, &username).await?;
            let answer = ctl.api.call(Method::POST, &format!("/v1/users/{id}/invitation"), None::<&Value>).await?;
            output::done(ctl.format, &answer, &format!("Invited {username}."))
        }
        UserCommand::Disable { username } => change(ctl, &username, &json!({"disabled": true}), "is disabled").await,
        UserCommand::Enable { username } => change(ctl, &username, &json!({"disabled": false}), "is enabled").await,
        UserCommand::Role { username, role } => change(ctl, &username, &json!({"role": role}), &format!("is now {role}")).await,
        UserCommand::ResetPassword { username, password_stdin } => {
            let given = if password_stdin { Some(line()?) } else { None };
            let id = id_of(&mut ctl.api, &username).await?;
            let answer = ctl.api.call(Method::POST, &format!("/v1/users/{id}/reset-password"), Some(&json!({"password": given}))).await?;
            print_created(ctl.format, &answer, &format!("Reset the password of {username}; all sessions have ended."))
        }
    }
}

/// Prints the result, and the password if the server generated one.
fn print_created(format: Format, answer: &Value, sentence: &str) -> anyhow::Result<()> {
    match answer["password"].as_str() {
        Some(password) => output::done(format, answer, &format!("{sentence}\nPassword: {password}")),
        None => output::done(format, answer, sentence),
    }
}

async fn change(ctl: &mut Ctl, username: &str, change: &Value, done: &str) -> anyhow::Result<()> {
    let id = id_of(&mut ctl.api, username).await?;
    let answer = ctl.api.call(Method::PATCH, &format!("/v1/users/{id}"), Some(change)).await?;
    output::done(ctl.format, &answer, &format!("{username} {done}."))
}

async fn id_of(api: &mut Api, username: &str) -> anyhow::Result<String> {
    let users = api.get("/v1/users", &[("username", username.to_owned())]).await?;
    let mut users = users["items"].as_array().into_iter().flatten();
    let found = users.find(|user| user["username"].as_str().is_some_and(|name| domain::name::same(name, username)));
    found.and_then(|user| user["id"].as_str()).map(str::to_owned).with_context(|| format!("there is no account {username}"))
}

/// `ctl api-tokens ...`.
pub(super) async fn api_tokens(ctl: &mut Ctl, command: ApiTokenCommand) -> anyhow::Result<()> {
    match command {
        ApiTokenCommand::List => {
            let tokens = ctl.api.list("/v1/api-tokens", &[], 0).await?;
            output::rows(ctl.format, &tokens, API_TOKENS)
        }
        ApiTokenCommand::Create { name, scopes, expires_in_days } => {
            let body = json!({"name": name, "scopes": scopes, "expires_in_seconds": expires_in_days.saturating_mul(86_400)});
            let answer = ctl.api.call(Method::POST, "/v1/api-tokens", Some(&body)).await?;
            output::done(ctl.format, &answer, answer["token"].as_str().unwrap_or_default())
        }
        ApiTokenCommand::Revoke { id } => {
            let answer = ctl.api.call(Method::DELETE, &format!("/v1/api-tokens/{}", encoded(&id)), None).await?;
            output::done(ctl.format, &answer, &format!("Revoked {id}."))
        }
    }
}
