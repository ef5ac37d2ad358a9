//! `POST /v1/agent/session`: a device token for a short-lived session token.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use wire::agent::SessionResponse;

use super::extract::{ClientAddress, bearer};
use super::openapi::DeviceRefusals;
use super::{ApiError, App};
use crate::present;

/// Opens a session: a JWT that any node verifies on its own.
#[utoipa::path(
    post, path = "/v1/agent/session", tag = "agent", security(("device" = [])),
    responses((status = 200, body = SessionResponse), DeviceRefusals)
)]
pub(crate) async fn open(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
) -> Result<Json<SessionResponse>, ApiError> {
    let credentials = app.system.agent.authenticate_device_token(bearer(&headers)?, address).await?;
    let (session_token, expires_at) = app.system.agent.open_session(credentials).await?;
    Ok(Json(SessionResponse { session_token, expires_at: present::time(expires_at) }))
}
