//! Messages that only the link has; those of [`crate::messages`] travel as well. Their field numbers stand in [`super::schema`].

use domain::command::Channels;
use domain::connections::ConnectionFigures;
use domain::permits::PoolFigures;
use domain::reconcile::ReconcilerStatus;
use domain::shard::Epoch;
use domain::{DeviceId, NodeId, ServiceError};

use super::codec::{self, BadBody, Format};
use crate::messages::{Change, Changes, DeviceRequest, ForwardedHeartbeat, SignedCommand, SocketPush};

/// Heartbeats for devices of one owner.
#[derive(Debug, Clone, PartialEq)]
pub struct Heartbeats {
    /// Node that sends the batch and receives the outcomes.
    pub from: NodeId,
    /// Number of the batch at the sender; the outcomes name it.
    pub batch: u64,
    /// The heartbeats.
    pub items: Vec<ForwardedHeartbeat>,
}

/// Receipt of a batch; the outcomes follow after the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatsReceived {
    /// Places of those that this node does not own.
    pub not_owned: Vec<u32>,
}

/// Outcome of a forwarded heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardOutcome {
    /// Committed, decided in this epoch.
    Stored(Epoch),
    /// The bucket was committed before; decided in this epoch.
    Repeat(Epoch),
    /// Refused.
    Refused(Refusal),
    /// As stored or repeated, with commands for the answer.
    WithCommands {
        /// Committed by this heartbeat, not before.
        stored: bool,
        /// Decided in this epoch.
        epoch: Epoch,
        /// Commands of the answer to a heartbeat.
        commands: Vec<SignedCommand>,
    },
}

/// Outcomes of a batch, each by its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatOutcomes {
    /// Number of the batch at its sender.
    pub batch: u64,
    /// Place and outcome.
    pub outcomes: Vec<(u32, ForwardOutcome)>,
}

/// Reason of a node's refusal, in terms of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// A request to a device's actor at its owner.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceCall {
    /// The device.
    pub device: DeviceId,
    /// Origin of the request.
    pub request: DeviceRequest,
    /// Context of the trace that it is part of.
    pub trace: Option<String>,
}

/// A message to an agent's socket at the node that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketMessage {
    /// Number of the socket at its node.
    pub socket: u64,
    /// The message.
    pub push: SocketPush,
}

/// Figures of a node, on the Cluster page: body of a ping and of its answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeStats {
    /// Devices that the node owns.
    pub devices: u64,
    /// Heartbeats that it stored per second, lately.
    pub heartbeats_per_second: f64,
    /// Calls between intake and answer.
    pub in_flight: u64,
    /// Agent sockets that it holds.
    pub agent_sockets: u64,
    /// Open commands of its devices.
    pub open_commands: u64,
    /// Reconcilers, by name.
    pub reconcilers: Vec<ReconcilerStatus>,
    /// Pools of permits.
    pub pools: Vec<PoolFigures>,
    /// Connections to the database; `None` of a build that does not tell.
    pub connections: Option<ConnectionFigures>,
}

/// Protocol 3: which ways lead to the devices of [`Changes`], socket and push, in the order of the changes.
pub(super) type ChannelPairs = Vec<(bool, bool)>;

/// [`Changes`] as they are sent: protocol 3 has the ways to the devices beside them.
pub(super) fn encode_changes(format: Format, changes: &Changes) -> Result<Vec<u8>, BadBody> {
    match format {
        Format::Numbered => codec::encode(format, changes),
        Format::Positional => {
            let channels = |change: &Change| change.view.as_ref().map_or((false, false), |view| (view.channels.socket, view.channels.push));
            let channels: ChannelPairs = changes.changes.iter().map(channels).collect();
            codec::encode(format, &(changes.clone(), channels))
        }
    }
}

/// Reads what [`encode_changes`] wrote.
pub(super) fn decode_changes(format: Format, bytes: &[u8]) -> Result<Changes, BadBody> {
    match format {
        Format::Numbered => codec::decode(format, bytes),
        Format::Positional => {
            let (mut changes, channels): (Changes, ChannelPairs) = codec::decode(format, bytes)?;
            for (change, (socket, push)) in changes.changes.iter_mut().zip(channels) {
                if let Some(view) = &mut change.view {
                    view.channels = Channels { socket, push };
                }
            }
            Ok(changes)
        }
    }
}
