//! `GET /v1/agent/apk`: the agent's APK, for whoever has a signed address; and `/info`, facts about it for people.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use services::EnrollmentAgent;
use utoipa::IntoParams;
use wire::enrollment::{AgentApkInfo, AgentApkUpdate};

use super::extract::{ClientAddress, Person};
use super::openapi::{ConflictRefusal, DeviceRefusals, NotFoundRefusal, PersonRefusals, QueryRefusals};
use super::ranges::{FileResponse, answer};
use super::{ApiError, App};
use crate::present;

/// The signed part of the address.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignedQuery {
    /// Until when the address holds, in seconds since 1970.
    pub(super) expires: i64,
    /// Facts that the server read from it.
    pub(super) signature: String,
}

/// Downloads the agent APK, whole or a range of it.
#[utoipa::path(
    get, path = "/v1/agent/apk", tag = "enrollment", security(),
    params(SignedQuery),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/vnd.android.package-archive"),
        (status = 206, body = Vec<u8>, content_type = "application/vnd.android.package-archive"),
        (status = 304, description = "Not modified"),
        (status = 416, description = "The range is outside the file", body = wire::problem::Problem, content_type = "application/problem+json"),
        QueryRefusals, NotFoundRefusal, ConflictRefusal, DeviceRefusals
    )
)]
pub(crate) async fn download(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    query: Result<Query<SignedQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    let download = app.system.enrollment.agent_apk(query.expires, &query.signature, address).await?;
    let facts = Arc::clone(&download.facts);
    let whole = FileResponse { size: facts.size, sha256: &facts.sha256, file_name: "nexmdm-agent.apk" };
    Ok(answer(&headers, &whole, |from, to| download.bytes(from, to)))
}

/// The agent APK for new devices on the responding node: version, signer, or the problem if it is missing or unusable.
#[utoipa::path(
    get, path = "/v1/agent/apk/info", tag = "enrollment", security(("person" = ["enrollment:read"])),
    responses((status = 200, body = AgentApkInfo), PersonRefusals)
)]
pub(crate) async fn info(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<AgentApkInfo>, ApiError> {
    let agent = app.system.enrollment.agent(&principal, &app.system.agent_builds).await?;
    Ok(Json(present_info(agent)))
}

fn present_info(agent: EnrollmentAgent) -> AgentApkInfo {
    let EnrollmentAgent { apk, problem, updates } = agent;
    let facts = apk.as_ref().and_then(|apk| apk.facts.as_deref());
    let version = facts.and_then(|facts| facts.version.as_ref().ok());
    let state = match (&apk, &problem) {
        (None, _) => "missing",
        (Some(_), Some(_)) => "unusable",
        (Some(_), None) => "ready",
    };
    AgentApkInfo {
        state: state.to_owned(),
        size_bytes: facts.map(|facts| facts.size),
        sha256: facts.map(|facts| facts.sha256.clone()),
        package: version.map(|version| version.package.clone()),
        version_code: version.map(|version| version.version_code),
        version_name: version.map(|version| version.version_name.clone()),
        debuggable: version.and_then(|version| version.debuggable),
        source: apk.as_ref().map(|apk| apk.source.as_str().to_owned()),
        signer_sha256: apk.as_ref().and_then(|apk| apk.signer_sha256).map(hex::encode),
        file: apk.and_then(|apk| apk.file).map(|file| file.display().to_string()),
        problem,
        updates: updates
            .into_iter()
            .map(|update| AgentApkUpdate {
                version_code: update.version_code,
                version_name: update.version_name,
                rollout_percent: update.rollout_percent,
            })
            .collect(),
    }
}
