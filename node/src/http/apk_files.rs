//! `GET /v1/apks/{id}/file`: an APK's bytes, for whoever has a signed address.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use domain::ApkId;
use serde::Deserialize;
use services::DownloadLink;
use utoipa::IntoParams;

use super::extract::{ClientAddress, PathId};
use super::openapi::{DeviceRefusals, NotFoundRefusal, QueryRefusals};
use super::ranges::{FileResponse, answer};
use super::{ApiError, App};
use crate::present;

/// The signed part of the address.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkQuery {
    /// Until when the address holds, in seconds since 1970.
    expires: i64,
    /// Whom the address was made for: a device, an account or an API token, whose share of the downloads it counts against.
    holder: Option<String>,
    /// Signature of the path, the expiry and the holder.
    signature: String,
}

/// Downloads the file of an APK, whole or a range of it.
#[utoipa::path(
    get, path = "/v1/apks/{id}/file", tag = "apks", security(),
    params(("id" = String, Path, description = "The APK"), LinkQuery),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/vnd.android.package-archive"),
        (status = 206, body = Vec<u8>, content_type = "application/vnd.android.package-archive"),
        (status = 304, description = "Not modified"),
        (status = 416, description = "The range is outside the file", body = wire::problem::Problem, content_type = "application/problem+json"),
        QueryRefusals, NotFoundRefusal, DeviceRefusals
    )
)]
pub(crate) async fn download(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    PathId(id): PathId,
    query: Result<Query<LinkQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id: ApkId = present::id("APK", &id)?;
    let Query(query) = query.map_err(present::query_refused)?;
    let link = DownloadLink { expires: query.expires, holder: query.holder.as_deref(), signature: &query.signature };
    let file = app.system.apks.file(id, link, address).await?;
    let (sha256, file_name) = (file.apk.sha256.clone(), format!("{}-{}.apk", file.apk.package, file.apk.version_code));
    let whole = FileResponse { size: file.apk.size_bytes.unsigned_abs(), sha256: &sha256, file_name: &file_name };
    Ok(answer(&headers, &whole, |from, to| file.bytes(from, to)))
}
