//! `GET /v1/agent/apk`: the agent's APK, for whoever has a signed address.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::openapi::{ConflictRefusal, DeviceRefusals, NotFoundRefusal, QueryRefusals};
use super::ranges::{Whole, answer};
use super::{ApiError, App};
use crate::present;

/// The signed part of the address.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignedQuery {
    /// Until when the address holds, in seconds since 1970.
    pub(super) expires: i64,
    /// What the server made of it.
    pub(super) signature: String,
}

/// The APK, whole or a range of it.
#[utoipa::path(
    get, path = "/v1/agent/apk", tag = "enrollment", security(),
    params(SignedQuery),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/vnd.android.package-archive"),
        (status = 206, body = Vec<u8>, content_type = "application/vnd.android.package-archive"),
        (status = 304, description = "It is the one that is known already"),
        (status = 416, description = "The range is not in the file", body = wire::problem::Problem, content_type = "application/problem+json"),
        QueryRefusals, NotFoundRefusal, ConflictRefusal, DeviceRefusals
    )
)]
pub(crate) async fn download(
    State(app): State<Arc<App>>,
    query: Result<Query<SignedQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    let download = app.system.enrollment.agent_apk(query.expires, &query.signature).await?;
    let facts = Arc::clone(&download.facts);
    let whole = Whole { size: facts.size, sha256: &facts.sha256, file_name: "nexmdm-agent.apk" };
    Ok(answer(&headers, &whole, |from, to| download.bytes(from, to)))
}
