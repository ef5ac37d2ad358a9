//! `/v1/agent/update`: checks for a newer agent, and reports about updates.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::rollout::UpdateEvent;
use domain::{DeviceId, Invalid, ServiceError};
use serde::Deserialize;
use services::{UpdateCheck, UpdateProgress};
use utoipa::IntoParams;
use wire::agent_build::{AgentUpdate, AgentUpdateReport, AgentUpdateReported};

use super::extract::Device;
use super::openapi::{BodyRefusals, ConflictRefusal, DeviceRefusals, NotFoundRefusal, QueryRefusals};
use super::{ApiError, App, body};
use crate::present;

/// Reason for offering nothing.
const REASON: HeaderName = HeaderName::from_static("x-update-reason");

/// Version that the device runs. Other fields of a newer agent are ignored.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct UpdateQuery {
    /// Package name of the agent.
    #[param(required = true)]
    package_name: Option<String>,
    /// Version code that runs now.
    #[param(required = true, value_type = i64)]
    current_version_code: Option<String>,
    /// If given, must be the caller's own.
    device_id: Option<String>,
}

/// Returns a newer build for the calling device, if there is one.
#[utoipa::path(
    get, path = "/v1/agent/update", tag = "agent", security(("device" = [])),
    params(UpdateQuery),
    responses(
        (status = 200, body = AgentUpdate),
        (status = 304, description = "No update; the reason is in X-Update-Reason",
            headers(("x-update-reason" = String, description = "no_current_build, already_current or not_in_cohort"))),
        QueryRefusals, DeviceRefusals
    )
)]
pub(crate) async fn check(
    State(app): State<Arc<App>>,
    Device(credentials): Device,
    query: Result<Query<UpdateQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    let package = query.package_name.filter(|name| !name.is_empty()).ok_or_else(|| Invalid::new("package_name", "required"))?;
    let version_code = query.current_version_code.ok_or_else(|| Invalid::new("current_version_code", "required"))?;
    let check = UpdateCheck { package, version_code: whole(&version_code)?, device: own_id(query.device_id.as_deref())? };
    let offer = match app.system.agent_builds.check(credentials, check).await? {
        Ok(offer) => offer,
        Err(answer) => {
            let reason = [(REASON, HeaderValue::from_static(answer.as_str()))];
            return Ok((StatusCode::NOT_MODIFIED, reason).into_response());
        }
    };
    let (build, promotion) = (offer.build, offer.promotion);
    Ok(Json(AgentUpdate {
        build_id: build.id.to_string(),
        version_code: build.version_code,
        version_name: build.version_name,
        package_name: build.package,
        download_url: offer.url,
        download_url_expires_at: present::time(offer.url_expires_at),
        sha256: build.sha256,
        signer_fingerprint: build.signers_sha256.into_iter().next().unwrap_or_default(),
        file_size: build.size_bytes,
        wifi_only: promotion.wifi_only,
        must_install: promotion.must_install,
        min_battery: promotion.min_battery_pct,
        staged_rollout_percent: promotion.rollout_percent,
        release_notes: build.release_notes,
    })
    .into_response())
}

/// Reports the progress or result of an update. Repeated reports count once.
#[utoipa::path(
    post, path = "/v1/agent/update/report", tag = "agent", security(("device" = [])),
    request_body = AgentUpdateReport,
    responses((status = 200, body = AgentUpdateReported), NotFoundRefusal, ConflictRefusal, BodyRefusals, DeviceRefusals)
)]
pub(crate) async fn report(
    State(app): State<Arc<App>>,
    Device(credentials): Device,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<AgentUpdateReported>, ApiError> {
    let reported: AgentUpdateReport = body::json(&app, &headers, body).await?;
    if own_id(reported.device_id.as_deref())?.is_some_and(|device| device != credentials.device_id) {
        return Err(ServiceError::ForeignDevice.into());
    }
    if reported.build_id.is_empty() {
        return Err(Invalid::new("build_id", "required").into());
    }
    let reported = UpdateProgress {
        event: UpdateEvent::parse("event", &reported.event)?,
        build: present::id("build", &reported.build_id)?,
        error: reported.error,
        version_code: reported.version_code.map(|version| version.0),
    };
    app.system.agent_builds.report(credentials, reported).await?;
    Ok(Json(AgentUpdateReported { ok: true }))
}

/// A device's own id; what is no id at all is not its own either.
fn own_id(text: Option<&str>) -> Result<Option<DeviceId>, ServiceError> {
    text.filter(|text| !text.is_empty()).map(|text| text.parse().map_err(|_| ServiceError::ForeignDevice)).transpose()
}

/// A version code. Agents in the field write integers as `87`, `87.0` or `1.2345678E7`.
fn whole(text: &str) -> Result<i64, Invalid> {
    let wrong = || Invalid::new("current_version_code", "not an integer from 0 on");
    let value = text.parse::<i64>().ok().or_else(|| {
        let value = text.parse::<f64>().ok()?;
        // Beyond this a float is no exact integer any more.
        (value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0).then_some(value as i64)
    });
    value.filter(|value| *value >= 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_codes_are_whole_in_whatever_form() {
        for (text, want) in [("0", Some(0)), ("140", Some(140)), ("140.0", Some(140)), ("1.2345678E7", Some(12_345_678))] {
            assert_eq!(whole(text).ok(), want, "{text}");
        }
        for text in ["", "-1", "1.5", "x", "NaN", "inf", "1e30", "9223372036854775808"] {
            assert_eq!(whole(text).unwrap_err().field, "current_version_code", "{text}");
        }
    }

    #[test]
    fn what_is_no_id_is_not_the_callers_own() {
        assert_eq!(own_id(None).unwrap(), None);
        assert_eq!(own_id(Some("")).unwrap(), None);
        assert!(own_id(Some("kiosk-17")).is_err());
    }
}
