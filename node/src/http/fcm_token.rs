//! `POST /v1/devices/fcm-token`: agents of the earlier server replace their push token here.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Value, json};
use wire::agent::FcmTokenRequest;
use wire::device_body::{self, UnusableFields};

use super::extract::Device;
use super::openapi::{BodyRefusals, DeviceRefusals};
use super::{ApiError, App, body};

/// Replaces the push token of the calling device.
#[utoipa::path(
    post, path = "/v1/devices/fcm-token", tag = "agent", security(("device" = [])),
    request_body = FcmTokenRequest,
    responses((status = 200, body = serde_json::Value), BodyRefusals, DeviceRefusals)
)]
pub(crate) async fn replace(
    State(app): State<Arc<App>>,
    Device(credentials): Device,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let bytes = body::read(&app, &headers, body, app.config.http.body_limit_bytes).await?;
    let request: FcmTokenRequest = device_body::read(&bytes, &mut UnusableFields::default())?;
    app.system.agent.set_fcm_token(credentials, &request.fcm_token).await?;
    Ok(Json(json!({"ok": true})))
}
