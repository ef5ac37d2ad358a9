//! The network between processes of a run: proxies that disturb connections, and network namespaces.

mod loss;
pub mod namespaces;
mod proxy;

pub use loss::{Impairment, LATENCY_MAX, LOSS_PCT_MAX};
pub use namespaces::Namespaces;
pub use proxy::{Mode, Modes, Proxy, Sources, Target};
