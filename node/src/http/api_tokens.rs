//! `/v1/api-tokens`: credentials for scripts, made, listed, revoked.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use domain::api_token::ApiTokenRequest;
use domain::query::PAGE_DEFAULT;
use domain::{ApiTokenId, Invalid};
use secrecy::ExposeSecret;
use serde::Deserialize;
use services::ApiTokenOwner;
use utoipa::IntoParams;
use wire::admin::Page;
use wire::people::{ApiToken, CreateApiToken, CreatedApiToken};

use super::extract::{PathId, Person};
use super::openapi::{BodyRefusals, ConflictRefusal, NotFoundRefusal, PersonRefusals, QueryRefusals};
use super::{ApiError, App, body};
use crate::present;

/// Query of a list of API tokens.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// `me` when absent; `all`, or the id of an account, for those who manage accounts.
    owner: Option<String>,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// Lists API tokens, newest first.
#[utoipa::path(
    get, path = "/v1/api-tokens", tag = "people", security(("person" = ["tokens:manage"])),
    params(ListQuery),
    responses((status = 200, body = Page<ApiToken>), QueryRefusals, PersonRefusals)
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Page<ApiToken>>, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    let owner = match query.owner.as_deref() {
        None | Some("me") => ApiTokenOwner::Own,
        Some("all") => ApiTokenOwner::All,
        Some(id) => ApiTokenOwner::Account(id.parse().map_err(|_| Invalid::new("owner", "not me, all, or the id of an account"))?),
    };
    let after = match query.cursor {
        Some(cursor) => Some(cursor.parse().map_err(|_| Invalid::new("cursor", "not a cursor of this list"))?),
        None => None,
    };
    let page = app.system.api_tokens.tokens(&principal, owner, after, query.limit.unwrap_or(PAGE_DEFAULT)).await?;
    let now = app.system.clock.now();
    Ok(Json(Page {
        items: page.tokens.into_iter().map(|token| present::api_token(token, now)).collect(),
        next_cursor: page.next.map(|id| id.to_string()),
    }))
}

/// Creates an API token for the calling account. Its secret is returned only here.
#[utoipa::path(
    post, path = "/v1/api-tokens", tag = "people", security(("person" = ["tokens:manage"])),
    request_body = CreateApiToken,
    responses((status = 201, body = CreatedApiToken), BodyRefusals, ConflictRefusal, PersonRefusals)
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<CreatedApiToken>), ApiError> {
    let request: CreateApiToken = body::json(&app, &headers, body).await?;
    let request = ApiTokenRequest { name: request.name, scopes: request.scopes, expires_in_s: request.expires_in_seconds };
    let made = app.system.api_tokens.create(&principal, request).await?;
    let shown = present::api_token(made.token, app.system.clock.now());
    Ok((StatusCode::CREATED, Json(CreatedApiToken { shown, token: made.secret.expose_secret().to_owned() })))
}

/// Revokes an API token and all tokens created with it.
#[utoipa::path(
    delete, path = "/v1/api-tokens/{id}", tag = "people", security(("person" = ["tokens:manage"])),
    params(("id" = String, Path, description = "The API token")),
    responses((status = 204), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn revoke(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<StatusCode, ApiError> {
    let id: ApiTokenId = present::id("API token", &id)?;
    app.system.api_tokens.revoke(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
