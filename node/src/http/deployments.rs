//! `/v1/deployments`: what one would do, how it is made, watched, steered and taken back.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::deployment::{DeploymentQuery, DeploymentState, DeploymentTransition, Reason, TaskQuery, TaskState};
use domain::invalid::in_range;
use domain::query::{PAGE_DEFAULT, PAGE_MAX};
use domain::{DeploymentId, Invalid};
use serde::Deserialize;
use utoipa::IntoParams;
use wire::admin::Page;
use wire::deployment::{Deployment, DeploymentEvent, DeploymentResponse, DeploymentTaskPage};
use wire::deployment_flat::DeploymentBody;

use super::commands::{idempotency_key, parse_cursor_parts, write_cursor};
use super::extract::{PathId, Person};
use super::openapi::{BodyRefusals, ConflictRefusal, NotFoundRefusal, PersonRefusals, QueryRefusals};
use super::table::{TableQuery, table};
use super::{ApiError, App, body};
use crate::deployment_params::{present_deployment, present_event, present_plan, present_task};
use crate::{deployment_body, present};

/// Deploys an APK.
///
/// The body has either of two forms; one with `apk_version_id` has flat options. `dry_run` returns the plan for each device, and the
/// reasons of those that do not qualify. A repeated `Idempotency-Key` with the same body returns the same deployment, with 200.
#[utoipa::path(
    post, path = "/v1/deployments", tag = "deployments", security(("person" = ["deployments:write"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "1..200 printable characters")),
    request_body = DeploymentBody,
    responses(
        (status = 201, body = DeploymentResponse), (status = 200, description = "A dry run, or created by an earlier call with this key", body = DeploymentResponse),
        ConflictRefusal, BodyRefusals, PersonRefusals
    )
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<DeploymentResponse>), ApiError> {
    app.system.deployments.authorize_changes(&principal)?;
    let bytes = body::read(&app, &headers, body, app.config.http.bulk_body_limit_bytes).await?;
    let form: deployment_body::Form = body::parse_object(&bytes)?;
    let requested = match form.is_flat() {
        true => deployment_body::flat(body::parse_object(&bytes)?)?,
        false => deployment_body::grouped(body::parse_object(&bytes)?)?,
    };
    let idempotency_key = idempotency_key(&headers, "deployments", &bytes)?;
    let (request, names) = (requested.request, requested.names);
    if requested.dry_run {
        let plan = app.system.deployments.plan(&principal, &request).await.map_err(|error| names.restore(error))?;
        return Ok((StatusCode::OK, Json(DeploymentResponse::Plan(present_plan(plan)))));
    }
    let (row, new) = app.system.deployments.create(&principal, request, idempotency_key).await.map_err(|error| names.restore(error))?;
    let details = app.system.deployments.one(&principal, row.id).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(DeploymentResponse::Deployment(Box::new(present_deployment(details))))))
}

/// Which deployments.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeploymentsQuery {
    /// Only in this state.
    #[param(value_type = Option<wire::names::DeploymentState>)]
    state: Option<String>,
    /// Only of this package.
    package: Option<String>,
    /// Only of this APK.
    apk_id: Option<String>,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// Lists deployments, newest first.
#[utoipa::path(
    get, path = "/v1/deployments", tag = "deployments", security(("person" = ["deployments:read"])),
    params(DeploymentsQuery),
    responses((status = 200, body = Page<Deployment>), QueryRefusals, PersonRefusals)
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    query: Result<Query<DeploymentsQuery>, QueryRejection>,
) -> Result<Json<Page<Deployment>>, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    let state =
        |name: &str| DeploymentState::parse(name).ok_or_else(|| Invalid::new("state", "not one of running, paused, canceled, finished"));
    let wanted = DeploymentQuery {
        state: query.state.as_deref().map(state).transpose()?,
        package: query.package,
        apk: query.apk_id.map(|id| id.parse().map_err(|_| Invalid::new("apk_id", "not the id of an APK"))).transpose()?,
        id: None,
    };
    let after = query.cursor.as_deref().map(parse_cursor_parts).transpose()?;
    let (rows, next) = app.system.deployments.list(&principal, &wanted, after, query.limit).await?;
    let next_cursor = next.map(|(at, id)| write_cursor(at, id));
    Ok(Json(Page { items: rows.into_iter().map(present_deployment).collect(), next_cursor }))
}

/// Returns a deployment and its progress.
#[utoipa::path(
    get, path = "/v1/deployments/{id}", tag = "deployments", security(("person" = ["deployments:read"])),
    params(("id" = String, Path, description = "The deployment")),
    responses((status = 200, body = Deployment), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn one(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<Json<Deployment>, ApiError> {
    let id: DeploymentId = present::id("deployment", &id)?;
    Ok(Json(present_deployment(app.system.deployments.one(&principal, id).await?)))
}

/// Which tasks.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct TasksQuery {
    /// Only in this state.
    #[param(value_type = Option<wire::names::TaskState>)]
    state: Option<String>,
    /// The same as `state`.
    #[param(value_type = Option<wire::names::TaskState>)]
    status: Option<String>,
    /// Only for this reason.
    #[param(value_type = Option<wire::names::TaskReason>)]
    reason: Option<String>,
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<i32>,
    /// Number of the page, from 1: instead of a cursor.
    #[param(minimum = 1)]
    page: Option<i64>,
}

/// Highest number of a page of tasks.
const PAGE_NUMBER_MAX: i64 = 1_000_000;

/// Lists the tasks of a deployment in rollout order.
#[utoipa::path(
    get, path = "/v1/deployments/{id}/tasks", tag = "deployments", security(("person" = ["deployments:read"])),
    params(("id" = String, Path, description = "The deployment"), TasksQuery),
    responses((status = 200, body = DeploymentTaskPage), NotFoundRefusal, QueryRefusals, PersonRefusals)
)]
pub(crate) async fn tasks(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    query: Result<Query<TasksQuery>, QueryRejection>,
) -> Result<Json<DeploymentTaskPage>, ApiError> {
    let id: DeploymentId = present::id("deployment", &id)?;
    let Query(query) = query.map_err(present::query_refused)?;
    let (field, state) = match (&query.state, &query.status) {
        (Some(_), Some(_)) => return Err(Invalid::new("status", "given beside state, which is the same").into()),
        (None, Some(_)) => ("status", query.status.as_deref()),
        _ => ("state", query.state.as_deref()),
    };
    let reason = |name: &str| Reason::parse(name).ok_or_else(|| Invalid::new("reason", "not a reason that tasks have"));
    let wanted = TaskQuery {
        state: state.map(|name| domain::names::parse::<TaskState>(field, name)).transpose()?,
        reason: query.reason.as_deref().map(reason).transpose()?,
        device: None,
    };
    if let Some(page) = query.page {
        if query.cursor.is_some() {
            return Err(Invalid::new("page", "given beside cursor").into());
        }
        let page = in_range("page", page, 1, PAGE_NUMBER_MAX)?;
        let limit = in_range("limit", query.limit.unwrap_or(PAGE_DEFAULT), 1, PAGE_MAX)?;
        let (total, rows) = app.system.deployments.task_window(&principal, id, wanted, (page - 1) * limit, limit).await?;
        let more = total > page * limit;
        let next_cursor = rows.last().filter(|_| more).map(|row| row.position.to_string());
        let (items, pages) = (rows.into_iter().map(present_task).collect(), (total + limit - 1) / limit);
        return Ok(Json(DeploymentTaskPage { items, next_cursor, page: Some(page), pages: Some(pages), total: Some(total) }));
    }
    let (rows, next) = app.system.deployments.tasks(&principal, id, wanted, query.cursor, query.limit).await?;
    let (items, next_cursor) = (rows.into_iter().map(present_task).collect(), next.map(|position| position.to_string()));
    Ok(Json(DeploymentTaskPage { items, next_cursor, page: None, pages: None, total: None }))
}

/// Which events.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventsQuery {
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<i64>,
}

/// Lists the events of a deployment, newest first.
#[utoipa::path(
    get, path = "/v1/deployments/{id}/events", tag = "deployments", security(("person" = ["deployments:read"])),
    params(("id" = String, Path, description = "The deployment"), EventsQuery),
    responses((status = 200, body = Page<DeploymentEvent>), NotFoundRefusal, QueryRefusals, PersonRefusals)
)]
pub(crate) async fn events(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Json<Page<DeploymentEvent>>, ApiError> {
    let id: DeploymentId = present::id("deployment", &id)?;
    let Query(query) = query.map_err(present::query_refused)?;
    let (rows, next) = app.system.deployments.events(&principal, id, query.cursor, query.limit).await?;
    Ok(Json(Page { items: rows.into_iter().map(present_event).collect(), next_cursor: next.map(|id| id.to_string()) }))
}

/// Exports the tasks of a deployment as CSV (RFC 4180).
///
/// Cells that a spreadsheet would interpret as formulas begin with an apostrophe.
#[utoipa::path(
    get, path = "/v1/deployments/{id}/export.csv", tag = "deployments", security(("person" = ["deployments:read"])),
    params(("id" = String, Path, description = "The deployment"), TableQuery),
    responses((status = 200, body = String, content_type = "text/csv"), NotFoundRefusal, QueryRefusals, PersonRefusals)
)]
pub(crate) async fn export(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    query: Result<Query<TableQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    let id: DeploymentId = present::id("deployment", &id)?;
    let pieces = app.system.deployments.table(&principal, id).await?;
    Ok(table(pieces, "deployment.csv", query.bom))
}

async fn transitioned(
    app: &App,
    principal: &domain::access::Principal,
    id: &str,
    transition: DeploymentTransition,
) -> Result<Json<Deployment>, ApiError> {
    let id: DeploymentId = present::id("deployment", id)?;
    app.system.deployments.transition(principal, id, transition).await?;
    Ok(Json(present_deployment(app.system.deployments.one(principal, id).await?)))
}

/// Pauses a deployment: no new installs start; installs in progress are left to finish.
#[utoipa::path(
    post, path = "/v1/deployments/{id}/pause", tag = "deployments", security(("person" = ["deployments:write"])),
    params(("id" = String, Path, description = "The deployment")),
    responses((status = 200, body = Deployment), ConflictRefusal, NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn pause(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
) -> Result<Json<Deployment>, ApiError> {
    transitioned(&app, &principal, &id, DeploymentTransition::Pause).await
}

/// Resumes a paused deployment. Failed canary devices are retried: the rollout requires a successful canary.
#[utoipa::path(
    post, path = "/v1/deployments/{id}/resume", tag = "deployments", security(("person" = ["deployments:write"])),
    params(("id" = String, Path, description = "The deployment")),
    responses((status = 200, body = Deployment), ConflictRefusal, NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn resume(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
) -> Result<Json<Deployment>, ApiError> {
    transitioned(&app, &principal, &id, DeploymentTransition::Resume).await
}

/// Cancels a deployment. Installs in progress are left to finish and are reported.
#[utoipa::path(
    post, path = "/v1/deployments/{id}/cancel", tag = "deployments", security(("person" = ["deployments:write"])),
    params(("id" = String, Path, description = "The deployment")),
    responses((status = 200, body = Deployment), ConflictRefusal, NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
) -> Result<Json<Deployment>, ApiError> {
    transitioned(&app, &principal, &id, DeploymentTransition::Cancel).await
}

/// Rolls a deployment back.
///
/// Cancels it, and deploys the rollback build of the previous version to the devices that got its version.
#[utoipa::path(
    post, path = "/v1/deployments/{id}/rollback", tag = "deployments", security(("person" = ["deployments:write"])),
    params(("id" = String, Path, description = "The deployment")),
    responses((status = 201, body = Deployment), ConflictRefusal, NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn rollback(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
) -> Result<(StatusCode, Json<Deployment>), ApiError> {
    let id: DeploymentId = present::id("deployment", &id)?;
    let row = app.system.deployments.roll_back(&principal, id).await?;
    let details = app.system.deployments.one(&principal, row.id).await?;
    Ok((StatusCode::CREATED, Json(present_deployment(details))))
}
