//! `/v1/devices/export.csv` and `/v1/devices/import.csv`: devices as a table.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use services::ImportReport;
use utoipa::IntoParams;
use wire::device_filter::FilterParams;
use wire::devices::{FieldChange, RowChange, RowProblem};

use super::extract::Person;
use super::openapi::{BodyRefusals, PersonRefusals, QueryRefusals};
use super::table::{flag, table};
use super::{ApiError, App, body};
use crate::{convert, present};

/// Query of an export.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportQuery {
    #[serde(flatten)]
    #[param(ignore)]
    filter: FilterParams,
    /// Begin with a byte order mark, for spreadsheets that would not take the file for UTF-8.
    #[serde(default, deserialize_with = "flag")]
    bom: bool,
}

/// Exports the matching devices as CSV (RFC 4180), sorted by alias.
///
/// Lists are joined by `|`, and cells that a spreadsheet would interpret as formulas begin with an apostrophe.
#[utoipa::path(
    get, path = "/v1/devices/export.csv", tag = "devices", security(("person" = ["devices:read"])),
    params(FilterParams, ExportQuery),
    responses((status = 200, body = String, content_type = "text/csv"), QueryRefusals, PersonRefusals)
)]
pub(crate) async fn export(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    query: Result<Query<ExportQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    let filter = convert::filter(query.filter.0)?;
    let pieces = app.system.devices.export(&principal, filter, false).await?;
    Ok(table(pieces, "devices.csv", query.bom))
}

/// Options of an import.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportQuery {
    /// Only say what would be changed. True unless it is false.
    dry_run: Option<bool>,
}

/// Imports aliases, tags and groups from CSV: all changes, or none if there is a problem.
///
/// A row identifies its device by `id`, else by its current `alias`. The new alias is `alias` next to an id, else `new_alias`.
/// Other columns of an export are ignored; columns that no export has are refused, and so are those that stand there twice.
#[utoipa::path(
    post, path = "/v1/devices/import.csv", tag = "devices", security(("person" = ["devices:write"])),
    params(ImportQuery),
    request_body(content = String, content_type = "text/csv"),
    responses((status = 200, body = wire::devices::ImportReport), BodyRefusals, PersonRefusals)
)]
pub(crate) async fn import(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    query: Result<Query<ImportQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<wire::devices::ImportReport>, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    // Who may not, or not now, does not send it all first.
    let permit = app.system.devices.import_permit(&principal)?;
    let bytes = body::read(&app, &headers, body, app.config.http.import_body_limit_bytes).await?;
    let report = app.system.devices.import_with_permit(&principal, permit, bytes, query.dry_run.unwrap_or(true)).await?;
    let ImportReport { rows, unchanged, changes, problems, problems_total, applied } = report;
    let field = |change: services::FieldChange| FieldChange { field: change.field.to_owned(), before: change.before, after: change.after };
    Ok(Json(wire::devices::ImportReport {
        applied,
        rows,
        unchanged,
        changes: changes
            .into_iter()
            .map(|change| RowChange {
                line: change.line,
                device_id: change.id.to_string(),
                alias: change.alias,
                fields: change.fields.into_iter().map(field).collect(),
            })
            .collect(),
        problems: problems
            .into_iter()
            .map(|problem| RowProblem { line: problem.line, field: problem.field, problem: problem.problem })
            .collect(),
        problems_total,
    }))
}
