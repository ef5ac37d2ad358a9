//! Starts the actors and services in order, and stops them in the reverse one.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use domain::shard::{SHARD_COUNT, ShardId, shard_of};
use ractor::{Actor, ActorRef};
use secrecy::SecretBox;
use store::{Store, StoredDevice};
use tokio::task::JoinSet;

use crate::crypto::{Bcrypt, TokenSigner};
use crate::device::DeviceContext;
use crate::fleet_view::FleetView;
use crate::heartbeat_writer::HeartbeatWriters;
use crate::metrics::Metrics;
use crate::partition::{self, PartitionActor, PartitionMsg};
use crate::router::{DeviceRouter, call};
use crate::services::{AgentService, AuthService, DeviceService, EnrollmentService};
use crate::settings::Settings;
use crate::shard::{ShardActor, ShardArguments, ShardMsg};
use crate::{ServiceError, clock};

/// Devices handed to a shard at a time while the fleet loads.
const ACTIVATION_CHUNK: usize = 64;
/// Sessions that ended longer ago than this are removed.
const SESSION_KEPT: chrono::TimeDelta = chrono::TimeDelta::days(30);

/// The keys of the cluster.
pub struct Secrets {
    /// Device keys are derived from it.
    pub master_key: SecretBox<Vec<u8>>,
    /// Signs access and session tokens.
    pub jwt_key: SecretBox<Vec<u8>>,
}

/// The running system of a node.
pub struct System {
    /// Sign-in and accounts.
    pub auth: AuthService,
    /// Enrollment.
    pub enrollment: EnrollmentService,
    /// Devices, for people.
    pub devices: DeviceService,
    /// Sessions and heartbeats of devices.
    pub agent: AgentService,
    /// Finds device actors.
    pub router: DeviceRouter,
    store: Store,
    running: tokio::sync::Mutex<Running>,
}

struct Running {
    shards: Vec<ActorRef<ShardMsg>>,
    partitions: Option<ActorRef<PartitionMsg>>,
    writers: JoinSet<()>,
    tasks: JoinSet<()>,
}

impl System {
    /// Starts everything over a migrated database: partitions, writers, shards,
    /// and every enrolled device.
    ///
    /// # Errors
    /// The database is unavailable, or an actor did not start.
    pub async fn start(store: Store, settings: Settings, secrets: Secrets, metrics: Metrics) -> Result<Arc<Self>, ServiceError> {
        partition::ensure(&store, &metrics).await?;
        store.purge_sessions(clock::now() - SESSION_KEPT).await?;
        let partitions =
            Actor::spawn(None, PartitionActor, (store.clone(), metrics.clone(), settings.partition_interval)).await.map_err(not_started)?.0;
        let view = FleetView::new(settings.device);
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&view).keep_counting());
        let mut writers = JoinSet::new();
        let context = Arc::new(DeviceContext {
            writers: HeartbeatWriters::start(&mut writers, &store, &settings.heartbeat, &view, &metrics),
            view: Arc::clone(&view),
            policy: settings.device,
        });
        let directory = Arc::new(DashMap::new());
        let mut shards = Vec::with_capacity(usize::from(SHARD_COUNT));
        for shard in ShardId::all() {
            let arguments = ShardArguments {
                shard,
                store: store.clone(),
                directory: Arc::clone(&directory),
                context: Arc::clone(&context),
                metrics: metrics.clone(),
            };
            shards.push(Actor::spawn(None, ShardActor, arguments).await.map_err(not_started)?.0);
        }
        load_fleet(&store, &shards).await?;

        let router = DeviceRouter::new(directory, shards.clone());
        // Turns of their own, so that a flood of sign-ins does not hold up devices.
        let for_people = Bcrypt::new(settings.auth.bcrypt_concurrency, settings.auth.bcrypt_wait);
        let bcrypt = Bcrypt::new(settings.auth.bcrypt_concurrency, settings.auth.bcrypt_wait);
        let signer = Arc::new(TokenSigner::new(&secrets.jwt_key));
        Ok(Arc::new(Self {
            auth: AuthService::new(store.clone(), Arc::clone(&signer), for_people, settings.auth.clone(), metrics.clone()),
            enrollment: EnrollmentService::new(
                store.clone(),
                router.clone(),
                Arc::clone(&view),
                bcrypt.clone(),
                Arc::new(secrets.master_key),
                &settings.auth,
                settings.enrollment,
                metrics.clone(),
            ),
            devices: DeviceService::new(store.clone(), router.clone(), view, settings.device),
            agent: AgentService::new(store.clone(), router.clone(), signer, bcrypt, settings.auth, settings.heartbeat, metrics),
            router,
            store,
            running: tokio::sync::Mutex::new(Running { shards, partitions: Some(partitions), writers, tasks }),
        }))
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Stops the actors and flushes the writers. Call it once intake is closed;
    /// what was accepted is finished. Answers whether all of it was within `patience`.
    pub async fn stop(&self, patience: Duration) -> bool {
        let mut running = self.running.lock().await;
        if let Some(partitions) = running.partitions.take() {
            partitions.stop(None);
        }
        // Draining finishes what is in the mailboxes; the last device drops the last
        // handle on the writers' queues, which ends the writers once they are empty.
        let shards = std::mem::take(&mut running.shards);
        let drained = tokio::time::timeout(patience, async {
            let mut draining = JoinSet::new();
            for shard in shards {
                draining.spawn(async move {
                    shard.drain_children_and_wait(None).await;
                    let _ = shard.stop_and_wait(None, None).await;
                });
            }
            while draining.join_next().await.is_some() {}
            while running.writers.join_next().await.is_some() {}
        })
        .await
        .is_ok();
        running.writers.abort_all();
        running.tasks.abort_all();
        drained
    }
}

fn not_started(cause: ractor::SpawnErr) -> ServiceError {
    tracing::error!(event = "actor.start_failed", %cause);
    ServiceError::Internal
}

/// Starts every device, one query for all of them.
async fn load_fleet(store: &Store, shards: &[ActorRef<ShardMsg>]) -> Result<(), ServiceError> {
    let mut chunks: Vec<Vec<StoredDevice>> = shards.iter().map(|_| Vec::new()).collect();
    let mut devices = 0u64;
    let hand_over = |shard: usize, chunk: Vec<StoredDevice>| {
        // A shard that just started does not stop before it is told to.
        let _ = shards[shard].cast(ShardMsg::Activate(chunk));
    };
    store
        .for_each_device(|device| {
            let shard = usize::from(shard_of(device.identity.id).0);
            chunks[shard].push(device);
            devices += 1;
            if chunks[shard].len() == ACTIVATION_CHUNK {
                hand_over(shard, std::mem::take(&mut chunks[shard]));
            }
        })
        .await?;
    chunks.into_iter().enumerate().for_each(|(shard, chunk)| hand_over(shard, chunk));
    for shard in shards {
        settled(shard).await?;
    }
    tracing::info!(event = "fleet.loaded", devices);
    Ok(())
}

/// Waits until a shard has started its devices, however many they are.
async fn settled(shard: &ActorRef<ShardMsg>) -> Result<(), ServiceError> {
    for _ in 0..24 {
        if call(shard, ShardMsg::Settled).await.is_ok() {
            return Ok(());
        }
    }
    Err(ServiceError::Unavailable)
}
