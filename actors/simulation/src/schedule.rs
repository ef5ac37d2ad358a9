//! The faults of a run: planned from its seed before it begins, so that a seed plans the same ones each time.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep, sleep_until};

use crate::cluster::Cluster;
use crate::database::PathState;
use crate::history::FaultKind;
use crate::node::Node;
use crate::settings::MACHINE_OFF_S;

/// Names of the nodes.
pub(crate) const NAMES: [&str; 4] = ["node-1", "node-2", "node-3", "node-4"];
/// Time in which faults happen, ms.
const FAULTS_FOR_MS: u64 = 30_000;
/// The first fault of a seed, one after the other, and how long it lasts, ms: each alone, and for so long that leases run out.
const OPENINGS: [(FaultKind, u64); 4] =
    [(FaultKind::Death, 14_000), (FaultKind::DatabaseCut, 9_000), (FaultKind::DatabaseStall, 8_000), (FaultKind::DatabaseDown, 7_000)];
/// When the first fault begins, and when others may follow, ms.
const OPENING_MS: (u64, u64) = (1_000, 14_000);
/// Longest time between the beginnings of two faults, ms; each seed has its own.
const PAUSE_MAX_MS: Range<u64> = 2_000..12_000;
/// Delay that counts as slow, ms each way.
const SLOW_MS: Range<u64> = 50..600;
/// Slowness before a stall, ms.
const BEFORE_STALL_MS: u64 = 500;
/// Time that a node without its database needs to be taken for dead, and longer, ms.
const STALL_MS: Range<u64> = 5_200..8_000;
/// Time that a stop may take, ms.
const STOP_MS: u64 = 3_000;

/// A planned fault.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PlannedFault {
    at_ms: u64,
    kind: FaultKind,
    /// Its node, if that runs then; else the next by name that does.
    node: usize,
    /// How far the second node is from the first, for a partition.
    distance: usize,
    /// How long it lasts, or its node stays away.
    lasts_ms: u64,
    /// Delay of messages.
    slow_ms: u64,
    /// Jump of a clock.
    jump_s: i64,
    /// Whether it is the more usual variant: a partition of both directions, a lost database rather than a stalled one.
    usual: bool,
    /// Whether a slow database is slow for all nodes.
    for_all: bool,
}

/// Plans the faults of a seed.
fn plan(seed: u64) -> Vec<PlannedFault> {
    let mut chance = StdRng::seed_from_u64(seed);
    let pause_max_ms = chance.random_range(PAUSE_MAX_MS);
    let opening = OPENINGS[(seed % OPENINGS.len() as u64) as usize];
    let mut planned = vec![planned_fault(&mut chance, OPENING_MS.0, opening.0)];
    planned[0].lasts_ms = opening.1;
    let mut at_ms = OPENING_MS.1;
    loop {
        at_ms += chance.random_range(500..=pause_max_ms);
        if at_ms >= FAULTS_FOR_MS {
            return planned;
        }
        let kind = FaultKind::ALL[chance.random_range(0..FaultKind::ALL.len())];
        planned.push(planned_fault(&mut chance, at_ms, kind));
    }
}

fn planned_fault(chance: &mut StdRng, at_ms: u64, kind: FaultKind) -> PlannedFault {
    let lasts_ms = match kind {
        FaultKind::Death => 500..9_000,
        FaultKind::Stop | FaultKind::SlowStore => 500..6_000,
        FaultKind::Partition | FaultKind::DatabaseCut => 500..8_000,
        FaultKind::DatabaseStall => STALL_MS,
        FaultKind::DatabaseDown => 300..5_000,
        FaultKind::Join | FaultKind::ClockJump => 0..1,
    };
    PlannedFault {
        at_ms,
        kind,
        node: chance.random_range(0..NAMES.len()),
        distance: chance.random_range(1..NAMES.len()),
        lasts_ms: chance.random_range(lasts_ms).min(FAULTS_FOR_MS - at_ms),
        slow_ms: chance.random_range(SLOW_MS),
        jump_s: chance.random_range(-MACHINE_OFF_S..MACHINE_OFF_S),
        usual: chance.random_bool(0.7),
        for_all: chance.random_bool(0.5),
    }
}

/// Lets the faults of a seed happen; all of them are over when this returns.
pub(crate) async fn run(cluster: &Arc<Cluster>, seed: u64) {
    let began = Instant::now();
    for fault in plan(seed) {
        sleep_until(began + Duration::from_millis(fault.at_ms)).await;
        inject(cluster, &fault);
    }
    sleep_until(began + Duration::from_millis(FAULTS_FOR_MS)).await;
    heal(cluster);
}

/// Ends every fault, and starts every node.
fn heal(cluster: &Arc<Cluster>) {
    cluster.history.log("faults are over");
    cluster.outage(None);
    for node in cluster.living() {
        for other in cluster.living() {
            cluster.network.heal(node.host, other.host);
        }
    }
    for name in NAMES {
        if cluster.start(name) {
            cluster.history.fault(FaultKind::Join, name, 0);
        }
    }
}

/// The running node of this name, or the next one that runs.
fn node_from(running: &[Arc<Node>], name: usize) -> Option<Arc<Node>> {
    let names = (0..NAMES.len()).map(|further| NAMES[(name + further) % NAMES.len()]);
    names.filter_map(|name| running.iter().find(|node| node.name == name)).next().cloned()
}

fn inject(cluster: &Arc<Cluster>, fault: &PlannedFault) {
    let running = cluster.running();
    let Some(node) = node_from(&running, fault.node) else { return };
    let others: Vec<_> = running.iter().filter(|other| other.host != node.host).cloned().collect();
    let (kind, lasts_ms) = (fault.kind, fault.lasts_ms);
    let lasts = Duration::from_millis(lasts_ms);
    match kind {
        // Somebody is left to take over.
        FaultKind::Death if !others.is_empty() => {
            cluster.history.fault(kind, &node.url, 0);
            cluster.kill(&node);
            restart_later(cluster, node.name.clone(), lasts);
        }
        FaultKind::Stop if !others.is_empty() => {
            cluster.history.fault(kind, &node.url, STOP_MS);
            let stopping = Arc::clone(cluster);
            tokio::spawn(async move {
                stopping.stop(&node).await;
                restart_later(&stopping, node.name.clone(), lasts);
            });
        }
        FaultKind::Join => {
            let missing = NAMES.iter().find(|name| !cluster.living().iter().any(|node| node.name == **name));
            if let Some(name) = missing.filter(|name| cluster.start(name)) {
                cluster.history.fault(kind, name, 0);
            }
        }
        FaultKind::Partition => {
            let Some(other) = node_from(&others, (fault.node + fault.distance) % NAMES.len()) else { return };
            let which = if fault.usual { "and" } else { "to" };
            cluster.history.fault(kind, &format!("{} {which} {}", node.url, other.url), lasts_ms);
            cluster.network.cut(node.host, other.host);
            if fault.usual {
                cluster.network.cut(other.host, node.host);
            }
            let healing = Arc::clone(cluster);
            tokio::spawn(async move {
                sleep(lasts).await;
                healing.network.heal(node.host, other.host);
                healing.network.heal(other.host, node.host);
            });
        }
        FaultKind::DatabaseCut if !cluster.is_out() => {
            cluster.history.fault(kind, &node.url, lasts_ms);
            cluster.path(&[node], PathState::Down, lasts);
        }
        FaultKind::DatabaseStall if !cluster.is_out() => {
            cluster.history.fault(kind, &node.url, BEFORE_STALL_MS + lasts_ms);
            // What is on its way when the stall begins arrives when others may have taken over.
            node.path(PathState::Up(BEFORE_STALL_MS));
            let stalling = Arc::clone(cluster);
            tokio::spawn(async move {
                sleep(Duration::from_millis(BEFORE_STALL_MS)).await;
                stalling.path(&[node], PathState::Stalled, lasts);
            });
        }
        FaultKind::DatabaseDown if !cluster.is_out() => {
            cluster.history.fault(kind, if fault.usual { "down" } else { "stalled" }, lasts_ms);
            cluster.outage(Some(if fault.usual { PathState::Down } else { PathState::Stalled }));
            let ending = Arc::clone(cluster);
            tokio::spawn(async move {
                sleep(lasts).await;
                ending.outage(None);
            });
        }
        FaultKind::SlowStore if !cluster.is_out() => {
            let nodes = if fault.for_all { cluster.living() } else { vec![node] };
            cluster.history.fault(kind, &format!("{} nodes by {} ms", nodes.len(), fault.slow_ms), lasts_ms);
            cluster.path(&nodes, PathState::Up(fault.slow_ms), lasts);
        }
        FaultKind::ClockJump => {
            cluster.history.fault(kind, &format!("{} by {} s", node.url, fault.jump_s), 0);
            node.clock.jump(TimeDelta::seconds(fault.jump_s));
        }
        FaultKind::Death
        | FaultKind::Stop
        | FaultKind::DatabaseCut
        | FaultKind::DatabaseStall
        | FaultKind::DatabaseDown
        | FaultKind::SlowStore => {
            cluster.history.log(format!("no {kind:?} now"));
        }
    }
}

fn restart_later(cluster: &Arc<Cluster>, name: String, away: Duration) {
    let cluster = Arc::clone(cluster);
    tokio::spawn(async move {
        sleep(away).await;
        if cluster.start(&name) {
            cluster.history.fault(FaultKind::Join, &name, 0);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_plans_the_same_faults_each_time_and_another_seed_others() {
        for seed in 1..=100 {
            assert_eq!(plan(seed), plan(seed));
            assert_ne!(plan(seed), plan(seed + 1));
            assert!(plan(seed).iter().all(|fault| fault.at_ms + fault.lasts_ms <= FAULTS_FOR_MS), "all faults end");
        }
    }

    #[test]
    fn thirty_seeds_plan_every_kind_of_fault() {
        let planned: BTreeSet<FaultKind> = (1..=30).flat_map(plan).map(|fault| fault.kind).collect();
        assert_eq!(planned, BTreeSet::from(FaultKind::ALL));
    }
}
