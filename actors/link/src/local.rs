//! This node as its gateway reaches it; implemented above the link.

use domain::shard::ShardId;
use domain::{DeviceId, ServiceError};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::message::NodeStats;
use crate::messages::{Changes, ChangesRequest, DeviceReply, DeviceRequest, ForwardedHeartbeat, HeartbeatAck, SocketPush};

/// Resolves once a heartbeat is committed or refused; an error when its device stopped before.
pub type HeartbeatAnswer = oneshot::Receiver<Result<HeartbeatAck, ServiceError>>;

/// Local node, as peers call it.
pub trait LocalNode: Send + Sync {
    /// Whether this node acts for a shard right now.
    fn acts_for(&self, shard: ShardId) -> bool;
    /// Asks a device of this node; one that does not run is started from the store.
    fn ask(&self, device: DeviceId, request: DeviceRequest) -> BoxFuture<'_, Result<DeviceReply, ServiceError>>;
    /// Sends a heartbeat to its device actor; returns it when the device does not run.
    ///
    /// # Errors
    /// The device does not run.
    fn take_running(&self, heartbeat: ForwardedHeartbeat) -> Result<HeartbeatAnswer, Box<ForwardedHeartbeat>>;
    /// Sends a heartbeat to its device actor, which is started from the store.
    fn take(&self, heartbeat: ForwardedHeartbeat) -> BoxFuture<'_, Result<HeartbeatAnswer, ServiceError>>;
    /// Sends a message to a socket of this node; a closed socket is ignored.
    fn push_socket(&self, number: u64, push: SocketPush);
    /// At most `limit` changes of this node's devices.
    fn changes(&self, wanted: ChangesRequest, limit: usize) -> Changes;
    /// Statistics of this node.
    fn stats(&self) -> NodeStats;
}
