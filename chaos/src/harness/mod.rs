//! Real node processes, alone and as clusters, for tests and measurements.

mod cluster;
mod console;
mod database;
mod node;
mod ports;
mod postgres;
mod psql;
mod temp_dir;

pub use cluster::{Cluster, ClusterOptions, Member, Network};
pub use console::{Console, Finished, RunningCommand};
pub use database::DatabaseServer;
pub use node::{Node, NodeOptions, nexmdm_path};
pub use ports::free_port;
pub use postgres::{Postmaster, find_postmaster};
pub use psql::Psql;
pub use temp_dir::TempDir;
