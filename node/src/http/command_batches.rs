//! `/v1/command-batches`: the same to many devices, at a rate, with live counters.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::CommandBatchId;
use domain::bulk_target::{BulkTarget, GivenTarget};
use domain::command::{CommandState, Path};
use serde::Deserialize;
use services::{BatchDetails, BatchRequest, CommandRequest, Planned};
use utoipa::IntoParams;
use wire::admin::Page;
use wire::command::{BatchCounts, BatchPlan, BatchResponse, CommandBatch, PathCounts, PlannedCommand};

use super::commands::{idempotency_key, parse_cursor_parts, stored_json, write_cursor};
use super::device_bulk::parse_ids;
use super::extract::{PathId, Person};
use super::openapi::{BodyRefusals, ConflictRefusal, NotFoundRefusal, PersonRefusals, QueryRefusals};
use super::table::{TableQuery, table};
use super::{ApiError, App, body};
use crate::command_params::action;
use crate::{convert, present};

/// Sends a command to many devices at a limited rate.
///
/// `dry_run` returns the plan: the delivery paths, and the devices that are skipped with the reason. A repeated `Idempotency-Key`
/// with the same body returns the same batch, with 200.
#[utoipa::path(
    post, path = "/v1/command-batches", tag = "commands", security(("person" = ["commands:send"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "1..200 printable characters")),
    request_body = wire::command::BatchRequest,
    responses(
        (status = 201, body = BatchResponse), (status = 200, description = "A dry run, or created by an earlier call with this key", body = BatchResponse),
        ConflictRefusal, BodyRefusals, PersonRefusals
    )
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<BatchResponse>), ApiError> {
    app.system.commands.authorize_sending(&principal)?;
    let bytes = body::read(&app, &headers, body, app.config.http.bulk_body_limit_bytes).await?;
    let requested: wire::command::BatchRequest = body::parse_object(&bytes)?;
    let idempotency_key = idempotency_key(&headers, "command-batches", &bytes)?;
    let wire::command::BatchTarget { fleet, ids, filter } = requested.target;
    let given = GivenTarget { fleet, ids: ids.as_deref().map(parse_ids).transpose()?, filter: filter.map(convert::filter).transpose()? };
    let target = BulkTarget::of(given, "target.")?;
    let command = CommandRequest { action: action(&requested.action, requested.params)?, expires_in_s: requested.expires_in_s };
    let request = BatchRequest { target, command, rate_per_second: requested.rate_per_second };
    if requested.dry_run {
        let planned = app.system.commands.plan(&principal, request).await?;
        return Ok((StatusCode::OK, Json(BatchResponse::Plan(plan(planned)))));
    }
    let (details, new) = app.system.commands.send_many(&principal, request, idempotency_key).await?;
    Ok((if new { StatusCode::CREATED } else { StatusCode::OK }, Json(BatchResponse::Batch(Box::new(present_batch(details))))))
}

/// Which page of batches.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchesQuery {
    limit: Option<i64>,
    cursor: Option<String>,
}

/// Lists batches, newest first.
#[utoipa::path(
    get, path = "/v1/command-batches", tag = "commands", security(("person" = ["commands:read"])),
    params(BatchesQuery),
    responses((status = 200, body = Page<CommandBatch>), QueryRefusals, PersonRefusals)
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    query: Result<Query<BatchesQuery>, QueryRejection>,
) -> Result<Json<Page<CommandBatch>>, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    let after = query.cursor.as_deref().map(parse_cursor_parts).transpose()?;
    let (batches, next) = app.system.commands.batches(&principal, after, query.limit).await?;
    let next_cursor = next.map(|(at, id)| write_cursor(at, id));
    Ok(Json(Page { items: batches.into_iter().map(present_batch).collect(), next_cursor }))
}

/// Returns a batch and its progress.
#[utoipa::path(
    get, path = "/v1/command-batches/{id}", tag = "commands", security(("person" = ["commands:read"])),
    params(("id" = String, Path, description = "The batch")),
    responses((status = 200, body = CommandBatch), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn one(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
) -> Result<Json<CommandBatch>, ApiError> {
    let id: CommandBatchId = present::id("batch", &id)?;
    Ok(Json(present_batch(app.system.commands.batch(&principal, id).await?)))
}

/// Cancels the pending commands of a batch.
#[utoipa::path(
    post, path = "/v1/command-batches/{id}/cancel", tag = "commands", security(("person" = ["commands:send"])),
    params(("id" = String, Path, description = "The batch")),
    responses((status = 200, body = CommandBatch), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
) -> Result<Json<CommandBatch>, ApiError> {
    let id: CommandBatchId = present::id("batch", &id)?;
    Ok(Json(present_batch(app.system.commands.cancel_batch(&principal, id).await?)))
}

/// Exports the commands of a batch as CSV (RFC 4180).
///
/// Cells that a spreadsheet would interpret as formulas begin with an apostrophe.
#[utoipa::path(
    get, path = "/v1/command-batches/{id}/export.csv", tag = "commands", security(("person" = ["commands:read"])),
    params(("id" = String, Path, description = "The batch"), TableQuery),
    responses((status = 200, body = String, content_type = "text/csv"), NotFoundRefusal, QueryRefusals, PersonRefusals)
)]
pub(crate) async fn export(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    query: Result<Query<TableQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    let id: CommandBatchId = present::id("batch", &id)?;
    let pieces = app.system.commands.batch_table(&principal, id).await?;
    Ok(table(pieces, "commands.csv", query.bom))
}

fn plan(planned: Vec<Planned>) -> BatchPlan {
    let (mut paths, mut devices, mut offline) = (PathCounts::default(), 0, 0);
    for expected in planned.iter().filter_map(|planned| planned.outcome.as_ref().ok()) {
        devices += 1;
        offline += usize::from(!expected.online);
        *count_of(&mut paths, expected.path) += 1;
    }
    let outcomes = planned.iter().map(|planned| PlannedCommand {
        id: planned.id.to_string(),
        alias: planned.alias.clone(),
        path: planned.outcome.ok().map(|expected| expected.path.as_str().to_owned()),
        online: planned.outcome.ok().map(|expected| expected.online),
        reason: planned.outcome.err().map(|refused| refused.as_str().to_owned()),
    });
    BatchPlan { dry_run: true, devices, offline, paths, refused: planned.len() - devices, outcomes: outcomes.collect() }
}

fn count_of(paths: &mut PathCounts, path: Path) -> &mut i64 {
    match path {
        Path::Socket => &mut paths.socket,
        Path::Push => &mut paths.push,
        Path::Heartbeat => &mut paths.heartbeat,
    }
}

pub(super) fn present_batch(details: BatchDetails) -> CommandBatch {
    let mut paths = PathCounts::default();
    for (path, commands) in &details.paths {
        *count_of(&mut paths, *path) = *commands;
    }
    let counts = BatchCounts {
        queued: details.count(CommandState::Queued),
        sent: details.count(CommandState::Sent),
        delivered: details.count(CommandState::Delivered),
        succeeded: details.count(CommandState::Succeeded),
        failed: details.count(CommandState::Failed),
        expired: details.count(CommandState::Expired),
        canceled: details.count(CommandState::Canceled),
    };
    let batch = details.batch;
    CommandBatch {
        id: batch.id.to_string(),
        action: batch.action,
        params: stored_json(&batch.params),
        target: stored_json(&batch.target),
        rate_per_second: batch.rate_per_second,
        devices: batch.devices,
        counts,
        paths,
        refused: serde_json::from_str(&batch.refused).unwrap_or_default(),
        refused_count: batch.refused_count,
        created_by: batch.created_by,
        created_at: present::time(batch.created_at),
        expires_at: present::time(batch.expires_at),
        canceled_at: batch.canceled_at.map(present::time),
    }
}
