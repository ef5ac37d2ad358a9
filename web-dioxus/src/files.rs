//! Downloads of tables, and uploads for the page that asks for them.

use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use domain::{CommandBatchId, DeploymentId, ServiceError};

use crate::audit_url::AuditUrl;
use crate::signin::OriginExtension;
use crate::url_state::DevicesUrl;
use crate::{Dashboard, shell, signin};

/// Largest file that a page takes.
pub(crate) const UPLOAD_BYTES_MAX: usize = 8 << 20;

/// `POST /live/upload`: answers the number under which a page of the same person finds the file.
pub(crate) async fn upload(
    State(dashboard): State<Arc<Dashboard>>,
    request_origin: OriginExtension,
    headers: HeaderMap,
    file: Bytes,
) -> Response {
    let principal = match signin::principal(&dashboard, request_origin, &headers).await {
        Ok(principal) => principal,
        Err(error) => return signin::status_of(&error).into_response(),
    };
    let allowed = dashboard.system.devices.authorize_changes(&principal);
    let allowed = signin::recorded(&dashboard, &principal, "POST /live/upload", allowed).await;
    let (Some(user), Ok(())) = (principal.user_id(), allowed) else {
        return StatusCode::FORBIDDEN.into_response();
    };
    let Ok(id) = services::crypto::random_token() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let kept = dashboard.uploads.keep(id.clone(), user, &file, Instant::now());
    let response = match kept {
        Some(()) => id.into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "Too many uploads are in progress. Try again in a moment.").into_response(),
    };
    shell::protect(response)
}

/// `GET /export/devices.csv`: the devices of an address as a table.
pub(crate) async fn export(
    State(dashboard): State<Arc<Dashboard>>,
    RawQuery(query): RawQuery,
    request_origin: OriginExtension,
    headers: HeaderMap,
) -> Response {
    let exported = match signin::principal(&dashboard, request_origin, &headers).await {
        Ok(principal) => {
            let filter = DevicesUrl::from_address(query.as_deref().unwrap_or_default()).filter;
            dashboard.system.devices.export(&principal, filter, true).await
        }
        Err(error) => Err(error),
    };
    exported_as(exported.map(Body::from_stream), "devices.csv", "/devices")
}

/// `GET /export/command-batches/{id}.csv`: the commands of a batch as a table.
pub(crate) async fn export_batch(
    State(dashboard): State<Arc<Dashboard>>,
    Path(file): Path<String>,
    request_origin: OriginExtension,
    headers: HeaderMap,
) -> Response {
    let exported = match signin::principal(&dashboard, request_origin, &headers).await {
        Ok(principal) => match id_of::<CommandBatchId>(&file) {
            Some(id) => dashboard.system.commands.batch_table(&principal, id).await,
            None => Err(ServiceError::NotFound("batch")),
        },
        Err(error) => Err(error),
    };
    exported_as(exported.map(Body::from_stream), "commands.csv", "/commands")
}

/// `GET /export/deployments/{id}.csv`: the devices of a deployment as a table.
pub(crate) async fn export_deployment(
    State(dashboard): State<Arc<Dashboard>>,
    Path(file): Path<String>,
    request_origin: OriginExtension,
    headers: HeaderMap,
) -> Response {
    let exported = match signin::principal(&dashboard, request_origin, &headers).await {
        Ok(principal) => match id_of::<DeploymentId>(&file) {
            Some(id) => dashboard.system.deployments.table(&principal, id).await,
            None => Err(ServiceError::NotFound("deployment")),
        },
        Err(error) => Err(error),
    };
    exported_as(exported.map(Body::from_stream), "deployment.csv", "/deployments")
}

/// The id in the name of a table.
fn id_of<Id: std::str::FromStr>(file: &str) -> Option<Id> {
    file.strip_suffix(".csv")?.parse().ok()
}

/// `GET /export/audit.csv`: the entries of an address of the audit page as a table.
pub(crate) async fn export_audit(
    State(dashboard): State<Arc<Dashboard>>,
    RawQuery(query): RawQuery,
    request_origin: OriginExtension,
    headers: HeaderMap,
) -> Response {
    let exported = match signin::principal(&dashboard, request_origin, &headers).await {
        Ok(principal) => {
            let filter = AuditUrl::from_address(query.as_deref().unwrap_or_default()).filter(dashboard.system.clock.now());
            let exported = dashboard.system.audit.export(&principal, filter).await;
            signin::recorded(&dashboard, &principal, "GET /export/audit.csv", exported).await
        }
        Err(error) => Err(error),
    };
    exported_as(exported.map(Body::from_stream), "audit.csv", "/audit")
}

/// A table to be saved under this name; without a session, the way to sign in and back to `page`.
fn exported_as(exported: Result<Body, ServiceError>, file_name: &str, page: &str) -> Response {
    let pieces = match exported {
        Ok(pieces) => pieces,
        Err(ServiceError::Unauthorized) => return shell::protect(Redirect::to(&format!("/login?next={page}")).into_response()),
        Err(error) => return shell::protect((signin::status_of(&error), crate::context::explain(&error)).into_response()),
    };
    let mut response = shell::protect(pieces.into_response());
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{file_name}\""));
    answer.insert(header::CONTENT_DISPOSITION, disposition.unwrap_or(HeaderValue::from_static("attachment")));
    response
}
