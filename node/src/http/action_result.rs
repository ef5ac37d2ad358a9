//! `POST /v1/action-result` and `POST /v1/devices/{id}/ack`: reports of devices about their commands.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use domain::DeviceId;
use services::ResultFormat;
use wire::command::{ActionResult, ActionResultResponse, LegacyAck};
use wire::device_body::{self, UnusableFields};

use super::extract::{Device, PathId};
use super::openapi::{BodyRefusals, ConflictRefusal, DeviceRefusals, NotFoundRefusal};
use super::{ApiError, App, body};
use crate::command_params;

/// Records a device's result of a command.
///
/// Repeating the same result is accepted; a different outcome of a finished command is refused.
#[utoipa::path(
    post, path = "/v1/action-result", tag = "agent", security(("device" = [])),
    request_body = ActionResult,
    responses((status = 200, body = ActionResultResponse), NotFoundRefusal, ConflictRefusal, BodyRefusals, DeviceRefusals)
)]
pub(crate) async fn report(
    State(app): State<Arc<App>>,
    Device(credentials): Device,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ActionResultResponse>, ApiError> {
    let bytes = body::read(&app, &headers, body, app.config.http.body_limit_bytes).await?;
    let mut unusable = UnusableFields::default();
    let result = command_params::result(credentials.device_id, device_body::read(&bytes, &mut unusable)?, &mut unusable)?;
    app.observability.count_unusable_fields("action_result", &unusable);
    app.system.agent.record_result(credentials, result, ResultFormat::Current).await?;
    Ok(Json(ActionResultResponse { ok: true }))
}

/// Records a device's result of a command, in the format of legacy agents.
#[utoipa::path(
    post, path = "/v1/devices/{id}/ack", tag = "agent", security(("device" = [])),
    params(("id" = String, Path, description = "The calling device")),
    request_body = LegacyAck,
    responses((status = 200, body = ActionResultResponse), NotFoundRefusal, ConflictRefusal, BodyRefusals, DeviceRefusals)
)]
pub(crate) async fn legacy(
    State(app): State<Arc<App>>,
    Device(credentials): Device,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ActionResultResponse>, ApiError> {
    if id.parse::<DeviceId>() != Ok(credentials.device_id) {
        return Err(domain::ServiceError::ForeignDevice.into());
    }
    let bytes = body::read(&app, &headers, body, app.config.http.body_limit_bytes).await?;
    let mut unusable = UnusableFields::default();
    let reported = command_params::legacy_ack(device_body::read(&bytes, &mut unusable)?)?;
    let result = command_params::result(credentials.device_id, reported, &mut unusable)?;
    app.observability.count_unusable_fields("ack", &unusable);
    app.system.agent.record_result(credentials, result, ResultFormat::Legacy).await?;
    Ok(Json(ActionResultResponse { ok: true }))
}
