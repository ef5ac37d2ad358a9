//! Retention: removes devices that were deleted long ago, and rows beyond their retention period.

use chrono::TimeDelta;
use domain::{ServiceError, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::{Store, StoreError};
use strum::VariantArray;

use crate::reconcile::{Reconcile, Run};

/// Devices that are removed by one statement; their tokens, events and status go with them.
const DEVICES_MAX: i64 = 100;
/// Deployments that are removed by one statement; their tasks go with them.
const DEPLOYMENTS_MAX: i64 = 10;
/// How long an owner has to note itself that a command has expired.
const EXPIRED_FOR: TimeDelta = TimeDelta::seconds(60);
/// How long is kept what a node that is gone said of itself.
const NODE_HEALTH_KEPT: TimeDelta = TimeDelta::days(30);

/// How long each kind is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetentionPeriods {
    /// Deleted devices, for as long as they can be restored.
    pub(crate) deleted_devices: TimeDelta,
    /// Events of devices.
    pub(crate) events: TimeDelta,
    /// Hourly aggregates of devices, and samples of the fleet.
    pub(crate) hours: TimeDelta,
    /// Finished commands.
    pub(crate) commands: TimeDelta,
    /// Keys of idempotent calls.
    pub(crate) idempotency_keys: TimeDelta,
    /// Finished deployments.
    pub(crate) deployments: TimeDelta,
    /// Counters of agent updates.
    pub(crate) update_counters: TimeDelta,
    /// Outcomes of agent updates that single devices reported.
    pub(crate) update_outcomes: TimeDelta,
    /// Enrollment tokens after their end.
    pub(crate) enroll_tokens: TimeDelta,
    /// Records of reconciliation.
    pub(crate) reconciliation_runs: TimeDelta,
}

/// Removes rows beyond their retention period.
pub(super) struct Retention {
    pub(super) store: Store,
    pub(super) periods: RetentionPeriods,
}

/// Kinds of rows, each removed by statements of its own, in this order.
#[derive(Clone, Copy, strum::VariantArray)]
enum Kind {
    Devices,
    Events,
    Hours,
    /// Not removed but ended: commands whose owner did not note that they expired, for whatever reason.
    ExpiredCommands,
    Commands,
    Deployments,
    /// Counters of agent updates, samples of versions, and outcomes that devices reported.
    AgentUpdates,
    FleetSamples,
    EnrollTokens,
    /// What narrow heartbeats name by a number.
    HeartbeatSessions,
    DeletedApks,
    /// Aggregated days that have neither hours nor heartbeats any more.
    Days,
    NodeHealth,
    ReconciliationRuns,
}

impl Kind {
    /// The most that one statement removes, where others go with each.
    fn batch_max(self) -> i64 {
        match self {
            Self::Devices => DEVICES_MAX,
            Self::Deployments => DEPLOYMENTS_MAX,
            _ => i64::MAX,
        }
    }
}

impl Reconcile for Retention {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let mut total = 0;
            for kind in Kind::VARIANTS {
                total += run.in_batches_of(kind.batch_max(), |limit| self.remove(*kind, limit, run.now)).await?;
            }
            if total > 0 {
                tracing::info!(event = "history.purged", rows = total);
            }
            Ok(total)
        }
        .boxed()
    }
}

impl Retention {
    async fn remove(&self, kind: Kind, max: i64, now: Timestamp) -> Result<u64, StoreError> {
        let (store, periods) = (&self.store, self.periods);
        match kind {
            Kind::Devices => store.purge_devices(now - periods.deleted_devices, max, now).await,
            Kind::Events => store.purge_device_events(now - periods.events, max).await,
            Kind::Hours => store.purge_hours(now - periods.hours, max).await,
            Kind::ExpiredCommands => store.expire_commands(now - EXPIRED_FOR, now, max).await,
            Kind::Commands => store.purge_commands(now - periods.commands, now - periods.idempotency_keys, now, max).await,
            Kind::Deployments => store.purge_deployments(now - periods.deployments, max).await,
            Kind::AgentUpdates => store.purge_agent_updates(now - periods.update_counters, now - periods.update_outcomes, max).await,
            Kind::FleetSamples => store.purge_fleet_samples(now - periods.hours, max).await,
            Kind::EnrollTokens => store.purge_enroll_tokens(now - periods.enroll_tokens, max).await,
            Kind::HeartbeatSessions => store.purge_heartbeat_sessions(now, max).await,
            Kind::DeletedApks => store.purge_deleted_apks(now - periods.deployments, max).await,
            Kind::Days => store.purge_history_days(now - periods.hours, max).await,
            Kind::NodeHealth => store.purge_node_health(now - NODE_HEALTH_KEPT, max).await,
            Kind::ReconciliationRuns => store.purge_reconciliation_runs(now - periods.reconciliation_runs, max).await,
        }
    }
}
