//! The partition manager: sees to it that daily partitions exist ahead of time.
//!
//! It takes no input: it looks at the calendar and the database, at start and
//! then at an interval, and creates what is missing.

use std::time::Duration;

use domain::partition::wanted_days;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use store::Store;

use crate::clock;

/// Sees to it that daily partitions exist.
pub(crate) struct PartitionActor;

/// What the partition manager is told.
pub(crate) enum PartitionMsg {
    /// Look, and create what is missing.
    Look,
}

impl Actor for PartitionActor {
    type Msg = PartitionMsg;
    type State = Store;
    type Arguments = (Store, Duration);

    async fn pre_start(&self, me: ActorRef<PartitionMsg>, (store, interval): (Store, Duration)) -> Result<Store, ActorProcessingErr> {
        me.send_interval(interval, || PartitionMsg::Look);
        Ok(store)
    }

    async fn handle(&self, _me: ActorRef<PartitionMsg>, _look: PartitionMsg, store: &mut Store) -> Result<(), ActorProcessingErr> {
        // The next look tries again; the default partition takes rows meanwhile.
        if let Err(cause) = ensure(store).await {
            tracing::warn!(event = "partition.ensure_failed", %cause);
        }
        Ok(())
    }
}

/// Creates the partitions that are missing today.
pub(crate) async fn ensure(store: &Store) -> Result<(), store::StoreError> {
    let created = store.ensure_partitions(&wanted_days(clock::now().date_naive())).await?;
    for day in created {
        tracing::info!(event = "partition.created", %day);
    }
    Ok(())
}
