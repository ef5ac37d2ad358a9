//! `/v1/silences` and `/v1/alert-windows`: no notifications about what they match.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use domain::{AlertWindowId, SilenceId};
use serde::Deserialize;
use utoipa::IntoParams;
use wire::alert::{AlertWindow, AlertWindowList, NewAlertWindow, NewSilence, Silence, SilenceList};

use super::extract::{PathId, Person};
use super::openapi::{BodyRefusals, ConflictRefusal, NotFoundRefusal, PersonRefusals, QueryRefusals};
use super::table::flag;
use super::{ApiError, App, body};
use crate::{alert_params, present};

/// Query of the silences.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct SilencesQuery {
    /// Also those that ended within the last seven days.
    #[serde(default, deserialize_with = "flag")]
    ended: bool,
}

/// Lists silences, the first to end first.
#[utoipa::path(
    get, path = "/v1/silences", tag = "alerts", security(("person" = ["alerts:read"])),
    params(SilencesQuery),
    responses((status = 200, body = SilenceList), QueryRefusals, PersonRefusals)
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    query: Result<Query<SilencesQuery>, QueryRejection>,
) -> Result<Json<SilenceList>, ApiError> {
    let Query(SilencesQuery { ended }) = query.map_err(present::query_refused)?;
    let silences = app.system.alerts.silences(&principal, ended).await?;
    let now = app.system.clock.now();
    Ok(Json(SilenceList { items: silences.into_iter().map(|silence| alert_params::silence(silence, now)).collect() }))
}

/// Creates a silence. Alerts are recorded meanwhile; those that are still open at its end are notified then.
#[utoipa::path(
    post, path = "/v1/silences", tag = "alerts", security(("person" = ["alerts:write"])),
    request_body = NewSilence,
    responses((status = 201, body = Silence), ConflictRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Silence>), ApiError> {
    app.system.alerts.authorize_changes(&principal)?;
    let request = alert_params::silence_request(body::json(&app, &headers, body).await?)?;
    let silence = app.system.alerts.add_silence(&principal, request).await?;
    Ok((StatusCode::CREATED, Json(alert_params::silence(silence, app.system.clock.now()))))
}

/// Ends a silence now.
#[utoipa::path(
    delete, path = "/v1/silences/{id}", tag = "alerts", security(("person" = ["alerts:write"])),
    params(("id" = String, Path, description = "The silence")),
    responses((status = 204), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn end(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<StatusCode, ApiError> {
    let id: SilenceId = present::id("silence", &id)?;
    app.system.alerts.end_silence(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists recurring maintenance windows.
#[utoipa::path(
    get, path = "/v1/alert-windows", tag = "alerts", security(("person" = ["alerts:read"])),
    responses((status = 200, body = AlertWindowList), PersonRefusals)
)]
pub(crate) async fn windows(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<AlertWindowList>, ApiError> {
    let windows = app.system.alerts.windows(&principal).await?;
    let now = app.system.clock.now();
    Ok(Json(AlertWindowList { items: windows.into_iter().map(|window| alert_params::window(window, now)).collect() }))
}

/// Creates a recurring maintenance window.
#[utoipa::path(
    post, path = "/v1/alert-windows", tag = "alerts", security(("person" = ["alerts:write"])),
    request_body = NewAlertWindow,
    responses((status = 201, body = AlertWindow), ConflictRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn create_window(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<AlertWindow>), ApiError> {
    app.system.alerts.authorize_changes(&principal)?;
    let request = alert_params::window_request(body::json(&app, &headers, body).await?)?;
    let window = app.system.alerts.add_window(&principal, request).await?;
    Ok((StatusCode::CREATED, Json(alert_params::window(window, app.system.clock.now()))))
}

/// Deletes a maintenance window.
#[utoipa::path(
    delete, path = "/v1/alert-windows/{id}", tag = "alerts", security(("person" = ["alerts:write"])),
    params(("id" = String, Path, description = "The maintenance window")),
    responses((status = 204), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn delete_window(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
) -> Result<StatusCode, ApiError> {
    let id: AlertWindowId = present::id("maintenance window", &id)?;
    app.system.alerts.remove_window(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
