//! Probes: what is reached for, each within a limit of time. Nothing is changed, and no message is sent.

use std::path::Path;
use std::time::Duration;

use archive::Archives;
use clock::Clock;
use domain::Timestamp;
use rustix::fs::Access;
use rustix::process::{Resource, getrlimit};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::finding::Finding;
use super::judge;
use crate::config::Config;
use crate::database::{Database, connections_per_node, ensure_exists};
use crate::http::tls::expires_at;
use crate::{cluster, disk, notify_files, preflight};

/// Setting of the certificate, whose end has a finding of its own.
const CERTIFICATE: &str = "http.tls_certificate_file";
/// How long a peer may take to answer.
const PEER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long all of the questions to the database, or to a store, may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);

/// What the configuration and the machine tell, which nothing is reached for.
pub(super) fn here(config: &Config, now: Timestamp) -> Vec<Finding> {
    let mut found: Vec<_> = preflight::CHECKS.iter().map(|(name, check)| judge::configuration(name, check(config))).collect();
    let advice = preflight::advice(config, now).into_iter().filter(|advice| advice.setting != CERTIFICATE);
    found.extend(
        advice.map(|advice| Finding::warning("settings", format!("{}: {}", advice.setting, advice.problem), "see docs/operate.md")),
    );
    found.push(judge::file_limit(getrlimit(Resource::Nofile).maximum, config.http.connections_max));
    found.push(judge::disk(&config.data_dir, disk::free_mb(&config.data_dir), config.data_dir_free_min_mb));
    if let Ok(pem) = std::fs::read(&config.http.tls_certificate_file) {
        found.push(judge::certificate("HTTPS certificate's end", expires_at(&pem), now));
    }
    // What does not read is found above.
    if let Ok(Some(given)) = cluster::given_certificate(config) {
        found.push(judge::certificate("cluster certificate's end", expires_at(given.certificate_pem.as_bytes()), now));
    }
    found
}

/// What the database tells, and whether the nodes that it names can be reached.
pub(super) async fn database(config: &Config) -> Vec<Finding> {
    let unusable = |error: &anyhow::Error| {
        let remedy = "start PostgreSQL, or correct DATABASE_URL (database.url); docs/operate.md tells what is refused, and why";
        vec![Finding::failed("database", format!("{error:#}"), remedy)]
    };
    if let Err(error) = ensure_exists(config) {
        return vec![Finding::warning("database", format!("{error:#}"), "start the node once, or name its database")];
    }
    let database = match timeout(PROBE_TIMEOUT, Database::open_unmigrated(config)).await {
        Ok(Ok(database)) => database,
        Ok(Err(error)) => return unusable(&error),
        Err(_) => return unusable(&anyhow::anyhow!("no answer within {} s", PROBE_TIMEOUT.as_secs())),
    };
    let found = match timeout(PROBE_TIMEOUT, ask(config, &database)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => unusable(&error),
        Err(_) => unusable(&anyhow::anyhow!("its answers took longer than {} s", PROBE_TIMEOUT.as_secs())),
    };
    if let Err(error) = database.close().await {
        return [found, unusable(&error)].concat();
    }
    found
}

async fn ask(config: &Config, database: &Database) -> anyhow::Result<Vec<Finding>> {
    let store = &database.store;
    // It was opened, which checks these.
    let mut found = vec![Finding::ok("database", "a primary that takes writes, UTF8, connections are sessions")];
    found.extend(judge::durability_settings(&store.durability_settings().await?));
    if let Some(backup) = store.unfinished_restore().await? {
        let told = format!("the restore of {backup} did not end well, so that it is not whole");
        found.push(Finding::failed("database", told, "repeat `nexmdm backup restore`"));
        return Ok(found);
    }
    if !store.is_migrated().await? {
        let remedy = "start the node, or run `nexmdm migrate`; of a newer build, use that build";
        found.push(Finding::warning("migrations", "the schema is not that of this build", remedy));
        return Ok(found);
    }
    found.push(Finding::ok("migrations", "the schema is that of this build"));
    if let Some(cause) = store.check_replica().await? {
        let remedy = "make the server of database.read_url answer as a standby; until then reads come from the primary";
        found.push(Finding::warning("database standby", cause, remedy));
    }
    found.push(judge::connections(store.server_connections().await?, connections_per_node(config)));
    let clock = Clock::system();
    let offset = actors::database_time::machine_offset(store, &clock).await?;
    found.push(judge::clock(offset, config.cluster.clock_offset_max_ms, config.cluster.clock_offset_refused_ms));
    let now = clock.now();
    let newest = store.newest_backup(now).await?.map(|backup| backup.started_at);
    found.push(judge::backups(config.backup.is_scheduled(), newest, now));
    found.extend(peers(config, database).await?);
    Ok(found)
}

/// Live nodes beside this one, at the addresses that it dials.
async fn peers(config: &Config, database: &Database) -> anyhow::Result<Vec<Finding>> {
    let (me, given) = (config.node_name(), config.cluster.addresses()?);
    let nodes = database.store.cluster_nodes().await?;
    let mut found = Vec::new();
    for node in nodes.iter().filter(|node| node.state.is_live() && node.lease_left_ms > 0 && node.name != me) {
        let given = given.iter().find(|(name, _)| *name == node.name).map(|(_, address)| address);
        let address = given.unwrap_or(&node.cluster_addr);
        found.push(judge::peer(&node.name, address, connected(address).await));
    }
    if found.is_empty() {
        found.push(Finding::ok("peers", "no other node is live"));
    }
    Ok(found)
}

/// Whether something takes connections at a `host:port`; else why not.
async fn connected(address: &str) -> Result<(), String> {
    match timeout(PEER_TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(cause)) => Err(cause.to_string()),
        Err(_) => Err(format!("no answer within {} s", PEER_TIMEOUT.as_secs())),
    }
}

/// Whether the collector of traces takes connections. While traces are off there is no finding.
pub(super) async fn collector(config: &Config) -> Option<Finding> {
    let check = "trace collector";
    // One that is no URL was refused.
    let url = url::Url::parse(&config.tracing.otlp_url).ok()?;
    let address = format!("{}:{}", url.host_str()?, url.port_or_known_default()?);
    Some(match connected(&address).await {
        Ok(()) => Finding::ok(check, format!("{address} takes connections")),
        Err(cause) => Finding::warning(
            check,
            format!("{address}: {cause}"),
            "start the collector, or correct tracing.otlp_url; spans are dropped until then",
        ),
    })
}

/// Whether Google takes the service account: an access token is fetched. Without an account there is no finding.
pub(super) async fn push(config: &Config) -> Option<Finding> {
    let settings = config.settings().runtime.fcm?;
    let check = "push (FCM)";
    Some(match push::check_account(&settings, &Clock::system()).await {
        Ok(()) => Finding::ok(check, "an access token was granted"),
        Err(error) => Finding::failed(
            check,
            error.to_string(),
            "check the service account, this machine's clock and the way to oauth2.googleapis.com; see the runbook push_refused",
        ),
    })
}

/// Whether the mail server greets, encrypts and lets this node sign in. Without one there is no finding.
pub(super) async fn mail(config: &Config) -> Option<Finding> {
    let (check, mut settings) = ("mail (SMTP)", config.settings().runtime.notify);
    // What does not read is found before.
    notify_files::read(config, &mut settings).ok()?;
    let remedy = "check smtp.host, port, tls, username and the password, and the way there; notify.ca_file for an authority of your own";
    Some(match notify::greet_mail_server(&settings).await? {
        Ok(()) => Finding::ok(check, format!("{}:{} takes mail", config.smtp.host, config.smtp.port)),
        Err(cause) => Finding::failed(check, format!("{}:{}: {cause}", config.smtp.host, config.smtp.port), remedy),
    })
}

/// Whether the store of archives answers. No folder is made.
pub(super) async fn archives(config: &Config) -> Option<Finding> {
    let (check, settings) = ("archive store answers", config.archive_settings());
    let remedy = "check archive.url, its credentials, and that this user may write there; see the runbook archive_failed";
    let failed = |cause: String| Some(Finding::failed(check, format!("{}: {cause}", settings.url), remedy));
    if !settings.url.contains("://") {
        let folder = Path::new(&settings.url);
        return match rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => Some(Finding::ok(check, format!("{} can be written", settings.url))),
            Err(cause) if cause == rustix::io::Errno::NOENT => {
                Some(Finding::ok(check, format!("{} is made when it is first used", settings.url)))
            }
            Err(cause) => failed(cause.to_string()),
        };
    }
    // What does not read is found before.
    let store = Archives::open(settings.clone()).ok()?;
    match timeout(PROBE_TIMEOUT, store.list("doctor")).await {
        Ok(Ok(_)) => Some(Finding::ok(check, settings.url.clone())),
        Ok(Err(error)) => failed(error.to_string()),
        Err(_) => failed(format!("no answer within {} s", PROBE_TIMEOUT.as_secs())),
    }
}
