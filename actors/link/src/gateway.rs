//! The gateway actor: the only actor of a node that peers can see.
//!
//! It never waits: what takes time goes on in a task of its own or in the device's mailbox, so
//! one slow answer holds up none of the others.

use std::sync::Arc;

use domain::shard::shard_of;
use domain::{NodeId, ServiceError};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use ractor_cluster::RactorMessage;
use tracing::{Instrument, Span};

use super::codec::{BadBody, Message};
use super::gateway_ref::GatewayMsg;
use super::message::{
    DeviceCall, ForwardOutcome, HeartbeatOutcomes, Heartbeats, HeartbeatsReceived, NodeStats, Refusal, SocketMessage, encode_changes,
};
use super::protocol::{Envelope, Kind, PROTOCOL_MAX, PROTOCOL_MIN, format_of};
use super::{GatewayRef, Links, LocalNode, Network, WeakLinks, trace};
use crate::messages::{ChangesRequest, HeartbeatAck, HeartbeatOutcome};

/// Changes of devices in one answer; halved until they fit into a body.
const CHANGES_MAX: usize = 256;

/// The gateway.
struct Gateway;

impl Actor for Gateway {
    type Msg = GatewayMsg;
    type State = WeakLinks;
    type Arguments = WeakLinks;

    async fn pre_start(&self, _me: ActorRef<GatewayMsg>, links: WeakLinks) -> Result<WeakLinks, ActorProcessingErr> {
        Ok(links)
    }

    async fn handle(&self, _me: ActorRef<GatewayMsg>, message: GatewayMsg, links: &mut WeakLinks) -> Result<(), ActorProcessingErr> {
        let Some(links) = links.upgrade() else { return Ok(()) };
        match message {
            GatewayMsg::Call(envelope, reply) => answer(&links, envelope, reply),
            GatewayMsg::Tell(envelope) => {
                if told(&links, &envelope).is_err() {
                    tracing::warn!(event = "link.malformed", kind = envelope.kind, protocol = envelope.protocol);
                }
            }
        }
        Ok(())
    }
}

fn send(reply: RpcReplyPort<Envelope>, envelope: Envelope) {
    // Whoever asked may have given up.
    let _ = reply.send(envelope);
}

fn envelope_of<T: Message>(protocol: u16, result: Result<T, Refusal>) -> Envelope {
    let made = match result {
        Ok(body) => Envelope::of(protocol, Kind::Answer, &body),
        Err(refusal) => Envelope::of(protocol, Kind::Refused, &refusal),
    };
    made.unwrap_or_else(|_| Envelope::new(protocol, Kind::Malformed, vec![]))
}

fn answer(links: &Arc<Links>, envelope: Envelope, reply: RpcReplyPort<Envelope>) {
    let protocol = envelope.protocol;
    let Some(kind) = Kind::parse(envelope.kind).filter(|_| (PROTOCOL_MIN..=PROTOCOL_MAX).contains(&protocol)) else {
        tracing::warn!(event = "link.unsupported", kind = envelope.kind, protocol, spoken_min = PROTOCOL_MIN, spoken_max = PROTOCOL_MAX);
        return send(reply, Envelope::unsupported(PROTOCOL_MAX));
    };
    let Some(local) = links.local() else { return send(reply, envelope_of::<()>(protocol, Err(Refusal::Unavailable))) };
    let malformed = |reply| {
        tracing::warn!(event = "link.malformed", ?kind, protocol);
        send(reply, Envelope::new(protocol, Kind::Malformed, vec![]));
    };
    match kind {
        Kind::Ping => match envelope.message::<NodeStats>() {
            Ok(_) => send(reply, envelope_of(protocol, Ok(links.stats()))),
            Err(BadBody) => malformed(reply),
        },
        Kind::Device => match envelope.message() {
            Ok(call) => device(links, local, protocol, call, reply),
            Err(BadBody) => malformed(reply),
        },
        Kind::Heartbeats => match envelope.message() {
            Ok(batch) => heartbeats(links, local, protocol, batch, reply),
            Err(BadBody) => malformed(reply),
        },
        Kind::Changes => match envelope.message() {
            Ok(wanted) => changes(links, protocol, wanted, reply),
            Err(BadBody) => malformed(reply),
        },
        _ => send(reply, Envelope::unsupported(protocol)),
    }
}

/// Asks a device of this node, in a task: a device that does not run is started from the store.
fn device(
    links: &Arc<Links>,
    local: &Arc<dyn LocalNode>,
    protocol: u16,
    DeviceCall { device: id, request, trace }: DeviceCall,
    reply: RpcReplyPort<Envelope>,
) {
    if !local.acts_for(shard_of(id)) {
        return send(reply, envelope_of::<()>(protocol, Err(Refusal::NotOwner)));
    }
    let (links, span) = (
        Arc::clone(links),
        continued(trace.as_deref(), || tracing::trace_span!(target: trace::TARGET, "device.request", otel.kind = "server")),
    );
    tokio::spawn(async move {
        let Some(local) = links.local() else { return };
        let answered = local.ask(id, request).instrument(span).await;
        send(reply, envelope_of(protocol, answered.map_err(|error| Refusal::from(&error))));
    });
}

fn changes(links: &Arc<Links>, protocol: u16, wanted: ChangesRequest, reply: RpcReplyPort<Envelope>) {
    let links = Arc::clone(links);
    tokio::spawn(async move {
        let Some(local) = links.local() else { return };
        let mut limit = CHANGES_MAX;
        let body = loop {
            match encode_changes(format_of(protocol), &local.changes(wanted, limit)) {
                Ok(body) => break body,
                Err(BadBody) if limit > 1 => limit /= 2,
                // One device alone is far below the limit.
                Err(BadBody) => return,
            }
        };
        send(reply, Envelope::new(protocol, Kind::Answer, body));
    });
}

/// The span of what came with a message: part of the sender's trace, or none.
fn continued(trace: Option<&str>, span: impl FnOnce() -> Span) -> Span {
    let Some(trace) = trace else { return Span::none() };
    let span = span();
    trace::continue_from(&span, trace);
    span
}

/// Receives a batch: sends the receipt at once, and the outcomes after the commits.
fn heartbeats(links: &Arc<Links>, local: &Arc<dyn LocalNode>, protocol: u16, batch: Heartbeats, reply: RpcReplyPort<Envelope>) {
    let Ok(permit) = Arc::clone(&links.taken).try_acquire_many_owned(batch.items.len() as u32) else {
        return send(reply, envelope_of::<()>(protocol, Err(Refusal::Overloaded)));
    };
    let (mut not_owned, mut waiting, mut to_start) = (Vec::new(), Vec::new(), Vec::new());
    // Of traces, which few heartbeats are part of.
    let mut spans = Vec::new();
    for (place, mut item) in batch.items.into_iter().enumerate() {
        let place = place as u32;
        let trace = item.trace.take();
        if !local.acts_for(shard_of(item.device)) {
            not_owned.push(place);
            continue;
        }
        if trace.is_some() {
            let span = || tracing::trace_span!(target: trace::TARGET, "heartbeat.owner", otel.kind = "server");
            spans.push((place, continued(trace.as_deref(), span)));
        }
        match local.take_running(item) {
            Ok(outcome) => waiting.push((place, outcome)),
            Err(item) => to_start.push((place, item)),
        }
    }
    send(reply, envelope_of(protocol, Ok::<_, Refusal>(HeartbeatsReceived { not_owned })));
    let (links, from, number) = (Arc::clone(links), batch.from, batch.batch);
    tokio::spawn(async move {
        let _permit = permit;
        let mut outcomes = Vec::with_capacity(waiting.len() + to_start.len());
        for (place, item) in to_start {
            let Some(local) = links.local() else { return };
            match local.take(*item).await {
                Ok(outcome) => waiting.push((place, outcome)),
                Err(error) => outcomes.push((place, ForwardOutcome::Refused((&error).into()))),
            }
        }
        for (place, outcome) in waiting {
            outcomes.push((place, outcome_of(outcome.await.unwrap_or(Err(ServiceError::Unavailable)))));
            // Its span ends here.
            spans.retain(|(other, _)| *other != place);
        }
        if let Ok(peer) = links.peer(from) {
            peer.tell(Kind::Outcomes, &HeartbeatOutcomes { batch: number, outcomes });
        }
    });
}

fn outcome_of(outcome: Result<HeartbeatAck, ServiceError>) -> ForwardOutcome {
    match outcome {
        Ok(HeartbeatAck { outcome, epoch: Some(epoch), commands }) if !commands.is_empty() => {
            ForwardOutcome::WithCommands { stored: outcome == HeartbeatOutcome::Stored, epoch, commands }
        }
        Ok(HeartbeatAck { outcome: HeartbeatOutcome::Stored, epoch: Some(epoch), .. }) => ForwardOutcome::Stored(epoch),
        Ok(HeartbeatAck { outcome: HeartbeatOutcome::Repeat, epoch: Some(epoch), .. }) => ForwardOutcome::Repeat(epoch),
        Ok(HeartbeatAck { epoch: None, .. }) => ForwardOutcome::Refused(Refusal::Internal),
        Err(error) => ForwardOutcome::Refused((&error).into()),
    }
}

fn told(links: &Arc<Links>, envelope: &Envelope) -> Result<(), BadBody> {
    match Kind::parse(envelope.kind) {
        Some(Kind::Outcomes) => links.take_outcomes(envelope.message()?),
        Some(Kind::SocketPush) => {
            let SocketMessage { socket, push } = envelope.message()?;
            if let Some(local) = links.local() {
                local.push_socket(socket, push);
            }
        }
        _ => return Err(BadBody),
    }
    Ok(())
}

/// Message to the supervisor of the gateway. Local to a node.
#[derive(RactorMessage)]
pub(crate) enum SupervisorMsg {
    /// Start the gateway.
    Open(WeakLinks),
    /// Enter the gateway under this node's id, which changes when the node joins anew.
    Join(NodeId),
}

/// Starts the gateway again when it fails, under the same name to peers.
pub(crate) struct GatewaySupervisor;

pub(crate) struct SupervisorState {
    network: Arc<dyn Network>,
    links: WeakLinks,
    gateway: Option<GatewayRef>,
    node: Option<NodeId>,
}

impl SupervisorState {
    async fn start(&mut self, me: &ActorRef<SupervisorMsg>) -> Result<(), ActorProcessingErr> {
        let (gateway, _) = Actor::spawn_linked(None, Gateway, self.links.clone(), me.get_cell()).await?;
        self.gateway = Some(GatewayRef::new(gateway));
        self.enter(None);
        Ok(())
    }

    fn enter(&self, former: Option<NodeId>) {
        if let (Some(gateway), Some(node)) = (&self.gateway, self.node) {
            self.network.enter(node, gateway.clone(), former);
        }
    }
}

impl Actor for GatewaySupervisor {
    type Msg = SupervisorMsg;
    type State = SupervisorState;
    type Arguments = Arc<dyn Network>;

    async fn pre_start(&self, _me: ActorRef<SupervisorMsg>, network: Arc<dyn Network>) -> Result<SupervisorState, ActorProcessingErr> {
        Ok(SupervisorState { network, links: WeakLinks::new(), gateway: None, node: None })
    }

    async fn handle(
        &self,
        me: ActorRef<SupervisorMsg>,
        message: SupervisorMsg,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SupervisorMsg::Open(links) => {
                state.links = links;
                state.start(&me).await?;
            }
            SupervisorMsg::Join(node) if state.node != Some(node) => {
                let former = state.node.replace(node);
                state.enter(former);
            }
            SupervisorMsg::Join(_) => {}
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<SupervisorMsg>,
        event: SupervisionEvent,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(_, cause) = event {
            tracing::error!(event = "link.gateway_failed", %cause);
            state.start(&me).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ractor::Message;

    use super::{GatewayMsg, SupervisorMsg};

    #[test]
    fn of_the_link_only_the_gateway_can_be_seen_by_peers() {
        assert!(GatewayMsg::serializable());
        assert!(!SupervisorMsg::serializable());
    }
}
