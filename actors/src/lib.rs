//! The system itself: device actors under shard supervisors, the heartbeat
//! writers, and the services that both faces (HTTP and dashboard) call.
//!
//! ```text
//! System
//! ├── PartitionActor            daily partitions exist ahead of time
//! ├── HeartbeatWriters          bounded queues in front of the dual write
//! ├── FleetView                 what dashboards and counts see
//! └── ShardActor x 256          supervises its devices, watches their deadlines
//!     └── DeviceActor           one per enrolled device, owns its live state
//! ```

pub mod clock;
pub mod console;
pub mod crypto;
pub mod device;
mod error;
pub mod fleet_view;
pub mod heartbeat_writer;
pub mod metrics;
mod partition;
pub mod router;
pub mod services;
pub mod settings;
pub mod shard;
mod system;

pub use error::ServiceError;
pub use system::{Secrets, System};
