//! What nodes say to each other. Bodies of the envelope, written by [`super::codec`].
//!
//! The fields are the protocol: adding, removing or reordering one is a new protocol version, and
//! the version before must still be read and written (see [`super::protocol`]). A test compares
//! the bytes of every message with those of the version they claim to be.

use std::sync::Arc;

use domain::device::{DeviceView, LastStatus};
use domain::shard::Epoch;
use domain::{DeviceId, NodeId};
use serde::{Deserialize, Serialize};

use crate::ServiceError;

/// A device's socket, wherever it hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SocketRef {
    /// The node that holds it.
    pub node: NodeId,
    /// Its number there.
    pub socket: u64,
}

/// What a device's socket is told by its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketPush {
    /// Another socket of the same device took over.
    Replaced,
    /// The credentials it was opened with no longer hold.
    Revoked,
}

/// What a device's actor is asked, from whichever node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum DeviceRequest {
    /// Whether credentials of this generation hold.
    CheckCredentials {
        /// Their generation.
        generation: i32,
    },
    /// Its live state.
    View,
    /// A socket of it was opened, or its owner changed while it was open.
    SocketOpened {
        /// Generation of the credentials it was opened with.
        generation: i32,
        /// Where it hangs.
        socket: SocketRef,
    },
    /// Its credentials were revoked, or it was deleted.
    AccessChanged {
        /// The generation that holds from now on.
        generation: i32,
        /// Whether it was deleted.
        deleted: bool,
    },
}

/// What a device's actor answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum DeviceReply {
    /// Done, or yes.
    Done,
    /// Its live state.
    View(Box<DeviceView>),
}

/// A heartbeat on its way to the owner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForwardedHeartbeat {
    /// The device.
    pub device: DeviceId,
    /// What it told.
    pub status: Arc<LastStatus>,
    /// Generation of the credentials it came with.
    pub generation: i32,
    /// A push token it carried.
    pub fcm_token: Option<String>,
    /// The socket it came over.
    pub socket: Option<SocketRef>,
}

/// Heartbeats for devices of one owner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heartbeats {
    /// Who sends it and wants the outcomes.
    pub from: NodeId,
    /// Number of the batch at the sender; the outcomes name it.
    pub batch: u64,
    /// The heartbeats.
    pub items: Vec<ForwardedHeartbeat>,
}

/// Tells that a batch arrived; the outcomes follow after commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatsTaken {
    /// Places of those that this node does not own.
    pub not_owned: Vec<u32>,
}

/// What became of a forwarded heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ForwardOutcome {
    /// Committed, decided in this epoch.
    Stored(Epoch),
    /// Its bucket was committed before, decided in this epoch.
    Repeat(Epoch),
    /// Refused.
    Refused(Refusal),
}

/// Outcomes of a batch, each by its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatOutcomes {
    /// Number of the batch at its sender.
    pub batch: u64,
    /// Place and outcome.
    pub outcomes: Vec<(u32, ForwardOutcome)>,
}

/// Why a node refused, in terms of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// This node does not own the device.
    NotOwner,
    /// The credentials do not hold.
    Unauthorized,
    /// The device is deleted.
    DeviceDeleted,
    /// There is no such device.
    NotFound,
    /// A limit on work in progress is reached.
    Overloaded,
    /// The database cannot serve right now.
    Unavailable,
    /// A defect.
    Internal,
}

impl From<&ServiceError> for Refusal {
    fn from(error: &ServiceError) -> Self {
        match error {
            ServiceError::NotOwner => Self::NotOwner,
            ServiceError::Unauthorized => Self::Unauthorized,
            ServiceError::DeviceDeleted => Self::DeviceDeleted,
            ServiceError::NotFound(_) => Self::NotFound,
            ServiceError::Overloaded(_) => Self::Overloaded,
            ServiceError::Unavailable => Self::Unavailable,
            _ => Self::Internal,
        }
    }
}

impl From<Refusal> for ServiceError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotOwner => Self::NotOwner,
            Refusal::Unauthorized => Self::Unauthorized,
            Refusal::DeviceDeleted => Self::DeviceDeleted,
            Refusal::NotFound => Self::NotFound("device"),
            Refusal::Overloaded => Self::Overloaded("the owner's heartbeat queue"),
            Refusal::Unavailable => Self::Unavailable,
            Refusal::Internal => Self::Internal,
        }
    }
}

/// A sign of life, and what the Cluster page shows of a node. Protocol 1 ends with `in_flight`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeVitals {
    /// Devices that the node owns.
    pub devices: u64,
    /// Heartbeats it stored per second, lately.
    pub heartbeats_per_second: f64,
    /// Calls between intake and answer.
    pub in_flight: u64,
    /// Agent sockets that hang on it. Since protocol 2.
    #[cfg(not(feature = "previous-protocol"))]
    pub agent_sockets: u64,
}

/// Asks for what changed in the devices that a node owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesWanted {
    /// The log that `after` is a number of; another one means: from the beginning.
    pub log: u64,
    /// Changes after this one.
    pub after: u64,
}

/// A change of one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The device.
    pub device: DeviceId,
    /// The epoch of its shard in which the owner said so.
    pub epoch: Epoch,
    /// What is to be seen of it; `None` once it is deleted.
    pub view: Option<DeviceView>,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// The log that `last` is a number of.
    pub log: u64,
    /// Number of the newest change in `changes`.
    pub last: u64,
    /// Whether there is more already.
    pub more: bool,
    /// The changes, oldest first.
    pub changes: Vec<Change>,
    /// Heartbeats stored per second by this node.
    pub heartbeats_per_second: f64,
    /// Changes whenever an enrollment token did, on this node.
    pub enrollment_revision: u64,
}
