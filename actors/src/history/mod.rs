//! Reconcilers of history: hourly aggregates of days that are over, samples of the fleet, retention.
//!
//! Every step may be done twice without harm, and what was left undone is found by the next run.

mod hours;
mod retention;
mod samples;

use std::sync::Arc;
use std::time::Duration;

use domain::device::DevicePolicy;
use domain::shard::{ShardId, shard_of_name};
use store::Store;
use tokio::sync::watch;

use crate::fleet_view::FleetView;
use crate::reconcile::Reconciler;
use hours::Hours;
use retention::Retention;
pub(crate) use retention::RetentionPeriods;
use samples::{FleetSamples, VersionSamples};

/// Name of the reconciler of hourly aggregates; woken when a node starts.
pub(crate) const DEVICE_HOURS: &str = "device_hours";
/// The shard whose epoch the statements that write samples compare.
const SAMPLES_SHARD: ShardId = ShardId(0);
/// How often it is checked whether a sample is due.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct HistorySettings {
    /// A deleted device can be restored for this long; then it is removed for good.
    pub restore_within: chrono::TimeDelta,
    /// Retention of events of devices.
    pub events_kept: chrono::TimeDelta,
    /// Retention of hourly aggregates of devices, and of samples of the fleet.
    pub hours_kept: chrono::TimeDelta,
    /// Retention of finished commands.
    pub commands_kept: chrono::TimeDelta,
    /// How long the key of an idempotent call is remembered.
    pub idempotency_keys_kept: chrono::TimeDelta,
    /// Age at which entries of the audit trail are archived.
    pub audit_kept: chrono::TimeDelta,
    /// Retention of enrollment tokens after their end.
    pub enroll_tokens_kept: chrono::TimeDelta,
    /// Interval of the reconcilers of hourly aggregates and of retention.
    pub interval: Duration,
}

/// The reconcilers of history. `caught_up` tells whether the view has the devices of all nodes.
pub(crate) fn reconcilers(
    store: &Store,
    view: &Arc<FleetView>,
    caught_up: &watch::Receiver<bool>,
    policy: DevicePolicy,
    interval: Duration,
    periods: RetentionPeriods,
) -> [Reconciler; 4] {
    let offline_after_s = i32::try_from(policy.offline_after.num_seconds()).unwrap_or(i32::MAX);
    let samples = FleetSamples { store: store.clone(), view: Arc::clone(view), caught_up: caught_up.clone(), last: None };
    let versions = VersionSamples { store: store.clone(), view: Arc::clone(view), caught_up: caught_up.clone(), last: None };
    let retention = "history_retention";
    [
        Reconciler::per_cluster("fleet_samples", SAMPLES_SHARD, SAMPLE_INTERVAL, samples).fenced_by_epoch(),
        Reconciler::per_cluster("agent_version_samples", SAMPLES_SHARD, SAMPLE_INTERVAL, versions).fenced_by_epoch(),
        Reconciler::per_cluster(
            DEVICE_HOURS,
            shard_of_name(DEVICE_HOURS),
            interval,
            Hours { store: store.clone(), offline_after_s, resume: None },
        ),
        Reconciler::per_cluster(retention, shard_of_name(retention), interval, Retention { store: store.clone(), periods }),
    ]
}
