//! The cluster: which nodes live, which shards this one owns, and what the others' devices do.
//!
//! ```text
//! Membership     joins, renews the lease, leaves            database row per start of a node
//! Placement      looks at the rows, claims and releases     one actor, supervises the shards
//! Ownership      what this node may do right now            read by every device actor
//! ClusterView    nodes and places as last read              read by the router
//! Notices        what other nodes told meanwhile         LISTEN
//! Feed           views of the others' devices               pulled over the link
//! ```

pub(crate) mod change_log;
pub mod feed;
mod membership;
mod notices;
mod ownership;
mod placement;
mod view;

pub use membership::{ClusterOptions, JoinError, Membership};
pub(crate) use notices::Notices;
pub use ownership::{Moment, Ownership};
pub use placement::ShardTable;
pub(crate) use placement::{PlacementActor, PlacementArguments, PlacementMsg};
pub use view::{ClusterView, Place};
