//! Calls of actors of this node.

use std::time::Duration;

use domain::ServiceError;
use ractor::rpc::CallResult;
use ractor::{ActorRef, RpcReplyPort};

/// How long an actor may take to answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

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
