//! One start of a simulated node, from its join to its death.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actors::Runtime;
use actors::metrics::Metrics;
use clock::{Clock, SimulatedClock};
use link::Network;
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::database::{DatabaseProxy, PathState, SimulatedDatabase};
use crate::network::{Host, MemoryNetwork};
use crate::settings;
use domain::Timestamp;

/// Connections of a node to the database, and for its lease and placement.
const CONNECTIONS: (u32, u32) = (6, 3);
/// Time that an orderly stop may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Number of a process: it tries to start a node until that runs.
pub(crate) type ProcessNumber = u64;

/// What a start of a node is given.
pub(crate) struct NodeStart<'a> {
    /// Name.
    pub(crate) name: &'a str,
    /// Process.
    pub(crate) process: ProcessNumber,
    /// Number among all starts.
    pub(crate) number: usize,
    /// Seed of its randomness.
    pub(crate) seed: u64,
    /// Time now, by the wall clock of its machine.
    pub(crate) now: Timestamp,
}

/// One start of a node.
pub(crate) struct Node {
    /// Name, the same at each start.
    pub(crate) name: String,
    /// Process that it runs in.
    pub(crate) process: ProcessNumber,
    /// URL, another one at each start.
    pub(crate) url: String,
    /// Its place on the network.
    pub(crate) host: Host,
    /// Its clock.
    pub(crate) clock: Arc<SimulatedClock>,
    /// Its way to the database.
    pub(crate) proxy: DatabaseProxy,
    /// Cancelled once it has died or stopped.
    pub(crate) gone: CancellationToken,
    network: Arc<dyn Network>,
    stores: (Store, Store),
    runtime: OnceLock<Runtime>,
    handle: Clock,
}

impl Node {
    /// Prepares the start of a node.
    pub(crate) fn new(start: &NodeStart<'_>, database: &SimulatedDatabase, network: &MemoryNetwork) -> Arc<Self> {
        let NodeStart { name, process, number, seed, now } = *start;
        let proxy = database.proxy(&format!("{name}.{number}"), seed);
        let (host, network) = network.attach(name);
        let clock = SimulatedClock::new(now);
        Arc::new(Self {
            name: name.to_owned(),
            process,
            url: format!("http://{name}.{number}"),
            host,
            handle: clock.clock(seed),
            clock,
            stores: (settings::store(proxy.url(), CONNECTIONS.0), settings::store(proxy.url(), CONNECTIONS.1)),
            proxy,
            gone: CancellationToken::new(),
            network,
            runtime: OnceLock::new(),
        })
    }

    /// Starts it.
    ///
    /// # Errors
    /// It cannot join right now; then it is of no use any more.
    pub(crate) async fn start(&self, folder: &std::path::Path) -> Result<(), String> {
        let metrics = Metrics::register(&prometheus::Registry::new()).map_err(|cause| cause.to_string())?;
        let cluster = settings::cluster(&self.name, &self.url, self.stores.1.clone(), Arc::clone(&self.network));
        let (store, settings, clock) = (self.stores.0.clone(), settings::settings(folder), self.handle.clone());
        let starting = Runtime::start(store, &settings, settings::master_key(), cluster, Box::new(|| {}), metrics, clock);
        let runtime = tokio::select! {
            started = Box::pin(starting) => started.map_err(|cause| cause.to_string())?,
            () = self.gone.cancelled() => return Err("died".into()),
        };
        let _ = self.runtime.set(runtime);
        Ok(())
    }

    /// Its actors, once they run and as long as the node lives.
    pub(crate) fn running(&self) -> Option<&Runtime> {
        self.runtime.get().filter(|_| !self.gone.is_cancelled())
    }

    /// Clock of the node.
    pub(crate) fn handle(&self) -> &Clock {
        &self.handle
    }

    /// Kills it: from this moment on nothing of what it does reaches anybody.
    pub(crate) fn kill(self: &Arc<Self>, network: &MemoryNetwork) {
        self.gone.cancel();
        self.proxy.close();
        network.detach(self.host);
        self.clean_up();
    }

    /// Stops it in order.
    pub(crate) async fn stop(self: &Arc<Self>, network: &MemoryNetwork) {
        if let Some(runtime) = self.running() {
            runtime.hand_over(STOP_TIMEOUT).await;
        }
        self.gone.cancel();
        if let Some(runtime) = self.runtime.get() {
            runtime.stop(STOP_TIMEOUT).await;
        }
        network.detach(self.host);
        self.proxy.close();
        self.clean_up();
    }

    /// Ends the tasks of a node that nobody sees any more.
    fn clean_up(self: &Arc<Self>) {
        let node = Arc::clone(self);
        tokio::spawn(async move {
            if let Some(runtime) = node.runtime.get() {
                runtime.stop(Duration::from_millis(100)).await;
            }
            tokio::join!(node.stores.0.close(), node.stores.1.close());
        });
    }

    /// Changes how it reaches the database; the number of the change.
    pub(crate) fn path(&self, path: PathState) -> u64 {
        self.proxy.set(path)
    }

    /// Ends a change, unless there was another one since.
    pub(crate) fn end_path_change(&self, change: u64) {
        self.proxy.end(change);
    }
}
