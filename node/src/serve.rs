//! `nexmdm serve`: starts everything in order, waits for a signal, stops it in the reverse one.
//!
//! ```text
//! start   database -> migrations -> actors (devices load) -> listen -> /readyz 200
//! stop    shards handed over -> /readyz 503, no new connections, sockets told to reconnect
//!         -> requests finish -> writers flush -> database
//! ```

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::TimeDelta;
use clock::Clock;
use secrecy::SecretString;
use services::System;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::certificates;
use crate::cluster::{self, NodeLock};
use crate::config::{Advice, Config, MetricsAccess};
use crate::database::{CONNECTIONS_REMEDY, Database, connections_per_node, for_console, refuse_unfinished};
use crate::disk;
use crate::http::{self, App, HttpService, Observability};
use crate::notify_files;
use crate::preflight;
use crate::secret_files;
use crate::secrets;
use crate::service_manager::{self, State};
use crate::traces::Traces;

/// How long actors and writers may take to finish once requests are done.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Serves until Ctrl-C or SIGTERM.
///
/// # Errors
/// Something does not start; what was started before is stopped again.
pub(crate) async fn run(config: Config, traces: Traces) -> anyhow::Result<()> {
    raise_file_limit();
    preflight::check(&config)?;
    // With the usual mode: a private PostgreSQL that runs as another user has to pass through.
    std::fs::create_dir_all(&config.data_dir).with_context(|| format!("data_dir {}", config.data_dir.display()))?;
    let lock = NodeLock::take(&config.data_dir)?;
    refuse_unfinished(&config)?;
    disk::warn_if_low(&config);
    let secrets = secrets::load(&config)?;
    let database = Database::open(&config).await?;
    let served = serve(&config, secrets, &database, &lock, &traces).await;
    traces.stop().await;
    database.close().await?;
    served?;
    tracing::info!(event = "node.stopped");
    Ok(())
}

async fn serve(config: &Config, secrets: actors::Secrets, database: &Database, lock: &NodeLock, traces: &Traces) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.http.listen).await.with_context(|| format!("http.listen {}", config.http.listen))?;
    let metrics_listener = match config.metrics_access() {
        MetricsAccess::Listener(address) => Some(TcpListener::bind(address).await.with_context(|| format!("metrics.listen {address}"))?),
        _ => None,
    };
    for Advice { setting, problem } in preflight::advice(config, Clock::system().now()) {
        tracing::warn!(event = "config.unsafe", setting, problem);
    }
    let observability = Observability::new()?;
    traces.register(&observability.registry)?;
    let cluster = cluster::start(config, &secrets, database.cluster_store.clone(), lock).await?;
    // Large, and awaited once.
    let clock = database.clock().await?;
    database.refuse_wrong_clock(&clock, TimeDelta::milliseconds(config.cluster.clock_offset_refused_ms)).await?;
    let (mut settings, metrics) = (config.settings(), observability.services.clone());
    notify_files::read(config, &mut settings.runtime.notify)?;
    (settings.runtime.backup.keys, settings.runtime.backup.version) = (secrets::for_backup(config)?, http::build_id());
    settings.runtime.storage_disk = config.storage_disk(database.is_private());
    settings.runtime.alerts.certificates = certificates::expiry(config)?;
    let starting = System::start(database.store.clone(), settings, secrets, cluster, metrics, clock);
    let system = Box::pin(starting).await?;
    warn_of_connections(config, database).await;
    let password = first_admin(&system, config).await?;
    system.enrollment.prepare().await;

    let stopping = CancellationToken::new();
    let app = Arc::new(App::new(Arc::clone(&system), config, observability, stopping.clone())?);
    let service = HttpService::new(Arc::clone(&app))?;
    if let Some(listener) = metrics_listener {
        tokio::spawn(http::serve_metrics(listener, Arc::clone(&app)));
    }
    let server = tokio::spawn(http::serve(listener, service));
    announce(config, database.psql_command().await, password.as_deref())?;
    service_manager::notify(&State::Ready { url: &config.public_url() });
    tracing::info!(event = "node.ready", listen = %config.http.listen);

    tokio::select! {
        signal = stop_signal() => signal?,
        () = database.supervise(config) => {}
    }
    service_manager::notify(&State::Stopping);
    tracing::info!(event = "node.stopping");
    // Other nodes own the devices before this one closes: whoever is turned away finds them there.
    let handed_over = system.hand_over(FLUSH_TIMEOUT).await;
    stopping.cancel();
    let drained = server.await? & system.stop(FLUSH_TIMEOUT).await & handed_over;
    if !drained {
        tracing::warn!(event = "node.drain_incomplete");
    }
    Ok(())
}

/// Logs a warning where the nodes that use the database may open more connections than it takes, each having as many as this one.
async fn warn_of_connections(config: &Config, database: &Database) {
    let per_node = connections_per_node(config);
    match database.store.server_connections().await {
        Ok(found) if found.nodes * per_node > found.most => tracing::warn!(
            event = "database.connections_short",
            nodes = found.nodes,
            per_node,
            most = found.most,
            remedy = CONNECTIONS_REMEDY,
        ),
        Ok(_) => {}
        Err(cause) => tracing::warn!(event = "database.connections_not_read", %cause),
    }
}

/// Makes the account "admin" on the first start. Answers its password when that was made up here.
async fn first_admin(system: &System, config: &Config) -> anyhow::Result<Option<String>> {
    let given = secret_files::given("admin.initial_password", &config.admin.initial_password, &config.admin.initial_password_file)?;
    let (password, made_up) = match given {
        Some(password) => (password, false),
        None => (services::crypto::random_token().map_err(for_console)?, true),
    };
    let added = system.accounts.add_first_admin("admin", &SecretString::from(password.clone())).await;
    let added = added.context("the account of the first admin")?;
    Ok((added && made_up).then_some(password))
}

/// Tells the person who started the node where it is. The only place that shows the password.
fn announce(config: &Config, psql: Option<String>, password: Option<&str>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nNexMDM is ready: {}", config.public_url())?;
    if let Some(password) = password {
        writeln!(out, "Sign in as admin with the password {password}  (shown this once)")?;
    }
    if let Some(psql) = psql {
        writeln!(out, "Database: {psql}")?;
    }
    writeln!(out)?;
    out.flush()
}

/// Waits for Ctrl-C or SIGTERM.
///
/// # Errors
/// The signals cannot be watched.
pub(crate) async fn stop_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Each connection takes a file descriptor; the usual soft limit of 1,024 is for interactive programs.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(cause) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(event = "node.file_limit_unchanged", current = limit.current, %cause);
    }
}
