//! The fleet view: the newest view of every device, for dashboards, lists and counts.
//!
//! Device actors publish into it; readers sample it. A revision number tells
//! whether anything changed, so that a reader that looks four times a second
//! costs the writers nothing.
//!
//! It shows the whole cluster: devices of other nodes come from those nodes' change logs
//! ([`crate::placement::replication`]). Every view names the epoch of its shard it was said in, and an older
//! epoch never replaces a newer one, so a deposed owner's words change nothing.

mod change_log;
#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clock::{Clock, Moment};
use dashmap::DashMap;
use domain::device::{AppStatus, ClockLag, Connectivity, DevicePolicy, DeviceView};
use domain::distribution::{Counter, Distributions};
use domain::name::Skeleton;
use domain::query::{DeviceFilter, Sort};
use domain::shard::{Epoch, ShardId, shard_of};
use domain::{DeviceId, NodeId};
use tokio::sync::watch;

use change_log::ChangeLog;
use link::messages::{Change, Changes, ChangesRequest};

/// How often counts are made anew.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
/// Seconds over which the heartbeat rate is averaged.
const RATE_WINDOW_S: usize = 5;

/// Counts over the fleet.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FleetStats {
    /// Enrolled devices.
    pub devices: u64,
    /// Heard from within the limit.
    pub online: u64,
    /// Heard from before, not within the limit.
    pub offline: u64,
    /// No heartbeat yet.
    pub never_seen: u64,
    /// Online with a battery below the limit.
    pub low_battery: u64,
    /// Online with the monitored app down.
    pub app_down: u64,
    /// Devices whose identity is in conflict.
    pub identity_conflicts: u64,
    /// Heartbeats stored per second, over the last seconds.
    pub heartbeats_per_second: f64,
    /// Every device was in view; before, right after a start, the others count only those that are known so far.
    pub complete: bool,
}

/// A device as it is shown.
struct FleetEntry {
    view: DeviceView,
    /// Lag of its clock, as far as this node saw its heartbeats.
    clock_lag: Option<ClockLag>,
    epoch: Epoch,
    /// This node's own device said so.
    own: bool,
}

/// Lag of a device's clock with this view after the one that is shown.
fn clock_lag(shown: Option<&FleetEntry>, view: &DeviceView) -> Option<ClockLag> {
    let before = shown.and_then(|shown| Some((shown.view.last.as_deref()?, shown.clock_lag)));
    ClockLag::after(before, view.last.as_deref()?)
}

/// The newest view of every device of the cluster.
pub struct FleetView {
    clock: Clock,
    devices: DashMap<DeviceId, FleetEntry>,
    /// Change log of the devices of this node.
    log: Mutex<ChangeLog>,
    own_devices: AtomicU64,
    own_rate_bits: AtomicU64,
    /// Heartbeats per second that the others told.
    rates: DashMap<NodeId, f64>,
    revision: AtomicU64,
    enrollment_revision: AtomicU64,
    own_enrollment_revision: AtomicU64,
    heartbeats_stored: AtomicU64,
    complete: AtomicBool,
    stats: watch::Sender<FleetStats>,
    /// Distributions of the fleet, and when they were counted.
    distributions: Mutex<Option<(Moment, Arc<Distributions>)>>,
    policy: DevicePolicy,
}

impl FleetView {
    /// An empty fleet, judged by `policy`.
    pub fn new(policy: DevicePolicy, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            devices: DashMap::new(),
            log: Mutex::new(ChangeLog::new(clock.randomness().number())),
            own_devices: AtomicU64::new(0),
            own_rate_bits: AtomicU64::new(0),
            rates: DashMap::new(),
            revision: AtomicU64::new(0),
            enrollment_revision: AtomicU64::new(0),
            own_enrollment_revision: AtomicU64::new(0),
            heartbeats_stored: AtomicU64::new(0),
            complete: AtomicBool::new(false),
            stats: watch::Sender::new(FleetStats::default()),
            distributions: Mutex::new(None),
            policy,
            clock,
        })
    }

    fn log(&self) -> MutexGuard<'_, ChangeLog> {
        // Every step leaves the log whole, so a poisoned lock guards good data.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the newest view of a device of this node.
    pub fn publish(&self, view: DeviceView, epoch: Epoch) {
        let id = view.identity.id;
        let clock_lag = match self.devices.get(&id) {
            Some(shown) if shown.epoch > epoch => return,
            shown => clock_lag(shown.as_deref(), &view),
        };
        self.devices.insert(id, FleetEntry { view, clock_lag, epoch, own: true });
        self.log().note(id, epoch);
        self.changed();
    }

    /// At most `limit` aliases of other devices that are easily mistaken for this one, in their order.
    pub fn look_alikes(&self, alias: &str, own: Option<DeviceId>, limit: usize) -> Vec<String> {
        let skeleton = Skeleton::of(alias);
        let others = self.devices.iter().filter(|shown| Some(*shown.key()) != own);
        let mut found: Vec<String> =
            others.filter(|shown| skeleton.looks_like(&shown.view.identity.alias)).map(|shown| shown.view.identity.alias.clone()).collect();
        found.sort_unstable();
        found.truncate(limit);
        found
    }

    /// Withdraws a deleted device of this node from the view.
    pub fn withdraw(&self, id: DeviceId, epoch: Epoch) {
        self.devices.remove_if(&id, |_, shown| shown.epoch <= epoch);
        self.log().note_gone(id, epoch);
        self.changed();
    }

    /// This node owns these shards no more: their devices stay in view as they are, until the new
    /// owner tells more of them.
    pub(crate) fn handed_over(&self, shards: &HashSet<ShardId>) {
        let mut own: Vec<DeviceId> = Vec::new();
        for mut shown in self.devices.iter_mut() {
            if shown.own && shards.contains(&shard_of(*shown.key())) {
                shown.own = false;
                own.push(*shown.key());
            }
        }
        let mut log = self.log();
        own.into_iter().for_each(|id| log.forget(id));
    }

    /// Devices of these shards that are in view, not said in a newer epoch, and not among `known`; at most `most`.
    pub(crate) fn missing_from(
        &self,
        shards: &HashSet<ShardId>,
        epoch_of: impl Fn(ShardId) -> Epoch,
        known: impl Fn(DeviceId) -> bool,
        most: usize,
    ) -> Vec<DeviceId> {
        let is_missing = |id: DeviceId, epoch: Epoch| {
            let shard = shard_of(id);
            shards.contains(&shard) && epoch <= epoch_of(shard) && !known(id)
        };
        self.devices.iter().filter(|shown| is_missing(*shown.key(), shown.epoch)).map(|shown| *shown.key()).take(most).collect()
    }

    /// Takes devices out of view that were deleted, as the store says.
    pub(crate) fn remove_deleted(&self, deleted: &[DeviceId]) {
        deleted.iter().for_each(|id| drop(self.devices.remove(id)));
        if !deleted.is_empty() {
            self.changed();
        }
    }

    /// Takes devices of a shard out of view that are not among `known`, unless they were said in a
    /// newer epoch. Returns which.
    pub(crate) fn keep_only(
        &self,
        shards: &HashSet<ShardId>,
        epoch_of: impl Fn(ShardId) -> Epoch,
        known: impl Fn(DeviceId) -> bool,
    ) -> Vec<DeviceId> {
        let mut gone = Vec::new();
        self.devices.retain(|id, shown| {
            let shard = shard_of(*id);
            let keep = !shards.contains(&shard) || shown.epoch > epoch_of(shard) || known(*id);
            if !keep {
                gone.push(*id);
            }
            keep
        });
        if !gone.is_empty() {
            self.changed();
        }
        gone
    }

    /// Applies the changes of another node to its devices.
    pub(crate) fn take_over(&self, changes: Vec<Change>) {
        let any = !changes.is_empty();
        for Change { device, epoch, view } in changes {
            match view {
                Some(view) => {
                    let clock_lag = match self.devices.get(&device) {
                        Some(shown) if shown.epoch > epoch || (shown.own && shown.epoch == epoch) => continue,
                        shown => clock_lag(shown.as_deref(), &view),
                    };
                    self.devices.insert(device, FleetEntry { view, clock_lag, epoch, own: false });
                }
                None => drop(self.devices.remove_if(&device, |_, shown| shown.epoch <= epoch)),
            }
        }
        if any {
            self.changed();
        }
    }

    /// Changes of the devices of this node, of at most `limit` devices.
    pub(crate) fn changes(&self, wanted: ChangesRequest, limit: usize) -> Changes {
        let (log, ids, more) = {
            let log = self.log();
            let after = if wanted.log == log.id() { wanted.after } else { 0 };
            let (ids, more) = log.after(after, limit);
            (log.id(), ids, more)
        };
        let last = ids.last().map_or(if wanted.log == log { wanted.after } else { 0 }, |entry| entry.number);
        let changes = ids
            .into_iter()
            .map(|entry| {
                let view = self.devices.get(&entry.device).filter(|shown| shown.own).map(|shown| shown.view.clone());
                Change { device: entry.device, epoch: entry.epoch, view: if entry.gone { None } else { view } }
            })
            // One that moved away in this moment is told by its new owner.
            .filter(|change| change.view.is_some() || self.log().is_gone(change.device))
            .collect();
        Changes {
            log,
            last,
            more,
            changes,
            heartbeats_per_second: self.own_rate(),
            enrollment_revision: self.own_enrollment_revision.load(Ordering::Acquire),
        }
    }

    /// Remembers how many heartbeats per second another node stores; `None` once it is gone.
    pub(crate) fn rate_of(&self, node: NodeId, rate: Option<f64>) {
        match rate {
            Some(rate) => drop(self.rates.insert(node, rate)),
            None => drop(self.rates.remove(&node)),
        }
    }

    /// Devices that this node owns.
    pub fn own_devices(&self) -> u64 {
        self.own_devices.load(Ordering::Relaxed)
    }

    /// Heartbeats that this node stored per second, lately.
    pub fn own_rate(&self) -> f64 {
        f64::from_bits(self.own_rate_bits.load(Ordering::Relaxed))
    }

    fn changed(&self) {
        self.revision.fetch_add(1, Ordering::Release);
    }

    /// Counts stored heartbeats, for the rate.
    pub fn count_stored(&self, heartbeats: u64) {
        self.heartbeats_stored.fetch_add(heartbeats, Ordering::Relaxed);
    }

    /// Notifies readers, here and on other nodes, that enrollment tokens were created, used or revoked here.
    pub fn enrollment_changed(&self) {
        self.own_enrollment_revision.fetch_add(1, Ordering::Release);
        self.enrollment_changed_elsewhere();
    }

    /// Notifies readers here that enrollment tokens were created, used or revoked on another node.
    pub(crate) fn enrollment_changed_elsewhere(&self) {
        self.enrollment_revision.fetch_add(1, Ordering::Release);
    }

    /// Changes whenever a device does.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Changes whenever an enrollment token does.
    pub fn enrollment_revision(&self) -> u64 {
        self.enrollment_revision.load(Ordering::Acquire)
    }

    /// Notes how many devices the store has: once as many are in view, it is complete, and stays so.
    pub fn note_stored(&self, devices: u64) {
        if self.devices.len() as u64 >= devices {
            self.complete.store(true, Ordering::Release);
        }
    }

    /// Whether every device was in view.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Whether there is no device.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// The view of one device.
    pub fn device(&self, id: DeviceId) -> Option<DeviceView> {
        self.devices.get(&id).map(|shown| shown.view.clone())
    }

    /// The view of one device, and the lag of its clock as far as this node saw its heartbeats.
    pub(crate) fn device_with_clock(&self, id: DeviceId) -> Option<(DeviceView, Option<ClockLag>)> {
        self.devices.get(&id).map(|shown| (shown.view.clone(), shown.clock_lag))
    }

    /// The views of these devices, in their order; those that are gone are left out.
    pub fn devices(&self, ids: &[DeviceId]) -> Vec<DeviceView> {
        ids.iter().filter_map(|id| self.device(*id)).collect()
    }

    /// Visits every device, in no order.
    pub fn visit(&self, mut look: impl FnMut(&DeviceView)) {
        self.devices.iter().for_each(|shown| look(&shown.view));
    }

    /// The ids of the devices that match, in order.
    pub fn order(&self, filter: &DeviceFilter, sort: Sort) -> Vec<DeviceId> {
        let mut matching: Vec<DeviceView> =
            self.devices.iter().filter(|shown| filter.matches(&shown.view)).map(|shown| shown.view.clone()).collect();
        matching.sort_unstable_by(|a, b| sort.compare(a, b));
        matching.iter().map(|view| view.identity.id).collect()
    }

    /// Distributions of the fleet, counted anew when the last count is a second old: a page that many
    /// people look at costs no more than one.
    pub fn distributions(&self) -> Arc<Distributions> {
        // The count is replaced whole, so a poisoned lock guards good data.
        let mut counted = self.distributions.lock().unwrap_or_else(PoisonError::into_inner);
        match counted.as_ref().filter(|(at, _)| self.clock.elapsed(*at) < COUNT_INTERVAL) {
            Some((_, distributions)) => Arc::clone(distributions),
            None => {
                let mut counter = Counter::default();
                self.devices.iter().for_each(|shown| counter.add(&shown.view));
                let distributions = Arc::new(counter.finish());
                *counted = Some((self.clock.monotonic(), Arc::clone(&distributions)));
                distributions
            }
        }
    }

    /// Counts, made anew every second.
    pub fn stats(&self) -> watch::Receiver<FleetStats> {
        self.stats.subscribe()
    }

    /// Recounts every second, for as long as the view lives.
    pub(crate) async fn keep_counting(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(COUNT_INTERVAL);
        let mut totals: VecDeque<u64> = VecDeque::with_capacity(RATE_WINDOW_S + 1);
        let mut counted_revision = None;
        let mut stats = FleetStats::default();
        loop {
            ticks.tick().await;
            let total = self.heartbeats_stored.load(Ordering::Relaxed);
            totals.push_back(total);
            if totals.len() > RATE_WINDOW_S + 1 {
                totals.pop_front();
            }
            let revision = self.revision();
            if counted_revision != Some(revision) {
                let own;
                (stats, own) = self.count();
                self.own_devices.store(own, Ordering::Relaxed);
                counted_revision = Some(revision);
            }
            let seconds = (totals.len() - 1).max(1) as f64;
            let own_rate = (total - totals.front().copied().unwrap_or(total)) as f64 / seconds;
            self.own_rate_bits.store(own_rate.to_bits(), Ordering::Relaxed);
            stats.complete = self.is_complete();
            stats.heartbeats_per_second = own_rate + self.rates.iter().map(|rate| *rate).sum::<f64>();
            self.stats.send_if_modified(|current| {
                let changed = *current != stats;
                *current = stats;
                changed
            });
        }
    }

    /// Counts over the cluster, and this node's own devices.
    fn count(&self) -> (FleetStats, u64) {
        let (mut stats, mut own) = (FleetStats::default(), 0);
        for shown in &self.devices {
            let view = &shown.view;
            own += u64::from(shown.own);
            stats.devices += 1;
            stats.identity_conflicts += u64::from(view.conflict_at.is_some());
            match view.connectivity {
                Connectivity::Online => {
                    stats.online += 1;
                    stats.low_battery += u64::from(view.battery_pct().is_some_and(|pct| pct < self.policy.low_battery_pct));
                    stats.app_down += u64::from(view.app_status == AppStatus::Down);
                }
                Connectivity::Offline => stats.offline += 1,
                Connectivity::NeverSeen => stats.never_seen += 1,
            }
        }
        (stats, own)
    }
}
