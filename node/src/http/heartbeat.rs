//! `POST /v1/heartbeat` and `POST /v1/heartbeats`: answered with 200 only after commit.

use std::sync::Arc;

use actors::clock;
use actors::services::DeviceCredentials;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use domain::Invalid;
use domain::heartbeat::LIST_MAX;
use serde_json::value::RawValue;
use wire::agent::{Heartbeat, HeartbeatOutcome, HeartbeatResponse, HeartbeatsResponse};

use super::extract::Device;
use super::{ApiError, App, body};
use crate::{convert, present};

/// One heartbeat.
pub(crate) async fn one(
    State(app): State<Arc<App>>,
    Device(credentials): Device,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<HeartbeatResponse>, ApiError> {
    let heartbeat: Heartbeat = body::json(&app, &headers, body).await?;
    let incoming = convert::heartbeat(credentials.device_id, heartbeat, clock::now())?;
    app.system.agent.store_heartbeat(credentials, incoming).await?;
    Ok(Json(HeartbeatResponse {
        ok: true,
        next_heartbeat_seconds: app.system.agent.next_heartbeat_s(),
        commands: vec![],
        server_time: present::time(clock::now()),
    }))
}

/// A drained queue: each heartbeat has an outcome of its own, so that one that
/// is wrong does not hold up the others.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Device(credentials): Device,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<HeartbeatsResponse>, ApiError> {
    let bytes = body::read(&app, &headers, body, app.config.http.heartbeats_body_limit_bytes).await?;
    let given: Vec<&RawValue> = body::parse(&bytes)?;
    if given.is_empty() || given.len() > LIST_MAX {
        return Err(Invalid::range("body", given.len(), 1, LIST_MAX).into());
    }
    let results = store(&app, credentials, &given).await?;
    Ok(Json(HeartbeatsResponse {
        results,
        next_heartbeat_seconds: app.system.agent.next_heartbeat_s(),
        commands: vec![],
        server_time: present::time(clock::now()),
    }))
}

async fn store(app: &App, credentials: DeviceCredentials, given: &[&RawValue]) -> Result<Vec<HeartbeatOutcome>, ApiError> {
    let now = clock::now();
    let mut results: Vec<_> = (0..given.len()).map(|index| HeartbeatOutcome { index, status: 200, detail: None }).collect();
    let mut accepted = Vec::with_capacity(given.len());
    let mut places = Vec::with_capacity(given.len());
    for (index, text) in given.iter().enumerate() {
        let checked =
            body::parse_object(text.get().as_bytes()).and_then(|heartbeat| convert::heartbeat(credentials.device_id, heartbeat, now));
        match checked {
            Ok(incoming) => {
                accepted.push(incoming);
                places.push(index);
            }
            Err(refused) => refuse(&mut results[index], &refused),
        }
    }
    if accepted.is_empty() {
        app.system.agent.check(credentials).await?;
        return Ok(results);
    }
    for (index, outcome) in places.into_iter().zip(app.system.agent.store_heartbeats(credentials, accepted).await?) {
        if let Err(error) = outcome {
            let refused = ApiError::from(error);
            // What is true of the device is true of the whole list.
            if matches!(refused.status().as_u16(), 401 | 410) {
                return Err(refused);
            }
            refuse(&mut results[index], &refused);
        }
    }
    Ok(results)
}

fn refuse(result: &mut HeartbeatOutcome, refused: &ApiError) {
    result.status = refused.status().as_u16();
    result.detail = Some(refused.detail());
}
