//! `POST /v1/register`: a device enrolls with a single-use token.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use wire::agent::{RegisterRequest, RegisterResponse};
use wire::device_body::{self, UnusableFields};

use super::extract::{RequestOrigin, bearer};
use super::openapi::{BodyRefusals, ConflictRefusal, DeviceRefusals};
use super::{ApiError, App, body};
use crate::{convert, present};

/// Agents of the earlier server send the token they were given in this header.
const LEGACY_TOKEN_HEADER: &str = "x-admin-key";

/// Enrolls the device. Its secrets are returned only here.
///
/// A token enrolls one device. For a short time (`enrollment.retry_window_seconds`) it is answered again to the hardware id that used it,
/// with another device token of the same device, until one of them is used: the answer may have been lost.
#[utoipa::path(
    post, path = "/v1/register", tag = "agent", security(("enrollment" = [])),
    request_body = RegisterRequest,
    responses((status = 200, body = RegisterResponse), BodyRefusals, ConflictRefusal, DeviceRefusals)
)]
pub(crate) async fn register(
    State(app): State<Arc<App>>,
    RequestOrigin(origin): RequestOrigin,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RegisterResponse>, ApiError> {
    let legacy = headers.get(LEGACY_TOKEN_HEADER).and_then(|value| value.to_str().ok());
    let token = bearer(&headers).or_else(|refused| legacy.ok_or(refused))?.to_owned();
    let bytes = body::read(&app, &headers, body, app.config.http.body_limit_bytes).await?;
    let mut unusable = UnusableFields::default();
    let request: RegisterRequest = device_body::read(&bytes, &mut unusable)?;
    let registration = convert::registration(request, &mut unusable)?;
    let enrolled = app.system.enrollment.enroll(&token, registration, origin).await?;
    app.observability.count_unusable_fields("register", &unusable);
    Ok(Json(RegisterResponse {
        device_id: enrolled.device_id.to_string(),
        device_token: enrolled.device_token,
        device_key: enrolled.device_key,
        server_time: present::time(enrolled.enrolled_at),
        heartbeat_interval_seconds: app.system.agent.heartbeat_interval_s(),
        socket_url: format!("{}/v1/agent/socket", app.public_url.replacen("http", "ws", 1)),
    }))
}
