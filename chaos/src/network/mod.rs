//! The network between processes of a run: proxies that disturb connections, and network namespaces.

pub mod namespaces;
mod proxy;

pub use namespaces::Namespaces;
pub use proxy::{Mode, Modes, Proxy, Target};
