//! `/v1/apks`: the APK library.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::apk::ApkUse;
use domain::{ApkId, Invalid};
use serde::Deserialize;
use utoipa::IntoParams;
use wire::admin::Page;
use wire::apk::{Apk, ApkDetails, DownloadUrl};

use super::apk_uploads::facts;
use super::body::let_go;
use super::commands::{parse_cursor_parts, write_cursor};
use super::content_coding::ContentCoding;
use super::extract::{PathId, Person};
use super::openapi::{BodyRefusals, ConflictRefusal, NotFoundRefusal, PersonRefusals, QueryRefusals};
use super::{ApiError, App};
use crate::present;

/// Description of a file that is uploaded whole.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct UploadQuery {
    /// The older APK that it brings back.
    rollback_of: Option<String>,
    /// For people.
    notes: Option<String>,
    /// SHA-256, hex; checked at the end.
    sha256: Option<String>,
}

/// Uploads an APK in one request.
///
/// Its package has to be managed and its signer allowed. The signature is verified as on a device.
#[utoipa::path(
    post, path = "/v1/apks", tag = "apks", security(("person" = ["apks:upload"])),
    params(UploadQuery),
    request_body(content = Vec<u8>, content_type = "application/vnd.android.package-archive"),
    responses(
        (status = 201, body = Apk), (status = 200, description = "An identical file is already uploaded", body = Apk),
        ConflictRefusal, BodyRefusals, PersonRefusals
    )
)]
pub(crate) async fn upload(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    query: Result<Query<UploadQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Apk>), ApiError> {
    let Query(UploadQuery { rollback_of, notes, sha256 }) = query.map_err(present::query_refused)?;
    let facts = facts(sha256, rollback_of, notes.unwrap_or_default())?;
    ContentCoding::refuse_any(&headers)?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let mut body = body.into_data_stream();
    let taken = app.system.apks.upload_whole(&principal, facts, announced, &mut body).await;
    if taken.is_err() {
        let_go(&mut body).await;
    }
    let (row, new) = taken?;
    Ok((if new { StatusCode::CREATED } else { StatusCode::OK }, Json(shown(row))))
}

/// Which page of APKs.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApksQuery {
    /// Only of this package.
    package: Option<String>,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// Lists APKs that are not deleted, newest first.
#[utoipa::path(
    get, path = "/v1/apks", tag = "apks", security(("person" = ["deployments:read"])),
    params(ApksQuery),
    responses((status = 200, body = Page<Apk>), QueryRefusals, PersonRefusals)
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    query: Result<Query<ApksQuery>, QueryRejection>,
) -> Result<Json<Page<Apk>>, ApiError> {
    let Query(query) = query.map_err(present::query_refused)?;
    let after = query.cursor.as_deref().map(parse_cursor_parts).transpose()?;
    let (apks, next) = app.system.apks.apks(&principal, query.package.as_deref(), after, query.limit).await?;
    Ok(Json(Page { items: apks.into_iter().map(shown).collect(), next_cursor: next.map(|(at, id)| write_cursor(at, id)) }))
}

/// Returns an APK, even if deleted, and its uses.
#[utoipa::path(
    get, path = "/v1/apks/{id}", tag = "apks", security(("person" = ["deployments:read"])),
    params(("id" = String, Path, description = "The APK")),
    responses((status = 200, body = ApkDetails), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn one(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<Json<ApkDetails>, ApiError> {
    let id: ApkId = present::id("APK", &id)?;
    let (row, uses) = app.system.apks.apk(&principal, id).await?;
    let used_by = uses.into_iter().map(|ApkUse { kind, id, name }| wire::apk::ApkUse { kind, id, name });
    Ok(Json(ApkDetails { apk: shown(row), used_by: used_by.collect() }))
}

/// Deletes the file of an unused APK. Its record is kept.
#[utoipa::path(
    delete, path = "/v1/apks/{id}", tag = "apks", security(("person" = ["packages:manage"])),
    params(("id" = String, Path, description = "The APK")),
    responses((status = 204, description = "Deleted"), ConflictRefusal, NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn delete(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<StatusCode, ApiError> {
    let id: ApkId = present::id("APK", &id)?;
    app.system.apks.delete(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns the icon of an APK.
#[utoipa::path(
    get, path = "/v1/apks/{id}/icon", tag = "apks", security(("person" = ["deployments:read"])),
    params(("id" = String, Path, description = "The APK")),
    responses(
        (status = 200, content((Vec<u8> = "image/png"), (Vec<u8> = "image/webp"))),
        NotFoundRefusal, PersonRefusals
    )
)]
pub(crate) async fn icon(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<Response, ApiError> {
    let id: ApkId = present::id("APK", &id)?;
    let (bytes, kind) = app.system.apks.icon(&principal, id).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_str(&kind).unwrap_or(HeaderValue::from_static("image/png"))),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        // It never changes.
        (header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=86400, immutable")),
    ];
    Ok((headers, bytes).into_response())
}

/// Creates a signed download URL with a limited lifetime.
#[utoipa::path(
    post, path = "/v1/apks/{id}/download-url", tag = "apks", security(("person" = ["deployments:read"])),
    params(("id" = String, Path, description = "The APK")),
    responses((status = 200, body = DownloadUrl), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn download_url(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
) -> Result<Json<DownloadUrl>, ApiError> {
    let id: ApkId = present::id("APK", &id)?;
    let (url, expires_at) = app.system.apks.download_url(&principal, id).await?;
    Ok(Json(DownloadUrl { url, expires_at: present::time(expires_at) }))
}

/// The id of another APK in a body or query.
pub(super) fn rollback_of(id: Option<String>) -> Result<Option<ApkId>, Invalid> {
    let read = |id: String| id.parse().map_err(|_| Invalid::new("rollback_of", "not the id of an APK"));
    id.filter(|id| !id.is_empty()).map(read).transpose()
}

/// An APK as the API has it.
pub(super) fn shown(row: domain::apk::Apk) -> Apk {
    Apk {
        id: row.id.to_string(),
        package: row.package,
        version_code: row.version_code,
        version_name: row.version_name,
        label: row.label,
        min_sdk: row.min_sdk,
        target_sdk: row.target_sdk,
        native_abis: row.native_abis,
        sha256: row.sha256,
        size_bytes: row.size_bytes,
        signers_sha256: row.signers_sha256,
        lineage_sha256: row.lineage_sha256,
        rollback_of: row.rollback_of.map(|id| id.to_string()),
        notes: row.notes,
        has_icon: row.has_icon,
        uploaded_by: row.uploaded_by,
        uploaded_at: present::time(row.uploaded_at),
        deleted_at: row.deleted_at.map(present::time),
    }
}
