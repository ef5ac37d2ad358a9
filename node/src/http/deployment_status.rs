//! `POST /v1/agent/deployments/{deployment_id}/devices/{device_id}/status`: task reports of devices.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use domain::{DeploymentId, ServiceError};
use wire::deployment::{DeploymentStatus, DeploymentStatusResponse};
use wire::device_body::{self, UnusableFields};

use super::extract::{Device, PathIds};
use super::openapi::{BodyRefusals, ConflictRefusal, DeviceRefusals, NotFoundRefusal};
use super::{ApiError, App, body};
use crate::deployment_params::task_report;
use crate::present;

/// Records the progress of a device's installation.
///
/// A device continues after 200 only: 409 means that the deployment is paused or canceled, that its maintenance window is closed, or
/// that this attempt was canceled.
#[utoipa::path(
    post, path = "/v1/agent/deployments/{deployment_id}/devices/{device_id}/status", tag = "agent", security(("device" = [])),
    params(
        ("deployment_id" = String, Path, description = "The deployment"), ("device_id" = String, Path, description = "The calling device")
    ),
    request_body = DeploymentStatus,
    responses((status = 200, body = DeploymentStatusResponse), NotFoundRefusal, ConflictRefusal, BodyRefusals, DeviceRefusals)
)]
pub(crate) async fn report(
    State(app): State<Arc<App>>,
    Device(credentials): Device,
    PathIds(deployment, device): PathIds,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<DeploymentStatusResponse>, ApiError> {
    if device.parse() != Ok(credentials.device_id) {
        return Err(ServiceError::ForeignDevice.into());
    }
    let id: DeploymentId = present::id("deployment", &deployment)?;
    let bytes = body::read(&app, &headers, body, app.config.http.body_limit_bytes).await?;
    let mut unusable = UnusableFields::default();
    let reported = device_body::read::<DeploymentStatus>(&bytes, &mut unusable).map_err(ApiError::from);
    let reported = reported.and_then(|reported| Ok(task_report(id, credentials.device_id, reported, &mut unusable)?));
    let report = match reported {
        Ok(report) => report,
        Err(refused) => {
            app.system.agent.note_report_error(credentials, id);
            return Err(refused);
        }
    };
    app.observability.count_unusable_fields("deployment_status", &unusable);
    app.system.agent.record_task_report(credentials, report).await?;
    Ok(Json(DeploymentStatusResponse { ok: true }))
}
