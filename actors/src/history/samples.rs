//! Samples of the fleet: how many devices are in which state, and which versions of the agent they run.

use std::sync::Arc;

use chrono::TimeDelta;
use domain::history::{FleetSample, sample_time};
use domain::{ServiceError, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::Store;
use tokio::sync::watch;

use crate::agent_updates::{hour_of, running, versions};
use crate::fleet_view::FleetView;
use crate::reconcile::{Reconcile, Run};

/// Time between two samples of the versions that the fleet runs.
const VERSIONS_EVERY: TimeDelta = TimeDelta::seconds(60);

/// Keeps the sample of the fleet that is due.
pub(super) struct FleetSamples {
    pub(super) store: Store,
    pub(super) view: Arc<FleetView>,
    pub(super) caught_up: watch::Receiver<bool>,
    /// Time of the last sample that this node kept.
    pub(super) last: Option<Timestamp>,
}

impl Reconcile for FleetSamples {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let due = sample_time(run.now);
            let (Some(epoch), true) = (run.epoch(), *self.caught_up.borrow()) else { return Ok(0) };
            if self.last == Some(due) {
                return Ok(0);
            }
            let stats = *self.view.stats().borrow();
            // A part of the fleet would look like a dip.
            if !stats.complete {
                return Ok(0);
            }
            let sample = FleetSample {
                at: due,
                devices: stats.devices as i64,
                online: stats.online as i64,
                offline: stats.offline as i64,
                never_seen: stats.never_seen as i64,
                low_battery: stats.low_battery as i64,
                app_down: stats.app_down as i64,
                heartbeats_per_second: stats.heartbeats_per_second,
            };
            self.store.insert_fleet_sample(sample, epoch).await?;
            self.last = Some(due);
            Ok(1)
        }
        .boxed()
    }
}

/// Keeps which versions of the agent the fleet runs.
pub(super) struct VersionSamples {
    pub(super) store: Store,
    pub(super) view: Arc<FleetView>,
    pub(super) caught_up: watch::Receiver<bool>,
    /// Time of the last sample with a version in it that this node kept.
    pub(super) last: Option<Timestamp>,
}

impl Reconcile for VersionSamples {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let (Some(epoch), true) = (run.epoch(), *self.caught_up.borrow()) else { return Ok(0) };
            if !self.view.is_complete() || self.last.is_some_and(|at| run.now - at < VERSIONS_EVERY) {
                return Ok(0);
            }
            let view = Arc::clone(&self.view);
            let Ok(counted) = tokio::task::spawn_blocking(move || versions(&running(&view))).await else { return Ok(0) };
            let counted: Vec<_> = counted.into_iter().map(|(version, devices)| (version, devices as i64)).collect();
            self.store.keep_version_sample(hour_of(run.now), &counted, epoch).await?;
            // A fleet that reported nothing yet is looked at again soon.
            self.last = (!counted.is_empty()).then_some(run.now);
            Ok(counted.len() as u64)
        }
        .boxed()
    }
}
