//! `POST /v1/auth/login`, `/refresh` and `/logout`, for scripts; browsers sign in on the dashboard's own page.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use domain::ServiceError;
use services::{ClientInfo, SignedIn, run_detached};
use wire::admin::{LoginRequest, LoginResponse, RefreshRequest};

use super::extract::{Person, RequestOrigin};
use super::openapi::{BodyRefusals, PersonRefusals};
use super::{ApiError, App, body};
use crate::present;

/// Signs a user in.
#[utoipa::path(
    post, path = "/v1/auth/login", tag = "sign-in", security(),
    request_body = LoginRequest,
    responses((status = 200, body = LoginResponse), BodyRefusals, PersonRefusals)
)]
pub(crate) async fn login(
    State(app): State<Arc<App>>,
    RequestOrigin(origin): RequestOrigin,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<LoginResponse>, ApiError> {
    let request: LoginRequest = body::json(&app, &headers, body).await?;
    let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let client = ClientInfo { origin, user_agent };
    let system = Arc::clone(&app.system);
    let LoginRequest { username, password } = request;
    let signed_in = run_detached(async move { system.auth.login(&username, &password, client).await }).await?;
    Ok(Json(tokens(signed_in)))
}

/// Exchanges a refresh token for the next pair.
#[utoipa::path(
    post, path = "/v1/auth/refresh", tag = "sign-in", security(),
    request_body = RefreshRequest,
    responses((status = 200, body = LoginResponse), BodyRefusals, PersonRefusals)
)]
pub(crate) async fn refresh(
    State(app): State<Arc<App>>,
    RequestOrigin(origin): RequestOrigin,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<LoginResponse>, ApiError> {
    let request: RefreshRequest = body::json(&app, &headers, body).await?;
    let token = request.refresh_token.ok_or(ServiceError::Unauthorized)?;
    Ok(Json(tokens(app.system.auth.refresh(&token, origin).await?)))
}

/// Ends the caller's session.
#[utoipa::path(
    post, path = "/v1/auth/logout", tag = "sign-in", security(("sign_in" = [])),
    responses((status = 204), PersonRefusals)
)]
pub(crate) async fn logout(State(app): State<Arc<App>>, Person(principal): Person) -> Result<StatusCode, ApiError> {
    app.system.auth.logout(&principal).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn tokens(signed_in: SignedIn) -> LoginResponse {
    LoginResponse {
        access_token: signed_in.access_token,
        token_type: "Bearer".to_owned(),
        expires_at: present::time(signed_in.access_expires_at),
        refresh_token: signed_in.refresh_token,
        refresh_expires_at: present::time(signed_in.session_expires_at),
        username: signed_in.username,
        role: signed_in.role.as_str().to_owned(),
    }
}
