//! Replication of the fleet view: pulls the changes of every other node.
//!
//! Pulling needs no list of subscribers and no resending: a reader that missed something asks for
//! what came after the last number it has, and one that starts asks from the beginning.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use domain::shard::{Epoch, ShardId};
use domain::{DeviceId, NodeId};
use link::Links;
use link::cluster_view::ClusterView;
use link::messages::{Changes, ChangesRequest};
use store::Store;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::fleet_view::FleetView;

/// Progress of the replication from one peer.
#[derive(Default)]
struct Progress {
    wanted: Option<ChangesRequest>,
    /// First reading of the log, until what it lacks is explained.
    first_reading: Option<FirstReading>,
    enrollment_revision: Option<u64>,
}

/// First reading of a peer's log.
#[derive(Default)]
struct FirstReading {
    /// Devices that were received.
    listed: HashSet<DeviceId>,
    /// How often the store was asked for devices that are lacking.
    asked: u32,
}

/// Devices that the store is asked for at a time.
const MISSING_MAX: usize = 1_000;
/// How often it is asked: a peer that has just started lists its devices as it loads them.
const ASKED_MAX: u32 = 120;

/// Pulls from every live peer at an interval, until `stopping`. `caught_up` becomes true once the log of
/// every peer was read to its end.
pub async fn replicate(
    fleet: Arc<FleetView>,
    store: Store,
    links: Arc<Links>,
    view: watch::Receiver<ClusterView>,
    interval: Duration,
    caught_up: watch::Sender<bool>,
    stopping: CancellationToken,
) {
    let mut progress: HashMap<NodeId, Progress> = HashMap::new();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stopping.cancelled() => return,
        }
        let peers: Vec<NodeId> = view.borrow().peers().map(|peer| peer.id).collect();
        progress.retain(|node, _| {
            let lives = peers.contains(node);
            if !lives {
                fleet.rate_of(*node, None);
            }
            lives
        });
        let reading = peers.into_iter().map(|node| {
            let mut progress = progress.remove(&node).unwrap_or_default();
            let (fleet, store, links, view) = (&fleet, &store, &links, &view);
            async move {
                let whole = catch_up(fleet, links, node, &mut progress).await;
                if whole && let Some(reading) = progress.first_reading.take() {
                    let cluster = view.borrow().clone();
                    progress.first_reading = remove_deleted(fleet, store, &cluster, node, reading).await;
                }
                (node, progress, whole)
            }
        });
        let mut all = true;
        for (node, state, whole) in futures_util::future::join_all(reading).await {
            all &= whole;
            progress.insert(node, state);
        }
        if all {
            caught_up.send_if_modified(|done| !std::mem::replace(done, true));
        }
    }
}

/// Reads the change log of a peer to its end; false when the peer is unreachable.
async fn catch_up(fleet: &FleetView, links: &Links, node: NodeId, progress: &mut Progress) -> bool {
    loop {
        let wanted = progress.wanted.unwrap_or(ChangesRequest { log: 0, after: 0 });
        let Ok(changes) = links.changes(node, wanted).await else {
            fleet.rate_of(node, None);
            return false;
        };
        let Changes { log, last, more, changes, heartbeats_per_second, enrollment_revision } = changes;
        if log != wanted.log {
            progress.first_reading = Some(FirstReading::default());
        }
        if let Some(reading) = &mut progress.first_reading {
            reading.listed.extend(changes.iter().map(|change| change.device));
        }
        fleet.take_over(changes);
        fleet.rate_of(node, Some(heartbeats_per_second));
        if progress.enrollment_revision.replace(enrollment_revision).is_some_and(|before| before != enrollment_revision) {
            fleet.enrollment_changed_elsewhere();
        }
        progress.wanted = Some(ChangesRequest { log, after: last });
        if !more {
            return true;
        }
    }
}

/// Takes out of view what a peer's log lacks because it was deleted while its change was missed. What it lacks because the peer has
/// not loaded it yet stays in view: then the reading is answered, to be looked at again.
async fn remove_deleted(
    fleet: &FleetView,
    store: &Store,
    view: &ClusterView,
    node: NodeId,
    mut reading: FirstReading,
) -> Option<FirstReading> {
    let (shards, epochs) = owned_by(node, view);
    let epoch_of = |shard| epochs.get(&shard).copied().unwrap_or(Epoch(0));
    let missing = fleet.missing_from(&shards, epoch_of, |id| reading.listed.contains(&id), MISSING_MAX);
    if missing.is_empty() {
        return None;
    }
    reading.asked += 1;
    if let Ok(stored) = store.devices_by_id(&missing).await {
        let there: HashSet<DeviceId> =
            stored.iter().filter(|device| device.deleted_at.is_none()).map(|device| device.identity.id).collect();
        let deleted: Vec<DeviceId> = missing.into_iter().filter(|id| !there.contains(id)).collect();
        fleet.remove_deleted(&deleted);
    }
    (reading.asked < ASKED_MAX).then_some(reading)
}

fn owned_by(node: NodeId, view: &ClusterView) -> (HashSet<ShardId>, HashMap<ShardId, Epoch>) {
    let epochs: HashMap<ShardId, Epoch> = ShardId::all()
        .map(|shard| (shard, view.shard(shard)))
        .filter(|(_, shard_owner)| shard_owner.owner == Some(node))
        .map(|(shard, shard_owner)| (shard, shard_owner.epoch))
        .collect();
    (epochs.keys().copied().collect(), epochs)
}
