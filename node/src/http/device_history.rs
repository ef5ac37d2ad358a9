//! `/v1/devices/{id}/history` and `/v1/devices/{id}/events`: what a device told, and what happened to it.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use domain::event::{EventCursor, EventKind};
use domain::history::{HistoryRequest, Point, Summary, TransportShares};
use domain::query::PAGE_DEFAULT;
use domain::{DeviceId, Invalid};
use serde::Deserialize;
use utoipa::IntoParams;
use wire::admin::Page;
use wire::devices::{ArchivedDays, DeviceEvent, DeviceHistory, HistoryPoint};

use super::extract::{PathId, Person};
use super::openapi::{ConflictRefusal, NotFoundRefusal, PersonRefusals, QueryRefusals};
use super::table::{flag, table};
use super::{ApiError, App};
use crate::present;

/// Query of a device's history.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryQuery {
    /// From when; 24 hours before `to` when absent. At most 90 days before `to`.
    from: Option<String>,
    /// Until when; now when absent.
    to: Option<String>,
    /// Most points, 1..2000; 500 when absent. They are as close as that allows: 10 seconds or more apart,
    /// an hour or more when the range is longer than 48 hours.
    points: Option<i64>,
    /// Which measures, by name, with commas between them; all when absent.
    metrics: Option<String>,
}

/// Returns the telemetry history of a device as evenly spaced points. Days whose heartbeats are no longer in the database are read from the
/// archive, which `archived` names.
#[utoipa::path(
    get, path = "/v1/devices/{id}/history", tag = "devices", security(("person" = ["devices:read"])),
    params(("id" = String, Path, description = "The device"), HistoryQuery),
    responses((status = 200, body = DeviceHistory), NotFoundRefusal, QueryRefusals, PersonRefusals)
)]
pub(crate) async fn history(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Json<DeviceHistory>, ApiError> {
    let id: DeviceId = present::id("device", &id)?;
    let Query(query) = query.map_err(present::query_refused)?;
    let metrics = wanted_metrics(query.metrics.as_deref())?;
    let request = HistoryRequest {
        from: query.from.map(|text| present::parse_time("from", &text)).transpose()?,
        to: query.to.map(|text| present::parse_time("to", &text)).transpose()?,
        points: query.points,
    };
    let history = app.system.history.device(&principal, id, request).await?;
    Ok(Json(DeviceHistory {
        from: present::time(history.plan.from),
        to: present::time(history.plan.to),
        step_seconds: history.plan.step_s,
        points: history.points.iter().map(|one| point(one, &metrics)).collect(),
        archived: history.archived.map(|days| ArchivedDays { first: days.first.to_string(), last: days.last.to_string(), days: days.days }),
    }))
}

/// Query of an export of heartbeats.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeartbeatsQuery {
    /// From when; 24 hours before `to` when absent. At most 90 days before `to`.
    from: Option<String>,
    /// Until when; now when absent.
    to: Option<String>,
    /// Begin with a byte order mark, for spreadsheets that would not take the file for UTF-8.
    #[serde(default, deserialize_with = "flag")]
    bom: bool,
}

/// Exports the heartbeats of a device as CSV (RFC 4180), the oldest first.
///
/// Days that are no longer in the database are read from the archive; the last column, `source`, says where each row was read. Cells that a
/// spreadsheet would interpret as formulas begin with an apostrophe.
#[utoipa::path(
    get, path = "/v1/devices/{id}/heartbeats.csv", tag = "devices", security(("person" = ["devices:read"])),
    params(("id" = String, Path, description = "The device"), HeartbeatsQuery),
    responses((status = 200, body = String, content_type = "text/csv"), NotFoundRefusal, ConflictRefusal, QueryRefusals, PersonRefusals)
)]
pub(crate) async fn heartbeats(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    query: Result<Query<HeartbeatsQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let id: DeviceId = present::id("device", &id)?;
    let Query(HeartbeatsQuery { from, to, bom }) = query.map_err(present::query_refused)?;
    let from = from.map(|text| present::parse_time("from", &text)).transpose()?;
    let to = to.map(|text| present::parse_time("to", &text)).transpose()?;
    let pieces = app.system.history.export(&principal, id, from, to).await?;
    Ok(table(pieces, "heartbeats.csv", bom))
}

fn wanted_metrics(text: Option<&str>) -> Result<Vec<&'static str>, Invalid> {
    const KNOWN: &[&str] = HistoryPoint::METRICS;
    let Some(text) = text else { return Ok(KNOWN.to_vec()) };
    let known = |name: &str| {
        let found = KNOWN.iter().copied().find(|known| *known == name);
        found.ok_or_else(|| Invalid::new("metrics", format!("not one of {}", KNOWN.join(", "))))
    };
    text.split(',').map(|name| known(name.trim())).collect()
}

/// Three decimals are more than any measure is good for.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn point(point: &Point, metrics: &[&str]) -> HistoryPoint {
    fn summary(summary: Summary) -> wire::devices::Summary {
        wire::devices::Summary { min: rounded(summary.min), avg: rounded(summary.avg), max: rounded(summary.max) }
    }
    fn shares(shares: TransportShares) -> wire::devices::TransportShares {
        let TransportShares { wifi, cellular, ethernet, none, other } = shares;
        wire::devices::TransportShares {
            wifi: rounded(wifi),
            cellular: rounded(cellular),
            ethernet: rounded(ethernet),
            none: rounded(none),
            other: rounded(other),
        }
    }
    let wanted = |name: &str| metrics.contains(&name);
    let mut shown = HistoryPoint {
        at: present::time(point.at),
        heartbeats: point.heartbeats,
        online_share: wanted("online_share").then(|| rounded(point.online_share)),
        transport_shares: wanted("transport_shares").then(|| point.transports.map(shares)),
        ..HistoryPoint::default()
    };
    shown.set(wanted, point.measures.map(|measure| measure.map(summary)), point.shares.map(|share| share.map(rounded)));
    shown
}

/// Query of a list of events.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventsQuery {
    /// Only these kinds, with commas between them.
    kind: Option<String>,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// Lists the events of a device, newest first.
#[utoipa::path(
    get, path = "/v1/devices/{id}/events", tag = "devices", security(("person" = ["devices:read"])),
    params(("id" = String, Path, description = "The device"), EventsQuery),
    responses((status = 200, body = Page<DeviceEvent>), NotFoundRefusal, QueryRefusals, PersonRefusals)
)]
pub(crate) async fn events(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Json<Page<DeviceEvent>>, ApiError> {
    let id: DeviceId = present::id("device", &id)?;
    let Query(query) = query.map_err(present::query_refused)?;
    let kinds = match query.kind.as_deref() {
        Some(names) => names.split(',').map(|name| EventKind::parse("kind", name.trim())).collect::<Result<Vec<_>, _>>()?,
        None => vec![],
    };
    let after = query.cursor.as_deref().map(parse_cursor).transpose()?;
    let page = app.system.history.events(&principal, id, &kinds, after, query.limit.unwrap_or(PAGE_DEFAULT)).await?;
    let items = page.events.into_iter().map(|event| DeviceEvent {
        at: present::time(event.at),
        kind: event.kind.as_str().to_owned(),
        actor: event.actor,
        detail: event.detail,
    });
    Ok(Json(Page { items: items.collect(), next_cursor: page.next.map(write_cursor) }))
}

/// A cursor as text: the time in microseconds, then the number.
fn write_cursor(cursor: EventCursor) -> String {
    format!("{}-{}", cursor.at.timestamp_micros(), cursor.id)
}

fn parse_cursor(text: &str) -> Result<EventCursor, Invalid> {
    let read = || {
        let (at, id) = text.split_once('-')?;
        // Before the year 2200, so that every database can take it.
        let at = chrono::DateTime::from_timestamp_micros(at.parse().ok().filter(|micros| (0..7_258_118_400_000_000).contains(micros))?)?;
        Some(EventCursor { at, id: id.parse().ok()? })
    };
    read().ok_or_else(|| Invalid::new("cursor", "not a cursor of this list"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_the_trip_and_others_are_refused() {
        let cursor = EventCursor { at: chrono::DateTime::from_timestamp_micros(1_780_000_000_123_456).unwrap(), id: 7 };
        assert_eq!(parse_cursor(&write_cursor(cursor)).unwrap(), cursor);
        for bad in ["", "7", "-1-7", "1-", "9223372036854775807-1", "1-99999999999999999999"] {
            assert!(parse_cursor(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn metrics_are_known_by_name() {
        assert_eq!(wanted_metrics(Some("battery_pct, online_share")).unwrap(), ["battery_pct", "online_share"]);
        assert_eq!(wanted_metrics(None).unwrap().len(), HistoryPoint::METRICS.len());
        assert_eq!(wanted_metrics(Some("mood")).unwrap_err().field, "metrics");
    }
}
