//! `/v1/me`: who calls; their own password and sign-ins.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use domain::SessionId;
use services::run_detached;
use wire::admin::Page;
use wire::people::{ChangePassword, EndedSessions, Me, Session};

use super::extract::{ClientAddress, PathId, Person};
use super::openapi::{BodyRefusals, NotFoundRefusal, PersonRefusals};
use super::{ApiError, App, body};
use crate::present;

/// Returns the calling user, role and scopes.
#[utoipa::path(
    get, path = "/v1/me", tag = "people", security(("person" = [])),
    responses((status = 200, body = Me), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn me(Person(principal): Person) -> Result<Json<Me>, ApiError> {
    Ok(Json(present::me(&principal)?))
}

/// Changes the caller's password and ends the caller's other sessions.
#[utoipa::path(
    post, path = "/v1/me/password", tag = "people", security(("sign_in" = [])),
    request_body = ChangePassword,
    responses((status = 204), BodyRefusals, NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn change_password(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let request: ChangePassword = body::json(&app, &headers, body).await?;
    let (current, new) = (request.current_password.into(), request.new_password.into());
    let system = Arc::clone(&app.system);
    run_detached(async move { system.accounts.change_own_password(&principal, &current, &new, address).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the caller's active sessions, most recently used first.
#[utoipa::path(
    get, path = "/v1/me/sessions", tag = "people", security(("sign_in" = [])),
    responses((status = 200, body = Page<Session>), PersonRefusals)
)]
pub(crate) async fn sessions(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<Page<Session>>, ApiError> {
    Ok(Json(present::sessions(app.system.accounts.own_sign_ins(&principal).await?, &principal)))
}

/// Ends all sessions of the caller except this one.
#[utoipa::path(
    delete, path = "/v1/me/sessions", tag = "people", security(("sign_in" = [])),
    responses((status = 200, body = EndedSessions), PersonRefusals)
)]
pub(crate) async fn end_other_sessions(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<EndedSessions>, ApiError> {
    Ok(Json(EndedSessions { ended: app.system.accounts.end_other_sign_ins(&principal).await? }))
}

/// Ends a session of the caller.
#[utoipa::path(
    delete, path = "/v1/me/sessions/{id}", tag = "people", security(("sign_in" = [])),
    params(("id" = String, Path, description = "The session")),
    responses((status = 204), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn end_session(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
) -> Result<StatusCode, ApiError> {
    let id: SessionId = present::id("session", &id)?;
    app.system.accounts.end_own_sign_in(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
