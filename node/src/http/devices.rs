//! `/v1/devices` and `/v1/fleet/stats`, for people and scripts.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use domain::device::{AppStatus, Connectivity};
use domain::query::{Cursor, DeviceFilter, PAGE_DEFAULT, Sort};
use domain::{DeviceId, Invalid};
use serde::Deserialize;
use store::Listed;
use utoipa::IntoParams;
use wire::admin::{Device, FleetStats, Page};

use super::extract::{PathId, Person};
use super::openapi::{NotFoundRefusal, PersonRefusals, QueryRefusals};
use super::{ApiError, App};
use crate::present;

/// What a list of devices can be asked for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    status: Option<String>,
    tag: Option<String>,
    group: Option<String>,
    #[serde(alias = "q")]
    text: Option<String>,
    battery_below: Option<i16>,
    app_version: Option<String>,
    model: Option<String>,
    app_status: Option<String>,
    sort: Option<String>,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// A page of devices, as last stored.
#[utoipa::path(
    get, path = "/v1/devices", tag = "devices", security(("person" = [])),
    params(ListQuery),
    responses((status = 200, body = Page<Device>), QueryRefusals, PersonRefusals)
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Page<Device>>, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    let sort = query.sort.as_deref().map_or(Ok(Sort::default()), Sort::parse)?;
    let filter = DeviceFilter {
        connectivity: query.status.as_deref().map(connectivity).transpose()?,
        tag: query.tag,
        group: query.group,
        text: query.text,
        battery_below: query.battery_below,
        app_version: query.app_version,
        model: query.model,
        app_status: query.app_status.as_deref().map(|name| AppStatus::parse("app_status", name)).transpose()?,
    };
    let after = query.cursor.as_deref().map(read_cursor).transpose()?;
    let page = app.system.devices.page(&principal, filter, Listed::Active, sort, after, query.limit.unwrap_or(PAGE_DEFAULT)).await?;
    Ok(Json(Page {
        items: page.devices.iter().map(|device| present::device(&device.view)).collect(),
        next_cursor: page.next.as_ref().map(write_cursor),
    }))
}

/// One device with its live state, read from its actor.
#[utoipa::path(
    get, path = "/v1/devices/{id}", tag = "devices", security(("person" = [])),
    params(("id" = String, Path, description = "The device")),
    responses((status = 200, body = Device), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn one(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<Json<Device>, ApiError> {
    let id: DeviceId = present::id("device", &id)?;
    Ok(Json(present::device(&app.system.devices.live(&principal, id).await?)))
}

/// Deletes a device.
#[utoipa::path(
    delete, path = "/v1/devices/{id}", tag = "devices", security(("person" = [])),
    params(("id" = String, Path, description = "The device")),
    responses((status = 204), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn delete(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<StatusCode, ApiError> {
    let id: DeviceId = present::id("device", &id)?;
    app.system.devices.delete(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes every credential of a device worthless.
#[utoipa::path(
    post, path = "/v1/devices/{id}/revoke", tag = "devices", security(("person" = [])),
    params(("id" = String, Path, description = "The device")),
    responses((status = 204), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn revoke(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<StatusCode, ApiError> {
    let id: DeviceId = present::id("device", &id)?;
    app.system.devices.revoke(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Counts over the fleet.
#[utoipa::path(
    get, path = "/v1/fleet/stats", tag = "devices", security(("person" = [])),
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
        heartbeats_per_second: stats.heartbeats_per_second,
    }))
}

fn connectivity(name: &str) -> Result<Connectivity, Invalid> {
    [Connectivity::Online, Connectivity::Offline, Connectivity::NeverSeen]
        .into_iter()
        .find(|known| known.as_str() == name)
        .ok_or_else(|| Invalid::new("status", "not one of online, offline, never_seen"))
}

/// A cursor as text: hex of the id, then of the key, so that any alias survives a URL.
fn write_cursor(cursor: &Cursor) -> String {
    format!("{}{}", cursor.id.0.simple(), hex::encode(&cursor.key))
}

fn read_cursor(text: &str) -> Result<Cursor, Invalid> {
    let read = || {
        let (id, key) = text.split_at_checked(32)?;
        Some(Cursor { id: id.parse().ok()?, key: String::from_utf8(hex::decode(key).ok()?).ok()? })
    };
    read().ok_or_else(|| Invalid::new("cursor", "not one that this list gave out"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_the_trip_and_others_are_refused() {
        let cursor = Cursor { key: "laden ä/1?&".into(), id: DeviceId(uuid::Uuid::from_u128(7)) };
        assert_eq!(read_cursor(&write_cursor(&cursor)).unwrap(), cursor);
        for bad in ["", "abc", "ä".repeat(40).as_str(), &"z".repeat(64), "00000000000000000000000000000007ff"] {
            assert!(read_cursor(bad).is_err(), "{bad}");
        }
    }
}
