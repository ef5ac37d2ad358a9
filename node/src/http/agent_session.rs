//! `POST /v1/agent/session`: a device token for a short-lived session token.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use wire::agent::SessionResponse;

use super::extract::Device;
use super::{ApiError, App};
use crate::present;

/// Opens a session: a JWT that any node verifies on its own.
pub(crate) async fn open(State(app): State<Arc<App>>, Device(credentials): Device) -> Result<Json<SessionResponse>, ApiError> {
    let (session_token, expires_at) = app.system.agent.open_session(credentials).await?;
    Ok(Json(SessionResponse { session_token, expires_at: present::time(expires_at) }))
}
