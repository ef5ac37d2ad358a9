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
use wire::device_body::{self, UnusableFields};
use wire::lenient::Int;

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
    let bytes = body::read(&app, &headers, body, app.config.http.body_limit_bytes).await?;
    let mut unusable = UnusableFields::default();
    let reported = progress(credentials.device_id, device_body::read(&bytes, &mut unusable)?, &mut unusable)?;
    app.observability.count_unusable_fields("update_report", &unusable);
    app.system.agent_builds.report(credentials, reported).await?;
    Ok(Json(AgentUpdateReported { ok: true }))
}

/// A device's report about an update. What is unusable beside the build and the event does not cost the report.
///
/// # Errors
/// Names the field; 404 for an id that is none; 403 when it is another device's.
fn progress(device: DeviceId, reported: AgentUpdateReport, unusable: &mut UnusableFields) -> Result<UpdateProgress, ApiError> {
    let AgentUpdateReport { build_id, event, error, version_code, device_id } = reported;
    if let Some(claimed) = device_id.filter(|claimed| !claimed.is_empty()) {
        match claimed.parse::<DeviceId>() {
            Ok(claimed) if claimed != device => return Err(ServiceError::ForeignDevice.into()),
            Ok(_) => {}
            Err(_) => unusable.note("device_id"),
        }
    }
    if build_id.trim().is_empty() {
        return Err(Invalid::new("build_id", "required").into());
    }
    let version_code = version_code.map(|Int(version)| version).filter(|version| {
        let is_usable = *version >= 0;
        if !is_usable {
            unusable.note("version_code");
        }
        is_usable
    });
    Ok(UpdateProgress {
        event: UpdateEvent::parse("event", &event.trim().to_ascii_lowercase())?,
        build: present::id("build", build_id.trim())?,
        error,
        version_code,
    })
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
    fn what_is_unusable_beside_build_and_event_does_not_cost_the_report() {
        let (me, id) = (DeviceId(uuid::Uuid::from_u128(7)), "00000000-0000-0000-0000-000000000009");
        let read = |more: &str| {
            let mut unusable = UnusableFields::default();
            let body = format!(r#"{{"build_id":"{id}","event":" Failed"{more}}}"#);
            let told = device_body::read(body.as_bytes(), &mut unusable).map_err(ApiError::from);
            let told = told.and_then(|told| progress(me, told, &mut unusable)).map_err(|refused| refused.status().as_u16());
            (told, unusable.iter().map(str::to_owned).collect::<Vec<_>>())
        };
        for (more, version, noted) in [
            ("", None, &[][..]),
            (r#","version_code":"141.0""#, Some(141), &[]),
            (r#","version_code":-1"#, None, &["version_code"]),
            (r#","version_code":NaN"#, None, &["version_code"]),
            (r#","version_code":[141],"error":{}"#, None, &["error", "version_code"]),
            (r#","version_code":141,"version_code":"new""#, Some(141), &[]),
            (r#","device_id":"kiosk-17","error":7"#, None, &["error", "device_id"]),
        ] {
            let (told, mut unusable) = read(more);
            unusable.sort();
            let mut noted = noted.to_vec();
            noted.sort_unstable();
            let told = told.unwrap();
            assert_eq!(
                (told.event, told.version_code, unusable),
                (
                    UpdateEvent::parse("event", "failed").unwrap(),
                    version,
                    noted.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>()
                ),
                "{more}"
            );
        }
        assert_eq!(read(&format!(r#","device_id":"{id}""#)).0.unwrap_err(), 403);
        assert_eq!(read(r#","build_id":"""#).0.unwrap_err(), 422);
    }

    #[test]
    fn what_is_no_id_is_not_the_callers_own() {
        assert_eq!(own_id(None).unwrap(), None);
        assert_eq!(own_id(Some("")).unwrap(), None);
        assert!(own_id(Some("kiosk-17")).is_err());
    }
}
