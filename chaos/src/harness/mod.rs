//! Real node processes for tests and measurements.

mod node;
mod ports;
mod postgres;
mod temp_dir;

pub use node::{Node, NodeOptions, nexmdm_path};
pub use ports::free_port;
pub use postgres::{Postmaster, find_postmaster};
pub use temp_dir::TempDir;
