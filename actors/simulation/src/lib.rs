//! A simulated cluster: several nodes in one process, on virtual time, over a network in memory and a real database.
//!
//! ```text
//! seed -> schedule   deaths, stops, joins, partitions, slow, stalled and lost databases, wrong clocks that jump
//!         devices    heartbeats to whichever node they reach, until they are acknowledged
//!         nodes      actors::Runtime, complete but for TLS and the cluster library
//!         history -> invariants   P1, P4, P9, P11, P12
//! ```
//! The seed plans every fault before the run begins, and draws delays and jitter. PostgreSQL and hash maps keep an order
//! of their own among what happens at one moment, so a run repeats its faults exactly and its messages nearly.

#![allow(clippy::expect_used, reason = "only tests use this crate, and a simulation that cannot go on has failed")]

mod alerts;
mod cluster;
mod database;
mod device;
mod history;
mod invariants;
mod network;
mod node;
mod schedule;
mod settings;
mod time;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use cluster::Cluster;
use database::{SimulatedDatabase, Traffic};
use history::History;
pub use history::{Fault, FaultKind};

/// Nodes at the beginning; the last name joins later, if the seed wants it.
const NODES_AT_FIRST: usize = 3;
/// Devices.
const DEVICES: usize = 24;
/// Devices that are silent now and then.
const SLEEPERS: usize = 4;
/// Longest time in which the first nodes start; the first one makes the partitions.
const STARTS_MAX: Duration = Duration::from_secs(120);
/// Time between their start and the faults.
const SETTLES_FOR: Duration = Duration::from_secs(4);
/// Time after the faults, in which the cluster has to recover.
const RECOVERS_FOR: Duration = Duration::from_secs(20);

/// Time in which devices report that all is well, before alerts are judged.
const CALM_FOR: Duration = Duration::from_secs(9);

/// Outcome of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// Seed.
    pub seed: u64,
    /// Broken promises.
    pub violations: Vec<String>,
    /// Faults that happened.
    pub faults: Vec<Fault>,
    /// How often what happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// What happened, for a person.
    pub log: Vec<String>,
}

/// Runs a cluster through the faults of a seed, and judges it.
pub fn simulate(seed: u64) -> Report {
    let (traffic, history) = (Arc::new(Traffic::default()), History::new());
    let running = AssertUnwindSafe(|| time::run(seed, &traffic, run(seed, Arc::clone(&traffic), Arc::clone(&history))));
    match catch_unwind(running) {
        Ok(Ok(())) => {}
        Ok(Err(stuck)) => history.broken("simulation", stuck),
        Err(_) => history.broken("simulation", "the run panicked"),
    }
    let records = history.records();
    Report { seed, violations: records.violations, faults: records.faults, counts: records.counts, log: records.lines }
}

async fn run(seed: u64, traffic: Arc<Traffic>, history: Arc<History>) {
    let began_at = invariants::beginning();
    let database = SimulatedDatabase::new(Arc::clone(&traffic), began_at).await;
    let cluster = Cluster::new(database, history, seed, (DEVICES, SLEEPERS), began_at).await;
    alerts::set_up(&cluster).await;
    for name in &schedule::NAMES[..NODES_AT_FIRST] {
        cluster.start(name);
    }
    let watch = tokio::spawn(Arc::clone(&cluster).watch_owners());
    for (number, id) in (0..).zip(&cluster.devices) {
        tokio::spawn(device::run(Arc::clone(&cluster), *id, seed ^ number, began_at, false));
    }
    for (number, id) in (1_000..).zip(&cluster.sleepers) {
        tokio::spawn(device::run(Arc::clone(&cluster), *id, seed ^ number, began_at, true));
    }
    let started = async {
        while cluster.running().len() < NODES_AT_FIRST {
            sleep(Duration::from_millis(50)).await;
        }
    };
    if timeout(STARTS_MAX, started).await.is_err() {
        let outstanding = traffic.outstanding().await;
        return cluster.history.broken("simulation", format!("the first nodes do not start: {outstanding}"));
    }
    sleep(SETTLES_FOR).await;
    schedule::run(&cluster, seed).await;
    let healed_ms = cluster.history.now_ms();
    sleep(RECOVERS_FOR).await;
    cluster.calm_devices();
    sleep(CALM_FOR).await;
    cluster.stop_devices();
    watch.abort();
    invariants::judge(&cluster, healed_ms + u64::try_from((RECOVERS_FOR / 2).as_millis()).unwrap_or(0)).await;
    for node in cluster.living() {
        cluster.kill(&node);
    }
}
