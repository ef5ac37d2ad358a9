//! Deployments of the shards that this node owns.
//!
//! ```text
//! manager   runs an actor for each open deployment of a shard while this node holds its lease
//! actor     reconciles one deployment: reads it, calls `domain::deployment::decide`, applies the plan in one transaction
//! cache     tasks as last read
//! params    parameters of the command to install
//! reports   queue of the devices' task reports, written in batches by any node
//! gauges    metrics of deployments
//! ```
//! The rows are the truth and nothing is kept beside them: a new owner reads them and goes on.

mod actor;
mod cache;
mod gauges;
mod manager;
mod params;
pub mod reports;

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use clock::Clock;
use domain::deployment::DeviceSnapshot;
use domain::device::Connectivity;
use domain::{ApkId, DeviceId, Timestamp};
use store::Store;

use crate::fleet_view::FleetView;
use crate::metrics::Metrics;
use crate::ownership::Ownership;
use crate::router::DeviceRouter;

pub(crate) use gauges::Gauges;
pub(crate) use manager::{DeploymentManager, ManagerMsg};

/// Makes the download address of an APK, and says until when it is valid.
pub(crate) type DownloadUrl = Arc<dyn Fn(ApkId, DeviceId, Timestamp) -> (String, Timestamp) + Send + Sync>;

/// Settings of deployments.
#[derive(Debug, Clone, Copy)]
pub struct DeploymentSettings {
    /// How long a device has to accept its task.
    pub accept_within: TimeDelta,
    /// How long an installing device may go without a report.
    pub silent_within: TimeDelta,
    /// How long a heartbeat has to confirm a reported success.
    pub confirm_within: TimeDelta,
    /// Most devices of one deployment.
    pub devices_max: usize,
    /// Most deployments that have not finished.
    pub open_max: i64,
    /// Devices of one deployment that may start within a second, whatever its rate limit.
    pub starts_per_second: u32,
    /// How often a running deployment is reconciled when nothing wakes it.
    pub reconcile_interval: Duration,
    /// Retention of finished deployments.
    pub kept: TimeDelta,
}

/// Dependencies that all deployment actors of a node share.
pub(crate) struct DeploymentContext {
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) view: Arc<FleetView>,
    pub(crate) ownership: Arc<Ownership>,
    pub(crate) router: DeviceRouter,
    pub(crate) settings: DeploymentSettings,
    pub(crate) download_url: DownloadUrl,
    pub(crate) metrics: Metrics,
    pub(crate) gauges: Gauges,
}

/// State of a device in the fleet view, for a deployment of this package.
pub fn snapshot_of(view: &FleetView, package: &str, id: DeviceId) -> Option<DeviceSnapshot> {
    let (shown, clock_lag) = view.device_with_clock(id)?;
    let online = shown.connectivity == Connectivity::Online;
    let snapshot = match (&shown.last, shown.last_seen_at) {
        (Some(last), Some(seen)) => DeviceSnapshot::of(last, package, seen, online),
        _ => DeviceSnapshot { online, ..DeviceSnapshot::default() },
    };
    Some(DeviceSnapshot { identity_conflict: shown.conflict_at.is_some(), clock_lag, ..snapshot })
}
