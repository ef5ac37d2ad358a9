//! `/v1/packages`: what may be deployed at all, and who may sign it.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use wire::admin::Page;
use wire::apk::{AllowPackage, ManagedPackage};

use super::extract::{PathId, Person};
use super::openapi::{BodyRefusals, ConflictRefusal, NotFoundRefusal, PersonRefusals};
use super::{ApiError, App, body};
use crate::present;

/// Lists all managed packages by name, on one page.
#[utoipa::path(
    get, path = "/v1/packages", tag = "apks", security(("person" = ["deployments:read"])),
    responses((status = 200, body = Page<ManagedPackage>), PersonRefusals)
)]
pub(crate) async fn list(State(app): State<Arc<App>>, Person(principal): Person) -> Result<Json<Page<ManagedPackage>>, ApiError> {
    let packages = app.system.apks.packages(&principal).await?;
    Ok(Json(Page { items: packages.into_iter().map(shown).collect(), next_cursor: None }))
}

/// Allows a package, or changes its allowed signers. Uploaded APKs are kept.
#[utoipa::path(
    put, path = "/v1/packages/{package}", tag = "apks", security(("person" = ["packages:manage"])),
    params(("package" = String, Path, description = "Package name")),
    request_body = AllowPackage,
    responses(
        (status = 201, body = ManagedPackage), (status = 200, description = "The package was already managed", body = ManagedPackage),
        NotFoundRefusal, ConflictRefusal, BodyRefusals, PersonRefusals
    )
)]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(package): PathId,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<ManagedPackage>), ApiError> {
    let AllowPackage { signers_sha256, note } = body::json(&app, &headers, body).await?;
    let (row, new) = app.system.apks.allow_package(&principal, &package, &signers_sha256, &note).await?;
    Ok((if new { StatusCode::CREATED } else { StatusCode::OK }, Json(shown(row))))
}

/// Removes a managed package; it must have no APKs.
#[utoipa::path(
    delete, path = "/v1/packages/{package}", tag = "apks", security(("person" = ["packages:manage"])),
    params(("package" = String, Path, description = "Package name")),
    responses((status = 204, description = "Removed"), ConflictRefusal, NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    PathId(package): PathId,
) -> Result<StatusCode, ApiError> {
    app.system.apks.remove_package(&principal, &package).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn shown(row: domain::apk::ManagedPackage) -> ManagedPackage {
    ManagedPackage {
        package: row.package,
        signers_sha256: row.signers_sha256,
        note: row.note,
        apks: row.apks,
        updated_by: row.updated_by,
        updated_at: present::time(row.updated_at),
    }
}
