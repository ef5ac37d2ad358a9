//! Membership of this node in its cluster, placement of shards, notifications and changes of the other nodes.
//!
//! ```text
//! membership      joins, renews the lease, leaves           database row per start of a node
//! actor           reconciles: claims and releases shards    one actor, supervises the shards
//! notifications   notifications of the other nodes          LISTEN
//! replication     changes of the other nodes' devices       pulled over the link
//! ```

mod actor;
mod membership;
mod notifications;
pub mod replication;

pub(crate) use actor::{PlacementActor, PlacementArguments, PlacementMsg};
pub use membership::{ClusterOptions, JoinError, Membership};
pub(crate) use notifications::NotifyListener;

#[cfg(test)]
mod tests {
    use super::PlacementMsg;
    use crate::device::DeviceMsg;
    use crate::shard::ShardMsg;
    use ractor::Message;

    /// Every actor whose messages can travel is announced to every peer: with 100,000 devices
    /// that would be 100,000 actors on each of them.
    #[test]
    fn no_actor_of_the_runtime_can_be_seen_by_peers() {
        assert!(!DeviceMsg::serializable());
        assert!(!ShardMsg::serializable());
        assert!(!PlacementMsg::serializable());
        assert!(!crate::reconcile::ReconcilerMsg::serializable());
        // Writers are tasks behind queues, no actors at all.
    }
}
