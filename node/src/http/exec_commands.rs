//! `/v1/exec-commands`: what `exec` may run on devices.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use wire::command::{ExecCommand, ExecCommandRequest};

use super::extract::{PathId, Person};
use super::openapi::{BodyRefusals, ConflictRefusal, NotFoundRefusal, PersonRefusals};
use super::{ApiError, App, body};
use crate::present;

/// Lists allowed commands, by name.
#[utoipa::path(
    get, path = "/v1/exec-commands", tag = "commands", security(("person" = ["commands:read"])),
    responses((status = 200, body = Vec<ExecCommand>), PersonRefusals)
)]
pub(crate) async fn list(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<Vec<ExecCommand>>, ApiError> {
    let allowed = app.system.commands.exec_commands(&principal).await?;
    let shown = allowed.into_iter().map(|row| ExecCommand {
        name: row.command.name,
        argv: row.command.argv,
        description: row.command.description,
        updated_by: row.updated_by,
        updated_at: present::time(row.updated_at),
    });
    Ok(Json(shown.collect()))
}

/// Allows a command, or changes its definition.
#[utoipa::path(
    put, path = "/v1/exec-commands/{name}", tag = "commands", security(("person" = ["exec:manage"])),
    params(("name" = String, Path, description = "1..64 of a-z, 0-9, '.', '_', '-'")),
    request_body = ExecCommandRequest,
    responses((status = 204, description = "Allowed"), NotFoundRefusal, ConflictRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(name): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let ExecCommandRequest { argv, description } = body::json(&app, &headers, body).await?;
    app.system.commands.allow_exec(&principal, domain::action::ExecCommand { name, argv, description }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes an allowed command. Commands that were already sent are not canceled.
#[utoipa::path(
    delete, path = "/v1/exec-commands/{name}", tag = "commands", security(("person" = ["exec:manage"])),
    params(("name" = String, Path, description = "The command")),
    responses((status = 204, description = "Removed"), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn delete(State(app): State<Arc<App>>, Person(principal): Person, PathId(name): PathId) -> Result<StatusCode, ApiError> {
    app.system.commands.disallow_exec(&principal, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
