//! Bounded queues in front of batched transactions: heartbeats, events of devices, reports of commands.

mod command;
mod event;
mod heartbeat;

pub use command::CommandWriter;
pub use event::EventWriter;
pub use heartbeat::{HeartbeatSettings, HeartbeatWriters, WriteJob};
