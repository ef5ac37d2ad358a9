//! Signals for machines: alive, ready, metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::{Encoder, TextEncoder};

use tokio::time::timeout;

use super::openapi::{NotFoundRefusal, PersonRefusals};
use super::{ApiError, App, closed};

/// How long the database may take to say that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(3);

/// `GET /healthz`: the process answers.
#[utoipa::path(
    get, path = "/healthz", tag = "signals", security(),
    responses((status = 200, body = String, content_type = "text/plain"))
)]
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: 200 when the node serves: the database answers, every migration is applied, its
/// lease holds, the last heartbeats were not all refused by the database, and the node is not stopping.
#[utoipa::path(
    get, path = "/readyz", tag = "signals", security(),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 503, body = wire::problem::Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, ApiError> {
    let not_ready = |why: &str| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", why).retry_later();
    if app.stopping.is_cancelled() {
        return Err(not_ready("the node is stopping"));
    }
    // A database that is slow to answer this is none that serves anybody.
    match timeout(READY_WITHIN, app.system.store().is_migrated()).await {
        Ok(Ok(true)) if !app.system.cluster.lease_holds() => Err(not_ready("this node has no valid lease")),
        Ok(Ok(true)) if app.system.router.writes_fail() => {
            Err(not_ready("the database takes no heartbeats; see its log, and the space on its disk"))
        }
        Ok(Ok(true)) => Ok("ready\n"),
        Ok(Ok(false)) => Err(not_ready("migrations are missing")),
        Ok(Err(_)) | Err(_) => Err(not_ready("the database is unavailable")),
    }
}

/// `GET /metrics`: Prometheus text, for whom `metrics.access` names.
#[utoipa::path(
    get, path = "/metrics", tag = "signals", security((), ("person" = ["cluster:read"])),
    responses((status = 200, body = String, content_type = "text/plain"), NotFoundRefusal, PersonRefusals)
)]
pub(crate) async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap, extensions: Extensions) -> Result<Response, ApiError> {
    closed::metrics(&app, &headers, &extensions).await?;
    Ok(exposition(&app))
}

/// `GET /metrics` on the listener of its own.
pub(crate) async fn own_listener(State(app): State<Arc<App>>) -> Response {
    exposition(&app)
}

fn exposition(app: &App) -> Response {
    let observability = &app.observability;
    observability.show_database_connections(&app.system.store().connection_figures());
    if let Some(reads) = app.system.store().replica_use() {
        observability.show_replica_use(reads);
    }
    let stats = app.system.devices.counts();
    // A part of the fleet would be taken for a loss of the rest.
    let counts = [
        ("online", stats.online),
        ("offline", stats.offline),
        ("never_seen", stats.never_seen),
        ("low_battery", stats.low_battery),
        ("app_down", stats.app_down),
        ("identity_conflict", stats.identity_conflicts),
    ];
    if stats.complete {
        counts.iter().for_each(|(state, count)| observability.devices.with_label_values(&[state]).set(*count as f64));
    } else {
        observability.devices.reset();
    }
    let mut text = Vec::new();
    let encoder = TextEncoder::new();
    match encoder.encode(&observability.registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response(),
        Err(cause) => {
            tracing::error!(event = "metrics.failed", %cause);
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
