//! Downloads of tables, and uploads for the page that asks for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use domain::access::Principal;
use domain::{CommandBatchId, DeploymentId, DeviceId, Invalid, ServiceError, Timestamp};
use futures_util::StreamExt;
use services::Revalidation;

use crate::alerts_url::AlertsUrl;
use crate::audit_url::AuditUrl;
use crate::reports_url::ReportsUrl;
use crate::signin::OriginExtension;
use crate::url_state::{DevicesUrl, NAME_CHARS_MAX, percent_decoded};
use crate::{Dashboard, shell, signin};

/// Largest file that a page takes.
pub(crate) const UPLOAD_BYTES_MAX: usize = 8 << 20;
/// Time without a byte after which an upload is given up.
const STALLED_AFTER: Duration = Duration::from_secs(5);

/// Longest time that an upload takes; the largest file needs 9 KB/s.
const UPLOADED_WITHIN: Duration = Duration::from_secs(900);

/// `POST /live/upload`: answers the number under which a page of the same person finds the file.
pub(crate) async fn upload(
    State(dashboard): State<Arc<Dashboard>>,
    request_origin: OriginExtension,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = match signin::principal(&dashboard, request_origin, &headers).await {
        Ok(principal) => match tokio::time::timeout(UPLOADED_WITHIN, received(&dashboard, &principal, &headers, body)).await {
            Ok(received) => received,
            Err(_) => Err(UploadRefusal::Stalled),
        },
        Err(error) => Err(error.into()),
    };
    shell::protect(match answer {
        Ok(id) => id.into_response(),
        Err(UploadRefusal::Service(error)) => (signin::status_of(&error), crate::context::explain(&error)).into_response(),
        Err(UploadRefusal::TooLarge) => {
            let limit = crate::format::bytes(i64::try_from(UPLOAD_BYTES_MAX).unwrap_or(i64::MAX));
            (StatusCode::PAYLOAD_TOO_LARGE, format!("The file is larger than {limit}.")).into_response()
        }
        Err(UploadRefusal::CutOff) => (StatusCode::BAD_REQUEST, "The upload was cut off. Try again.").into_response(),
        Err(UploadRefusal::Stalled) => {
            (StatusCode::REQUEST_TIMEOUT, "The upload stood still, or took longer than 15 minutes. Try again.").into_response()
        }
        Err(UploadRefusal::TooMany) => {
            (StatusCode::SERVICE_UNAVAILABLE, "Too many uploads are in progress. Try again in a moment.").into_response()
        }
    })
}

/// Reason for which a file is not taken.
enum UploadRefusal {
    Service(ServiceError),
    TooLarge,
    CutOff,
    Stalled,
    TooMany,
}

impl From<ServiceError> for UploadRefusal {
    fn from(error: ServiceError) -> Self {
        Self::Service(error)
    }
}

/// Takes a file of `principal` for its page. Nothing of it is read before its right, its share and its announced size are known.
async fn received(dashboard: &Dashboard, principal: &Principal, headers: &HeaderMap, body: Body) -> Result<String, UploadRefusal> {
    let permit = dashboard.system.devices.import_permit(principal);
    let _permit = signin::recorded(dashboard, principal, "POST /live/upload", permit).await?;
    let user = principal.user_id().ok_or(ServiceError::SignInRequired)?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > UPLOAD_BYTES_MAX) {
        return Err(UploadRefusal::TooLarge);
    }
    let id = services::crypto::random_token()?;
    let (mut pieces, mut file) = (body.into_data_stream(), Vec::new());
    while let Some(piece) = tokio::time::timeout(STALLED_AFTER, pieces.next()).await.map_err(|_| UploadRefusal::Stalled)? {
        let piece = piece.map_err(|error| broken_off(&error))?;
        if file.len() + piece.len() > UPLOAD_BYTES_MAX {
            return Err(UploadRefusal::TooLarge);
        }
        file.extend_from_slice(&piece);
    }
    dashboard.uploads.keep(id.clone(), user, file, Instant::now()).ok_or(UploadRefusal::TooMany)?;
    Ok(id)
}

/// Reason why a body ended early.
fn broken_off(error: &(dyn std::error::Error + 'static)) -> UploadRefusal {
    Revalidation::within(error).map_or(UploadRefusal::CutOff, |lost| lost.refusal().into())
}

/// `GET /export/devices.csv`: the devices of an address as a table.
pub(crate) async fn export(
    State(dashboard): State<Arc<Dashboard>>,
    RawQuery(query): RawQuery,
    request_origin: OriginExtension,
    headers: HeaderMap,
) -> Response {
    let exported = match signin::principal(&dashboard, request_origin, &headers).await {
        Ok(principal) => match DevicesUrl::exact_filter_of_address(query.as_deref().unwrap_or_default()) {
            Ok(filter) => dashboard.system.devices.export(&principal, filter, true).await,
            Err(invalid) => Err(invalid.into()),
        },
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

/// `GET /export/heartbeats/{id}.csv`: the heartbeats of a device as a table.
pub(crate) async fn export_heartbeats(
    State(dashboard): State<Arc<Dashboard>>,
    Path(file): Path<String>,
    RawQuery(query): RawQuery,
    request_origin: OriginExtension,
    headers: HeaderMap,
) -> Response {
    let exported = match signin::principal(&dashboard, request_origin, &headers).await {
        Ok(principal) => match (id_of::<DeviceId>(&file), times(query.as_deref().unwrap_or_default())) {
            (None, _) => Err(ServiceError::NotFound("device")),
            (Some(_), Err(invalid)) => Err(invalid.into()),
            (Some(id), Ok((from, to))) => dashboard.system.history.export(&principal, id, from, to).await,
        },
        Err(error) => Err(error),
    };
    exported_as(exported.map(Body::from_stream), "heartbeats.csv", "/devices")
}

/// The times of an export.
fn times(query: &str) -> Result<(Option<Timestamp>, Option<Timestamp>), Invalid> {
    let (mut from, mut to) = (None, None);
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')).filter(|(_, value)| !value.is_empty()) {
        let read =
            || domain::time::parse(&percent_decoded(value)).ok_or_else(|| Invalid::new(name, "not a time as in 2026-11-21T10:00:00Z"));
        match name {
            "from" => from = Some(read()?),
            "to" => to = Some(read()?),
            _ => return Err(Invalid::new(name.chars().take(NAME_CHARS_MAX).collect::<String>(), "unknown parameter")),
        }
    }
    Ok((from, to))
}

/// `GET /export/audit.csv`: the entries of an address of the audit page as a table.
pub(crate) async fn export_audit(
    State(dashboard): State<Arc<Dashboard>>,
    RawQuery(query): RawQuery,
    request_origin: OriginExtension,
    headers: HeaderMap,
) -> Response {
    let exported = match signin::principal(&dashboard, request_origin, &headers).await {
        Ok(principal) => match AuditUrl::exact_from_address(query.as_deref().unwrap_or_default()) {
            Ok(url) => {
                let exported = dashboard.system.audit.export(&principal, url.filter(dashboard.system.clock.now())).await;
                signin::recorded(&dashboard, &principal, "GET /export/audit.csv", exported).await
            }
            Err(invalid) => Err(invalid.into()),
        },
        Err(error) => Err(error),
    };
    exported_as(exported.map(Body::from_stream), "audit.csv", "/audit")
}

/// `GET /export/alerts.csv`: the alerts of an address of the alerts page as a table.
pub(crate) async fn export_alerts(
    State(dashboard): State<Arc<Dashboard>>,
    RawQuery(query): RawQuery,
    request_origin: OriginExtension,
    headers: HeaderMap,
) -> Response {
    let exported = match signin::principal(&dashboard, request_origin, &headers).await {
        Ok(principal) => match AlertsUrl::exact_from_address(query.as_deref().unwrap_or_default()) {
            Ok(url) => dashboard.system.alerts.export(&principal, url.filter()).await,
            Err(invalid) => Err(invalid.into()),
        },
        Err(error) => Err(error),
    };
    exported_as(exported.map(Body::from_stream), "alerts.csv", "/alerts")
}

/// `GET /export/report.csv`: the report of an address of the reports page as a table.
pub(crate) async fn export_report(
    State(dashboard): State<Arc<Dashboard>>,
    RawQuery(query): RawQuery,
    request_origin: OriginExtension,
    headers: HeaderMap,
) -> Response {
    let exported = match signin::principal(&dashboard, request_origin, &headers).await {
        Ok(principal) => match ReportsUrl::exact_from_address(query.as_deref().unwrap_or_default()) {
            Ok(url) => dashboard.system.reports.export(&principal, url.request()).await,
            Err(invalid) => Err(invalid.into()),
        },
        Err(error) => Err(error),
    };
    exported_as(exported.map(Body::from_stream), "report.csv", "/reports")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_an_export_are_those_of_the_api() {
        let at = |text: &str| text.parse::<Timestamp>().ok();
        assert_eq!(times(""), Ok((None, None)));
        let both = times("from=2026-08-01T00:00:00Z&to=2026-08-01T02%3A00%3A00%2B02%3A00");
        assert_eq!(both, Ok((at("2026-08-01T00:00:00Z"), at("2026-08-01T00:00:00Z"))));
        assert_eq!(times("to=2026-06-30T23:59:60Z"), Ok((None, at("2026-07-01T00:00:00Z"))), "a leap second");
        for (query, field) in [("from=noon", "from"), ("colour=red", "colour")] {
            assert_eq!(times(query).unwrap_err().field, field, "{query}");
        }
    }
}
