//! Finds the actor of a device.

use std::time::Duration;

use domain::DeviceId;
use domain::device::DeviceView;
use domain::shard::shard_of;
use ractor::rpc::CallResult;
use ractor::{ActorRef, RpcReplyPort};

use crate::ServiceError;
use crate::device::DeviceMsg;
use crate::shard::{Directory, ShardMsg};

/// How long an actor of this node may take to answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Finds the actor of a device and talks to it.
#[derive(Clone)]
pub struct DeviceRouter {
    directory: Directory,
    shards: std::sync::Arc<[ActorRef<ShardMsg>]>,
}

impl DeviceRouter {
    /// A router over the shards of this node, in the order of their ids.
    pub fn new(directory: Directory, shards: Vec<ActorRef<ShardMsg>>) -> Self {
        Self { directory, shards: shards.into() }
    }

    /// The actor of a device, started from the store when it does not run.
    ///
    /// # Errors
    /// There is no such device, or it cannot be started right now.
    pub async fn locate(&self, id: DeviceId) -> Result<ActorRef<DeviceMsg>, ServiceError> {
        if let Some(actor) = self.directory.get(&id) {
            return Ok(actor.clone());
        }
        let shard = self.shards.get(usize::from(shard_of(id).0)).ok_or(ServiceError::Unavailable)?;
        call(shard, |reply| ShardMsg::Locate(id, reply)).await?
    }

    /// Tells a device something, starting it when it does not run.
    ///
    /// # Errors
    /// As [`Self::locate`]; or the actor stopped in that very moment.
    pub async fn tell(&self, id: DeviceId, message: DeviceMsg) -> Result<(), ServiceError> {
        self.locate(id).await?.cast(message).map_err(|_| ServiceError::Unavailable)
    }

    /// Asks a device something.
    ///
    /// # Errors
    /// As [`Self::locate`], what the device answers, or it does not answer in time.
    pub async fn ask<T: Send + 'static>(
        &self,
        id: DeviceId,
        question: impl FnOnce(RpcReplyPort<Result<T, ServiceError>>) -> DeviceMsg,
    ) -> Result<T, ServiceError> {
        call(&self.locate(id).await?, question).await?
    }

    /// The live state of a device, read from its actor.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn view(&self, id: DeviceId) -> Result<DeviceView, ServiceError> {
        self.ask(id, DeviceMsg::View).await
    }
}

/// Calls an actor with a deadline.
pub(crate) async fn call<M: ractor::Message, T: Send + 'static>(
    actor: &ActorRef<M>,
    question: impl FnOnce(RpcReplyPort<T>) -> M,
) -> Result<T, ServiceError> {
    match actor.call(question, Some(CALL_TIMEOUT)).await {
        Ok(CallResult::Success(answer)) => Ok(answer),
        Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => Err(ServiceError::Unavailable),
    }
}
