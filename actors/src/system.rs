//! Starts the actors and services in order, and stops them in the reverse one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use ractor::{Actor, ActorRef};
use secrecy::SecretBox;
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::agent_updates::{self, CheckCounters, Offers};
use crate::apk_library::{self, ApkLibrary};
use crate::crypto::{Bcrypt, TokenSigner};
use crate::deployment::reports::TaskReports;
use crate::deployment::{DeploymentContext, DeploymentManager, Gauges, ManagerMsg};
use crate::device::DeviceContext;
use crate::fleet_view::FleetView;
use crate::history::{self, RetentionPeriods};
use crate::housekeeping::{self, FailuresKept};
use crate::link::tls::LinkTls;
use crate::link::{LinkSettings, LinkStartError, Links};
use crate::local_node::ThisNode;
use crate::metrics::Metrics;
use crate::ownership::{ClusterView, Ownership};
use crate::partition;
use crate::placement::{
    ClusterOptions, JoinError, Membership, NotifyListener, PlacementActor, PlacementArguments, PlacementMsg, replication,
};
use crate::push::{PushSender, PushSetupError};
use crate::reconcile::Reconcilers;
use crate::router::{DeviceRouter, RouterParts};
use crate::rpc::call;
use crate::services::credential_cache::CredentialCache;
use crate::services::{
    AccountService, AgentBuildParts, AgentBuildService, AgentService, ApiTokenService, ApkService, AuditService, AuthService,
    ClusterService, CommandService, DeploymentService, DeviceService, EnrollmentService, FilterService, FlagService, HistoryService,
    People, PeopleParts,
};
use crate::settings::Settings;
use crate::sockets::SocketHub;
use crate::writers::{CommandWriter, EventWriter, HeartbeatWriters};
use crate::{ServiceError, clock};

/// How long a starting node tries to reach every other node before it serves without them.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the database may take to note that this node leaves.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long what reconcilers do at the end may take.
const RECONCILERS_STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The keys of the cluster.
pub struct Secrets {
    /// Device keys are derived from it.
    pub master_key: SecretBox<Vec<u8>>,
    /// Signs access and session tokens.
    pub jwt_key: SecretBox<Vec<u8>>,
}

/// What a node needs to take part in a cluster.
pub struct ClusterStart {
    /// How it takes part.
    pub options: ClusterOptions,
    /// Limits and deadlines of the link.
    pub link: LinkSettings,
    /// Where peers connect.
    pub listener: TcpListener,
    /// What it shows and checks on the link.
    pub tls: LinkTls,
    /// The database over connections of its own, so that a flood of heartbeats does not cost the lease.
    pub store: Store,
    /// How often the other nodes are asked what changed.
    pub feed_interval: Duration,
    /// How long the owner of a device is waited for.
    pub owner_wait: Duration,
}

/// Why a system does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A service or the database failed.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The node cannot join its cluster.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The link between nodes does not start.
    #[error(transparent)]
    Link(#[from] LinkStartError),
    /// Push is configured and does not start.
    #[error(transparent)]
    Push(#[from] PushSetupError),
    /// The store of APKs does not do.
    #[error(transparent)]
    Apks(#[from] domain::Invalid),
}

impl From<store::StoreError> for StartError {
    fn from(error: store::StoreError) -> Self {
        Self::Service(error.into())
    }
}

/// The running system of a node.
pub struct System {
    /// Sign-in, and who is behind a bearer token.
    pub auth: AuthService,
    /// Accounts and their sign-ins.
    pub accounts: AccountService,
    /// API tokens of scripts.
    pub api_tokens: ApiTokenService,
    /// Enrollment.
    pub enrollment: EnrollmentService,
    /// Devices, for people.
    pub devices: Arc<DeviceService>,
    /// What devices are told to do, for people.
    pub commands: Arc<CommandService>,
    /// APKs on their way to devices, for people.
    pub deployments: Arc<DeploymentService>,
    /// Features that are on or off.
    pub flags: FlagService,
    /// APKs and managed packages.
    pub apks: ApkService,
    /// What happened to devices, for people.
    pub history: HistoryService,
    /// Who did what to what.
    pub audit: AuditService,
    /// Builds of the agent, for people and devices.
    pub agent_builds: Arc<AgentBuildService>,
    /// Filters that people keep.
    pub filters: FilterService,
    /// Sessions and heartbeats of devices.
    pub agent: AgentService,
    /// Nodes and shards, for people.
    pub cluster: ClusterService,
    /// Finds device actors.
    pub router: DeviceRouter,
    store: Store,
    running: tokio::sync::Mutex<Running>,
}

struct Running {
    placement: Option<ActorRef<PlacementMsg>>,
    reconcilers: Arc<Reconcilers>,
    deployments: Option<ActorRef<ManagerMsg>>,
    membership: Arc<Membership>,
    links: Arc<Links>,
    writer_queues: HeartbeatWriters,
    writers: JoinSet<()>,
    tasks: JoinSet<()>,
    leaving: CancellationToken,
    stopping: CancellationToken,
}

impl System {
    /// Starts everything over a migrated database: partitions, writers, the link to other nodes,
    /// and the devices of the shards that this node gets.
    ///
    /// # Errors
    /// The database is unavailable, the node cannot join its cluster, or an actor did not start.
    pub async fn start(
        store: Store,
        settings: Settings,
        secrets: Secrets,
        cluster: ClusterStart,
        metrics: Metrics,
    ) -> Result<Arc<Self>, StartError> {
        let (mut tasks, mut writers, stopping) = (JoinSet::new(), JoinSet::new(), CancellationToken::new());
        let push = PushSender::start(&mut tasks, settings.fcm, settings.unified_push, &metrics)?;
        partition::ensure(&store, &metrics, clock::now()).await?;
        store.purge_cluster().await?;
        let view = FleetView::new(settings.device);
        tasks.spawn(Arc::clone(&view).keep_counting());
        let (ownership, sockets) = (Arc::new(Ownership::default()), Arc::new(SocketHub::default()));
        let reconcilers = Arc::new(Reconcilers::new(Arc::clone(&ownership), settings.reconcile, metrics.clone(), stopping.clone()));
        reconcilers.start(partition::reconciler(&store, &metrics, settings.partition_interval)).await?;
        let writer_queues = HeartbeatWriters::start(&mut writers, &store, &settings.heartbeat, &view, &ownership, &metrics);
        let command_writer = CommandWriter::start(&mut tasks, store.clone(), &metrics);
        let task_reports = TaskReports::start(&mut tasks, store.clone(), metrics.clone());
        let master_key = Arc::new(secrets.master_key);
        let library = ApkLibrary::open(settings.apks, &master_key)?;
        let context = Arc::new(DeviceContext {
            dispatch: settings.commands.dispatch,
            commands: command_writer.clone(),
            master_key: Arc::clone(&master_key),
            metrics: metrics.clone(),
            store: store.clone(),
            writers: writer_queues.clone(),
            events: EventWriter::start(&mut tasks, store.clone()),
            view: Arc::clone(&view),
            policy: settings.device,
            ownership: Arc::clone(&ownership),
            sockets: Arc::<SocketHub>::clone(&sockets),
            push,
        });

        let ClusterStart { options, link, listener, tls, store: cluster_store, feed_interval, owner_wait } = cluster;
        let name = options.node.clone();
        let membership = Membership::join(options, cluster_store.clone(), Arc::clone(&ownership), metrics.clone()).await?;
        let (cluster_view, watching) = watch::channel(ClusterView::unknown(membership.node()));
        let (directory, shards) = (Arc::new(DashMap::new()), Arc::new(DashMap::new()));
        let reconcile_pending = Arc::new(AtomicBool::new(false));
        let placement = PlacementArguments {
            membership: Arc::clone(&membership),
            ownership: Arc::clone(&ownership),
            cluster_store: cluster_store.clone(),
            store: store.clone(),
            directory: Arc::clone(&directory),
            shards: Arc::clone(&shards),
            context,
            view: cluster_view,
            metrics: metrics.clone(),
            reconcile_pending: Arc::clone(&reconcile_pending),
        };
        let placement = Actor::spawn(None, PlacementActor, placement).await.map_err(not_started)?.0;
        let leaving = CancellationToken::new();
        tasks.spawn(Arc::clone(&membership).keep_renewed(placement.clone(), leaving.clone()));

        let refresh = placement.clone();
        // A peer that was out of reach may have written for our devices.
        let on_up = Box::new(move || drop(refresh.cast(PlacementMsg::Refresh)));
        let links = Links::start(&name, listener, tls, link, watching.clone(), on_up, metrics.clone()).await?;
        sockets.connect(&links);
        let router = DeviceRouter::new(RouterParts {
            ownership: Arc::clone(&ownership),
            directory: Arc::clone(&directory),
            shards: Arc::clone(&shards),
            view: watching.clone(),
            links: Some(Arc::clone(&links)),
            writers: Some(writer_queues.clone()),
            store: store.clone(),
            name: name.as_str().into(),
            owner_wait,
            metrics: metrics.clone(),
        });
        links.open(Arc::new(ThisNode {
            router: router.clone(),
            ownership: Arc::clone(&ownership),
            sockets: Arc::clone(&sockets),
            fleet: Arc::clone(&view),
            metrics: metrics.clone(),
            reconcilers: Arc::clone(&reconcilers),
        }));
        tasks.spawn(Arc::clone(&sockets).keep_announced(router.clone(), watching.clone()));

        first_look(&placement).await?;
        let addresses = Arc::clone(&library);
        let deployments = Arc::new(DeploymentContext {
            store: store.clone(),
            view: Arc::clone(&view),
            ownership: Arc::clone(&ownership),
            router: router.clone(),
            settings: settings.deployments,
            download_url: Arc::new(move |apk, now| addresses.download_url(apk, now)),
            metrics: metrics.clone(),
            gauges: Gauges::default(),
        });
        let deployments = Actor::spawn(None, DeploymentManager, deployments).await.map_err(not_started)?.0;
        let wake = waking(placement.clone(), reconcile_pending);
        let credentials = Arc::new(CredentialCache::new(settings.auth.session_cache_ttl));
        let forgetful = Arc::clone(&credentials);
        let forget_people = Box::new(move || forgetful.forget());
        let driving = deployments.clone();
        let notifications = NotifyListener {
            store: cluster_store,
            directory,
            shards,
            forget_people,
            wake,
            // A manager that is stopping drives nothing any more.
            on_deployment: Box::new(move |id| drop(driving.cast(ManagerMsg::Changed(id)))),
        };
        tasks.spawn(notifications.keep_listening(stopping.clone()));
        let (caught_up, mut is_caught_up) = watch::channel(false);
        tasks.spawn(replication::replicate(
            Arc::clone(&view),
            Arc::clone(&links),
            watching.clone(),
            feed_interval,
            caught_up,
            stopping.clone(),
        ));
        let periods = RetentionPeriods {
            deleted_devices: settings.history.restore_within,
            events: settings.history.events_kept,
            hours: settings.history.hours_kept,
            commands: settings.commands.kept,
            idempotency_keys: settings.commands.keys_kept,
            deployments: settings.deployments.kept,
            update_counters: settings.agent_updates.counters_kept,
            update_outcomes: settings.agent_updates.outcomes_kept,
        };
        for reconciler in history::reconcilers(&store, &view, &is_caught_up, settings.device, settings.history.interval, periods)
            .into_iter()
            .chain(apk_library::retention::reconcilers(&store, &library, settings.history.interval))
        {
            reconcilers.start(reconciler).await?;
        }
        if tokio::time::timeout(CATCH_UP_TIMEOUT, is_caught_up.wait_for(|done| *done)).await.is_err() {
            tracing::warn!(
                event = "cluster.not_in_step",
                cause = "another node cannot be reached; its devices are shown as they become known"
            );
        }

        reconcilers.wake(history::AGENT_VERSION_SAMPLES);

        // Turns of their own, so that a flood of sign-ins does not hold up devices.
        let for_people = Bcrypt::new(settings.auth.bcrypt_concurrency, settings.auth.bcrypt_wait);
        let bcrypt = Bcrypt::new(settings.auth.bcrypt_concurrency, settings.auth.bcrypt_wait);
        let signer = Arc::new(TokenSigner::new(&secrets.jwt_key));
        let lockout = settings.auth.lockout;
        let kept =
            FailuresKept { age: chrono::TimeDelta::seconds(i64::from(lockout.forget_after_s)), names_max: settings.auth.lockout_names_max };
        for reconciler in housekeeping::reconcilers(&store, kept) {
            reconcilers.start(reconciler).await?;
        }
        let People { auth, accounts, api_tokens } = PeopleParts {
            store: store.clone(),
            signer: Arc::clone(&signer),
            bcrypt: for_people,
            settings: settings.auth.clone(),
            credentials,
            metrics: metrics.clone(),
        }
        .services();
        let commands = Arc::new(CommandService::new(
            store.clone(),
            router.clone(),
            Arc::clone(&view),
            settings.device,
            command_writer.clone(),
            settings.commands,
            settings.export_stall_timeout,
        ));
        let (offers, counters) = (
            Arc::new(Offers::new(settings.agent_updates.stale_after, metrics.agent_builds_halted.clone())),
            Arc::new(CheckCounters::default()),
        );
        // Known before the first device asks.
        offers.refresh(&store).await?;
        for reconciler in agent_updates::reconcilers(&store, &offers, &counters, &settings.agent_updates) {
            reconcilers.start(reconciler).await?;
        }
        let agent_builds = Arc::new(AgentBuildService::new(AgentBuildParts {
            store: store.clone(),
            router: router.clone(),
            view: Arc::clone(&view),
            commands: Arc::clone(&commands),
            offers,
            counters,
            library: Arc::clone(&library),
            settings: settings.agent_updates,
            metrics: metrics.clone(),
        }));
        Ok(Arc::new(Self {
            auth,
            accounts,
            api_tokens,
            agent_builds,
            enrollment: EnrollmentService::new(
                store.clone(),
                router.clone(),
                Arc::clone(&view),
                bcrypt.clone(),
                master_key,
                &settings.auth,
                settings.enrollment,
                settings.kit,
                metrics.clone(),
            ),
            devices: Arc::new(DeviceService::new(
                store.clone(),
                router.clone(),
                Arc::clone(&view),
                settings.device,
                settings.history.restore_within,
                settings.export_stall_timeout,
            )),
            commands,
            deployments: Arc::new(DeploymentService::new(
                store.clone(),
                router.clone(),
                Arc::clone(&view),
                settings.device,
                settings.deployments,
                settings.export_stall_timeout,
            )),
            flags: FlagService::new(store.clone()),
            apks: ApkService::new(store.clone(), library),
            history: HistoryService::new(store.clone(), view, settings.device),
            audit: AuditService::new(store.clone(), settings.export_stall_timeout),
            filters: FilterService::new(store.clone()),
            cluster: ClusterService::new(store.clone(), watching, Arc::clone(&links), ownership, name),
            agent: AgentService::new(
                store.clone(),
                router.clone(),
                command_writer,
                task_reports,
                sockets,
                Arc::clone(&membership),
                signer,
                bcrypt,
                settings.auth,
                settings.heartbeat,
                metrics,
            ),
            router,
            store,
            running: tokio::sync::Mutex::new(Running {
                placement: Some(placement),
                reconcilers,
                deployments: Some(deployments),
                membership,
                links,
                writer_queues,
                writers,
                tasks,
                leaving,
                stopping,
            }),
        }))
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Hands the shards over: from now on other nodes own the devices, and this one only passes
    /// on what still comes in. Answers whether it was done within `patience`.
    pub async fn hand_over(&self, patience: Duration) -> bool {
        let running = self.running.lock().await;
        let Some(placement) = running.placement.as_ref().filter(|_| !running.leaving.is_cancelled()) else { return true };
        // Nothing is decided here any more, and what was decided is committed.
        let left = tokio::time::timeout(patience, placement.call(PlacementMsg::Leave, None)).await;
        running.leaving.cancel();
        running.membership.leave(LEAVE_TIMEOUT).await;
        // It goes on to watch who owns what.
        let _ = placement.cast(PlacementMsg::Reconcile);
        left.is_ok()
    }

    /// Stops the actors and flushes the writers. Call it once intake is closed;
    /// what was accepted is finished. Answers whether all of it was within `patience`.
    pub async fn stop(&self, patience: Duration) -> bool {
        let handed_over = self.hand_over(patience).await;
        let mut running = self.running.lock().await;
        running.stopping.cancel();
        if let Some(placement) = running.placement.take() {
            placement.stop(None);
        }
        if let Some(deployments) = running.deployments.take() {
            deployments.stop(None);
        }
        running.reconcilers.stop(RECONCILERS_STOP_TIMEOUT).await;
        running.writer_queues.close();
        let drained = tokio::time::timeout(patience, async { while running.writers.join_next().await.is_some() {} }).await.is_ok();
        running.links.stop().await;
        running.writers.abort_all();
        running.tasks.abort_all();
        handed_over && drained
    }
}

fn not_started(cause: ractor::SpawnErr) -> ServiceError {
    tracing::error!(event = "actor.start_failed", %cause);
    ServiceError::Internal
}

/// Waits until this node runs the shards it can have right now.
async fn first_look(placement: &ActorRef<PlacementMsg>) -> Result<(), ServiceError> {
    for _ in 0..24 {
        if matches!(call(placement, PlacementMsg::ReconcileAndReply).await, Ok(true)) {
            return Ok(());
        }
    }
    Err(ServiceError::Unavailable)
}

/// Wakes placement; a look that is due already is not asked for again.
fn waking(placement: ActorRef<PlacementMsg>, pending: Arc<AtomicBool>) -> Arc<dyn Fn() + Send + Sync> {
    Arc::new(move || {
        if !pending.swap(true, Ordering::AcqRel) {
            // A placement that is stopping looks no more.
            let _ = placement.cast(PlacementMsg::Reconcile);
        }
    })
}
