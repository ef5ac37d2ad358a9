//! The simulated cluster: nodes, devices, and the faults that happen to them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use domain::shard::{Epoch, ShardId};
use domain::{DeviceId, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::database::{PathState, SimulatedDatabase};
use crate::history::History;
use crate::network::MemoryNetwork;
use crate::node::{Node, NodeStart, ProcessNumber};
use crate::settings::MACHINE_OFF_S;

/// Time between two looks at who acts for which shard.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);
/// Most that the clock of a running node may be off: half of the round trip to a slow database, and what the next correction has to do.
const CLOCK_OFF_MAX: TimeDelta = TimeDelta::milliseconds(1_500);
/// Time before a node that could not start is started again.
const RESTART_DELAY: Duration = Duration::from_millis(700);

/// The cluster.
pub(crate) struct Cluster {
    /// Database.
    pub(crate) database: SimulatedDatabase,
    /// Network.
    pub(crate) network: MemoryNetwork,
    /// What happens.
    pub(crate) history: Arc<History>,
    /// Devices.
    pub(crate) devices: Vec<DeviceId>,
    /// Devices that are silent now and then.
    pub(crate) sleepers: Vec<DeviceId>,
    began_at: Timestamp,
    began: Instant,
    seed: u64,
    /// Every start of a node, in their order.
    starts: Mutex<Vec<Arc<Node>>>,
    /// The process of each node that has one: a second one would not get the lock of the node's data folder.
    processes: Mutex<HashMap<String, ProcessNumber>>,
    process_count: AtomicU64,
    /// What the way of every node to the database is like while the database is away.
    outage: Mutex<Option<PathState>>,
    devices_go_on: AtomicBool,
    devices_are_well: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    /// A cluster of enrolled devices without a node.
    pub(crate) async fn new(
        database: SimulatedDatabase,
        history: Arc<History>,
        seed: u64,
        (devices, sleepers): (usize, usize),
        began_at: Timestamp,
    ) -> Arc<Self> {
        let mut chance = StdRng::seed_from_u64(seed);
        let devices: Vec<_> = (0..devices).map(|_| DeviceId(Uuid::from_u128(chance.random()))).collect();
        let network = MemoryNetwork::new(chance.random());
        let sleepers: Vec<_> = (0..sleepers).map(|_| DeviceId(Uuid::from_u128(chance.random()))).collect();
        for (number, device) in devices.iter().chain(&sleepers).enumerate() {
            let enrolled_at = began_at.to_rfc3339();
            let insert = format!(
                "INSERT INTO public.device (device_id, alias, enrolled_at, changed_at)
                 VALUES ('{}', 'device-{number}', '{enrolled_at}', '{enrolled_at}')",
                device.0
            );
            database.execute(&insert).await;
        }
        Arc::new(Self {
            network,
            history,
            devices,
            sleepers,
            database,
            began_at,
            began: Instant::now(),
            seed,
            starts: Mutex::default(),
            processes: Mutex::default(),
            process_count: AtomicU64::new(0),
            outage: Mutex::default(),
            devices_go_on: AtomicBool::new(true),
            devices_are_well: AtomicBool::new(false),
        })
    }

    /// When the run began, by the clock of the database.
    pub(crate) fn began_at(&self) -> Timestamp {
        self.began_at
    }

    /// The true time.
    pub(crate) fn now(&self) -> Timestamp {
        self.began_at + TimeDelta::from_std(self.began.elapsed()).unwrap_or_default()
    }

    /// Whether devices still send.
    pub(crate) fn devices_go_on(&self) -> bool {
        self.devices_go_on.load(Ordering::Acquire)
    }

    /// Whether devices report that all is well, without a pause.
    pub(crate) fn devices_are_well(&self) -> bool {
        self.devices_are_well.load(Ordering::Acquire)
    }

    /// Lets devices report that all is well from now on.
    pub(crate) fn calm_devices(&self) {
        self.devices_are_well.store(true, Ordering::Release);
    }

    /// Lets devices send no more.
    pub(crate) fn stop_devices(&self) {
        self.devices_go_on.store(false, Ordering::Release);
    }

    /// Every start of a node.
    pub(crate) fn starts(&self) -> Vec<Arc<Node>> {
        lock(&self.starts).clone()
    }

    /// Nodes that devices can reach, in the order of their starts.
    pub(crate) fn running(&self) -> Vec<Arc<Node>> {
        lock(&self.starts).iter().filter(|node| node.running().is_some()).cloned().collect()
    }

    /// Nodes that live or are starting.
    pub(crate) fn living(&self) -> Vec<Arc<Node>> {
        lock(&self.starts).iter().filter(|node| !node.gone.is_cancelled()).cloned().collect()
    }

    /// Starts the process of a node, which tries until the node runs; whether it had none.
    pub(crate) fn start(self: &Arc<Self>, name: &str) -> bool {
        let process = self.process_count.fetch_add(1, Ordering::Relaxed);
        if lock(&self.processes).contains_key(name) {
            return false;
        }
        lock(&self.processes).insert(name.to_owned(), process);
        let (cluster, name) = (Arc::clone(self), name.to_owned());
        tokio::spawn(async move {
            while lock(&cluster.processes).get(&name) == Some(&process) {
                let node = cluster.new_start(&name, process);
                cluster.history.log(format!("{} starts", node.url));
                match node.start(&cluster.database.folder().join(&name)).await {
                    Ok(()) => return cluster.history.log(format!("{} runs", node.url)),
                    Err(cause) => cluster.history.log(format!("{} does not start: {cause}", node.url)),
                }
                node.kill(&cluster.network);
                sleep(RESTART_DELAY).await;
            }
        });
        true
    }

    fn new_start(&self, name: &str, process: ProcessNumber) -> Arc<Node> {
        let mut starts = lock(&self.starts);
        let number = starts.len();
        // The same start draws the same, whatever else has happened.
        let seed = StdRng::seed_from_u64(self.seed.wrapping_add(number as u64)).random();
        // Machines show what they like.
        let off = TimeDelta::seconds(StdRng::seed_from_u64(seed).random_range(-MACHINE_OFF_S..MACHINE_OFF_S));
        let node = Node::new(&NodeStart { name, process, number, seed, now: self.now() + off }, &self.database, &self.network);
        if let Some(outage) = *lock(&self.outage) {
            node.path(outage);
        }
        starts.push(Arc::clone(&node));
        node
    }

    /// A process has ended: the node may be started again.
    fn ended(&self, node: &Node) {
        let mut processes = lock(&self.processes);
        if processes.get(&node.name) == Some(&node.process) {
            processes.remove(&node.name);
        }
    }

    /// Changes for a while how nodes reach the database, unless it is away for all; whatever is said later holds.
    pub(crate) fn path(&self, nodes: &[Arc<Node>], path: PathState, lasts: Duration) {
        if lock(&self.outage).is_some() {
            return;
        }
        for node in nodes {
            let (node, said) = (Arc::clone(node), node.path(path));
            tokio::spawn(async move {
                sleep(lasts).await;
                node.end_path_change(said);
            });
        }
    }

    /// Begins or ends an outage of the database.
    pub(crate) fn outage(&self, outage: Option<PathState>) {
        *lock(&self.outage) = outage;
        for node in self.living() {
            node.path(outage.unwrap_or(PathState::Up(0)));
        }
    }

    /// Whether the database is away for all.
    pub(crate) fn is_out(&self) -> bool {
        lock(&self.outage).is_some()
    }

    /// Kills a node.
    pub(crate) fn kill(&self, node: &Arc<Node>) {
        node.kill(&self.network);
        self.ended(node);
    }

    /// Stops a node in order.
    pub(crate) async fn stop(&self, node: &Arc<Node>) {
        node.stop(&self.network).await;
        self.ended(node);
        self.history.log(format!("{} has stopped", node.url));
    }

    /// Nodes that act for a shard at this moment.
    pub(crate) fn acting(&self, shard: ShardId) -> Vec<(String, Epoch)> {
        let acts = |node: &Arc<Node>| Some((node.url.clone(), node.running()?.ownership.acting(shard)?));
        lock(&self.starts).iter().filter_map(acts).collect()
    }

    /// Compares the clock of every running node with the true time.
    fn compare_clocks(&self) {
        for node in self.running() {
            let off = node.handle().now() - self.now();
            if off.abs() > CLOCK_OFF_MAX {
                self.history.broken("clock", format!("{} decides by a clock that is off by {} ms", node.url, off.num_milliseconds()));
            }
            self.history.count("clocks compared", 1);
        }
    }

    /// Watches that at most one node acts for each shard.
    pub(crate) async fn watch_owners(self: Arc<Self>) {
        loop {
            for shard in ShardId::all() {
                let acting = self.acting(shard);
                if acting.len() > 1 {
                    self.history.broken("P4", format!("several nodes act for shard {}: {acting:?}", shard.0));
                }
            }
            self.history.count("checks of ownership", 1);
            self.compare_clocks();
            sleep(WATCH_INTERVAL).await;
        }
    }
}
