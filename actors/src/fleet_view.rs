//! What dashboards, lists and counts see of the fleet: the newest view of every device.
//!
//! Device actors publish into it; readers sample it. A revision number tells
//! whether anything changed, so that a reader that looks four times a second
//! costs the writers nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use domain::DeviceId;
use domain::device::{AppStatus, Connectivity, DevicePolicy, DeviceView};
use domain::query::{DeviceFilter, Sort};
use tokio::sync::watch;

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
    /// Never heard from.
    pub never_seen: u64,
    /// Online with a battery below the limit.
    pub low_battery: u64,
    /// Online with the monitored app down.
    pub app_down: u64,
    /// Heartbeats stored per second, over the last seconds.
    pub heartbeats_per_second: f64,
}

/// The newest view of every device on this node.
pub struct FleetView {
    devices: DashMap<DeviceId, DeviceView>,
    revision: AtomicU64,
    enrollment_revision: AtomicU64,
    heartbeats_stored: AtomicU64,
    stats: watch::Sender<FleetStats>,
    policy: DevicePolicy,
}

impl FleetView {
    /// An empty fleet, judged by `policy`.
    pub fn new(policy: DevicePolicy) -> Arc<Self> {
        Arc::new(Self {
            devices: DashMap::new(),
            revision: AtomicU64::new(0),
            enrollment_revision: AtomicU64::new(0),
            heartbeats_stored: AtomicU64::new(0),
            stats: watch::Sender::new(FleetStats::default()),
            policy,
        })
    }

    /// Shows the newest view of a device.
    pub fn publish(&self, view: DeviceView) {
        self.devices.insert(view.identity.id, view);
        self.revision.fetch_add(1, Ordering::Release);
    }

    /// Takes a device out of view.
    pub fn withdraw(&self, id: DeviceId) {
        self.devices.remove(&id);
        self.revision.fetch_add(1, Ordering::Release);
    }

    /// Counts stored heartbeats, for the rate.
    pub fn count_stored(&self, heartbeats: u64) {
        self.heartbeats_stored.fetch_add(heartbeats, Ordering::Relaxed);
    }

    /// Tells readers that enrollment tokens were made, used or revoked.
    pub fn enrollment_changed(&self) {
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

    /// The view of one device.
    pub fn device(&self, id: DeviceId) -> Option<DeviceView> {
        self.devices.get(&id).map(|view| view.clone())
    }

    /// The views of these devices, in their order; those that are gone are left out.
    pub fn devices(&self, ids: &[DeviceId]) -> Vec<DeviceView> {
        ids.iter().filter_map(|id| self.device(*id)).collect()
    }

    /// The ids of the devices that match, in order.
    pub fn order(&self, filter: &DeviceFilter, sort: Sort) -> Vec<DeviceId> {
        let mut matching: Vec<DeviceView> = self.devices.iter().filter(|view| filter.matches(view)).map(|view| view.clone()).collect();
        matching.sort_unstable_by(|a, b| sort.compare(a, b));
        matching.iter().map(|view| view.identity.id).collect()
    }

    /// Counts, made anew every second.
    pub fn stats(&self) -> watch::Receiver<FleetStats> {
        self.stats.subscribe()
    }

    /// Makes the counts anew every second, for as long as the view lives.
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
                stats = self.count();
                counted_revision = Some(revision);
            }
            let seconds = (totals.len() - 1).max(1) as f64;
            stats.heartbeats_per_second = (total - totals.front().copied().unwrap_or(total)) as f64 / seconds;
            self.stats.send_if_modified(|current| {
                let changed = *current != stats;
                *current = stats;
                changed
            });
        }
    }

    fn count(&self) -> FleetStats {
        let mut stats = FleetStats::default();
        for view in &self.devices {
            stats.devices += 1;
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
        stats
    }
}
