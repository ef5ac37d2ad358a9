//! What can be done to a cluster from outside, and how it is undone.

mod proxy;

pub use proxy::{Mode, Modes, Proxy, Target};
