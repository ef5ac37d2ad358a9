//! `/v1/devices` and `/v1/fleet/stats`, for people and scripts.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use domain::access::Principal;
use domain::device::DeviceListScope;
use domain::query::{Cursor, PAGE_DEFAULT, Sort};
use domain::{DeviceId, Invalid};
use serde::Deserialize;
use utoipa::IntoParams;
use wire::admin::{FleetStats, Page};
use wire::device_filter::FilterParams;
use wire::devices::{DeviceDetails, DevicePatch, ReplaceDevice, RestoreDevice};

use super::extract::{PathId, Person};
use super::openapi::{BodyRefusals, ConflictRefusal, NotFoundRefusal, PersonRefusals, QueryRefusals};
use super::{ApiError, App, body};
use crate::{convert, present};

/// Query of a list of devices.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    #[serde(flatten)]
    #[param(ignore)]
    filter: FilterParams,
    /// Those that were deleted and can still be restored, instead of those of the fleet.
    #[serde(default)]
    deleted: bool,
    sort: Option<String>,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// Lists devices, as last stored.
#[utoipa::path(
    get, path = "/v1/devices", tag = "devices", security(("person" = ["devices:read"])),
    params(FilterParams, ListQuery),
    responses((status = 200, body = Page<DeviceDetails>), QueryRefusals, PersonRefusals)
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Page<DeviceDetails>>, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    let sort = query.sort.as_deref().map_or(Ok(Sort::default()), Sort::parse)?;
    let filter = convert::filter(query.filter.0)?;
    let scope = if query.deleted { DeviceListScope::Deleted } else { DeviceListScope::Active };
    let after = query.cursor.as_deref().map(parse_cursor).transpose()?;
    let page = app.system.devices.page(&principal, filter, scope, sort, after, query.limit.unwrap_or(PAGE_DEFAULT)).await?;
    Ok(Json(Page { items: page.devices.iter().map(present::device_details).collect(), next_cursor: page.next.as_ref().map(write_cursor) }))
}

/// Returns a device with its live state, read from its actor.
#[utoipa::path(
    get, path = "/v1/devices/{id}", tag = "devices", security(("person" = ["devices:read"])),
    params(("id" = String, Path, description = "The device")),
    responses((status = 200, body = DeviceDetails), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn one(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
) -> Result<Json<DeviceDetails>, ApiError> {
    let id: DeviceId = present::id("device", &id)?;
    Ok(Json(present::device_details(&app.system.devices.details(&principal, id).await?)))
}

/// Changes alias, tags, groups or the monitored app of a device.
///
/// Absent fields are unchanged; null clears a field.
#[utoipa::path(
    patch, path = "/v1/devices/{id}", tag = "devices", security(("person" = ["devices:write"])),
    params(("id" = String, Path, description = "The device")),
    request_body = DevicePatch,
    responses((status = 200, body = DeviceDetails), NotFoundRefusal, ConflictRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn edit(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<DeviceDetails>, ApiError> {
    let id: DeviceId = present::id("device", &id)?;
    let patch = convert::device_patch(body::json(&app, &headers, body).await?)?;
    let alias = patch.alias.clone();
    let edited = present::device_details(&app.system.devices.edit(&principal, id, patch).await?);
    Ok(Json(with_warning(&app, &principal, id, alias, edited)))
}

/// The answer to a change that gave a device this alias.
fn with_warning(app: &App, principal: &Principal, id: DeviceId, alias: Option<String>, device: DeviceDetails) -> DeviceDetails {
    let warning = alias.and_then(|alias| app.system.devices.alias_warning(principal, &alias, Some(id)));
    DeviceDetails { warnings: warning.into_iter().collect(), ..device }
}

/// Restores a deleted device.
///
/// Its credentials are valid again, unless they were revoked: an agent that has kept them continues with its next heartbeat.
/// An agent that has deleted its identity after the 410 has to enroll again, under another alias.
#[utoipa::path(
    post, path = "/v1/devices/{id}/restore", tag = "devices", security(("person" = ["devices:write"])),
    params(("id" = String, Path, description = "The device")),
    request_body = RestoreDevice,
    responses((status = 200, body = DeviceDetails), NotFoundRefusal, ConflictRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn restore(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<DeviceDetails>, ApiError> {
    let id: DeviceId = present::id("device", &id)?;
    let RestoreDevice { alias } = body::json(&app, &headers, body).await?;
    let restored = present::device_details(&app.system.devices.restore(&principal, id, alias.clone()).await?);
    Ok(Json(with_warning(&app, &principal, id, alias, restored)))
}

/// Puts a device in the place of an earlier enrollment of the same hardware.
///
/// It gets that one's alias, tags, groups, monitored app, events and history; that one is deleted.
#[utoipa::path(
    post, path = "/v1/devices/{id}/replace", tag = "devices", security(("person" = ["devices:write"])),
    params(("id" = String, Path, description = "The device")),
    request_body = ReplaceDevice,
    responses((status = 200, body = DeviceDetails), NotFoundRefusal, ConflictRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn replace(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<DeviceDetails>, ApiError> {
    let id: DeviceId = present::id("device", &id)?;
    let ReplaceDevice { replaces } = body::json(&app, &headers, body).await?;
    let replaced: DeviceId = present::id("device", &replaces)?;
    Ok(Json(present::device_details(&app.system.devices.replace(&principal, id, replaced).await?)))
}

/// Dismisses the identity conflict of a device: it is one device.
///
/// Held commands are sent. With its present credentials no conflict is noticed any more. If there are two devices,
/// revoke the credentials instead, and enroll both.
#[utoipa::path(
    post, path = "/v1/devices/{id}/identity-conflict/dismiss", tag = "devices", security(("person" = ["devices:write"])),
    params(("id" = String, Path, description = "The device")),
    responses((status = 204), NotFoundRefusal, ConflictRefusal, PersonRefusals)
)]
pub(crate) async fn dismiss_conflict(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
) -> Result<StatusCode, ApiError> {
    let id: DeviceId = present::id("device", &id)?;
    app.system.devices.dismiss_conflict(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes a device: its credentials are rejected with 410, and it is removed from the fleet.
///
/// It can be restored within `history.restore_within_days`; then it is permanently removed.
#[utoipa::path(
    delete, path = "/v1/devices/{id}", tag = "devices", security(("person" = ["devices:write"])),
    params(("id" = String, Path, description = "The device")),
    responses((status = 204), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn delete(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<StatusCode, ApiError> {
    let id: DeviceId = present::id("device", &id)?;
    app.system.devices.delete(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Revokes all credentials of a device.
#[utoipa::path(
    post, path = "/v1/devices/{id}/revoke", tag = "devices", security(("person" = ["devices:write"])),
    params(("id" = String, Path, description = "The device")),
    responses((status = 204), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn revoke(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<StatusCode, ApiError> {
    let id: DeviceId = present::id("device", &id)?;
    app.system.devices.revoke(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns fleet statistics.
#[utoipa::path(
    get, path = "/v1/fleet/stats", tag = "devices", security(("person" = ["devices:read"])),
    responses((status = 200, body = FleetStats), PersonRefusals)
)]
pub(crate) async fn stats(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<FleetStats>, ApiError> {
    let stats = app.system.devices.stats(&principal)?;
    Ok(Json(FleetStats {
        devices: stats.devices,
        online: stats.online,
        offline: stats.offline,
        never_seen: stats.never_seen,
        low_battery: stats.low_battery,
        app_down: stats.app_down,
        identity_conflicts: stats.identity_conflicts,
        heartbeats_per_second: stats.heartbeats_per_second,
        complete: stats.complete,
    }))
}

/// A cursor as text: hex of the id, then of the key, so that any alias survives a URL.
fn write_cursor(cursor: &Cursor) -> String {
    format!("{}{}", cursor.id.0.simple(), hex::encode(&cursor.key))
}

fn parse_cursor(text: &str) -> Result<Cursor, Invalid> {
    let read = || {
        let (id, key) = text.split_at_checked(32)?;
        Some(Cursor { id: id.parse().ok()?, key: String::from_utf8(hex::decode(key).ok()?).ok()? })
    };
    read().ok_or_else(|| Invalid::new("cursor", "not a cursor of this list"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_the_trip_and_others_are_refused() {
        let cursor = Cursor { key: "laden ä/1?&".into(), id: DeviceId(uuid::Uuid::from_u128(7)) };
        assert_eq!(parse_cursor(&write_cursor(&cursor)).unwrap(), cursor);
        for bad in ["", "abc", "ä".repeat(40).as_str(), &"z".repeat(64), "00000000000000000000000000000007ff"] {
            assert!(parse_cursor(bad).is_err(), "{bad}");
        }
    }
}
