//! `/v1/devices/{id}/commands` and `/v1/commands`: commands of one device, and their outcomes.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use domain::command::{CommandCursor, CommandQuery, CommandState, CommandView};
use domain::{CommandBatchId, CommandId, DeviceId, Invalid, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use services::{CommandRequest, IdempotencyKey};
use utoipa::IntoParams;
use wire::admin::Page;
use wire::command::CommandRecord;

use super::extract::{PathId, Person};
use super::openapi::{BodyRefusals, ConflictRefusal, NotFoundRefusal, PersonRefusals, QueryRefusals};
use super::{ApiError, App, body};
use crate::command_params::action;
use crate::present;

/// The header that makes a call happen once.
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The caller's key for this call, if there is one.
///
/// # Errors
/// It is not 1..200 printable characters.
pub(super) fn idempotency_key(headers: &HeaderMap, scope: &str, bytes: &[u8]) -> Result<Option<IdempotencyKey>, Invalid> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    // A header that is not even text is no key either.
    let key = key.to_str().unwrap_or_default();
    IdempotencyKey::new(key, &[scope.as_bytes(), b"\n", bytes].concat()).map(Some)
}

/// Query of a list of commands.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommandsQuery {
    /// Only in this state.
    #[param(value_type = Option<wire::names::CommandState>)]
    state: Option<String>,
    /// Only with this action.
    action: Option<String>,
    /// Only that this account asked for.
    created_by: Option<String>,
    limit: Option<i64>,
    cursor: Option<String>,
}

impl CommandsQuery {
    fn parse(
        self,
        device: Option<DeviceId>,
        batch: Option<CommandBatchId>,
    ) -> Result<(CommandQuery, Option<CommandCursor>, Option<i64>), Invalid> {
        let state = |name: String| domain::names::parse::<CommandState>("state", &name);
        let query = CommandQuery {
            device,
            batch,
            single: false,
            state: self.state.map(state).transpose()?,
            action: self.action,
            created_by: self.created_by,
        };
        Ok((query, self.cursor.as_deref().map(parse_cursor).transpose()?, self.limit))
    }
}

/// Sends a command to a device.
///
/// The command is stored before the response; its state shows the outcome. A repeated `Idempotency-Key` with the same body
/// returns the same command, with 200.
#[utoipa::path(
    post, path = "/v1/devices/{id}/commands", tag = "commands", security(("person" = ["commands:send"])),
    params(("id" = String, Path, description = "The device"), ("Idempotency-Key" = Option<String>, Header, description = "1..200 printable characters")),
    request_body = wire::command::CommandRequest,
    responses(
        (status = 201, body = CommandRecord), (status = 200, description = "Created by an earlier call with this key", body = CommandRecord),
        NotFoundRefusal, ConflictRefusal, BodyRefusals, PersonRefusals
    )
)]
pub(crate) async fn send(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<CommandRecord>), ApiError> {
    let id: DeviceId = present::id("device", &id)?;
    let bytes = body::read(&app, &headers, body, app.config.http.body_limit_bytes).await?;
    let request: wire::command::CommandRequest = body::parse_object(&bytes)?;
    let idempotency_key = idempotency_key(&headers, &format!("devices/{id}/commands"), &bytes)?;
    let request = CommandRequest { action: action(&request.action, request.params)?, expires_in_s: request.expires_in_s };
    let (row, new) = app.system.commands.send(&principal, id, request, idempotency_key).await?;
    Ok((if new { StatusCode::CREATED } else { StatusCode::OK }, Json(record(row))))
}

/// Lists the commands of a device, newest first.
#[utoipa::path(
    get, path = "/v1/devices/{id}/commands", tag = "commands", security(("person" = ["commands:read"])),
    params(("id" = String, Path, description = "The device"), CommandsQuery),
    responses((status = 200, body = Page<CommandRecord>), NotFoundRefusal, QueryRefusals, PersonRefusals)
)]
pub(crate) async fn of_device(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    query: Result<Query<CommandsQuery>, QueryRejection>,
) -> Result<Json<Page<CommandRecord>>, ApiError> {
    let id: DeviceId = present::id("device", &id)?;
    let Query(query) = query.map_err(present::query_refused)?;
    page(&app, &principal, query.parse(Some(id), None)?).await
}

/// Lists all commands, newest first.
#[utoipa::path(
    get, path = "/v1/commands", tag = "commands", security(("person" = ["commands:read"])),
    params(CommandsQuery),
    responses((status = 200, body = Page<CommandRecord>), QueryRefusals, PersonRefusals)
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    query: Result<Query<CommandsQuery>, QueryRejection>,
) -> Result<Json<Page<CommandRecord>>, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    page(&app, &principal, query.parse(None, None)?).await
}

/// Lists the commands of a batch, newest first.
#[utoipa::path(
    get, path = "/v1/command-batches/{id}/items", tag = "commands", security(("person" = ["commands:read"])),
    params(("id" = String, Path, description = "The batch"), CommandsQuery),
    responses((status = 200, body = Page<CommandRecord>), NotFoundRefusal, QueryRefusals, PersonRefusals)
)]
pub(crate) async fn of_batch(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    query: Result<Query<CommandsQuery>, QueryRejection>,
) -> Result<Json<Page<CommandRecord>>, ApiError> {
    let id: CommandBatchId = present::id("batch", &id)?;
    let Query(query) = query.map_err(present::query_refused)?;
    let query = query.parse(None, Some(id))?;
    app.system.commands.batch(&principal, id).await?;
    page(&app, &principal, query).await
}

async fn page(
    app: &App,
    principal: &domain::access::Principal,
    (query, after, limit): (CommandQuery, Option<CommandCursor>, Option<i64>),
) -> Result<Json<Page<CommandRecord>>, ApiError> {
    let (rows, next) = app.system.commands.list(principal, &query, after, limit).await?;
    let next_cursor = next.map(|next| write_cursor(next.created_at, next.id));
    Ok(Json(Page { items: rows.into_iter().map(record).collect(), next_cursor }))
}

/// Returns a command.
#[utoipa::path(
    get, path = "/v1/commands/{id}", tag = "commands", security(("person" = ["commands:read"])),
    params(("id" = String, Path, description = "The command's request_id")),
    responses((status = 200, body = CommandRecord), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn one(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
) -> Result<Json<CommandRecord>, ApiError> {
    let id: CommandId = present::id("command", &id)?;
    Ok(Json(record(app.system.commands.one(&principal, id).await?)))
}

/// Cancels a command. A device that has already received it may still run it; its result is recorded.
#[utoipa::path(
    post, path = "/v1/commands/{id}/cancel", tag = "commands", security(("person" = ["commands:send"])),
    params(("id" = String, Path, description = "The command's request_id")),
    responses((status = 200, body = CommandRecord), NotFoundRefusal, ConflictRefusal, PersonRefusals)
)]
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
) -> Result<Json<CommandRecord>, ApiError> {
    let id: CommandId = present::id("command", &id)?;
    Ok(Json(record(app.system.commands.cancel(&principal, id).await?)))
}

/// JSON that is on record.
pub(super) fn stored_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

pub(super) fn record(row: CommandView) -> CommandRecord {
    let progress = row.progress;
    CommandRecord {
        request_id: row.id.to_string(),
        device_id: row.device_id.to_string(),
        alias: row.alias,
        batch_id: row.batch_id.map(|id| id.to_string()),
        action: row.action,
        params: stored_json(&row.params),
        state: progress.state.as_str().to_owned(),
        held: row.held.map(|reason| reason.as_str().to_owned()),
        attempts: progress.attempts,
        path: progress.path.map(|path| path.as_str().to_owned()),
        created_by: row.created_by,
        created_at: present::time(row.created_at),
        release_at: present::time(row.release_at),
        expires_at: present::time(row.expires_at),
        sent_at: progress.sent_at.map(present::time),
        delivered_at: progress.delivered_at.map(present::time),
        finished_at: progress.finished_at.map(present::time),
        canceled_by: row.canceled_by,
        outcome: progress.ending.map(|ending| ending.as_str().to_owned()),
        message: row.message,
        code: row.code,
        data: row.data.as_deref().map(stored_json),
    }
}

/// A cursor as text: the time in microseconds, then the id.
pub(super) fn write_cursor(at: Timestamp, id: impl std::fmt::Display) -> String {
    format!("{}.{id}", at.timestamp_micros())
}

/// Parses the text of [`write_cursor`].
pub(super) fn parse_cursor_parts<T: std::str::FromStr>(text: &str) -> Result<(Timestamp, T), Invalid> {
    let read = || {
        let (at, id) = text.split_once('.')?;
        // Before the year 2200, so that every database can take it.
        let at = chrono::DateTime::from_timestamp_micros(at.parse().ok().filter(|micros| (0..7_258_118_400_000_000).contains(micros))?)?;
        Some((at, id.parse().ok()?))
    };
    read().ok_or_else(|| Invalid::new("cursor", "not a cursor of this list"))
}

fn parse_cursor(text: &str) -> Result<CommandCursor, Invalid> {
    parse_cursor_parts(text).map(|(created_at, id)| CommandCursor { created_at, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_the_trip_and_others_are_refused() {
        let at = chrono::DateTime::from_timestamp_micros(1_780_000_000_123_456).unwrap();
        let id = CommandId(uuid::Uuid::from_u128(7));
        assert_eq!(parse_cursor(&write_cursor(at, id)).unwrap(), CommandCursor { created_at: at, id });
        for bad in ["", "7", "7.7", "-1.00000000-0000-0000-0000-000000000007"] {
            assert!(parse_cursor(bad).is_err(), "{bad}");
        }
    }
}
