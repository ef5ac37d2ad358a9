//! The clock offset: a reconciler that corrects this node's clock by the database's, and compares the machine's own with it.
//!
//! Leases need no agreement of clocks: the database judges them. Everything else goes by the corrected clock, so that a machine whose
//! clock is wrong, or jumps, decides as the others do.

use std::time::Duration;

use chrono::TimeDelta;
use clock::Clock;
use domain::ServiceError;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use prometheus::Gauge;
use store::Store;

use crate::database_time::correct_and_compare;
use crate::metrics::Metrics;
use crate::reconcile::{Reconcile, Reconciler, Run};

/// Time between two measurements.
const INTERVAL: Duration = Duration::from_secs(60);

/// The reconciler of every node that corrects its clock, and warns when its machine's is off by more than `max`.
pub(super) fn reconciler(store: &Store, clock: &Clock, metrics: &Metrics, max: TimeDelta) -> Reconciler {
    let work = ClockOffset { store: store.clone(), clock: clock.clone(), seconds: metrics.clock_offset_seconds.clone(), max };
    Reconciler::per_node("clock_offset", INTERVAL, work).at_start()
}

struct ClockOffset {
    store: Store,
    clock: Clock,
    seconds: Gauge,
    max: TimeDelta,
}

impl Reconcile for ClockOffset {
    fn reconcile<'a>(&'a mut self, _run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let corrected = correct_and_compare(&self.store, &self.clock).await?;
            let offset = corrected.machine_offset;
            self.seconds.set(offset.as_seconds_f64());
            if corrected.measured.exceeds(offset, self.max) {
                let (offset_ms, uncertainty_ms) = (offset.num_milliseconds(), corrected.measured.uncertainty().num_milliseconds());
                let (setting, max_ms) = ("cluster.clock_offset_max_ms", self.max.num_milliseconds());
                tracing::warn!(event = "clock.offset_exceeded", offset_ms, uncertainty_ms, setting, max_ms);
            }
            Ok(0)
        }
        .boxed()
    }
}
