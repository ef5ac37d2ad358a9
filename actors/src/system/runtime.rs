//! Builders of the runtime, in the order in which it starts: writers, cluster, deployments, notifications, replication.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use apk::ApkLibrary;
use apk::signed_url::LinkHolder;
use clock::Clock;
use dashmap::DashMap;
use link::cluster_view::ClusterView;
use link::{ClusterNetwork, Links, Network};
use notify::Notifier;
use push::PushSender;
use ractor::{Actor, ActorRef};
use secrecy::SecretBox;
use store::Store;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::start::{ClusterStart, NetworkStart, StartError};
use crate::agent_updates::Offers;
use crate::alert::{ALERT_RULES, AlertRules, Coordinator, CoordinatorContext, CoordinatorMsg};
use crate::deployment::reports::TaskReports;
use crate::deployment::{DeploymentContext, DeploymentManager, Gauges, ManagerMsg};
use crate::device::DeviceContext;
use crate::fleet_view::FleetView;
use crate::local_node::ThisNode;
use crate::metrics::Metrics;
use crate::ownership::Ownership;
use crate::placement::{Membership, NotifyListener, PlacementActor, PlacementArguments, PlacementMsg, replication};
use crate::reconcile::Reconcilers;
use crate::router::{DeviceRouter, RouterParts};
use crate::rpc::call;
use crate::settings::Settings;
use crate::sockets::SocketHub;
use crate::writers::{AlertWriter, CommandWriter, EventWriter, HeartbeatWriters};

/// How long a starting node tries to reach every other node before it serves without them.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval at which the view is compared with the store.
const COMPLETENESS_CHECK: Duration = Duration::from_millis(500);
/// Attempts to get the shards that this node can have.
const FIRST_RECONCILES_MAX: usize = 24;

/// State that every subsystem shares, and the tasks of all of them.
pub(super) struct Core {
    pub(super) clock: Clock,
    pub(super) store: Store,
    pub(super) metrics: Metrics,
    pub(super) master_key: Arc<SecretBox<Vec<u8>>>,
    pub(super) view: Arc<FleetView>,
    pub(super) ownership: Arc<Ownership>,
    pub(super) sockets: Arc<SocketHub>,
    pub(super) rules: Arc<AlertRules>,
    pub(super) offers: Arc<Offers>,
    pub(super) reconcilers: Arc<Reconcilers>,
    pub(super) tasks: JoinSet<()>,
    pub(super) stopping: CancellationToken,
}

impl Core {
    pub(super) fn new(clock: Clock, store: Store, metrics: Metrics, master_key: SecretBox<Vec<u8>>, settings: &Settings) -> Self {
        let (mut tasks, stopping) = (JoinSet::new(), CancellationToken::new());
        let view = FleetView::new(settings.device, clock.clone());
        tasks.spawn(Arc::clone(&view).keep_counting());
        let ownership = Arc::new(Ownership::new(clock.clone()));
        let reconcilers = Reconcilers::new(
            clock.clone(),
            Arc::clone(&ownership),
            Arc::new(store.clone()),
            settings.reconcile,
            metrics.clone(),
            stopping.clone(),
        );
        Self {
            rules: AlertRules::new(store.clone(), settings.alerts.clone()),
            offers: Arc::new(Offers::new(clock.clone(), settings.agent_updates.clone(), metrics.agent_builds_halted.clone())),
            store,
            metrics,
            master_key: Arc::new(master_key),
            view,
            ownership,
            sockets: Arc::new(SocketHub::new(clock.clone())),
            clock,
            reconcilers: Arc::new(reconcilers),
            tasks,
            stopping,
        }
    }
}

/// Bounded queues in front of the database, and push.
pub(super) struct Writers {
    pub(super) heartbeats: HeartbeatWriters,
    pub(super) commands: CommandWriter,
    events: EventWriter,
    pub(super) alerts: AlertWriter,
    pub(super) task_reports: TaskReports,
    pub(super) push: PushSender,
    pub(super) notifier: Notifier,
    /// They end once what was queued is written.
    pub(super) tasks: JoinSet<()>,
    /// Cancelled when they take nothing more.
    pub(super) closing: CancellationToken,
}

/// Starts the writers, push, and the sender of messages to people.
pub(super) fn start_writers(core: &mut Core, settings: &Settings) -> Result<Writers, StartError> {
    let (mut tasks, closing) = (JoinSet::new(), CancellationToken::new());
    let notifier = Notifier::new(settings.notify.clone(), &core.master_key, core.clock.clone(), core.metrics.notify.clone())?;
    notify::start(&notifier, &mut tasks, core.store.clone(), closing.clone());
    let push = PushSender::start(&mut core.tasks, &core.clock, settings.fcm.clone(), settings.unified_push.clone(), &core.metrics.push)?;
    let heartbeats =
        HeartbeatWriters::start(&mut tasks, &core.store, &settings.heartbeat, &core.view, &core.ownership, &closing, &core.metrics);
    let commands = CommandWriter::start(&mut tasks, core.store.clone(), &closing, &core.metrics);
    let events = EventWriter::start(&mut tasks, core.store.clone(), &closing, &core.metrics);
    let alerts = AlertWriter::start(&mut tasks, core.store.clone(), core.clock.clone(), &closing, &core.metrics);
    let task_reports = TaskReports::start(&mut tasks, core.store.clone(), &closing, &core.metrics);
    Ok(Writers { heartbeats, commands, events, alerts, task_reports, push, notifier, tasks, closing })
}

/// This node's part in the cluster: its membership, its shards, its links to the other nodes.
pub(super) struct Members {
    pub(super) name: String,
    pub(super) membership: Arc<Membership>,
    pub(super) placement: ActorRef<PlacementMsg>,
    pub(super) links: Arc<Links>,
    pub(super) router: DeviceRouter,
    pub(super) view: watch::Receiver<ClusterView>,
    /// Cancelled once this node leaves the cluster.
    pub(super) leaving: CancellationToken,
    pub(super) parts: PlacementParts,
    replication_interval: Duration,
}

/// State that placement shares with the listener for notifications.
pub(super) struct PlacementParts {
    cluster_store: Store,
    pub(super) directory: crate::shard::Directory,
    shards: crate::shard::ShardTable,
    reconcile_pending: Arc<AtomicBool>,
}

/// Joins the cluster, links to the other nodes, and waits until the shards that this node can have are active.
pub(super) async fn join_cluster(
    core: &mut Core,
    writers: &Writers,
    cluster: ClusterStart,
    settings: &Settings,
) -> Result<Members, StartError> {
    let ClusterStart { options, link, network, store: cluster_store, feed_interval, owner_wait } = cluster;
    let name = options.node.clone();
    let (ownership, clock) = (Arc::clone(&core.ownership), core.clock.clone());
    let membership = Membership::join(options, cluster_store.clone(), ownership, clock, core.metrics.clone()).await?;
    let (publish_view, view) = watch::channel(ClusterView::unknown(membership.node()));
    let parts = PlacementParts {
        cluster_store,
        directory: Arc::new(DashMap::new()),
        shards: Arc::new(DashMap::new()),
        reconcile_pending: Arc::new(AtomicBool::new(false)),
    };
    let arguments = PlacementArguments {
        membership: Arc::clone(&membership),
        ownership: Arc::clone(&core.ownership),
        cluster_store: parts.cluster_store.clone(),
        store: core.store.clone(),
        directory: Arc::clone(&parts.directory),
        shards: Arc::clone(&parts.shards),
        context: device_context(core, writers, settings),
        view: publish_view,
        metrics: core.metrics.clone(),
        reconcile_pending: Arc::clone(&parts.reconcile_pending),
    };
    let placement = Actor::spawn(None, PlacementActor, arguments).await?.0;
    let leaving = CancellationToken::new();
    core.tasks.spawn(Arc::clone(&membership).keep_renewed(placement.clone(), leaving.clone()));

    let refresh = placement.clone();
    // A peer that was out of reach may have written for our devices.
    let on_up = Box::new(move || drop(refresh.cast(PlacementMsg::Refresh)));
    let network: Arc<dyn Network> = match network {
        NetworkStart::Tls { listener, tls } => {
            let (metrics, pools) = (core.metrics.link.clone(), &core.metrics.pools);
            Arc::new(ClusterNetwork::start(&name, listener, tls, link.clone(), &core.clock, metrics, pools).await?)
        }
        NetworkStart::Running(network) => network,
    };
    let links = Links::start(&name, network, link, view.clone(), core.clock.clone(), on_up, core.metrics.link.clone()).await?;
    core.sockets.connect(&links);
    let router = DeviceRouter::new(RouterParts {
        ownership: Arc::clone(&core.ownership),
        directory: Arc::clone(&parts.directory),
        shards: Arc::clone(&parts.shards),
        view: view.clone(),
        links: Some(Arc::clone(&links)),
        writers: Some(writers.heartbeats.clone()),
        store: core.store.clone(),
        name: name.as_str().into(),
        owner_wait,
        metrics: core.metrics.clone(),
    });
    links.open(Arc::new(ThisNode {
        router: router.clone(),
        ownership: Arc::clone(&core.ownership),
        sockets: Arc::clone(&core.sockets),
        fleet: Arc::clone(&core.view),
        metrics: core.metrics.clone(),
        reconcilers: Arc::clone(&core.reconcilers),
        store: core.store.clone(),
    }));
    core.tasks.spawn(Arc::clone(&core.sockets).keep_announced(router.clone(), view.clone()));
    first_reconcile(&placement).await?;
    Ok(Members { name, membership, placement, links, router, view, leaving, parts, replication_interval: feed_interval })
}

/// State that all device actors of this node share.
fn device_context(core: &Core, writers: &Writers, settings: &Settings) -> Arc<DeviceContext> {
    Arc::new(DeviceContext {
        clock: core.clock.clone(),
        dispatch: settings.dispatch,
        legacy_push: settings.legacy_push,
        commands: writers.commands.clone(),
        master_key: Arc::clone(&core.master_key),
        metrics: core.metrics.clone(),
        store: core.store.clone(),
        writers: writers.heartbeats.clone(),
        events: writers.events.clone(),
        alerts: writers.alerts.clone(),
        rules: Arc::clone(&core.rules),
        offers: Arc::clone(&core.offers),
        view: Arc::clone(&core.view),
        policy: settings.device,
        ownership: Arc::clone(&core.ownership),
        sockets: Arc::<SocketHub>::clone(&core.sockets),
        push: writers.push.clone(),
    })
}

/// Starts what drives the deployments of this node's shards.
pub(super) async fn start_deployments(
    core: &Core,
    members: &Members,
    library: &Arc<ApkLibrary>,
    settings: &Settings,
) -> Result<ActorRef<ManagerMsg>, StartError> {
    let addresses = Arc::clone(library);
    let context = Arc::new(DeploymentContext {
        clock: core.clock.clone(),
        store: core.store.clone(),
        view: Arc::clone(&core.view),
        ownership: Arc::clone(&core.ownership),
        router: members.router.clone(),
        settings: settings.deployments,
        download_url: Arc::new(move |apk, device, now| addresses.download_url(apk, Some(LinkHolder::Task(device)), now)),
        metrics: core.metrics.clone(),
        gauges: Gauges::default(),
    });
    Ok(Actor::spawn(None, DeploymentManager, context).await?.0)
}

/// Starts what decides about notifications while this node owns their shard.
pub(super) async fn start_coordinator(core: &Core, settings: &Settings) -> Result<ActorRef<CoordinatorMsg>, StartError> {
    let context = Arc::new(CoordinatorContext {
        clock: core.clock.clone(),
        store: core.store.clone(),
        ownership: Arc::clone(&core.ownership),
        settings: settings.alerts.notification,
        metrics: core.metrics.clone(),
    });
    Ok(Actor::spawn(None, Coordinator, context).await?.0)
}

/// Listens to the notifications of the other nodes.
pub(super) fn listen_for_notifications(
    core: &mut Core,
    members: &Members,
    deployments: &ActorRef<ManagerMsg>,
    coordinator: &ActorRef<CoordinatorMsg>,
    notifier: &Notifier,
    forget_people: Box<dyn Fn() + Send + Sync>,
) {
    let (manager, coordinator, reconcilers) = (deployments.clone(), coordinator.clone(), Arc::clone(&core.reconcilers));
    let notifier = notifier.clone();
    let on_alert = move |rules: bool| {
        notifier.wake();
        // A coordinator that is stopping decides nothing any more.
        let _ = coordinator.cast(CoordinatorMsg::Wake);
        if rules {
            reconcilers.wake(ALERT_RULES);
        }
    };
    let listener = NotifyListener {
        clock: core.clock.clone(),
        store: members.parts.cluster_store.clone(),
        directory: Arc::clone(&members.parts.directory),
        shards: Arc::clone(&members.parts.shards),
        forget_people,
        wake: waking(members.placement.clone(), Arc::clone(&members.parts.reconcile_pending)),
        // A manager that is stopping drives nothing any more.
        on_deployment: Box::new(move |id| drop(manager.cast(ManagerMsg::Changed(id)))),
        on_alert: Box::new(on_alert),
    };
    core.tasks.spawn(listener.keep_listening(core.stopping.clone()));
}

/// Pulls the changes of the other nodes' devices. Answers whether the view has all of them.
pub(super) fn replicate_fleet_view(core: &mut Core, members: &Members) -> watch::Receiver<bool> {
    let (publish, caught_up) = watch::channel(false);
    core.tasks.spawn(replication::replicate(
        Arc::clone(&core.view),
        core.store.clone(),
        Arc::clone(&members.links),
        members.view.clone(),
        members.replication_interval,
        publish,
        core.stopping.clone(),
    ));
    caught_up
}

/// Compares the view with the store until it has every device once.
pub(super) fn watch_completeness(core: &mut Core) {
    let (view, store, stopping) = (Arc::clone(&core.view), core.store.clone(), core.stopping.clone());
    core.tasks.spawn(async move {
        while !view.is_complete() {
            if let Ok(devices) = store.device_count().await {
                view.note_stored(devices);
            }
            tokio::select! {
                () = tokio::time::sleep(COMPLETENESS_CHECK) => {}
                () = stopping.cancelled() => return,
            }
        }
    });
}

/// Waits until the view has the devices of all nodes, for a while.
pub(super) async fn wait_until_caught_up(mut caught_up: watch::Receiver<bool>) {
    if tokio::time::timeout(CATCH_UP_TIMEOUT, caught_up.wait_for(|done| *done)).await.is_err() {
        tracing::warn!(
            event = "cluster.not_caught_up",
            cause = "another node cannot be reached; its devices are shown as they become known"
        );
    }
}

/// Waits until this node runs the shards it can have right now.
async fn first_reconcile(placement: &ActorRef<PlacementMsg>) -> Result<(), StartError> {
    let mut last = String::new();
    for _ in 0..FIRST_RECONCILES_MAX {
        match call(placement, PlacementMsg::ReconcileAndReply).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(cause)) => last = cause,
            Err(unanswered) => last = unanswered.to_string(),
        }
    }
    Err(StartError::Placement(last))
}

/// Wakes placement; a reconcile that is pending already is not asked for again.
fn waking(placement: ActorRef<PlacementMsg>, pending: Arc<AtomicBool>) -> Arc<dyn Fn() + Send + Sync> {
    Arc::new(move || {
        if !pending.swap(true, Ordering::AcqRel) {
            // A placement that is stopping reconciles no more.
            let _ = placement.cast(PlacementMsg::Reconcile);
        }
    })
}
