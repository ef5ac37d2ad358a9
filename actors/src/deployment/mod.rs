//! Deployments that this node drives: those of the shards that it owns.
//!
//! ```text
//! manager   an actor for each open deployment of an owned shard; none without its lease
//! actor     reads, asks `domain::deployment::decide`, carries out what it decided in one transaction
//! memory    the tasks as last read
//! params    what a device is sent
//! words     what devices say, in batches; decided about under locks, at any node
//! gauges    what of all that operators are shown
//! ```
//! The rows are the truth and nothing is kept beside them: whoever takes over reads them and goes on.

mod actor;
mod gauges;
mod manager;
mod memory;
mod params;
pub(crate) mod words;

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use domain::deployment::DeviceFacts;
use domain::device::Connectivity;
use domain::{ApkId, DeviceId, Timestamp};
use store::Store;

use crate::fleet_view::FleetView;
use crate::metrics::Metrics;
use crate::ownership::Ownership;
use crate::router::DeviceRouter;

pub(crate) use gauges::Gauges;
pub(crate) use manager::{DeploymentManager, ManagerMsg};

/// Where a device fetches an APK, and until when.
pub(crate) type DownloadUrl = Arc<dyn Fn(ApkId, Timestamp) -> (String, Timestamp) + Send + Sync>;

/// How deployments are driven.
#[derive(Debug, Clone, Copy)]
pub struct DeploymentSettings {
    /// How long a device has to take its task.
    pub accept_within: TimeDelta,
    /// How long a device may say nothing while it installs.
    pub silent_within: TimeDelta,
    /// Most devices of one deployment.
    pub devices_max: usize,
    /// Most deployments that are not over.
    pub open_max: i64,
    /// Devices of one deployment that may start within a second, whatever its own rate.
    pub starts_per_second: u32,
    /// How often a running deployment looks without being told of anything.
    pub look_interval: Duration,
    /// How long deployments that are over are kept.
    pub kept: TimeDelta,
}

/// What every deployment of a node shares.
pub(crate) struct DeploymentContext {
    pub(crate) store: Store,
    pub(crate) view: Arc<FleetView>,
    pub(crate) ownership: Arc<Ownership>,
    pub(crate) router: DeviceRouter,
    pub(crate) settings: DeploymentSettings,
    pub(crate) download_url: DownloadUrl,
    pub(crate) metrics: Metrics,
    pub(crate) gauges: Gauges,
}

/// What is known of a device for a deployment of this package.
pub(crate) fn facts_of(view: &FleetView, package: &str, id: DeviceId) -> Option<DeviceFacts> {
    let shown = view.device(id)?;
    let online = shown.connectivity == Connectivity::Online;
    match (&shown.last, shown.last_seen_at) {
        (Some(last), Some(seen)) => Some(DeviceFacts::told(&last.telemetry, package, seen, online)),
        _ => Some(DeviceFacts { online, ..DeviceFacts::default() }),
    }
}
