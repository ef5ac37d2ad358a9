//! The dashboard: pages that a browser shows live over one socket.
//!
//! ```text
//! GET /login, POST /login, POST /logout    signin     cookies in, cookies out
//! /password/forgot, /password/new         password   a link by mail, and the password that it sets
//! GET /live/check, POST /live/refresh      signin     is the sign-in good, renew it
//! POST /live/upload, GET /export/*          files      tables in and out
//! POST /live/apk-uploads/*, GET /live/apk-icons/*  apk_files  parts of APKs in, icons out
//! GET /assets/*, /favicon.svg              assets     style, theme and glue
//! GET /live/ws                             session    one VirtualDom per open page
//! GET anything else                        page       the document that opens the socket
//! ```
//! A page runs on the server: [`transport`] sends what changed in it to the
//! browser and brings back events; `assets/live.js` is its other end. Pages call
//! the services of `actors` with the signed-in principal and hold no rules.

mod alert_counts;
mod alerts_url;
mod apk_files;
mod app;
mod assets;
mod audit_url;
mod commands_url;
mod components;
mod context;
mod cookies;
mod deployments_url;
mod event_rate;
mod field_labels;
mod files;
mod filter_text;
mod fleet_search;
mod fleet_watch;
mod format;
pub mod fuzzing;
mod history;
mod icon;
mod navigation;
mod page;
mod pages;
mod password;
mod polling;
mod reports_url;
mod route;
mod sampling;
mod selection;
mod session;
mod shell;
mod signin;
mod storage_url;
mod toasts;
mod transport;
mod uploads;
mod url_state;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use domain::access::Principal;
use domain::permits::{PoolLimits, PoolName};
use domain::rate::RateLimit;
use permits::Pool;
use permits::metrics::PoolMetrics;
use services::System;
use tokio_util::sync::CancellationToken;

use alert_counts::AlertCounts;
use assets::Assets;
use fleet_watch::FleetWatch;
use session::Sessions;
use uploads::Uploads;

pub use session::DashboardMetrics;
pub use signin::Scheme;

/// Largest body of a form.
const FORM_BYTES_MAX: usize = 16 << 10;

/// Options of the dashboard.
pub struct DashboardOptions {
    /// Changes with every build; a browser that holds an older one reloads.
    pub build_id: String,
    /// Cookies only travel over TLS.
    pub secure_cookies: bool,
    /// URL of the server, without a slash at the end.
    pub public_url: String,
    /// Shares of the open pages.
    pub sessions: PoolLimits,
    /// Rate at which the pages of one account take events of their browsers.
    pub events: RateLimit,
    /// Metrics of pools.
    pub pools: PoolMetrics,
    /// Ends every open page when cancelled.
    pub shutdown: CancellationToken,
    /// Registry for the dashboard's metrics.
    pub registry: prometheus::Registry,
    /// The limits in force, for admins to look at; those of a group stand together.
    pub limits: Vec<Limit>,
}

/// Path that files chosen on a page are uploaded to, as the routes below have it.
pub const UPLOAD_PATH: &str = "/live/upload";

/// A limit in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The resource that the limit protects.
    pub group: &'static str,
    /// The setting it comes from.
    pub setting: &'static str,
    /// The quantity that it limits.
    pub meaning: &'static str,
    /// Value with its unit.
    pub value: String,
}

/// State of every request of the dashboard.
pub(crate) struct Dashboard {
    system: Arc<System>,
    build_id: String,
    secure_cookies: bool,
    /// URL of the server, if cookies travel over TLS alone.
    https_url: Option<String>,
    assets: Assets,
    sessions: Arc<Sessions>,
    watch: Arc<FleetWatch>,
    limits: Arc<[Limit]>,
    uploads: Arc<Uploads>,
    alert_counts: Arc<AlertCounts>,
    shutdown: CancellationToken,
}

/// The access token of a browser that is signed in to the dashboard, if the request comes from one.
pub fn access_token(headers: &axum::http::HeaderMap) -> Option<&str> {
    cookies::read(headers, cookies::ACCESS)
}

/// The dashboard, with a fallback that answers every path it does not know. It expects that requests which pages of other sites cause are
/// refused before: upgrades and state-changing requests with a foreign `Origin`, or with a cookie and none.
/// Call it inside the runtime that the services run on.
///
/// # Errors
/// A metric of its names is registered already.
pub fn router(system: Arc<System>, options: DashboardOptions) -> Result<axum::Router, prometheus::Error> {
    let metrics = DashboardMetrics::register(&options.registry)?;
    #[allow(clippy::expect_used, reason = "the server is granted every permission")]
    let fleet = system.devices.fleet(&Principal::system()).expect("the server sees the fleet");
    let watch = FleetWatch::new(fleet, system.devices.policy());
    tokio::spawn(Arc::clone(&watch).keep_rates(options.shutdown.clone()));
    let dashboard = Arc::new(Dashboard {
        system,
        build_id: options.build_id,
        secure_cookies: options.secure_cookies,
        https_url: Some(options.public_url).filter(|url| options.secure_cookies && url.starts_with("https://")),
        assets: Assets::new(),
        sessions: Sessions::new(Pool::new(PoolName::DashboardSessions, options.sessions, &options.pools), options.events, metrics),
        watch,
        limits: options.limits.into(),
        uploads: Arc::default(),
        alert_counts: Arc::default(),
        shutdown: options.shutdown,
    });
    Ok(axum::Router::new()
        .route("/login", get(signin::form).post(signin::login))
        .route("/logout", post(signin::logout))
        .route("/password/forgot", get(password::forgot).post(password::send))
        .route("/password/new", get(password::form).post(password::set))
        .route("/live/check", get(signin::check))
        .route("/live/refresh", post(signin::refresh))
        .route("/live/upload", post(files::upload))
        .route("/export/devices.csv", get(files::export))
        .route("/export/alerts.csv", get(files::export_alerts))
        .route("/export/audit.csv", get(files::export_audit))
        .route("/export/heartbeats/{file}", get(files::export_heartbeats))
        .route("/export/report.csv", get(files::export_report))
        .route("/export/command-batches/{file}", get(files::export_batch))
        .route("/export/deployments/{file}", get(files::export_deployment))
        .route("/live/apk-uploads/{id}", post(apk_files::add_part))
        .route("/live/apk-icons/{id}", get(apk_files::icon))
        .route("/live/ws", get(session::upgrade))
        .route("/assets/{name}", get(assets::serve))
        .route("/favicon.svg", get(assets::favicon))
        .route("/favicon.ico", get(assets::favicon))
        .fallback(page::page)
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .with_state(dashboard))
}
