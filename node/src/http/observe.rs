//! Request ids, HTTP metrics and the registry that `/metrics` shows.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use domain::access::{Origin, Principal};
use domain::connections::{ConnectionFigures, ReplicaUse};
use domain::telemetry::Telemetry;
use link::trace::{self, TARGET};
use prometheus::{
    GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry, register_gauge_vec_with_registry,
    register_histogram_vec_with_registry, register_int_counter_vec_with_registry, register_int_counter_with_registry,
    register_int_gauge_with_registry,
};
use services::metrics::Metrics;
use tracing::{Instrument, Span};
use uuid::Uuid;
use wire::device_body::UnusableFields;

use super::App;
use super::extract::{Caller, Known, client_of};
use super::host::Arrival;
use crate::api_error::{RefusalKind, RefusalProblem};

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Context of the trace that a request is part of (W3C Trace Context).
const TRACEPARENT: &str = "traceparent";
/// Longest request id taken over from a caller.
const REQUEST_ID_MAX_CHARS: usize = 64;

/// Metrics of a node, and the registry that holds them.
#[derive(Clone)]
pub(crate) struct Observability {
    /// The registry that `/metrics` shows.
    pub(crate) registry: Registry,
    /// Metrics of services and of the runtime.
    pub(crate) services: Metrics,
    requests: IntCounterVec,
    refusals: IntCounterVec,
    durations: HistogramVec,
    /// The busiest route's own, looked up once.
    heartbeat: (IntCounter, Histogram),
    /// Open connections.
    pub(crate) connections: IntGauge,
    /// Connections refused at the limit.
    pub(crate) connections_refused: IntCounter,
    /// Requests refused at the rate limit of their class.
    pub(crate) rate_limited: IntCounterVec,
    /// Frames of agent sockets by kind of refusal.
    pub(crate) socket_refusals: IntCounterVec,
    unusable_values: IntCounterVec,
    database_connections: IntGauge,
    database_idle_connections: IntGauge,
    database_connections_given_up: IntCounter,
    /// Reads that may lag, by where they went.
    database_replica_reads: IntCounterVec,
    database_waiting: IntGauge,
    database_wait: GaugeVec,
    database_timed_out: IntCounter,
    pub(crate) devices: GaugeVec,
}

impl Observability {
    /// Makes and registers every metric.
    ///
    /// # Errors
    /// A name is registered twice.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let registry = Registry::new();
        let requests = register_int_counter_vec_with_registry!(
            "nexmdm_http_requests_total",
            "HTTP requests",
            &["route", "method", "status"],
            registry
        )?;
        let durations = register_histogram_vec_with_registry!(
            "nexmdm_http_request_seconds",
            "Duration of HTTP requests",
            &["route"],
            // 0.15 and 0.3 are the limits of the service level.
            vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.06, 0.1, 0.15, 0.25, 0.3, 0.5, 1.0, 5.0],
            registry
        )?;
        Ok(Self {
            services: Metrics::register(&registry)?,
            heartbeat: (requests.with_label_values(&["/v1/heartbeat", "POST", "200"]), durations.with_label_values(&["/v1/heartbeat"])),
            requests,
            refusals: register_int_counter_vec_with_registry!("nexmdm_http_refusals_total", "HTTP refusals by kind", &["kind"], registry)?,
            durations,
            connections: register_int_gauge_with_registry!("nexmdm_http_connections", "Open connections", registry)?,
            connections_refused: register_int_counter_with_registry!(
                "nexmdm_http_connections_refused_total",
                "Connections refused at http.connections_max",
                registry
            )?,
            rate_limited: register_int_counter_vec_with_registry!(
                "nexmdm_http_rate_limited_total",
                "Requests refused at a rate limit, by class of route",
                &["class"],
                registry
            )?,
            socket_refusals: register_int_counter_vec_with_registry!(
                "nexmdm_agent_socket_refusals_total",
                "Refused frames of agent sockets",
                &["status"],
                registry
            )?,
            unusable_values: register_int_counter_vec_with_registry!(
                "nexmdm_unusable_values_total",
                "Values sent by devices that could not be used as they were, by field",
                &["field"],
                registry
            )?,
            database_connections: register_int_gauge_with_registry!(
                "nexmdm_database_connections",
                "Open connections of the pool",
                registry
            )?,
            database_idle_connections: register_int_gauge_with_registry!(
                "nexmdm_database_idle_connections",
                "Unused connections of the pool",
                registry
            )?,
            database_connections_given_up: register_int_counter_with_registry!(
                "nexmdm_database_connections_given_up_total",
                "Connections given up because the database did not answer in time",
                registry
            )?,
            database_replica_reads: register_int_counter_vec_with_registry!(
                "nexmdm_database_replica_reads_total",
                "Reads that may lag (database.read_url): by the standby (replica), or by the primary because it lagged (too_old) or did not answer (unavailable)",
                &["by"],
                registry
            )?,
            database_waiting: register_int_gauge_with_registry!(
                "nexmdm_database_connection_waiters",
                "Callers that wait for a connection of the pool",
                registry
            )?,
            database_wait: register_gauge_vec_with_registry!(
                "nexmdm_database_connection_wait_seconds",
                "Wait for a connection of the pool over the last minute at most: average (avg) and longest (max)",
                &["of"],
                registry
            )?,
            database_timed_out: register_int_counter_with_registry!(
                "nexmdm_database_connection_timeouts_total",
                "Callers that got no connection of the pool within database.acquire_timeout_ms",
                registry
            )?,
            devices: register_gauge_vec_with_registry!(
                "nexmdm_devices",
                "Devices of the cluster by state; the same on every node",
                &["state"],
                registry
            )?,
            registry,
        })
    }

    /// Shows how the connections to the database are used.
    pub(crate) fn show_database_connections(&self, figures: &ConnectionFigures) {
        let ConnectionFigures { open, in_use, waiting, wait_avg_ms, wait_max_ms, timed_out, given_up, capacity: _ } = *figures;
        self.database_connections.set(i64::from(open));
        self.database_idle_connections.set(i64::from(open.saturating_sub(in_use)));
        self.database_waiting.set(i64::from(waiting));
        self.database_wait.with_label_values(&["avg"]).set(wait_avg_ms / 1000.0);
        self.database_wait.with_label_values(&["max"]).set(wait_max_ms / 1000.0);
        // Two readings at once may count the newest twice, which says no less.
        self.database_connections_given_up.inc_by(given_up.saturating_sub(self.database_connections_given_up.get()));
        self.database_timed_out.inc_by(timed_out.saturating_sub(self.database_timed_out.get()));
    }

    /// Shows where reads that may lag went.
    pub(crate) fn show_replica_use(&self, reads: ReplicaUse) {
        for (by, count) in [("replica", reads.by_replica), ("too_old", reads.too_old), ("unavailable", reads.unavailable)] {
            let counter = self.database_replica_reads.with_label_values(&[by]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }

    /// Counts what was unusable of a heartbeat.
    pub(crate) fn count_unusable(&self, heartbeat: &Telemetry) {
        for noted in &heartbeat.unusable {
            self.unusable_values.with_label_values(&[&noted.field]).inc();
        }
    }

    /// Counts what was unusable of another body or frame of this kind.
    pub(crate) fn count_unusable_fields(&self, kind: &str, fields: &UnusableFields) {
        for field in fields.iter() {
            self.unusable_values.with_label_values(&[&format!("{kind}.{field}")]).inc();
        }
    }

    fn record(&self, route: &str, method: &str, response: &Response, started: Instant) {
        let seconds = started.elapsed().as_secs_f64();
        let status = response.status();
        if route == "/v1/heartbeat" && status.as_u16() == 200 {
            self.heartbeat.0.inc();
            self.heartbeat.1.observe(seconds);
            return;
        }
        self.requests.with_label_values(&[route, method, status.as_str()]).inc();
        self.durations.with_label_values(&[route]).observe(seconds);
        if let Some(RefusalKind(kind)) = response.extensions().get() {
            self.refusals.with_label_values(&[kind]).inc();
        }
    }
}

/// Gives each request an id and each answer the same, and counts both.
pub(crate) async fn observe(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers().get(&REQUEST_ID));
    let path = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let address = client_of(request.extensions());
    let origin = Origin { address: Some(address), request_id: id.to_str().ok().map(str::to_owned) };
    request.extensions_mut().insert(origin.clone());
    let caller = Caller::default();
    request.extensions_mut().insert(caller.clone());
    // Pages of the dashboard have no route of their own.
    let route = path.as_ref().map_or("other", MatchedPath::as_str);
    let span = span_of(&request, route, method_label(&method));
    let mut response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    // What is refused to a page of the dashboard is recorded where that is decided.
    if response.status() == StatusCode::FORBIDDEN
        && let Some(problem) = response.extensions().get().map(|RefusalProblem(problem)| problem.clone())
    {
        let (trail, request) = (&app.system.trail, format!("{method} {route}"));
        match caller.known() {
            Some(Known::Person(principal)) => trail.refused(principal, &request, &problem).await,
            Some(Known::Device(device)) => trail.device_refused(*device, origin, &request, &problem).await,
            None => trail.refused(&Principal::System { origin }, &request, &problem).await,
        }
    }
    app.observability.record(route, method_label(&method), &response, started);
    let status = response.status().as_u16();
    let duration_ms = started.elapsed().as_millis() as u64;
    let request_id = id.to_str().unwrap_or_default();
    if status >= 500 {
        tracing::warn!(event = "http.failed", request_id, %address, route, %method, status, duration_ms);
    } else {
        tracing::debug!(event = "http.answered", request_id, %address, route, %method, status, duration_ms);
    }
    response.headers_mut().insert(&REQUEST_ID, id);
    response
}

/// The span of a request, of its caller's trace where a trusted proxy tells one: anybody else could have all of its requests recorded.
fn span_of(request: &Request, route: &str, method: &str) -> Span {
    let span = tracing::trace_span!(
        target: TARGET,
        "http.request",
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.response.status_code = tracing::field::Empty,
    );
    if !span.is_disabled()
        && request.extensions().get::<Arrival>().is_some_and(|arrival| arrival.by_proxy)
        && let Some(traceparent) = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok())
    {
        trace::continue_from(&span, traceparent);
    }
    span
}

/// The caller's id if it is a sane one, else a new one.
fn request_id(given: Option<&HeaderValue>) -> HeaderValue {
    let is_sane = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=REQUEST_ID_MAX_CHARS).contains(&bytes.len()) && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
    };
    given.filter(is_sane).cloned().unwrap_or_else(|| {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let id: &str = Uuid::now_v7().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}

/// A method that a caller made up must not make a label of its own.
fn method_label(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "DELETE" => "DELETE",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "HEAD" => "HEAD",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sane_request_id_is_taken_over() {
        let taken = |value: &str| request_id(Some(&HeaderValue::from_str(value).unwrap())).to_str().unwrap() == value;
        assert!(taken("abc-123_x.y"));
        assert!(!taken("") && !taken("a b") && !taken("<script>") && !taken(&"x".repeat(65)));
        assert_eq!(request_id(None).len(), 36);
    }
}
