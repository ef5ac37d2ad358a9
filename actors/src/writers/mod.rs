//! Writers: bounded queues in front of batched transactions. One generic batch writer, and what it writes: heartbeats, events of
//! devices, reports of commands, alerts.

mod alert;
pub(crate) mod batch;
mod command;
mod event;
mod heartbeat;

pub use alert::AlertWriter;
pub use command::CommandWriter;
pub use event::EventWriter;
pub use heartbeat::{HeartbeatSettings, HeartbeatWriters, WriteJob};
