//! Messages about devices that travel between nodes; the rooms of the runtime say the same to each other. Their field
//! numbers stand in [`crate::schema`].

mod changes;
mod command;

use std::sync::Arc;

use domain::device::{DeviceView, LastStatus};
use domain::shard::Epoch;
use domain::{CommandId, DeviceId, NodeId};

pub use changes::{Change, Changes, ChangesRequest};
pub use command::{PendingCommand, SignedCommand};

/// A device's socket, on any node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketRef {
    /// The node that holds it.
    pub node: NodeId,
    /// Number there.
    pub socket: u64,
}

/// Message of the owner of a device to the socket of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketPush {
    /// Another socket of the same device took over.
    Replaced,
    /// The credentials it was opened with no longer hold.
    Revoked,
    /// A command for the device.
    Command(Box<SignedCommand>),
}

/// A request to a device's actor, from any node.
#[derive(Debug, Clone, PartialEq)]
pub enum DeviceRequest {
    /// Whether credentials of this generation hold.
    CheckCredentials {
        /// Their generation.
        generation: i32,
    },
    /// Live state.
    View,
    /// A socket of the device was opened, or the owner changed while it was open.
    SocketOpened {
        /// Generation of the credentials it was opened with.
        generation: i32,
        /// The socket.
        socket: SocketRef,
    },
    /// The credentials were revoked, or the device was deleted.
    AccessChanged {
        /// The generation that holds from now on.
        generation: i32,
        /// Whether it was deleted.
        deleted: bool,
    },
    /// A command was created for the device.
    Command(Box<PendingCommand>),
    /// The device has received a command, or a command has finished.
    CommandUpdated {
        /// Which.
        id: CommandId,
        /// Whether the command has finished.
        finished: bool,
        /// Whether it succeeded, of one that has just ended with a result of the device; `None`: canceled, taken back, or told before.
        succeeded: Option<bool>,
    },
    /// A socket of the device was closed.
    SocketClosed {
        /// The socket.
        socket: SocketRef,
    },
}

/// Reply of a device actor.
#[derive(Debug, Clone, PartialEq)]
pub enum DeviceReply {
    /// Done, or yes.
    Done,
    /// Live state.
    View(Box<DeviceView>),
}

/// A heartbeat on its way to the owner.
#[derive(Debug, Clone, PartialEq)]
pub struct ForwardedHeartbeat {
    /// The device.
    pub device: DeviceId,
    /// Telemetry of the heartbeat.
    pub status: Arc<LastStatus>,
    /// Generation of the credentials it came with.
    pub generation: i32,
    /// A push token it carried.
    pub fcm_token: Option<String>,
    /// Socket over which it came.
    pub socket: Option<SocketRef>,
    /// Context of the trace that it is part of.
    pub trace: Option<String>,
}

/// An acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatAck {
    /// Outcome of the heartbeat.
    pub outcome: HeartbeatOutcome,
    /// The epoch of its shard in which the owner decided; `None` when a node persisted it
    /// without the owner.
    pub epoch: Option<Epoch>,
    /// Commands that wait for the device.
    pub commands: Vec<SignedCommand>,
}

/// Outcome of an acknowledged heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeartbeatOutcome {
    /// The heartbeat was committed.
    Stored,
    /// The bucket was committed before.
    Repeat,
}
