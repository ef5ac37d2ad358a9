//! Access to what a node tells of itself: its metrics, and the description of the API.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use domain::access::Principal;
use tokio::net::TcpListener;

use super::extract::{Caller, Known, bearer, origin_of};
use super::{ApiError, App, health};
use crate::config::{DocsAccess, MetricsAccess};

/// Whether `metrics.access` lets this request read the metrics.
///
/// # Errors
/// It does not; the problem says how.
pub(crate) async fn metrics(app: &App, headers: &HeaderMap, extensions: &Extensions) -> Result<(), ApiError> {
    match app.config.metrics_access() {
        MetricsAccess::Open => Ok(()),
        MetricsAccess::Token => {
            let principal = person(app, headers, extensions).await?;
            Ok(app.system.cluster.authorize_metrics(&principal)?)
        }
        MetricsAccess::Listener(address) => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "no_such_route",
            format!("the metrics have a listener of their own at {address} (metrics.access, metrics.listen)"),
        )),
    }
}

/// Lets the description of the API be read by whom `http.docs_access` names.
pub(crate) async fn docs(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if app.config.docs_access() == DocsAccess::Open {
        return next.run(request).await;
    }
    let known = match web_dioxus::access_token(request.headers()) {
        Some(token) => app.system.auth.authenticate(token, origin_of(request.extensions())).await.map_err(ApiError::from),
        None => person(&app, request.headers(), request.extensions()).await,
    };
    match known {
        Ok(_) => next.run(request).await,
        Err(_) if is_person(request.headers()) => Redirect::to("/login?next=/docs/").into_response(),
        Err(refused) => refused.into_response(),
    }
}

/// Whether a person is looking, who can be asked to sign in.
pub(super) fn is_person(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accepts.is_some_and(|accepts| accepts.contains("text/html"))
}

async fn person(app: &App, headers: &HeaderMap, extensions: &Extensions) -> Result<Principal, ApiError> {
    let principal = app.system.auth.authenticate_bearer(bearer(headers)?, origin_of(extensions)).await?;
    Caller::note(extensions, Known::Person(principal.clone()));
    Ok(principal)
}

/// Serves the metrics on their own listener until the node stops.
pub(crate) async fn serve_metrics(listener: TcpListener, app: Arc<App>) {
    let stopping = app.stopping.clone();
    let router = Router::new().route("/metrics", get(health::own_listener)).with_state(app);
    let served = axum::serve(listener, router).with_graceful_shutdown(async move { stopping.cancelled().await });
    if let Err(cause) = served.await {
        tracing::error!(event = "metrics.listener_failed", %cause);
    }
}
