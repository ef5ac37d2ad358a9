//! `chaos load`: a closed loop of heartbeats over kept-alive connections, every
//! one a new row, as fast as the node acknowledges them.

mod body;
mod connection;
mod cursor;
mod response;
mod route;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::clock;
use crate::duration;
use crate::fleet::TargetArgs;
use crate::http::{Http, HttpLimits, ServerUrl};
use crate::identity::{Identity, StateFile, enroll_missing, prepare_sessions};
use crate::limits::allow_connections;
use crate::measure::{Errors, Latencies, Percentiles};
use crate::model::timestamp;
use crate::progress::Progress;
use crate::signals::{Stop, unless_stopped};
use body::RequestTemplate;
use connection::{BUCKET_S, Measurements, Run, drive};
use cursor::{Cursor, full};
pub use route::Route;
pub(crate) use route::owners_of;

/// Arguments of `chaos load`.
#[derive(Debug, Clone, Args)]
pub struct LoadArgs {
    /// Node, devices and credentials
    #[command(flatten)]
    pub target: TargetArgs,
    /// Persistent connections, each with one request in flight
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub connections: usize,
    /// Duration of the run
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration::parse)]
    pub duration: Duration,
    /// Warm-up, excluded from rate and latencies
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration::parse)]
    pub warm_up: Duration,
    /// Folder of identities, sessions and the position of earlier runs
    #[arg(long, value_name = "DIR", default_value = "./data/load")]
    pub state_dir: PathBuf,
    /// Alias prefix, followed by a dash and a number
    #[arg(long, value_name = "TEXT", default_value = "load")]
    pub alias_prefix: String,
    /// Node selection per device
    #[arg(long, value_enum, default_value_t = Route::Spread)]
    pub route: Route,
    /// Think time of a connection after each response
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration::parse)]
    pub pause: Duration,
    /// First timestamp [default: where the last run ended, at most 6.9 days back]
    #[arg(long, value_name = "RFC 3339")]
    pub start: Option<DateTime<Utc>>,
}

/// Summary of a closed-loop run, written as JSON.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LoadSummary {
    /// Devices that took part.
    pub devices: usize,
    /// Connections.
    pub connections: usize,
    /// Measured time, without warm-up.
    pub measured_s: f64,
    /// Acknowledged in that time.
    pub acknowledged: u64,
    /// Acknowledged per second.
    pub rate_per_s: f64,
    /// From the first byte written to the answer.
    pub latency: Percentiles,
    /// Errors by kind, warm-up included.
    pub errors: Errors,
    /// Position at which the next run goes on.
    pub next_bucket_at: String,
}

impl fmt::Display for LoadSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "closed loop    {} connections, {} devices, {:.1} s, every heartbeat a new row",
            self.connections, self.devices, self.measured_s
        )?;
        writeln!(f, "heartbeats     {} acknowledged, {:.0}/s", self.acknowledged, self.rate_per_s)?;
        writeln!(f, "latency        {}", self.latency)?;
        write!(f, "errors         {}", self.errors)
    }
}

/// Runs the closed loop until its duration is over or `stop` is set.
pub async fn run(args: LoadArgs, stop: Stop) -> Result<LoadSummary> {
    let target = &args.target;
    ensure!(!target.servers.is_empty(), "no server is given");
    ensure!(target.devices > 0 && args.connections > 0, "there must be devices and connections");
    allow_connections((args.connections + target.enroll_concurrency) as u64).map_err(anyhow::Error::msg)?;
    let limits = HttpLimits { connections: target.enroll_concurrency, timeout: target.timeout, ..HttpLimits::default() };
    let servers: Vec<_> = target.servers.iter().map(|url| Arc::new(Http::new(url.clone(), limits))).collect();
    let mut state = StateFile::open(&args.state_dir)?;
    let mut progress = Progress::new();

    let plan = target.enroll_plan(&args.alias_prefix, 0.0);
    let enrolling = enroll_missing(&mut state, &plan, &servers, target.enroll_with.as_ref(), |n| {
        progress.show(|| format!("enrolled {n}/{}", target.devices));
    });
    unless_stopped(&stop, enrolling).await.context("stopped before all devices were enrolled")??;
    let identities: Vec<Identity> = state.identities().iter().take(target.devices).cloned().collect();
    let mut sessions = state.sessions();
    let preparing = prepare_sessions(&servers, &identities, &mut sessions, target.enroll_concurrency, clock::now, |n| {
        progress.show(|| format!("{n} sessions made"))
    });
    let prepared = unless_stopped(&stop, preparing).await;
    state.save_sessions(sessions.clone())?;
    progress.finish();
    prepared.context("stopped before every device had its session")?;

    let routes = args.route.routes(target, &identities).await?;
    let mut templates: Vec<Vec<RequestTemplate>> = target.servers.iter().map(|_| Vec::new()).collect();
    for (identity, server) in identities.iter().zip(routes) {
        let session = sessions
            .get(&identity.device_id)
            .with_context(|| format!("{} gets no session: is its state folder of another server?", identity.alias))?;
        templates[server].push(RequestTemplate::new(&target.servers[server], identity, &session.token, target.seed)?);
    }
    let cursor = Cursor::in_folder(&args.state_dir);
    let now = clock::now();
    let first_bucket_s = args.start.map_or_else(|| cursor.first_bucket_s(now), |start| full(start.timestamp()));
    ensure!(first_bucket_s <= now.timestamp(), "all buckets of the last days are used up: take another --state-dir, or come back later");

    let devices = identities.len();
    let assignments = assign_connections(&target.servers, templates, args.connections);
    let connections = assignments.len();
    let started = Instant::now();
    let run = Arc::new(Run {
        timeout: target.timeout,
        pause: args.pause,
        measured_from: started + args.warm_up,
        ends_at: started + args.duration,
        last_bucket_s: full(now.timestamp()),
        next_bucket_s: AtomicI64::new(first_bucket_s),
        acknowledged: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        stop,
    });
    let measured = supervise(&run, assignments, first_bucket_s, &cursor).await?;
    let measured_s = Instant::now().min(run.ends_at).saturating_duration_since(run.measured_from).as_secs_f64();
    let summary = LoadSummary {
        devices,
        connections,
        measured_s,
        acknowledged: measured.acknowledged,
        rate_per_s: if measured_s > 0.0 { measured.acknowledged as f64 / measured_s } else { 0.0 },
        latency: measured.latency.percentiles(),
        errors: measured.errors,
        next_bucket_at: DateTime::from_timestamp(run.next_bucket_s.load(Ordering::Relaxed), 0).map(timestamp).unwrap_or_default(),
    };
    if let Some(path) = &target.json {
        std::fs::write(path, serde_json::to_vec_pretty(&summary)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(summary)
}

/// Server and devices of one connection.
type Assignment = (ServerUrl, Vec<RequestTemplate>);

/// Distributes connections over nodes, and the devices of each node over its connections.
fn assign_connections(servers: &[ServerUrl], templates: Vec<Vec<RequestTemplate>>, connections: usize) -> Vec<Assignment> {
    let devices: usize = templates.iter().map(Vec::len).sum();
    let mut all = Vec::new();
    for (url, templates) in servers.iter().zip(templates).filter(|(_, templates)| !templates.is_empty()) {
        let share = (connections * templates.len()).div_ceil(devices).clamp(1, templates.len());
        let mut assignments: Vec<Assignment> = (0..share).map(|_| (url.clone(), Vec::new())).collect();
        for (n, template) in templates.into_iter().enumerate() {
            assignments[n % share].1.push(template);
        }
        all.extend(assignments);
    }
    all
}

async fn supervise(run: &Arc<Run>, assignments: Vec<Assignment>, first_bucket_s: i64, cursor: &Cursor) -> Result<Measurements> {
    let started = Instant::now();
    let mut tasks: JoinSet<Measurements> =
        assignments.into_iter().map(|(url, devices)| drive(Arc::clone(run), url, devices, first_bucket_s)).collect();
    let mut all = Measurements { latency: Latencies::default(), ..Measurements::default() };
    let mut progress = Progress::new();
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ended = tasks.join_next() => match ended {
                Some(measured) => {
                    let measured = measured.context("a connection's task has failed")?;
                    all.latency.add(&measured.latency);
                    all.errors.add(&measured.errors);
                    all.acknowledged += measured.acknowledged;
                }
                None => break,
            },
            _ = tick.tick() => {
                // Some rounds ahead: what a killed run uses until the next tick.
                cursor.keep(run.next_bucket_s.load(Ordering::Relaxed) + 60 * BUCKET_S)?;
                progress.show(|| {
                    let (elapsed_s, acknowledged) = (started.elapsed().as_secs_f64(), run.acknowledged.load(Ordering::Relaxed));
                    format!("{elapsed_s:>5.0}s  acknowledged {acknowledged} ({:.0}/s)  failed {}", acknowledged as f64 / elapsed_s.max(0.001), run.failed.load(Ordering::Relaxed))
                });
            }
        }
    }
    progress.finish();
    cursor.keep(run.next_bucket_s.load(Ordering::Relaxed))?;
    Ok(all)
}
