//! `POST /v1/heartbeat` and `POST /v1/heartbeats`: answered with 200 only after commit.

use std::sync::Arc;

use actors::messages::DeviceCredentials;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use domain::Invalid;
use domain::heartbeat::LIST_MAX;
use serde_json::value::RawValue;
use wire::agent::{Command, Heartbeat, HeartbeatOutcome, HeartbeatResponse, HeartbeatsResponse};
use wire::tolerant;

use super::extract::Device;
use super::openapi::{BodyRefusals, DeviceRefusals};
use super::{ApiError, App, body};
use crate::{convert, present};

/// Stores a heartbeat.
#[utoipa::path(
    post, path = "/v1/heartbeat", tag = "agent", security(("device" = [])),
    request_body = Heartbeat,
    responses((status = 200, body = HeartbeatResponse), BodyRefusals, DeviceRefusals)
)]
pub(crate) async fn one(
    State(app): State<Arc<App>>,
    Device(credentials): Device,
    headers: HeaderMap,
    body: Body,
) -> Result<(OwnerHeader, Json<HeartbeatResponse>), ApiError> {
    let bytes = body::read(&app, &headers, body, app.config.http.body_limit_bytes).await?;
    let incoming = convert::heartbeat(credentials.device_id, &bytes, &app.opted_in, app.system.clock.now())?;
    app.observability.count_unusable(&incoming.status.telemetry);
    let acknowledged = app.system.agent.store_heartbeat(credentials, None, incoming).await?;
    let response = HeartbeatResponse {
        ok: true,
        next_heartbeat_seconds: app.system.agent.next_heartbeat_s(),
        commands: acknowledged.commands.iter().map(present::command).collect(),
        server_time: present::time(app.system.clock.now()),
    };
    Ok((owner_header(&present::owner(&acknowledged)), Json(response)))
}

type OwnerHeader = [(HeaderName, HeaderValue); 1];

/// Tells who decided about a heartbeat: for people who look into a cluster, and for tests of it.
static OWNER: HeaderName = HeaderName::from_static("x-nexmdm-owner");

fn owner_header(owner: &str) -> OwnerHeader {
    [(OWNER.clone(), HeaderValue::from_str(owner).unwrap_or_else(|_| HeaderValue::from_static("-")))]
}

/// Stores queued heartbeats. Each has its own outcome, so that an invalid one does not block the others.
#[utoipa::path(
    post, path = "/v1/heartbeats", tag = "agent", security(("device" = [])),
    request_body = Vec<Heartbeat>,
    responses((status = 200, body = HeartbeatsResponse), BodyRefusals, DeviceRefusals)
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Device(credentials): Device,
    headers: HeaderMap,
    body: Body,
) -> Result<(OwnerHeader, Json<HeartbeatsResponse>), ApiError> {
    let bytes = body::read(&app, &headers, body, app.config.http.heartbeats_body_limit_bytes).await?;
    let given = elements(&bytes)?;
    if given.is_empty() || given.len() > LIST_MAX {
        return Err(Invalid::range("body", given.len(), 1, LIST_MAX).into());
    }
    let (results, owner, commands) = store(&app, credentials, &given).await?;
    let response = HeartbeatsResponse {
        results,
        next_heartbeat_seconds: app.system.agent.next_heartbeat_s(),
        commands,
        server_time: present::time(app.system.clock.now()),
    };
    Ok((owner_header(&owner), Json(response)))
}

/// The elements of a list, each as it was sent.
fn elements(bytes: &[u8]) -> Result<Vec<&[u8]>, ApiError> {
    match body::parse::<Vec<&RawValue>>(bytes) {
        Ok(list) => Ok(list.into_iter().map(|element| element.get().as_bytes()).collect()),
        // One that is not JSON to the letter does not cost the others.
        Err(refused) => tolerant::elements(bytes, LIST_MAX).ok_or(refused),
    }
}

/// Outcomes, who decided about all of them (`-` when it was not one owner in one epoch), and commands that wait.
async fn store(
    app: &App,
    credentials: DeviceCredentials,
    given: &[&[u8]],
) -> Result<(Vec<HeartbeatOutcome>, String, Vec<Command>), ApiError> {
    let now = app.system.clock.now();
    let mut results: Vec<_> = (0..given.len()).map(|index| HeartbeatOutcome { index, status: 200, detail: None }).collect();
    let mut accepted = Vec::with_capacity(given.len());
    let mut places = Vec::with_capacity(given.len());
    for (index, text) in given.iter().enumerate() {
        match convert::heartbeat(credentials.device_id, text, &app.opted_in, now) {
            Ok(incoming) => {
                app.observability.count_unusable(&incoming.status.telemetry);
                accepted.push(incoming);
                places.push(index);
            }
            Err(refused) => refuse(&mut results[index], &refused),
        }
    }
    if accepted.is_empty() {
        app.system.agent.check(credentials).await?;
        return Ok((results, present::NO_OWNER.to_owned(), vec![]));
    }
    let (mut owner, mut commands) = (None, Vec::new());
    for (index, outcome) in places.into_iter().zip(app.system.agent.store_heartbeats(credentials, None, accepted).await?) {
        match outcome {
            Ok(acknowledged) => {
                let decided = present::owner(&acknowledged);
                let same = owner.as_ref().is_none_or(|owner| *owner == decided);
                commands.extend(acknowledged.commands.iter().map(present::command));
                owner = Some(if same { decided } else { present::NO_OWNER.to_owned() });
            }
            Err(error) => {
                let refused = ApiError::from(error);
                // What is true of the device is true of the whole list.
                if matches!(refused.status().as_u16(), 401 | 410) {
                    return Err(refused);
                }
                refuse(&mut results[index], &refused);
            }
        }
    }
    Ok((results, owner.unwrap_or_else(|| present::NO_OWNER.to_owned()), commands))
}

fn refuse(result: &mut HeartbeatOutcome, refused: &ApiError) {
    // What is no JSON is to be kept out of later lists, as what is no object.
    let status = if refused.status() == StatusCode::BAD_REQUEST { StatusCode::UNPROCESSABLE_ENTITY } else { refused.status() };
    result.status = status.as_u16();
    result.detail = Some(refused.detail());
}
