//! The runtime: device actors under shard supervisors, the heartbeat
//! writers, and what runs once per node or cluster.
//!
//! ```text
//! Runtime
//! ├── Reconcilers               partitions, hours and samples of history, retention, refreshes, each an actor
//! ├── HeartbeatWriters          bounded queues in front of the dual write
//! ├── EventWriter               records what happened to devices
//! ├── PushSender                messages to devices over FCM
//! ├── FleetView                 what dashboards and counts see
//! ├── AlertWriter, Coordinator   records which rules hold; decides who is notified
//! ├── DeploymentManager         drives the deployments of this node's shards
//! ├── Links, Gateway            the way to other nodes
//! └── PlacementActor            claims and releases shards
//!     └── ShardActor            one per shard of this node: supervises, watches deadlines
//!         └── DeviceActor       one per device of the shard, owns its live state
//! ```

pub mod agent_updates;
pub mod alert;
mod apk_retention;
pub mod audit_archive;
pub mod backups;
pub mod database_time;
pub mod deployment;
pub mod device;
mod digest;
mod event_subscriptions;
pub mod fleet_view;
mod history;
mod housekeeping;
mod local_node;
pub mod messages;
pub mod metrics;
pub mod ownership;
mod pace;
pub mod partition;
pub mod placement;
pub mod reconcile;
mod reconciliation;
mod reports;
pub mod router;
mod rpc;
pub mod settings;
pub mod shard;
pub mod sockets;
mod storage_samples;
mod system;
mod write_times;
pub mod writers;

pub use system::{ClusterStart, NetworkStart, Runtime, Secrets, StartError};
