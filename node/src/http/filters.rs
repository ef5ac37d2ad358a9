//! `/v1/filters`: filters that people keep, and share if they like.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use domain::SavedFilterId;
use domain::access::Principal;
use services::{FilterPatch, FilterRequest};
use wire::device_filter::Filter;
use wire::devices::{FilterList, NewFilter, SavedFilter};

use super::extract::{PathId, Person};
use super::openapi::{BodyRefusals, ConflictRefusal, NotFoundRefusal, PersonRefusals};
use super::{ApiError, App, body};
use crate::{convert, present};

/// Lists the caller's saved filters, then shared ones, each by name.
#[utoipa::path(
    get, path = "/v1/filters", tag = "devices", security(("person" = ["devices:read"])),
    responses((status = 200, body = FilterList), ConflictRefusal, PersonRefusals)
)]
pub(crate) async fn list(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<FilterList>, ApiError> {
    let filters = app.system.filters.list(&principal).await?;
    Ok(Json(FilterList { items: filters.into_iter().map(|filter| shown(filter, &principal)).collect() }))
}

/// Saves a filter.
#[utoipa::path(
    post, path = "/v1/filters", tag = "devices", security(("person" = ["devices:read"])),
    request_body = NewFilter,
    responses((status = 201, body = SavedFilter), ConflictRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<SavedFilter>), ApiError> {
    let NewFilter { name, filter, shared } = body::json(&app, &headers, body).await?;
    let request = FilterRequest { name, filter: convert::filter(filter)?, shared };
    let filter = app.system.filters.create(&principal, request).await?;
    Ok((StatusCode::CREATED, Json(shown(filter, &principal))))
}

/// Returns a filter that is visible to the caller.
#[utoipa::path(
    get, path = "/v1/filters/{id}", tag = "devices", security(("person" = ["devices:read"])),
    params(("id" = String, Path, description = "The filter")),
    responses((status = 200, body = SavedFilter), NotFoundRefusal, ConflictRefusal, PersonRefusals)
)]
pub(crate) async fn one(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<Json<SavedFilter>, ApiError> {
    let id: SavedFilterId = present::id("filter", &id)?;
    Ok(Json(shown(app.system.filters.one(&principal, id).await?, &principal)))
}

/// Changes a filter of the caller.
#[utoipa::path(
    patch, path = "/v1/filters/{id}", tag = "devices", security(("person" = ["devices:read"])),
    params(("id" = String, Path, description = "The filter")),
    request_body = wire::devices::FilterPatch,
    responses((status = 200, body = SavedFilter), NotFoundRefusal, ConflictRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn change(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<SavedFilter>, ApiError> {
    let id: SavedFilterId = present::id("filter", &id)?;
    let wire::devices::FilterPatch { name, filter, shared } = body::json(&app, &headers, body).await?;
    let patch = FilterPatch { name, filter: filter.map(convert::filter).transpose()?, shared };
    Ok(Json(shown(app.system.filters.change(&principal, id, patch).await?, &principal)))
}

/// Deletes a filter of the caller.
#[utoipa::path(
    delete, path = "/v1/filters/{id}", tag = "devices", security(("person" = ["devices:read"])),
    params(("id" = String, Path, description = "The filter")),
    responses((status = 204), NotFoundRefusal, ConflictRefusal, PersonRefusals)
)]
pub(crate) async fn delete(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<StatusCode, ApiError> {
    let id: SavedFilterId = present::id("filter", &id)?;
    app.system.filters.delete(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn shown(kept: domain::saved_filter::SavedFilter, viewer: &Principal) -> SavedFilter {
    SavedFilter {
        id: kept.id.to_string(),
        name: kept.name,
        own: viewer.user_id() == Some(kept.owner),
        owner: kept.owner_name,
        shared: kept.shared,
        filter: Filter(kept.filter.values().collect()),
        created_at: present::time(kept.created_at),
        changed_at: present::time(kept.changed_at),
    }
}
