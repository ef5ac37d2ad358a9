//! Gateways of nodes, as networks reach them.

use std::time::Duration;

use ractor::rpc::CallResult;
use ractor::{ActorCell, ActorRef, RpcReplyPort};
use ractor_cluster::RactorClusterMessage;

use super::protocol::Envelope;

/// Message of a peer to the gateway.
#[derive(RactorClusterMessage)]
pub(crate) enum GatewayMsg {
    /// To be answered.
    #[rpc]
    Call(Envelope, RpcReplyPort<Envelope>),
    /// Not to be answered.
    Tell(Envelope),
}

/// Gateway of a node, as networks reach it.
#[derive(Clone)]
pub struct GatewayRef(ActorRef<GatewayMsg>);

impl GatewayRef {
    pub(super) fn new(gateway: ActorRef<GatewayMsg>) -> Self {
        Self(gateway)
    }

    /// Its actor, for the library's table.
    pub(super) fn cell(&self) -> ActorCell {
        self.0.get_cell()
    }

    /// Calls the gateway. `None`: it has stopped, or does not answer in time.
    pub async fn call(&self, envelope: Envelope, timeout: Duration) -> Option<Envelope> {
        match self.0.call(|reply| GatewayMsg::Call(envelope, reply), Some(timeout)).await {
            Ok(CallResult::Success(answer)) => Some(answer),
            Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => None,
        }
    }

    /// Sends an envelope; a gateway that has stopped drops it.
    pub fn tell(&self, envelope: Envelope) {
        let _ = self.0.cast(GatewayMsg::Tell(envelope));
    }
}
