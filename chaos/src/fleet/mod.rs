//! `chaos fleet`: simulated devices that enroll, send heartbeats and follow the agent API, as an open-loop load on real
//! nodes.

mod agent;
mod args;
mod behaviour;
mod commands;
mod hostile;
mod inbox;
mod installations;
mod journal;
mod over_http;
mod over_socket;
mod queue;
mod record;
mod results;
mod stats;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

pub use args::{AgentArgs, AgentMix, FleetArgs, TargetArgs, TransportChoice};
pub use behaviour::Behaviours;
pub use installations::{DeployArgs, DeployProfile, DurationRange, ErrorShares, Window, apk_signers};
pub use stats::Summary;

use crate::clock::{self, RunClock};
use crate::duration::Interval;
use crate::fcm::{FakeFcm, FakeFcmOptions};
use crate::host_agent::{HostAgents, HostAgentsPlan, HostAgentsSummary, Jvm};
use crate::http::{Http, HttpLimits, ServerUrl};
use crate::identity::{EnrollPlan, Identity, SessionToken, StateFile, enroll_missing, prepare_sessions};
use crate::limits::allow_connections;
use crate::model::Rates;
use crate::progress::Progress;
use crate::push::PushSource;
use crate::signals::{Stop, stopped, unless_stopped};
use agent::Agent;
use hostile::Hostile;
use installations::{InstalledFile, Packages};
use journal::{Journal, RestoredCommands};
use record::Recorder;
use stats::{RunInfo, Stats};

/// Most heartbeats in one list, and most bytes: the server's limits, the latter with a margin.
const LIST_ITEMS: usize = 100;
const LIST_BYTES: usize = 60 << 10;
/// Time that devices have to finish when the run ends.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// State that all devices of a fleet share.
struct Fleet {
    settings: Settings,
    servers: Vec<Arc<Http>>,
    /// URLs of the servers, for the record.
    server_names: Vec<String>,
    clock: RunClock,
    /// Start of the measurement: earlier heartbeats do not count for rate and latencies.
    measured_from: Instant,
    stats: Stats,
    recorder: Option<Recorder>,
    /// Command state that survives restarts.
    journal: Journal,
    /// Installed versions that survive restarts.
    installed: InstalledFile,
    /// Folder of downloads.
    downloads_dir: PathBuf,
    /// Download servers by authority, with connections of their own so that downloads and other calls do not wait for each other.
    sources: Mutex<HashMap<String, Arc<Http>>>,
    /// Source of push messages.
    push: Option<Arc<dyn PushSource>>,
    hostile: Option<Hostile>,
    stop: Stop,
}

impl Fleet {
    /// Servers for an absolute URL and its path; `None` unless it is plain HTTP. The named server is followed by the device's
    /// own servers, as every node serves the same path.
    fn download_from(&self, url: &str) -> Option<(Vec<Arc<Http>>, String)> {
        let rest = url.strip_prefix("http://")?;
        let (authority, path) = rest.split_at(rest.find('/')?);
        let limits = HttpLimits { connections: self.settings.deploy.downloads, timeout: self.settings.timeout, ..HttpLimits::default() };
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let mut from =
            |server: ServerUrl| Arc::clone(sources.entry(server.authority()).or_insert_with(|| Arc::new(Http::new(server, limits))));
        let mut all = vec![from(format!("http://{authority}").parse().ok()?)];
        all.extend(self.server_names.iter().filter_map(|name| name.parse().ok()).map(from));
        Some((all, path.to_owned()))
    }
}

/// Arguments that the devices use.
struct Settings {
    interval: Interval,
    seed: u64,
    timeout: Duration,
    queue_limit: usize,
    retry_min: Duration,
    retry_max: Duration,
    duplicate_share: f64,
    late_share: f64,
    roam_share: f64,
    clock_off_share: f64,
    unusable_share: f64,
    clone_share: f64,
    rates: Rates,
    model_speed: f64,
    commands: Behaviours,
    answer_late: Duration,
    ping_heartbeat_share: f64,
    /// Whether push tokens are reported.
    push: bool,
    deploy: DeployArgs,
}

/// Reason why a device has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndReason {
    /// The run has ended.
    Stopped,
    /// The server reported the device as deleted.
    Deleted,
    /// Five consecutive 401 responses: the identity was dropped.
    Forgotten,
}

/// Final state of a device.
struct FinishedDevice {
    device_id: String,
    reason: EndReason,
    session: Option<SessionToken>,
}

/// Runs a fleet until its duration is over or `stop` is set.
pub async fn run(mut args: FleetArgs, stop: Stop) -> Result<Summary> {
    let (Some(listen), Some(account)) = (args.fcm_listen, args.fcm_account.clone()) else {
        return Box::pin(run_with(args, stop, None)).await;
    };
    let google = FakeFcm::start(FakeFcmOptions { listen, ..FakeFcmOptions::default() }).await?;
    google.write_account(&account).with_context(|| format!("{} cannot be written", account.display()))?;
    args.push = true;
    Box::pin(run_with(args, stop, Some(Arc::new(google)))).await
}

/// Runs a fleet with a source of push messages for `--push`.
pub async fn run_with_push(args: FleetArgs, stop: Stop, push: Arc<dyn PushSource>) -> Result<Summary> {
    Box::pin(run_with(args, stop, Some(push))).await
}

async fn run_with(args: FleetArgs, stop: Stop, push: Option<Arc<dyn PushSource>>) -> Result<Summary> {
    let target = &args.target;
    let sockets = if args.transport == TransportChoice::Http { 0 } else { target.devices };
    allow_connections((sockets + args.connections * target.servers.len()) as u64).map_err(anyhow::Error::msg)?;
    let limits = HttpLimits { connections: args.connections, timeout: target.timeout, ..HttpLimits::default() };
    let servers: Vec<_> = target.servers.iter().map(|url| Arc::new(Http::new(url.clone(), limits))).collect();
    ensure!(!servers.is_empty(), "no server is given");
    let simulated = args.simulated()?;
    let jvm = if args.agents.agent.jvm > 0 { Some(Jvm::find(args.agents.agent_jar.as_deref())?) } else { None };
    let recorder = args.record.as_deref().map(Recorder::create).transpose()?;
    let mut state = StateFile::open(&args.state_dir)?;
    let mut progress = Progress::new();

    let before = state.identities().len();
    let plan = args.enroll_plan();
    let enrolling = enroll_missing(&mut state, &plan, &servers, target.enroll_with.as_ref(), |n| {
        progress.show(|| format!("enrolled {n}/{simulated}"));
    });
    unless_stopped(&stop, enrolling).await.unwrap_or(Ok(()))?;
    let enrolled_now = state.identities().len() - before;
    let identities: Vec<Identity> = state.identities().iter().take(simulated).cloned().collect();
    let mut sessions = state.sessions();
    if args.sessions_first {
        let preparing = prepare_sessions(&servers, &identities, &mut sessions, target.enroll_concurrency, clock::now, |n| {
            progress.show(|| format!("{n} sessions made"));
        });
        unless_stopped(&stop, preparing).await;
    }
    progress.finish();

    let facts = |devices, elapsed, host_agents| RunInfo {
        devices,
        host_agents,
        enrolled_now,
        transport: format!("{:?}", args.transport).to_lowercase(),
        interval: args.interval.to_string(),
        elapsed,
        warm_up: args.warm_up,
    };
    let summary = if args.enroll_only || *stop.borrow() {
        state.save_sessions(sessions)?;
        Stats::default().summary(facts(identities.len(), Duration::ZERO, HostAgentsSummary::default()))
    } else {
        let host_agents = match jvm {
            Some(jvm) => Some(start_host_agents(&args, jvm, &state).await?),
            None => None,
        };
        let devices = identities.len() + args.agents.agent.jvm;
        let clock = RunClock::starting_at(clock::now());
        let (end, end_of_run) = watch::channel(false);
        let measured_from = clock.started() + args.warm_up;
        let server_names = servers.iter().map(|http| http.url().to_string()).collect();
        let (settings, stats) = (args.settings(), Stats::default());
        let (journal, restored) = Journal::open(&state, clock::now())?;
        let (installed, packages) = InstalledFile::open(state.folder())?;
        let downloads_dir = state.folder().join("downloads");
        std::fs::create_dir_all(&downloads_dir).with_context(|| format!("cannot make {}", downloads_dir.display()))?;
        let push = push.filter(|_| args.push);
        let hostile = (args.hostile_share > 0.0).then(|| Hostile::new(args.hostile_share));
        let fleet = Arc::new(Fleet {
            settings,
            servers,
            server_names,
            clock,
            measured_from,
            stats,
            recorder,
            journal,
            installed,
            downloads_dir,
            sources: Mutex::default(),
            push,
            hostile,
            stop: end_of_run,
        });
        let tasks = start(&fleet, &args, identities, &mut sessions, restored, packages);
        live(&fleet, &args, tasks, stop, end, &mut state, &mut sessions).await?;
        let host_agents = match host_agents {
            Some(agents) => agents.stop().await,
            None => HostAgentsSummary::default(),
        };
        if let Some(recorder) = &fleet.recorder {
            recorder.flush().context("writing the record")?;
        }
        state.save_sessions(sessions)?;
        fleet.stats.summary(facts(devices, clock.started().elapsed(), host_agents))
    };
    if let Some(path) = &target.json {
        std::fs::write(path, serde_json::to_vec_pretty(&summary)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(summary)
}

/// Host agents of the fleet, enrolled and started; their record lines go to the fleet's record.
async fn start_host_agents(args: &FleetArgs, mut jvm: Jvm, state: &StateFile) -> Result<HostAgents> {
    let target = &args.target;
    let folder = state.folder().canonicalize()?;
    jvm.archive_classes(&folder).await;
    let plan = HostAgentsPlan {
        jvm: &jvm,
        count: args.agents.agent.jvm,
        first_number: 1,
        servers: target.servers.iter().map(ServerUrl::to_string).collect(),
        enroll_at: target.servers[0].clone(),
        credentials: target.enroll_with.clone(),
        tags: target.tags.clone(),
        groups: target.groups.clone(),
        record: args.record.as_deref().map(std::path::absolute).transpose()?,
        folder,
        interval: match args.interval {
            Interval::Every(every) => Some(every),
            Interval::Server => None,
        },
        seed: target.seed,
    };
    let agents = HostAgents::prepare(plan, |_, _| ()).await?;
    agents.start().await?;
    Ok(agents)
}

/// Starts one task per device, spread over the ramp.
fn start(
    fleet: &Arc<Fleet>,
    args: &FleetArgs,
    identities: Vec<Identity>,
    sessions: &mut HashMap<String, SessionToken>,
    mut restored: HashMap<String, RestoredCommands>,
    mut packages: HashMap<String, Packages>,
) -> JoinSet<FinishedDevice> {
    let count = identities.len();
    let ramp_s = args.ramp_seconds.unwrap_or((count as f64 / 500.0).min(60.0)).clamp(0.0, 86_400.0);
    let mut tasks = JoinSet::new();
    for (index, identity) in identities.into_iter().enumerate() {
        let starts_at = fleet.clock.started() + Duration::from_secs_f64(ramp_s * index as f64 / count as f64);
        let session = sessions.remove(&identity.device_id);
        let socket = match args.transport {
            TransportChoice::Http => false,
            TransportChoice::Socket => true,
            TransportChoice::Mix => index % 2 == 1,
        };
        let restored = restored.remove(&identity.device_id).unwrap_or_default();
        let installed = packages.remove(&identity.device_id).unwrap_or_default();
        let mut agent = Agent::new(Arc::clone(fleet), index, identity, session, starts_at, restored, installed);
        tasks.spawn(async move {
            let reason = if socket { over_socket::run(&mut agent, starts_at).await } else { over_http::run(&mut agent).await };
            let waiting = agent.queue.len() as u64;
            agent.fleet.stats.unacknowledged.add(waiting);
            agent.fleet.stats.results_waiting.add(agent.commands.results.len() as u64);
            FinishedDevice { device_id: agent.device_id().to_owned(), reason, session: agent.take_session() }
        });
    }
    tasks
}

/// Supervises the devices until the end and collects their final states.
async fn live(
    fleet: &Fleet,
    args: &FleetArgs,
    mut tasks: JoinSet<FinishedDevice>,
    mut stop: Stop,
    end: watch::Sender<bool>,
    state: &mut StateFile,
    sessions: &mut HashMap<String, SessionToken>,
) -> Result<()> {
    let started = fleet.clock.started();
    // A century stands for never.
    let ends_at = started + args.duration.unwrap_or(Duration::from_secs(100 * 365 * 86_400));
    let mut progress = Progress::new();
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = (started, 0);
    loop {
        tokio::select! {
            () = sleep_until(ends_at) => break,
            () = stopped(&mut stop) => break,
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                finish_device(ended, fleet, state, sessions)?;
                if tasks.is_empty() && args.agents.agent.jvm == 0 {
                    break; // no device is left
                }
            }
            _ = tick.tick() => {
                progress.show(|| {
                    let (at, acknowledged) = (Instant::now(), fleet.stats.acknowledged.get());
                    let per_s = (acknowledged - seen.1) as f64 / at.duration_since(seen.0).as_secs_f64().max(0.001);
                    seen = (at, acknowledged);
                    fleet.stats.line(started.elapsed(), per_s)
                });
                if let Some(recorder) = &fleet.recorder {
                    recorder.flush().context("writing the record")?;
                }
            }
        }
    }
    progress.finish();
    end.send_replace(true);
    let remaining = async {
        while let Some(ended) = tasks.join_next().await {
            finish_device(ended, fleet, state, sessions)?;
        }
        anyhow::Ok(())
    };
    match timeout(SHUTDOWN_TIMEOUT, remaining).await {
        Ok(outcome) => outcome?,
        Err(_) => fleet.stats.error("cut_off_at_end"),
    }
    Ok(())
}

fn finish_device(
    finished: Result<FinishedDevice, tokio::task::JoinError>,
    fleet: &Fleet,
    state: &mut StateFile,
    sessions: &mut HashMap<String, SessionToken>,
) -> Result<()> {
    let FinishedDevice { device_id, reason, session } = finished.context("a device's task has failed")?;
    match reason {
        EndReason::Stopped => {}
        EndReason::Deleted => {
            fleet.stats.deleted.add(1);
            return state.remove(&device_id, "deleted");
        }
        EndReason::Forgotten => {
            fleet.stats.forgotten.add(1);
            return state.remove(&device_id, "forgotten");
        }
    }
    sessions.extend(session.map(|session| (device_id, session)));
    Ok(())
}

impl FleetArgs {
    /// Number of simulated devices, without host agents.
    fn simulated(&self) -> Result<usize> {
        let (devices, jvm) = (self.target.devices, self.agents.agent.jvm);
        devices.checked_sub(jvm).with_context(|| format!("{jvm} of {devices} devices cannot be host agents: give more --devices"))
    }

    fn enroll_plan(&self) -> EnrollPlan {
        let devices = self.target.devices.saturating_sub(self.agents.agent.jvm);
        EnrollPlan { devices, push: self.push, ..self.target.enroll_plan(&self.alias_prefix, self.clock_off_share) }
    }

    fn settings(&self) -> Settings {
        Settings {
            interval: self.interval,
            seed: self.target.seed,
            timeout: self.target.timeout,
            queue_limit: self.queue_limit,
            retry_min: self.retry_min,
            retry_max: self.retry_max,
            duplicate_share: self.duplicate_share,
            late_share: self.late_share,
            roam_share: self.roam_share,
            clock_off_share: self.clock_off_share,
            unusable_share: self.unusable_share,
            clone_share: self.clone_share,
            rates: Rates { outages_per_hour: self.outages_per_hour, app_crashes_per_hour: self.app_crashes_per_hour, ..Rates::default() },
            model_speed: self.model_speed,
            commands: self.commands.clone(),
            answer_late: self.answer_late,
            ping_heartbeat_share: self.ping_heartbeat_share,
            push: self.push,
            deploy: self.deploy.clone(),
        }
    }
}

impl TargetArgs {
    pub(crate) fn enroll_plan(&self, alias_prefix: &str, clock_off_share: f64) -> EnrollPlan {
        EnrollPlan {
            devices: self.devices,
            alias_prefix: alias_prefix.to_owned(),
            tags: self.tags.clone(),
            groups: self.groups.clone(),
            concurrency: self.enroll_concurrency,
            seed: self.seed,
            clock_off_share,
            push: false,
        }
    }
}
