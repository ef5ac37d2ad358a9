//! Messages between the rooms of the runtime, about devices: requests, replies, acknowledgements, commands, changes.
//!
//! Messages that travel between nodes as well are declared in [`link::messages`].

mod signed;

use std::sync::Arc;

use domain::device::LastStatus;
use domain::{DeviceId, ServiceError};
use link::messages::{HeartbeatAck, SocketPush, SocketRef};
use tokio::sync::oneshot;

pub use signed::device_key;
pub(crate) use signed::signed_command;

/// Identity that a device has proved. Whether it still holds, the device's actor decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceCredentials {
    /// The device.
    pub device_id: DeviceId,
    /// The generation of its credentials.
    pub generation: i32,
}

/// The way to agent sockets, of any node.
pub trait SocketPort: Send + Sync {
    /// Tells a socket something. One that is gone needs no telling.
    fn push(&self, socket: SocketRef, push: SocketPush);
}

/// Answered once the heartbeat is committed, or refused.
pub type HeartbeatReply = oneshot::Sender<Result<HeartbeatAck, ServiceError>>;

/// A heartbeat that was committed.
#[derive(Debug)]
pub struct StoredHeartbeat {
    /// The heartbeat.
    pub status: Arc<LastStatus>,
    /// The push token that was stored with it.
    pub fcm_token: Option<String>,
    /// Whether its details were written with it.
    pub with_details: bool,
}

/// Outcome of recording a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordOutcome {
    /// The change is stored.
    Recorded,
    /// Another condition is stored than the device actor expected, or the device has another owner.
    Refused,
    /// The database is away.
    Failed,
}
