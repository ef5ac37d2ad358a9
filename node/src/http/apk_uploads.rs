//! `/v1/apk-uploads`: APKs in parts, each to whichever node, so that an upload goes on where it broke off.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use domain::apk::ApkUpload;
use domain::{ApkUploadId, Invalid};
use services::{UploadError, UploadFacts};
use wire::admin::Page;
use wire::apk::{Apk, BeginUpload, Received, Upload};

use super::apks::{rollback_of, shown};
use super::content_coding::ContentCoding;
use super::extract::{PathId, Person};
use super::openapi::{BodyRefusals, ConflictRefusal, NotFoundRefusal, PersonRefusals};
use super::{ApiError, App, body};
use crate::present;

/// Offset of a part.
const UPLOAD_OFFSET: &str = "upload-offset";

impl From<UploadError> for ApiError {
    fn from(error: UploadError) -> Self {
        let detail = error.to_string();
        match error {
            UploadError::Service(error) => error.into(),
            UploadError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail),
            UploadError::CutOff => Self::new(StatusCode::BAD_REQUEST, "body_cut_off", detail),
            UploadError::Stalled => Self::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail),
            UploadError::Offset { .. } => Self::new(StatusCode::CONFLICT, "wrong_offset", detail),
        }
    }
}

/// Description of a file that is uploaded.
pub(super) fn facts(sha256: Option<String>, of: Option<String>, notes: String) -> Result<UploadFacts, Invalid> {
    Ok(UploadFacts { sha256: sha256.filter(|text| !text.is_empty()), rollback_of: rollback_of(of)?, notes })
}

/// Starts an upload in parts.
#[utoipa::path(
    post, path = "/v1/apk-uploads", tag = "apks", security(("person" = ["apks:upload"])),
    request_body = BeginUpload,
    responses((status = 201, body = Upload), BodyRefusals, PersonRefusals)
)]
pub(crate) async fn begin(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Upload>), ApiError> {
    app.system.apks.authorize_upload(&principal)?;
    let requested: BeginUpload = body::json(&app, &headers, body).await?;
    let facts = facts(requested.sha256, requested.rollback_of, requested.notes)?;
    let upload = app.system.apks.begin_upload(&principal, &requested.file_name, requested.size_bytes, facts).await?;
    Ok((StatusCode::CREATED, Json(progress(&app, upload))))
}

/// Lists the uploads that have not finished, newest first: everybody's with `packages:manage`, else the caller's own.
#[utoipa::path(
    get, path = "/v1/apk-uploads", tag = "apks", security(("person" = ["apks:upload"])),
    responses((status = 200, body = Page<Upload>), PersonRefusals)
)]
pub(crate) async fn list(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<Page<Upload>>, ApiError> {
    let uploads = app.system.apks.uploads(&principal).await?;
    Ok(Json(Page { items: uploads.into_iter().map(|row| progress(&app, row)).collect(), next_cursor: None }))
}

/// Returns the progress of an upload.
#[utoipa::path(
    get, path = "/v1/apk-uploads/{id}", tag = "apks", security(("person" = ["apks:upload"])),
    params(("id" = String, Path, description = "The upload")),
    responses((status = 200, body = Upload), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn one(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<Json<Upload>, ApiError> {
    let id: ApkUploadId = present::id("upload", &id)?;
    let upload = app.system.apks.upload(&principal, id).await?;
    Ok(Json(progress(&app, upload)))
}

/// Adds a part, whole or not at all. 409 returns the current offset if the part starts elsewhere.
#[utoipa::path(
    patch, path = "/v1/apk-uploads/{id}", tag = "apks", security(("person" = ["apks:upload"])),
    params(
        ("id" = String, Path, description = "The upload"),
        ("Upload-Offset" = i64, Header, description = "Offset of the part in the file: the number of bytes already received")
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = Received), ConflictRefusal, NotFoundRefusal, BodyRefusals, PersonRefusals)
)]
pub(crate) async fn add(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Received>, ApiError> {
    app.system.apks.authorize_upload(&principal)?;
    let id: ApkUploadId = present::id("upload", &id)?;
    ContentCoding::refuse_any(&headers)?;
    let offset = headers.get(UPLOAD_OFFSET).and_then(|value| value.to_str().ok()?.parse().ok()).filter(|offset| *offset >= 0);
    let offset = offset.ok_or_else(|| Invalid::new("Upload-Offset", "required: the number of bytes already received"))?;
    let mut body = body.into_data_stream();
    let added = app.system.apks.add_part(&principal, id, offset, &mut body).await;
    if added.is_err() {
        body::let_go(&mut body).await;
    }
    Ok(Json(Received { received: added? }))
}

/// Aborts an upload: one's own, or anybody's with `packages:manage`.
#[utoipa::path(
    delete, path = "/v1/apk-uploads/{id}", tag = "apks", security(("person" = ["apks:upload"])),
    params(("id" = String, Path, description = "The upload")),
    responses((status = 204, description = "The upload is deleted"), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn abandon(State(app): State<Arc<App>>, Person(principal): Person, PathId(id): PathId) -> Result<StatusCode, ApiError> {
    let id: ApkUploadId = present::id("upload", &id)?;
    app.system.apks.abandon_upload(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Completes an upload: verifies the file and adds the APK.
///
/// A refused upload can be completed again, for example after its package was allowed. Repeating a completed one returns the same APK, with 200.
#[utoipa::path(
    post, path = "/v1/apk-uploads/{id}/complete", tag = "apks", security(("person" = ["apks:upload"])),
    params(("id" = String, Path, description = "The upload")),
    responses(
        (status = 201, body = Apk), (status = 200, description = "An identical file is already uploaded", body = Apk),
        (status = 422, description = "The file is not an APK, or is refused", body = wire::problem::Problem, content_type = "application/problem+json"),
        ConflictRefusal, NotFoundRefusal, PersonRefusals
    )
)]
pub(crate) async fn complete(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(id): PathId,
) -> Result<(StatusCode, Json<Apk>), ApiError> {
    let id: ApkUploadId = present::id("upload", &id)?;
    let (row, new) = app.system.apks.complete_upload(&principal, id).await?;
    Ok((if new { StatusCode::CREATED } else { StatusCode::OK }, Json(shown(row))))
}

fn progress(app: &App, row: ApkUpload) -> Upload {
    Upload {
        upload_id: row.id.to_string(),
        created_by: row.created_by,
        file_name: row.file_name,
        size_bytes: row.size_bytes,
        received: row.received,
        part_limit_bytes: i64::try_from(app.system.apks.part_max_bytes()).unwrap_or(i64::MAX),
        apk_id: row.apk.map(|id| id.to_string()),
        created_at: present::time(row.created_at),
        touched_at: present::time(row.touched_at),
    }
}
