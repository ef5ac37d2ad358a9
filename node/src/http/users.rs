//! `/v1/users`: accounts, and the sign-ins of others.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use domain::access::Role;
use domain::account::AccountChange;
use domain::query::PAGE_DEFAULT;
use domain::{Invalid, SessionId, UserId};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use utoipa::IntoParams;
use wire::admin::Page;
use wire::people::{ChangeUser, CreateUser, CreatedUser, EndedSessions, PasswordReset, ResetPassword, Session, User};

use super::extract::{PathId, PathIds, Person};
use super::openapi::{BodyRefusals, ConflictRefusal, NotFoundRefusal, PersonRefusals, QueryRefusals};
use super::{ApiError, App, body};
use crate::present;

/// Query of a list of accounts.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Only the one with this name, ignoring case.
    username: Option<String>,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// Lists accounts, by name.
#[utoipa::path(
    get, path = "/v1/users", tag = "people", security(("person" = ["users:manage"])),
    params(ListQuery),
    responses((status = 200, body = Page<User>), QueryRefusals, PersonRefusals)
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Page<User>>, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    let accounts = &app.system.accounts;
    if let Some(username) = query.username {
        let found = accounts.account_named(&principal, &username).await;
        let items = match found {
            Ok(account) => vec![present::user(account)],
            Err(domain::ServiceError::NotFound(_)) => vec![],
            Err(error) => return Err(error.into()),
        };
        return Ok(Json(Page { items, next_cursor: None }));
    }
    // A cursor is the hex of a name, so that any name survives a URL.
    let after = query
        .cursor
        .map(|cursor| hex::decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok()).filter(|name| !name.contains('\0')));
    let after = after.map(|name| name.ok_or_else(|| Invalid::new("cursor", "not a cursor of this list"))).transpose()?;
    let page = accounts.accounts(&principal, after.as_deref(), query.limit.unwrap_or(PAGE_DEFAULT)).await?;
    Ok(Json(Page { items: page.accounts.into_iter().map(present::user).collect(), next_cursor: page.next.map(hex::encode) }))
}

/// Creates an account.
#[utoipa::path(
    post, path = "/v1/users", tag = "people", security(("person" = ["users:manage"])),
    request_body = CreateUser,
    responses((status = 201, body = CreatedUser), BodyRefusals, ConflictRefusal, PersonRefusals)
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<CreatedUser>), ApiError> {
    let request: CreateUser = body::json(&app, &headers, body).await?;
    let role = request.role.as_deref().map_or(Ok(Role::Viewer), str::parse)?;
    let (password, shown) = match request.password {
        Some(password) => (password, None),
        None => services::crypto::random_token().map(|made_up| (made_up.clone(), Some(made_up)))?,
    };
    let (account, invited) =
        app.system.add_account(&principal, &request.username, &password.into(), role, request.email, shown.is_some()).await?;
    Ok((StatusCode::CREATED, Json(CreatedUser { user: present::user(account), password: shown.filter(|_| !invited), invited })))
}

/// Returns an account.
#[utoipa::path(
    get, path = "/v1/users/{id}", tag = "people", security(("person" = ["users:manage"])),
    params(("id" = String, Path, description = "The account")),
    responses((status = 200, body = User), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn one(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<Json<User>, ApiError> {
    let id: UserId = present::id("account", &id)?;
    Ok(Json(present::user(app.system.accounts.account(&principal, id).await?)))
}

/// Changes role and address of an account, disables or enables it.
#[utoipa::path(
    patch, path = "/v1/users/{id}", tag = "people", security(("person" = ["users:manage"])),
    params(("id" = String, Path, description = "The account")),
    request_body = ChangeUser,
    responses((status = 200, body = User), BodyRefusals, NotFoundRefusal, ConflictRefusal, PersonRefusals)
)]
pub(crate) async fn change(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<User>, ApiError> {
    let request: ChangeUser = body::json(&app, &headers, body).await?;
    let id: UserId = present::id("account", &id)?;
    let change = AccountChange { role: request.role.as_deref().map(str::parse).transpose()?, disabled: request.disabled };
    let accounts = &app.system.accounts;
    if let Some(email) = &request.email {
        let account = accounts.set_email(&principal, id, email).await?;
        if change == AccountChange::default() {
            return Ok(Json(present::user(account)));
        }
    }
    Ok(Json(present::user(accounts.change(&principal, id, change).await?)))
}

/// Sends an invitation to the account's address: a link by which its password is set.
#[utoipa::path(
    post, path = "/v1/users/{id}/invitation", tag = "people", security(("person" = ["users:manage"])),
    params(("id" = String, Path, description = "The account")),
    responses((status = 204), NotFoundRefusal, ConflictRefusal, PersonRefusals)
)]
pub(crate) async fn invite(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<StatusCode, ApiError> {
    let id: UserId = present::id("account", &id)?;
    app.system.account_mail.invite(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Resets the password, unlocks the account and ends all its sessions.
#[utoipa::path(
    post, path = "/v1/users/{id}/reset-password", tag = "people", security(("person" = ["users:manage"])),
    params(("id" = String, Path, description = "The account")),
    request_body = ResetPassword,
    responses((status = 200, body = PasswordReset), BodyRefusals, NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn reset_password(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<PasswordReset>, ApiError> {
    let request: ResetPassword = body::json(&app, &headers, body).await?;
    let id: UserId = present::id("account", &id)?;
    let made_up = app.system.accounts.reset_password(&principal, id, request.password.map(SecretString::from)).await?;
    Ok(Json(PasswordReset { password: made_up.map(|password| password.expose_secret().to_owned()) }))
}

/// Lists the active sessions of an account, most recently used first.
#[utoipa::path(
    get, path = "/v1/users/{id}/sessions", tag = "people", security(("person" = ["users:manage"])),
    params(("id" = String, Path, description = "The account")),
    responses((status = 200, body = Page<Session>), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn sessions(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
) -> Result<Json<Page<Session>>, ApiError> {
    let id: UserId = present::id("account", &id)?;
    let sign_ins = app.system.accounts.sign_ins(&principal, id).await?;
    Ok(Json(present::sessions(sign_ins, &principal)))
}

/// Ends all sessions of an account.
#[utoipa::path(
    delete, path = "/v1/users/{id}/sessions", tag = "people", security(("person" = ["users:manage"])),
    params(("id" = String, Path, description = "The account")),
    responses((status = 200, body = EndedSessions), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn end_sessions(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
) -> Result<Json<EndedSessions>, ApiError> {
    let id: UserId = present::id("account", &id)?;
    Ok(Json(EndedSessions { ended: app.system.accounts.end_sign_ins(&principal, id).await? }))
}

/// Ends a session of an account.
#[utoipa::path(
    delete, path = "/v1/users/{id}/sessions/{session_id}", tag = "people", security(("person" = ["users:manage"])),
    params(("id" = String, Path, description = "The account"), ("session_id" = String, Path, description = "The session")),
    responses((status = 204), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn end_session(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathIds(user, session): PathIds,
) -> Result<StatusCode, ApiError> {
    let user: UserId = present::id("account", &user)?;
    let session: SessionId = present::id("session", &session)?;
    app.system.accounts.end_sign_in(&principal, user, session).await?;
    Ok(StatusCode::NO_CONTENT)
}
