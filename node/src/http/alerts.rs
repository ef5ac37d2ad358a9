//! `/v1/alerts`: alerts with their history, acknowledgements, counts, CSV.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use domain::alert::AlertState;
use domain::query::PAGE_DEFAULT;
use domain::{AlertId, Invalid, ServiceError};
use serde::Deserialize;
use services::AcknowledgeOutcome;
use utoipa::IntoParams;
use wire::admin::Page;
use wire::alert::{
    AcknowledgeAlert, AcknowledgeAlerts, AcknowledgedAlert, AcknowledgedAlerts, Alert, AlertCount, AlertCounts, AlertDetails,
};

use super::extract::{PathId, Person};
use super::openapi::{BodyRefusals, ConflictRefusal, NotFoundRefusal, PersonRefusals, QueryRefusals};
use super::table::{flag, table};
use super::{ApiError, App, body};
use crate::alert_params::{self, FilterTexts};
use crate::present;

/// Query of the list; all conditions that are given hold.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlertsQuery {
    /// `firing`, `acknowledged`, `resolved`, or `open` for the first two.
    state: Option<String>,
    /// Rule.
    rule: Option<String>,
    /// Least severity: `info`, `warning` or `critical`.
    min_severity: Option<String>,
    /// Device that it is about.
    device_id: Option<String>,
    /// Deployment that it is about.
    deployment_id: Option<String>,
    /// Group that the device was in when the alert was raised.
    group: Option<String>,
    /// Only of devices that had this tag when the alert was raised.
    tag: Option<String>,
    /// Not raised earlier.
    since: Option<String>,
    /// Not raised later.
    until: Option<String>,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// Query of an export; all conditions that are given hold.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportQuery {
    /// `firing`, `acknowledged`, `resolved`, or `open` for the first two.
    state: Option<String>,
    /// Rule.
    rule: Option<String>,
    /// Least severity: `info`, `warning` or `critical`.
    min_severity: Option<String>,
    /// Device that it is about.
    device_id: Option<String>,
    /// Deployment that it is about.
    deployment_id: Option<String>,
    /// Group that the device was in when the alert was raised.
    group: Option<String>,
    /// Only of devices that had this tag when the alert was raised.
    tag: Option<String>,
    /// Not raised earlier.
    since: Option<String>,
    /// Not raised later.
    until: Option<String>,
    /// Begin with a byte order mark, for spreadsheets that would not take the file for UTF-8.
    #[serde(default, deserialize_with = "flag")]
    bom: bool,
}

/// Lists alerts, newest first.
#[utoipa::path(
    get, path = "/v1/alerts", tag = "alerts", security(("person" = ["alerts:read"])),
    params(AlertsQuery),
    responses((status = 200, body = Page<Alert>), QueryRefusals, PersonRefusals)
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    query: Result<Query<AlertsQuery>, QueryRejection>,
) -> Result<Json<Page<Alert>>, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    let AlertsQuery { state, rule, min_severity, device_id, deployment_id, group, tag, since, until, limit, cursor } = query;
    let filter = alert_params::filter(FilterTexts { state, rule, min_severity, device_id, deployment_id, group, tag, since, until })?;
    let after = cursor.map(|cursor| cursor.parse()).transpose()?;
    let page = app.system.alerts.page(&principal, filter, after, limit.unwrap_or(PAGE_DEFAULT)).await?;
    let now = app.system.clock.now();
    Ok(Json(Page {
        items: page.alerts.into_iter().map(|record| alert_params::alert(record, now)).collect(),
        next_cursor: page.next.map(|cursor| cursor.to_string()),
    }))
}

/// Exports alerts as CSV (RFC 4180), newest first.
///
/// Lists are joined by `|`, and cells that a spreadsheet would interpret as formulas begin with an apostrophe.
#[utoipa::path(
    get, path = "/v1/alerts/export.csv", tag = "alerts", security(("person" = ["alerts:read"])),
    params(ExportQuery),
    responses((status = 200, body = String, content_type = "text/csv"), QueryRefusals, PersonRefusals)
)]
pub(crate) async fn export(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    query: Result<Query<ExportQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    let ExportQuery { state, rule, min_severity, device_id, deployment_id, group, tag, since, until, bom } = query;
    let filter = alert_params::filter(FilterTexts { state, rule, min_severity, device_id, deployment_id, group, tag, since, until })?;
    let pieces = app.system.alerts.export(&principal, filter).await?;
    Ok(table(pieces, "alerts.csv", bom))
}

/// Counts open alerts by rule, severity and state.
#[utoipa::path(
    get, path = "/v1/alerts/counts", tag = "alerts", security(("person" = ["alerts:read"])),
    responses((status = 200, body = AlertCounts), PersonRefusals)
)]
pub(crate) async fn counts(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<AlertCounts>, ApiError> {
    let counts = app.system.alerts.counts(&principal).await?;
    let of = |state: AlertState| counts.iter().filter(|count| count.state == state).map(|count| count.alerts).sum();
    Ok(Json(AlertCounts {
        firing: of(AlertState::Firing),
        acknowledged: of(AlertState::Acknowledged),
        items: counts
            .iter()
            .map(|count| AlertCount {
                rule: count.rule.as_str().to_owned(),
                severity: count.severity.as_str().to_owned(),
                state: count.state.as_str().to_owned(),
                alerts: count.alerts,
            })
            .collect(),
    }))
}

/// Returns an alert with its history: changes, why they were not notified, deliveries.
#[utoipa::path(
    get, path = "/v1/alerts/{id}", tag = "alerts", security(("person" = ["alerts:read"])),
    params(("id" = String, Path, description = "The alert")),
    responses((status = 200, body = AlertDetails), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn one(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
) -> Result<Json<AlertDetails>, ApiError> {
    let id: AlertId = present::id("alert", &id)?;
    let details = app.system.alerts.one(&principal, id).await?;
    Ok(Json(alert_params::details(details, app.system.clock.now())))
}

/// Acknowledges an alert.
///
/// One that is acknowledged already stays as it is; one that is resolved is refused.
#[utoipa::path(
    post, path = "/v1/alerts/{id}/acknowledge", tag = "alerts", security(("person" = ["alerts:write"])),
    params(("id" = String, Path, description = "The alert")),
    request_body = Option<AcknowledgeAlert>,
    responses((status = 200, body = AlertDetails), NotFoundRefusal, ConflictRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn acknowledge(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<AlertDetails>, ApiError> {
    app.system.alerts.authorize_changes(&principal)?;
    let id: AlertId = present::id("alert", &id)?;
    let given: Option<AcknowledgeAlert> = body::optional_json(&app, &headers, body).await?;
    let AcknowledgeAlert { note } = given.unwrap_or_default();
    let outcomes = app.system.alerts.acknowledge(&principal, &[id], &note).await?;
    match outcomes.first().map(|(_, outcome)| *outcome) {
        Some(AcknowledgeOutcome::Acknowledged | AcknowledgeOutcome::Already) => {}
        Some(AcknowledgeOutcome::Resolved) => return Err(ServiceError::WrongState("the alert is resolved already").into()),
        Some(AcknowledgeOutcome::Unknown) | None => return Err(ServiceError::NotFound("alert").into()),
    }
    let details = app.system.alerts.one(&principal, id).await?;
    Ok(Json(alert_params::details(details, app.system.clock.now())))
}

/// Acknowledges several alerts.
#[utoipa::path(
    post, path = "/v1/alerts/acknowledge", tag = "alerts", security(("person" = ["alerts:write"])),
    request_body = AcknowledgeAlerts,
    responses((status = 200, body = AcknowledgedAlerts), BodyRefusals, PersonRefusals)
)]
pub(crate) async fn acknowledge_all(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<AcknowledgedAlerts>, ApiError> {
    app.system.alerts.authorize_changes(&principal)?;
    let AcknowledgeAlerts { ids, note } = body::json(&app, &headers, body).await?;
    let id = |(at, id): (usize, &String)| id.parse().map_err(|_| Invalid::new(format!("ids[{at}]"), "not an id of an alert"));
    let ids: Vec<AlertId> = ids.iter().enumerate().map(id).collect::<Result<_, _>>()?;
    let outcomes = app.system.alerts.acknowledge(&principal, &ids, &note).await?;
    let outcome =
        |(id, outcome): (AlertId, AcknowledgeOutcome)| AcknowledgedAlert { id: id.to_string(), outcome: outcome.as_str().to_owned() };
    Ok(Json(AcknowledgedAlerts { items: outcomes.into_iter().map(outcome).collect() }))
}
