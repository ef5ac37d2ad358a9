//! `/v1/enroll-tokens/self`, `/scripts` and `/qr`: enrollment in the field.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use enrollment_kit::qr::Wifi;
use enrollment_kit::quote::Shell;
use services::ScriptOptions;
use wire::enrollment::{EnrollQr, EnrollQrRequest, EnrollScriptsRequest, EnrollTokenSelf};

use super::extract::{ClientAddress, Person, bearer};
use super::openapi::{BodyRefusals, ConflictRefusal, DeviceRefusals, PersonRefusals};
use super::{ApiError, App, body};
use crate::present;

/// Returns the status of the presented token. Scripts poll it until the server has seen the device.
#[utoipa::path(
    get, path = "/v1/enroll-tokens/self", tag = "enrollment", security(("enrollment" = [])),
    responses((status = 200, body = EnrollTokenSelf), DeviceRefusals)
)]
pub(crate) async fn token_self(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let progress = app.system.enrollment.token_progress(bearer(&headers)?, address).await?;
    Ok(private(Json(EnrollTokenSelf {
        status: progress.status.as_str().to_owned(),
        device_id: progress.device_id.map(|id| id.to_string()),
        alias: progress.device_alias,
        first_heartbeat_at: progress.first_heartbeat_at.map(present::time),
    })))
}

/// Creates a script that enrolls devices over USB. The script contains the tokens.
#[utoipa::path(
    post, path = "/v1/enroll-tokens/scripts", tag = "enrollment", security(("person" = ["enrollment:write"])),
    request_body = EnrollScriptsRequest,
    responses((status = 200, body = String, content_type = "text/plain"), BodyRefusals, ConflictRefusal, PersonRefusals)
)]
pub(crate) async fn scripts(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let request: EnrollScriptsRequest = body::json(&app, &headers, body).await?;
    let options = ScriptOptions {
        tokens: request.tokens,
        shell: Shell::parse("shell", &request.shell)?,
        batch: request.batch,
        install: request.install.unwrap_or(true),
        server_url: request.server_url,
    };
    let script = app.system.enrollment.script(&principal, options).await?;
    let mut response = private(script.text);
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{}\"", script.file_name));
    response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition.unwrap_or(HeaderValue::from_static("attachment")));
    Ok(response)
}

/// Creates the provisioning QR code for a factory-reset device.
#[utoipa::path(
    post, path = "/v1/enroll-tokens/qr", tag = "enrollment", security(("person" = ["enrollment:write"])),
    request_body = EnrollQrRequest,
    responses((status = 200, body = EnrollQr), BodyRefusals, ConflictRefusal, PersonRefusals)
)]
pub(crate) async fn qr(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let request: EnrollQrRequest = body::json(&app, &headers, body).await?;
    let wifi = request.wifi.map(|wifi| Wifi::checked(wifi.ssid, wifi.security.as_deref(), wifi.password, wifi.hidden)).transpose()?;
    let code = app.system.enrollment.qr(&principal, request.token, wifi, request.server_url).await?;
    Ok(private(Json(EnrollQr { payload: code.payload, svg: code.svg, expires_at: present::time(code.expires_at) })))
}

/// An answer that nothing on the way may keep.
fn private(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
