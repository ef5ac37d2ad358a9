//! Simulated devices, load and real node processes for NexMDM, from the outside
//! only: this crate reaches nodes through sockets and processes.

pub mod agent_command;
pub mod agent_kills;
pub mod alerts;
pub mod archives;
pub mod backoff;
pub mod bench;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod deploy;
pub(crate) mod deployment_api;
pub mod duration;
pub(crate) mod fake_server;
pub mod faults;
pub mod fcm;
pub mod fleet;
pub mod harness;
pub mod history;
pub mod host_agent;
pub mod http;
pub mod identity;
pub mod limits;
pub mod load;
pub mod measure;
pub mod model;
pub mod network;
pub mod operator;
pub mod oracle;
pub mod progress;
pub mod push;
pub mod s3;
pub mod signals;
pub mod sink;
pub mod soak;
pub mod websocket;
