//! Membership of this node in its cluster, placement of shards, notifications and changes of the other nodes.
//!
//! ```text
//! Membership     joins, renews the lease, leaves            database row per start of a node
//! Placement      looks at the rows, claims and releases     one actor, supervises the shards
//! Notices        what other nodes told meanwhile         LISTEN
//! Feed           views of the others' devices               pulled over the link
//! ```

mod actor;
pub mod feed;
mod membership;
mod notices;

pub(crate) use actor::{PlacementActor, PlacementArguments, PlacementMsg};
pub use membership::{ClusterOptions, JoinError, Membership};
pub(crate) use notices::Notices;

#[cfg(test)]
mod tests {
    use super::PlacementMsg;
    use crate::device::DeviceMsg;
    use crate::link::{GatewayMsg, SupervisorMsg};
    use crate::shard::ShardMsg;
    use ractor::Message;

    /// Every actor whose messages can travel is announced to every peer: with 100,000 devices
    /// that would be 100,000 actors on each of them.
    #[test]
    fn only_the_gateway_can_be_seen_by_peers() {
        assert!(GatewayMsg::serializable());
        assert!(!DeviceMsg::serializable());
        assert!(!ShardMsg::serializable());
        assert!(!PlacementMsg::serializable());
        assert!(!crate::reconcile::ReconcilerMsg::serializable());
        assert!(!SupervisorMsg::serializable());
        // Writers are tasks behind queues, no actors at all.
    }
}
