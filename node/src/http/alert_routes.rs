//! `/v1/alert-routes`: which alerts lead to which channels.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use domain::RouteId;
use wire::alert::{AlertRoute, AlertRouteList, NewAlertRoute};

use super::extract::{PathId, Person};
use super::openapi::{BodyRefusals, ConflictRefusal, NotFoundRefusal, PersonRefusals};
use super::{ApiError, App, body};
use crate::{alert_params, present};

/// Lists routes from alerts to channels.
#[utoipa::path(
    get, path = "/v1/alert-routes", tag = "alerts", security(("person" = ["alert_channels:manage"])),
    responses((status = 200, body = AlertRouteList), PersonRefusals)
)]
pub(crate) async fn list(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<AlertRouteList>, ApiError> {
    let routes = app.system.alerts.routes(&principal).await?;
    Ok(Json(AlertRouteList { items: routes.into_iter().map(alert_params::route).collect() }))
}

/// Creates a route.
#[utoipa::path(
    post, path = "/v1/alert-routes", tag = "alerts", security(("person" = ["alert_channels:manage"])),
    request_body = NewAlertRoute,
    responses((status = 201, body = AlertRoute), ConflictRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<AlertRoute>), ApiError> {
    app.system.alerts.authorize_channels(&principal)?;
    let request = alert_params::route_request(body::json(&app, &headers, body).await?)?;
    let route = app.system.alerts.add_route(&principal, request).await?;
    Ok((StatusCode::CREATED, Json(alert_params::route(route))))
}

/// Returns a route.
#[utoipa::path(
    get, path = "/v1/alert-routes/{id}", tag = "alerts", security(("person" = ["alert_channels:manage"])),
    params(("id" = String, Path, description = "The route")),
    responses((status = 200, body = AlertRoute), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn one(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<Json<AlertRoute>, ApiError> {
    let id: RouteId = present::id("route", &id)?;
    Ok(Json(alert_params::route(app.system.alerts.route(&principal, id).await?)))
}

/// Changes a route: all of it is given anew.
#[utoipa::path(
    put, path = "/v1/alert-routes/{id}", tag = "alerts", security(("person" = ["alert_channels:manage"])),
    params(("id" = String, Path, description = "The route")),
    request_body = NewAlertRoute,
    responses((status = 200, body = AlertRoute), NotFoundRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn change(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<AlertRoute>, ApiError> {
    app.system.alerts.authorize_channels(&principal)?;
    let id: RouteId = present::id("route", &id)?;
    let request = alert_params::route_request(body::json(&app, &headers, body).await?)?;
    Ok(Json(alert_params::route(app.system.alerts.change_route(&principal, id, request).await?)))
}

/// Deletes a route.
#[utoipa::path(
    delete, path = "/v1/alert-routes/{id}", tag = "alerts", security(("person" = ["alert_channels:manage"])),
    params(("id" = String, Path, description = "The route")),
    responses((status = 204), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn delete(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<StatusCode, ApiError> {
    let id: RouteId = present::id("route", &id)?;
    app.system.alerts.remove_route(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
