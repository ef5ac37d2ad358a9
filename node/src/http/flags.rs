//! `/v1/flags`: features that are on or off for the whole cluster.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use domain::flag::Flag;
use wire::deployment::{FeatureFlag, FeatureFlags, SetFlag};

use super::extract::{PathId, Person};
use super::openapi::{BodyRefusals, NotFoundRefusal, PersonRefusals};
use super::{ApiError, App, body};
use crate::deployment_params::present_flag;

/// Lists feature flags.
#[utoipa::path(
    get, path = "/v1/flags", tag = "flags", security(("person" = ["deployments:read"])),
    responses((status = 200, body = FeatureFlags), PersonRefusals)
)]
pub(crate) async fn list(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<FeatureFlags>, ApiError> {
    let states = app.system.flags.all(&principal).await?;
    Ok(Json(FeatureFlags { items: states.into_iter().map(present_flag).collect() }))
}

/// Sets a feature flag. It is in effect on all nodes when the call returns.
///
/// Enabling `deployments.kill_switch` requires only the permission to deploy, and enabling `alerts.remediation_stop` only that to manage alerts.
#[utoipa::path(
    put, path = "/v1/flags/{id}", tag = "flags", security(("person" = ["deployments:write"])),
    params(("id" = String, Path, description = "`deployments.enabled`, `deployments.kill_switch` or `alerts.remediation_stop`")),
    request_body = SetFlag,
    responses((status = 200, body = FeatureFlag), NotFoundRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn set(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(name): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<FeatureFlag>, ApiError> {
    app.system.flags.authorize_changes(&principal)?;
    let requested: SetFlag = body::json(&app, &headers, body).await?;
    let flag = Flag::parse(&name)?;
    Ok(Json(present_flag(app.system.flags.set(&principal, flag, requested.enabled).await?)))
}
