//! The HTTP face: routes, and what all of them share.

mod action_result;
mod agent_apk;
mod agent_builds;
mod agent_session;
mod agent_socket;
mod agent_update;
mod alert_channels;
mod alert_remediation;
mod alert_routes;
mod alert_rules;
mod alerts;
mod api_tokens;
mod apk_files;
mod apk_uploads;
mod apks;
mod audit;
mod auth;
mod body;
mod client_address;
mod closed;
mod cluster;
mod command_batches;
mod commands;
mod content_coding;
mod deployment_status;
mod deployments;
mod device_bulk;
mod device_csv;
mod device_history;
mod devices;
mod enroll_tokens;
mod enrollment_kit;
mod event_subscriptions;
mod exec_commands;
pub(crate) mod extract;
mod fcm_token;
mod filters;
mod flags;
mod fleet;
mod headers;
mod health;
mod heartbeat;
mod host;
mod legacy_push;
mod limits;
mod me;
mod observe;
mod openapi;
mod origin;
mod packages;
mod ranges;
pub(crate) mod rate_limit;
mod register;
mod reports;
mod request_key;
mod revalidation;
#[cfg(test)]
mod route_table;
mod schemas;
mod server;
mod silences;
mod storage;
mod table;
pub(crate) mod tls;
mod users;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use domain::Invalid;
use domain::permits::PoolName;
use domain::telemetry::OptIn;
use ipnet::IpNet;
use permits::Pool;
use services::System;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api_error;
use crate::config::{Config, KnownHosts};
use origin::OwnOrigin;
use rate_limit::RateLimits;

pub(crate) use crate::api_error::ApiError;
pub(crate) use crate::config::RouteClass;
pub(crate) use closed::serve_metrics;
pub(crate) use observe::Observability;
pub(crate) use server::{HttpService, serve};

/// State of every handler.
pub(crate) struct App {
    /// The running system.
    pub(crate) system: Arc<System>,
    /// Metrics and their registry.
    pub(crate) observability: Observability,
    /// Cancelled when the node begins to stop.
    pub(crate) stopping: CancellationToken,
    /// Agent sockets.
    pub(crate) sockets: Pool,
    /// Connections of clients.
    pub(crate) connections: Pool,
    /// Requests per address.
    pub(crate) rate_limits: RateLimits,
    /// Proxies whose forwarding headers are believed.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Opt-in readings that are kept.
    pub(crate) opted_in: OptIn,
    /// Whether devices and people reach the node over TLS, so that browsers are told to use nothing else.
    pub(crate) is_https: bool,
    /// URL of the server for devices and people.
    pub(crate) public_url: String,
    /// Hosts that it is known by.
    pub(crate) hosts: KnownHosts,
    /// The same as the origin of its pages.
    pub(crate) origin: OwnOrigin,
    /// The configuration.
    pub(crate) config: Config,
}

impl App {
    /// Everything the handlers need.
    pub(crate) fn new(
        system: Arc<System>,
        config: &Config,
        observability: Observability,
        stopping: CancellationToken,
    ) -> Result<Self, Invalid> {
        let pools = &observability.services.actors.pools;
        Ok(Self {
            system,
            rate_limits: RateLimits::new(&config.rate_limits, &observability.rate_limited),
            trusted_proxies: config.http.trusted_networks()?,
            opted_in: config.telemetry.opted_in()?,
            sockets: Pool::new(PoolName::AgentSockets, config.socket.connections(), pools),
            connections: Pool::new(PoolName::Connections, config.http.connections(), pools),
            observability,
            stopping,
            is_https: config.public_url().starts_with("https://"),
            public_url: config.public_url(),
            hosts: config.http.known_hosts()?,
            origin: OwnOrigin::new(config.public_url()),
            config: config.clone(),
        })
    }

    /// How long a body of this size may take beside the time that it may stand still.
    fn arrival_time(&self, bytes: usize) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.config.http.body_min_bytes_per_second as f64)
    }

    fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.config.http.body_timeout_ms)
    }
}

/// Routes of the API, by the class of their rate limit; those that watch the node have none.
fn api_routes() -> [(Option<RouteClass>, OpenApiRouter<Arc<App>>); 5] {
    let enrollment = OpenApiRouter::new()
        .routes(routes!(register::register))
        .routes(routes!(enrollment_kit::token_self))
        .routes(routes!(agent_apk::download));
    let agent = OpenApiRouter::new()
        .routes(routes!(agent_session::open))
        .routes(routes!(heartbeat::one))
        .routes(routes!(heartbeat::list))
        .routes(routes!(action_result::report))
        .routes(routes!(action_result::legacy))
        .routes(routes!(deployment_status::report))
        .routes(routes!(fcm_token::replace))
        .routes(routes!(agent_update::check))
        .routes(routes!(agent_update::report))
        .routes(routes!(apk_files::download))
        // A WebSocket, which OpenAPI cannot describe.
        .route("/v1/agent/socket", get(agent_socket::upgrade));
    let sign_in = OpenApiRouter::new().routes(routes!(auth::login)).routes(routes!(auth::refresh));
    let admin = OpenApiRouter::new()
        .routes(routes!(auth::logout))
        .routes(routes!(me::me))
        .routes(routes!(me::change_password))
        .routes(routes!(me::sessions, me::end_other_sessions))
        .routes(routes!(me::end_session))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::one, users::change))
        .routes(routes!(users::reset_password))
        .routes(routes!(users::invite))
        .routes(routes!(users::sessions, users::end_sessions))
        .routes(routes!(users::end_session))
        .routes(routes!(api_tokens::list, api_tokens::create))
        .routes(routes!(api_tokens::revoke))
        .routes(routes!(enroll_tokens::create, enroll_tokens::list))
        .routes(routes!(enroll_tokens::revoke))
        .routes(routes!(enrollment_kit::scripts))
        .routes(routes!(enrollment_kit::qr))
        .routes(routes!(agent_apk::info))
        .routes(routes!(devices::list))
        .routes(routes!(devices::one, devices::edit, devices::delete))
        .routes(routes!(devices::revoke))
        .routes(routes!(devices::restore))
        .routes(routes!(devices::replace))
        .routes(routes!(devices::dismiss_conflict))
        .routes(routes!(device_history::history))
        .routes(routes!(device_history::events))
        .routes(routes!(device_history::heartbeats))
        .routes(routes!(device_bulk::bulk))
        .routes(routes!(device_csv::export))
        .routes(routes!(device_csv::import))
        .routes(routes!(commands::of_device, commands::send))
        .routes(routes!(commands::list))
        .routes(routes!(commands::one))
        .routes(routes!(commands::cancel))
        .routes(routes!(command_batches::list, command_batches::create))
        .routes(routes!(command_batches::one))
        .routes(routes!(commands::of_batch))
        .routes(routes!(command_batches::export))
        .routes(routes!(command_batches::cancel))
        .routes(routes!(agent_builds::list, agent_builds::create))
        .routes(routes!(agent_builds::one))
        .routes(routes!(agent_builds::promote))
        .routes(routes!(agent_builds::rollout))
        .routes(routes!(agent_builds::rollback))
        .routes(routes!(agent_builds::nudge))
        .routes(routes!(agent_builds::stats))
        .routes(routes!(legacy_push::devices))
        .routes(routes!(exec_commands::list))
        .routes(routes!(exec_commands::put, exec_commands::delete))
        .routes(routes!(deployments::list, deployments::create))
        .routes(routes!(deployments::one))
        .routes(routes!(deployments::tasks))
        .routes(routes!(deployments::events))
        .routes(routes!(deployments::export))
        .routes(routes!(deployments::pause))
        .routes(routes!(deployments::resume))
        .routes(routes!(deployments::cancel))
        .routes(routes!(deployments::rollback))
        .routes(routes!(flags::list))
        .routes(routes!(flags::set))
        .routes(routes!(apks::list, apks::upload))
        .routes(routes!(apks::one, apks::delete))
        .routes(routes!(apks::icon))
        .routes(routes!(apks::download_url))
        .routes(routes!(apk_uploads::list, apk_uploads::begin))
        .routes(routes!(apk_uploads::one, apk_uploads::add, apk_uploads::abandon))
        .routes(routes!(apk_uploads::complete))
        .routes(routes!(packages::list))
        .routes(routes!(packages::put, packages::delete))
        .routes(routes!(filters::list, filters::create))
        .routes(routes!(filters::one, filters::change, filters::delete))
        .routes(routes!(devices::stats))
        .routes(routes!(fleet::history))
        .routes(routes!(fleet::distributions))
        .routes(routes!(reports::report))
        .routes(routes!(reports::export))
        .routes(routes!(reports::schedules, reports::schedule))
        .routes(routes!(reports::unschedule))
        .routes(routes!(alerts::list))
        .routes(routes!(alerts::export))
        .routes(routes!(alerts::counts))
        .routes(routes!(alerts::acknowledge_all))
        .routes(routes!(alerts::one))
        .routes(routes!(alerts::acknowledge))
        .routes(routes!(alert_rules::list))
        .routes(routes!(alert_rules::one, alert_rules::set, alert_rules::reset))
        .routes(routes!(alert_rules::preview))
        .routes(routes!(alert_rules::of_device))
        .routes(routes!(alert_remediation::list))
        .routes(routes!(alert_remediation::set, alert_remediation::delete))
        .routes(routes!(silences::list, silences::create))
        .routes(routes!(silences::end))
        .routes(routes!(silences::windows, silences::create_window))
        .routes(routes!(silences::delete_window))
        .routes(routes!(alert_channels::kinds))
        .routes(routes!(alert_channels::list, alert_channels::create))
        .routes(routes!(alert_channels::one, alert_channels::change, alert_channels::delete))
        .routes(routes!(alert_channels::test))
        .routes(routes!(alert_channels::deliveries))
        .routes(routes!(alert_channels::resend))
        .routes(routes!(alert_routes::list, alert_routes::create))
        .routes(routes!(alert_routes::one, alert_routes::change, alert_routes::delete))
        .routes(routes!(event_subscriptions::list, event_subscriptions::create))
        .routes(routes!(event_subscriptions::delete))
        .routes(routes!(audit::list))
        .routes(routes!(audit::export))
        .routes(routes!(audit::head))
        .routes(routes!(storage::overview))
        .routes(routes!(storage::partitions))
        .routes(routes!(storage::run))
        .routes(routes!(storage::partition))
        .routes(routes!(storage::archive))
        .routes(routes!(storage::verify))
        .routes(routes!(storage::restore))
        .routes(routes!(storage::forget))
        .routes(routes!(storage::work))
        .routes(routes!(cluster::overview))
        .routes(routes!(cluster::drain))
        .routes(routes!(cluster::resume))
        .route("/v1/{*unknown}", axum::routing::any(api_error::no_such_route));
    let signals = OpenApiRouter::new().routes(routes!(health::alive)).routes(routes!(health::ready)).routes(routes!(health::metrics));
    [
        (Some(RouteClass::Enrollment), enrollment),
        (Some(RouteClass::Agent), agent),
        (Some(RouteClass::SignIn), sign_in),
        (Some(RouteClass::Api), admin),
        (None, signals),
    ]
}

/// Every route of a node.
pub(crate) fn router(app: &Arc<App>) -> anyhow::Result<Router> {
    let limited = |class: RouteClass| from_fn_with_state((Arc::clone(app), class), rate_limit::check);
    let api = api_routes().into_iter().fold(OpenApiRouter::with_openapi(openapi::Description::openapi()), |api, (class, routes)| {
        api.merge(match class {
            // Devices may know a server by another name than people do; they send no cookies.
            Some(class @ (RouteClass::Agent | RouteClass::Enrollment)) => routes.layer(limited(class)),
            Some(class) => routes
                .layer(from_fn_with_state(Arc::clone(app), request_key::once))
                .layer(from_fn_with_state(Arc::clone(app), revalidation::revalidate))
                .layer(from_fn_with_state(Arc::clone(app), host::check))
                .layer(limited(class)),
            None => routes,
        })
    });
    let (routes, mut description) = api.split_for_parts();
    schemas::describe(&mut description);
    request_key::describe(&mut description);
    let dashboard = web_dioxus::router(
        Arc::clone(&app.system),
        web_dioxus::DashboardOptions {
            build_id: build_id(),
            secure_cookies: app.config.dashboard.secure_cookies || app.is_https,
            public_url: app.public_url.clone(),
            sessions: app.config.dashboard.sessions(),
            events: app.config.dashboard.events(),
            pools: app.observability.services.actors.pools.clone(),
            shutdown: app.stopping.clone(),
            registry: app.observability.registry.clone(),
            limits: limits::in_force(&app.config),
        },
    )?;
    Ok(routes
        .merge(
            Router::from(openapi::pages(description))
                .layer(from_fn_with_state(Arc::clone(app), closed::docs))
                .layer(from_fn_with_state(Arc::clone(app), host::check))
                .layer(limited(RouteClass::Page)),
        )
        .method_not_allowed_fallback(api_error::method_not_allowed)
        .with_state(Arc::clone(app))
        .merge(
            dashboard
                .method_not_allowed_fallback(api_error::method_not_allowed)
                .layer(from_fn_with_state(Arc::clone(app), revalidation::revalidate_browser))
                .layer(from_fn_with_state(Arc::clone(app), body::deadline))
                .layer(from_fn_with_state(Arc::clone(app), host::check))
                .layer(limited(RouteClass::Page)),
        )
        .layer(from_fn_with_state(Arc::clone(app), origin::check))
        .layer(from_fn_with_state(Arc::clone(app), headers::protect))
        .layer(from_fn_with_state(Arc::clone(app), observe::observe)))
}

/// Changes with every build, so that browsers know when their scripts are old.
pub(crate) fn build_id() -> String {
    format!("{}-{}", env!("CARGO_PKG_VERSION"), env!("NEXMDM_BUILD_ID"))
}
