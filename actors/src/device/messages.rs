//! Messages to device actors.

use std::sync::Arc;

use clock::Moment;
use domain::alert::OpenRecord;
use domain::device::LastStatus;
use domain::{CommandId, ServiceError};
use link::messages::{DeviceReply, DeviceRequest, PendingCommand, SocketRef};
use push::PushOutcome;
use ractor::RpcReplyPort;
use ractor_cluster::RactorMessage;
use store::StoredDevice;

use super::alerts::RecordedAlert;
use crate::messages::{HeartbeatReply, RecordOutcome, StoredHeartbeat};

/// Message to a device actor. Local to a node: none is sent over the link as it is.
#[derive(RactorMessage)]
pub enum DeviceMsg {
    /// A heartbeat to store.
    Heartbeat {
        /// The heartbeat.
        status: Arc<LastStatus>,
        /// A push token it carried.
        fcm_token: Option<String>,
        /// Generation of the credentials it came with.
        generation: i32,
        /// Socket over which it came.
        socket: Option<SocketRef>,
        /// Reply after the commit.
        reply: HeartbeatReply,
    },
    /// A heartbeat of the device has been committed.
    Stored(StoredHeartbeat),
    /// The liveness deadline of the device has passed.
    DeadlinePassed,
    /// A request, from any node.
    Request(DeviceRequest, RpcReplyPort<Result<DeviceReply, ServiceError>>),
    /// The stored device, read at this moment after another node may have written it.
    Refresh(Moment, Box<StoredDevice>),
    /// Outcome of recording events.
    ChangeRecorded(RecordOutcome),
    /// The delay after a refused record has ended.
    RetryRecord,
    /// Stored open alerts of the device.
    OpenAlerts(Vec<OpenRecord>),
    /// Outcome of recording a change of an alert.
    AlertRecorded(Box<RecordedAlert>),
    /// The settings of rules have changed.
    JudgeAlerts,
    /// Stored open commands of the device.
    PendingCommands(Vec<PendingCommand>),
    /// Compares these open commands with those that it holds, and takes those that it lacks: replied with these, and with all that it held.
    CompareCommands(Vec<PendingCommand>, RpcReplyPort<(Vec<CommandId>, Vec<CommandId>)>),
    /// These commands are over.
    CommandsOver(Vec<CommandId>),
    /// Outcome of the push message of a command, to this push token.
    Pushed(CommandId, Box<str>, PushOutcome),
    /// The device was purged: its actor stops.
    Purged,
    /// Fails on purpose, for tests of the supervision.
    #[cfg(any(test, feature = "fault-injection"))]
    Crash,
}
