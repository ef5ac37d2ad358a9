//! Starts the actors and services in order, and stops them in the reverse one.

mod periodic;
mod runtime;
mod services;
mod start;

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use store::Store;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::deployment::ManagerMsg;
use crate::link::Links;
use crate::metrics::Metrics;
use crate::placement::{Membership, PlacementMsg};
use crate::reconcile::Reconcilers;
use crate::router::DeviceRouter;
use crate::services::{
    AccountService, AgentBuildService, AgentService, ApiTokenService, ApkService, AuditService, AuthService, ClusterService,
    CommandService, DeploymentService, DeviceService, EnrollmentService, FilterService, FlagService, HistoryService,
};
use crate::settings::Settings;
use crate::{history, partition};
use apk::ApkLibrary;
pub use start::{ClusterStart, Secrets, StartError};

/// How long the database may take to note that this node leaves.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the last runs of reconcilers may take.
const RECONCILERS_STOP_TIMEOUT: Duration = Duration::from_secs(2);

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

/// What [`System::stop`] ends.
struct Running {
    placement: Option<ActorRef<PlacementMsg>>,
    reconcilers: Arc<Reconcilers>,
    deployments: Option<ActorRef<ManagerMsg>>,
    membership: Arc<Membership>,
    links: Arc<Links>,
    writers_closing: CancellationToken,
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
        partition::ensure(&store, &metrics, clock::now()).await?;
        let library = ApkLibrary::open(settings.apks.clone(), &secrets.master_key)?;

        let mut core = runtime::Core::new(store, metrics, secrets.master_key, &settings);
        let writers = runtime::start_writers(&mut core, &settings)?;
        let members = runtime::join_cluster(&mut core, &writers, cluster, &settings).await?;
        let deployments = runtime::start_deployments(&core, &members, &library, &settings).await?;
        let credentials = runtime::listen_for_notifications(&mut core, &members, &deployments, &settings);
        let caught_up = runtime::replicate_fleet_view(&mut core, &members);
        let agent_builds = periodic::start_reconcilers(&core, &library, &caught_up, &settings).await?;
        runtime::wait_until_caught_up(caught_up).await;
        // A day may have ended while no node ran.
        core.reconcilers.wake(history::DEVICE_HOURS);

        Ok(services::assemble(core, writers, members, deployments, library, credentials, agent_builds, &secrets.jwt_key, settings))
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
        let reconciled = running.reconcilers.stop(RECONCILERS_STOP_TIMEOUT).await;
        running.writers_closing.cancel();
        let drained = tokio::time::timeout(patience, async { while running.writers.join_next().await.is_some() {} }).await.is_ok();
        running.links.stop().await;
        running.writers.abort_all();
        running.tasks.abort_all();
        handed_over && reconciled && drained
    }
}
