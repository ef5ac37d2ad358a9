//! The partition manager: sees to it that daily partitions exist ahead of time.
//!
//! It takes no input: it looks at the calendar and the database, at start and
//! then at an interval, and creates what is missing.

use std::time::Duration;

use domain::partition::wanted_days;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use ractor_cluster::RactorMessage;
use store::Store;

use crate::clock;
use crate::metrics::Metrics;

/// Sees to it that daily partitions exist.
pub(crate) struct PartitionActor;

/// Message to the partition manager. Local to a node.
#[derive(RactorMessage)]
pub(crate) enum PartitionMsg {
    /// Look, and create what is missing.
    Look,
}

impl Actor for PartitionActor {
    type Msg = PartitionMsg;
    type State = (Store, Metrics);
    type Arguments = (Store, Metrics, Duration);

    async fn pre_start(
        &self,
        me: ActorRef<PartitionMsg>,
        (store, metrics, interval): (Store, Metrics, Duration),
    ) -> Result<(Store, Metrics), ActorProcessingErr> {
        me.send_interval(interval, || PartitionMsg::Look);
        Ok((store, metrics))
    }

    async fn handle(
        &self,
        _me: ActorRef<PartitionMsg>,
        _look: PartitionMsg,
        (store, metrics): &mut (Store, Metrics),
    ) -> Result<(), ActorProcessingErr> {
        // The next look tries again; the default partition takes rows meanwhile.
        if let Err(cause) = ensure(store, metrics).await {
            tracing::warn!(event = "partition.ensure_failed", %cause);
        }
        if let Err(cause) = store.purge_cluster().await {
            tracing::warn!(event = "cluster.purge_failed", %cause);
        }
        Ok(())
    }
}

/// Creates the partitions that are missing today, and counts what is there.
pub(crate) async fn ensure(store: &Store, metrics: &Metrics) -> Result<(), store::StoreError> {
    let created = store.ensure_partitions(&wanted_days(clock::now().date_naive())).await?;
    for day in created {
        tracing::info!(event = "partition.created", %day);
    }
    metrics.heartbeat_partitions.set(store.partitions().await?.len() as i64);
    metrics.default_partition_rows.set(store.default_partition_rows().await?);
    Ok(())
}
