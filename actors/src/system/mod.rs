//! Starts the actors in order, and stops them in the reverse one.

mod periodic;
mod runtime;
mod start;

use std::sync::Arc;
use std::time::Duration;

use apk::ApkLibrary;
use archive::Archives;
use clock::Clock;
use link::Links;
use link::cluster_view::ClusterView;
use ractor::ActorRef;
use secrecy::SecretBox;
use store::Store;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::agent_updates::{CheckCounters, Offers};
use crate::alert::{AlertRules, CoordinatorMsg};
use crate::deployment::ManagerMsg;
use crate::deployment::reports::TaskReports;
use crate::fleet_view::FleetView;
use crate::metrics::Metrics;
use crate::ownership::Ownership;
use crate::placement::{Membership, PlacementMsg};
use crate::reconcile::Reconcilers;
use crate::router::DeviceRouter;
use crate::settings::Settings;
use crate::sockets::SocketHub;
use crate::writers::CommandWriter;
use crate::{database_time, history, partition};
pub use start::{ClusterStart, NetworkStart, Secrets, StartError};

/// How long the database may take to note that this node leaves.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the last runs of reconcilers may take.
const RECONCILERS_STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The running actors of a node, and what services call.
pub struct Runtime {
    /// Clock of the node.
    pub clock: Clock,
    /// The database.
    pub store: Store,
    /// Name of this node.
    pub name: String,
    /// Device keys are derived from it.
    pub master_key: Arc<SecretBox<Vec<u8>>>,
    /// Finds device actors.
    pub router: DeviceRouter,
    /// Newest view of every device of the cluster.
    pub view: Arc<FleetView>,
    /// Shards and lease of this node.
    pub ownership: Arc<Ownership>,
    /// This node in the table of nodes.
    pub membership: Arc<Membership>,
    /// Nodes and shards, as last read.
    pub cluster_view: watch::Receiver<ClusterView>,
    /// The links to other nodes.
    pub links: Arc<Links>,
    /// Agent sockets of this node.
    pub sockets: Arc<SocketHub>,
    /// Writes what devices report of commands.
    pub commands: CommandWriter,
    /// Writes what devices report of deployments.
    pub task_reports: TaskReports,
    /// Sends messages to people, and keeps the secrets of channels.
    pub notifier: notify::Notifier,
    /// The APK library.
    pub library: Arc<ApkLibrary>,
    /// The archives of history.
    pub archives: Archives,
    /// The manager of daily partitions.
    pub partitions: Arc<partition::Manager>,
    /// Settings of the rules of alerts.
    pub alerts: Arc<AlertRules>,
    /// Builds of the agent that are offered.
    pub offers: Arc<Offers>,
    /// Checks for updates of the agent, counted.
    pub check_counters: Arc<CheckCounters>,
    running: tokio::sync::Mutex<Running>,
}

/// Parts that [`Runtime::stop`] ends.
struct Running {
    placement: Option<ActorRef<PlacementMsg>>,
    reconcilers: Arc<Reconcilers>,
    deployments: Option<ActorRef<ManagerMsg>>,
    coordinator: Option<ActorRef<CoordinatorMsg>>,
    membership: Arc<Membership>,
    links: Arc<Links>,
    writers_closing: CancellationToken,
    writers: JoinSet<()>,
    tasks: JoinSet<()>,
    leaving: CancellationToken,
    stopping: CancellationToken,
}

impl Runtime {
    /// Starts everything over a migrated database: partitions, writers, the link to other nodes,
    /// and the devices of the shards that this node gets. `forget_people` is called whenever accounts or API tokens
    /// may have changed, on any node.
    ///
    /// # Errors
    /// The database is unavailable, the node cannot join its cluster, or an actor did not start.
    pub async fn start(
        store: Store,
        settings: &Settings,
        master_key: SecretBox<Vec<u8>>,
        cluster: ClusterStart,
        forget_people: Box<dyn Fn() + Send + Sync>,
        metrics: Metrics,
        clock: Clock,
    ) -> Result<Self, StartError> {
        database_time::correct(&store, &clock).await?;
        partition::ensure(&store, &metrics, clock.now()).await?;
        let library = ApkLibrary::open(settings.apks.clone(), &master_key, &metrics.pools)?;
        let archives = Archives::open(settings.archive.clone())?;
        let manager = partition::Manager::new(store.clone(), archives.clone(), settings.partition_manager(), Some(metrics.clone()));
        let partitions = Arc::new(manager);

        let mut core = runtime::Core::new(clock, store, metrics, master_key, settings);
        // Known before the first device is judged.
        core.rules.reread().await?;
        let writers = runtime::start_writers(&mut core, settings)?;
        let members = runtime::join_cluster(&mut core, &writers, cluster, settings).await?;
        let deployments = runtime::start_deployments(&core, &members, &library, settings).await?;
        let coordinator = runtime::start_coordinator(&core, settings).await?;
        runtime::listen_for_notifications(&mut core, &members, &deployments, &coordinator, &writers.notifier, forget_people);
        let caught_up = runtime::replicate_fleet_view(&mut core, &members);
        runtime::watch_completeness(&mut core);
        let check_counters =
            periodic::start_reconcilers(&mut core, &writers, &members, &library, &partitions, &caught_up, settings).await?;
        runtime::wait_until_caught_up(caught_up).await;
        // A day may have ended while no node ran.
        core.reconcilers.wake(history::DEVICE_HOURS);
        core.reconcilers.wake(partition::PARTITIONS);

        let runtime::Core { clock, store, metrics: _, master_key, view, ownership, sockets, rules, offers, reconcilers, tasks, stopping } =
            core;
        let runtime::Members { name, membership, placement, links, router, view: cluster_view, leaving, .. } = members;
        let runtime::Writers { commands, task_reports, notifier, tasks: writers, closing: writers_closing, .. } = writers;
        Ok(Self {
            clock,
            store,
            name,
            master_key,
            router,
            view,
            ownership,
            membership: Arc::clone(&membership),
            cluster_view,
            links: Arc::clone(&links),
            sockets,
            commands,
            task_reports,
            notifier,
            library,
            archives,
            partitions,
            alerts: rules,
            offers,
            check_counters,
            running: tokio::sync::Mutex::new(Running {
                placement: Some(placement),
                reconcilers,
                deployments: Some(deployments),
                coordinator: Some(coordinator),
                membership,
                links,
                writers_closing,
                writers,
                tasks,
                leaving,
                stopping,
            }),
        })
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
        // Placement goes on to watch who owns what.
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
        if let Some(coordinator) = running.coordinator.take() {
            coordinator.stop(None);
        }
        let reconciled = running.reconcilers.stop(RECONCILERS_STOP_TIMEOUT).await;
        running.writers_closing.cancel();
        let drained = tokio::time::timeout(patience, async { while running.writers.join_next().await.is_some() {} }).await.is_ok();
        running.links.stop().await;
        running.writers.abort_all();
        running.tasks.abort_all();
        handed_over && reconciled && drained
    }
}
