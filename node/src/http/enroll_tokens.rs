//! `/v1/enroll-tokens`: made, listed, revoked.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use domain::enrollment::{TokenQuery, TokenRequest, TokenStatus};
use domain::query::PAGE_DEFAULT;
use domain::{EnrollTokenId, Invalid};
use serde::Deserialize;
use utoipa::IntoParams;
use wire::admin::{CreateEnrollTokens, CreatedEnrollToken, CreatedEnrollTokens, EnrollToken, Page};

use super::extract::{PathId, Person};
use super::openapi::{BodyRefusals, ConflictRefusal, NotFoundRefusal, PersonRefusals, QueryRefusals};
use super::{ApiError, App, body};
use crate::present;

/// Creates enrollment tokens. Their secrets are returned only here.
#[utoipa::path(
    post, path = "/v1/enroll-tokens", tag = "enrollment", security(("person" = ["enrollment:write"])),
    request_body = CreateEnrollTokens,
    responses((status = 201, body = CreatedEnrollTokens), ConflictRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<CreatedEnrollTokens>), ApiError> {
    let request: CreateEnrollTokens = body::json(&app, &headers, body).await?;
    let request = TokenRequest {
        count: request.count,
        expires_in_s: request.expires_in_seconds,
        alias: request.alias,
        alias_pattern: request.alias_pattern,
        start_number: request.start_number,
        tags: request.tags,
        groups: request.groups,
    };
    let alias = request.alias.clone();
    let made = app.system.enrollment.create(&principal, request).await?;
    let warning = alias.and_then(|alias| app.system.devices.alias_warning(&principal, &alias, None));
    // They are made: what cannot be looked up costs nothing but the warning.
    let shared = app.system.enrollment.shared_alias_warning(&principal, &made).await.unwrap_or_default();
    let tokens = made
        .into_iter()
        .map(|token| CreatedEnrollToken {
            id: token.id.to_string(),
            token: token.token,
            alias: token.alias,
            expires_at: present::time(token.expires_at),
        })
        .collect();
    Ok((StatusCode::CREATED, Json(CreatedEnrollTokens { tokens, warnings: warning.into_iter().chain(shared).collect() })))
}

/// Query of a list of tokens.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    #[param(value_type = Option<wire::names::EnrollTokenStatus>)]
    status: Option<String>,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// Lists enrollment tokens, newest first.
#[utoipa::path(
    get, path = "/v1/enroll-tokens", tag = "enrollment", security(("person" = ["enrollment:read"])),
    params(ListQuery),
    responses((status = 200, body = Page<EnrollToken>), QueryRefusals, PersonRefusals)
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Page<EnrollToken>>, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    let after = match query.cursor {
        Some(cursor) => Some(cursor.parse().map_err(|_| Invalid::new("cursor", "not a cursor of this list"))?),
        None => None,
    };
    let status = query.status.map(|name| TokenStatus::parse("status", &name)).transpose()?;
    let page = app.system.enrollment.tokens(&principal, TokenQuery { status, after, limit: query.limit.unwrap_or(PAGE_DEFAULT) }).await?;
    let now = app.system.clock.now();
    Ok(Json(Page {
        items: page.tokens.iter().map(|token| present::enroll_token(token, now)).collect(),
        next_cursor: page.next.map(|id| id.to_string()),
    }))
}

/// Revokes an enrollment token.
#[utoipa::path(
    delete, path = "/v1/enroll-tokens/{id}", tag = "enrollment", security(("person" = ["enrollment:write"])),
    params(("id" = String, Path, description = "The token")),
    responses((status = 204), NotFoundRefusal, ConflictRefusal, PersonRefusals)
)]
pub(crate) async fn revoke(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<StatusCode, ApiError> {
    let id: EnrollTokenId = present::id("enrollment token", &id)?;
    app.system.enrollment.revoke(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
