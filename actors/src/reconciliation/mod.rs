//! Reconciliation of derived data: a reconciler of the cluster that compares rows with what they are derived from, mends what differs, and keeps
//! a record of each run.
//!
//! It works in chunks, one statement at a time with a rest behind it ([`crate::pace`]), so that heartbeats come first. What it expects to find is nothing.

mod deployments;
mod hours;
mod status;

use std::time::Duration;

use chrono::TimeDelta;
use clock::Clock;
use domain::reconciliation::{Check, Drift, ReconciliationRun};
use domain::shard::shard_of_name;
use domain::{ServiceError, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::{Store, StoreError};
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::pace::Pacer;
use crate::reconcile::{Reconcile, Reconciler, Run};

/// Name of the reconciler.
pub(crate) const RECONCILIATION: &str = "reconciliation";

/// Pace and size of reconciliation.
#[derive(Debug, Clone, Copy)]
pub struct ReconciliationSettings {
    /// Interval of the reconcilers.
    pub interval: Duration,
    /// Devices that are compared by one statement.
    pub chunk_devices: i64,
    /// Shortest pause behind each statement; the pace of background work makes it longer.
    pub pause: Duration,
    /// Devices whose hours are compared in one run.
    pub sample_devices: i64,
    /// Retention of the records of runs.
    pub runs_kept: TimeDelta,
}

impl Default for ReconciliationSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(3600),
            chunk_devices: 200,
            pause: Duration::from_millis(10),
            sample_devices: 100,
            runs_kept: TimeDelta::days(90),
        }
    }
}

/// Where a run stores what it found.
#[derive(Clone)]
pub(crate) struct Records {
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) metrics: Metrics,
    pub(crate) pacer: Pacer,
}

impl Records {
    /// Keeps the record of a run that has ended, and says what differed.
    pub(crate) async fn keep(&self, mut run: ReconciliationRun, began: Timestamp) -> Result<(), StoreError> {
        run.seconds = (self.clock.now() - began).as_seconds_f64().max(0.0);
        let check = run.check.as_str();
        self.metrics.reconciliation_checked.with_label_values(&[check]).inc_by(run.checked);
        self.metrics.reconciliation_seconds.with_label_values(&[check]).set(run.seconds);
        for (kind, rows) in &run.kinds {
            self.metrics.reconciliation_drift.with_label_values(&[check, kind.as_str()]).inc_by(*rows);
        }
        self.metrics.reconciliation_healed.with_label_values(&[check]).inc_by(run.healed);
        for drift in &run.examples {
            let (kind, subject, healed) = (drift.kind.as_str(), drift.subject.as_str(), drift.healed);
            tracing::warn!(event = "reconciliation.drift", check, kind, subject, healed, fields = %told(drift));
        }
        let (checked, drifted, healed) = (run.checked, run.drifted, run.healed);
        self.store.insert_reconciliation_run(&run).await?;
        tracing::info!(event = "reconciliation.done", check, checked, drifted, healed, complete = run.complete, seconds = run.seconds);
        Ok(())
    }
}

/// The fields that differ: `name: stored, expected value`.
fn told(drift: &Drift) -> String {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    let fields: Vec<_> = drift
        .fields
        .iter()
        .map(|field| format!("{}: {}, expected {}", field.field, value(&field.stored), value(&field.expected)))
        .collect();
    fields.join("; ")
}

/// The reconciler of the cluster.
pub(crate) fn reconciler(records: Records, settings: ReconciliationSettings) -> Reconciler {
    Reconciler::per_cluster(RECONCILIATION, shard_of_name(RECONCILIATION), settings.interval, Reconciliation { records, settings })
}

struct Reconciliation {
    records: Records,
    settings: ReconciliationSettings,
}

impl Reconcile for Reconciliation {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let mut healed = 0;
            for check in [Check::LastStatus, Check::Hours, Check::Deployments] {
                if !run.may_go_on() {
                    break;
                }
                healed += self.compare(check, run).await?;
            }
            Ok(healed)
        }
        .boxed()
    }
}

impl Reconciliation {
    /// Runs a check and keeps its record. What a run that fails has found is kept as well.
    async fn compare(&self, check: Check, run: &Run) -> Result<u64, StoreError> {
        let began = self.records.clock.now();
        let mut record = ReconciliationRun::new(check, "", began);
        let work = Work { store: &self.records.store, settings: &self.settings, pacer: &self.records.pacer, run, now: began };
        let outcome = match check {
            Check::LastStatus => status::compare(&work, &mut record).await,
            Check::Hours => hours::compare(&work, self.records.clock.new_id(), &mut record).await,
            Check::Deployments => deployments::compare(&work, &mut record).await,
            Check::Commands => Ok(false),
        };
        record.complete = matches!(outcome, Ok(true));
        let healed = record.healed;
        let kept = self.records.keep(record, began).await;
        outcome?;
        kept?;
        Ok(healed)
    }
}

/// What a check works with.
struct Work<'a> {
    store: &'a Store,
    settings: &'a ReconciliationSettings,
    pacer: &'a Pacer,
    run: &'a Run,
    now: Timestamp,
}

impl Work<'_> {
    /// Lets others have the database for a while, behind a piece of so many rows that began then. `false`: this node may not go on.
    async fn pause(&self, began: Instant, rows: usize) -> bool {
        self.pacer.rest_at_least(self.settings.pause, began.elapsed(), rows as u64).await;
        self.run.may_go_on()
    }
}
