//! Real node processes, alone and as clusters, for tests and measurements.

mod certificates;
mod clocks;
mod cluster;
mod console;
mod database;
mod disk;
mod idle_session;
mod names;
mod node;
mod patroni;
mod ports;
mod postgres;
mod psql;
mod shared;
mod slow_disk;
mod temp_dir;

pub use certificates::LinkCertificates;
pub use clocks::{CLOCK_OFFSET_MAX_S, NodeClock, clock_library};
pub use cluster::{Cluster, ClusterOptions, Member, Network, NetworkMeans, ShardCounts};
pub use console::{Console, Finished, RunningCommand};
pub use database::DatabaseServer;
pub use disk::SmallDisk;
pub use idle_session::IdleSession;
pub use names::NodeNames;
pub use node::{Node, NodeOptions, nexmdm_path};
pub use patroni::{DatabaseKind, Patroni, PrimaryPart};
pub use ports::free_port;
pub use postgres::{Postmaster, find_postmaster};
pub use psql::Psql;
pub use slow_disk::{FLUSH_MS_MAX, HEAL_SQL, STALL_MS_MAX, SlowDisk, Slowness};
pub use temp_dir::TempDir;
