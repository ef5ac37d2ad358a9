//! This node as its peers reach it over the link: its devices, its agent sockets, the changes of its devices.

use std::sync::Arc;

use domain::shard::ShardId;
use domain::{DeviceId, ServiceError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use link::message::NodeStats;
use link::messages::{Changes, ChangesRequest, DeviceReply, DeviceRequest, ForwardedHeartbeat, SocketPush};
use link::{HeartbeatAnswer, LocalNode};
use ractor::ActorRef;
use store::Store;
use tokio::sync::oneshot;

use crate::device::DeviceMsg;
use crate::fleet_view::FleetView;
use crate::metrics::Metrics;
use crate::ownership::Ownership;
use crate::reconcile::Reconcilers;
use crate::router::DeviceRouter;
use crate::sockets::SocketHub;

/// Implements the local node for the link.
pub(crate) struct ThisNode {
    pub(crate) router: DeviceRouter,
    pub(crate) ownership: Arc<Ownership>,
    pub(crate) sockets: Arc<SocketHub>,
    pub(crate) fleet: Arc<FleetView>,
    pub(crate) metrics: Metrics,
    pub(crate) reconcilers: Arc<Reconcilers>,
    pub(crate) store: Store,
}

impl LocalNode for ThisNode {
    fn acts_for(&self, shard: ShardId) -> bool {
        self.ownership.acting(shard).is_some()
    }

    fn ask(&self, device: DeviceId, request: DeviceRequest) -> BoxFuture<'_, Result<DeviceReply, ServiceError>> {
        self.router.ask_here(device, request).boxed()
    }

    fn take_running(&self, heartbeat: ForwardedHeartbeat) -> Result<HeartbeatAnswer, Box<ForwardedHeartbeat>> {
        match self.router.running_here(heartbeat.device) {
            Some(actor) => Ok(hand_over(&actor, heartbeat)),
            None => Err(Box::new(heartbeat)),
        }
    }

    fn take(&self, heartbeat: ForwardedHeartbeat) -> BoxFuture<'_, Result<HeartbeatAnswer, ServiceError>> {
        async { Ok(hand_over(&self.router.locate_here(heartbeat.device).await?, heartbeat)) }.boxed()
    }

    fn push_socket(&self, number: u64, push: SocketPush) {
        let _ = self.sockets.push_here(number, push);
    }

    fn changes(&self, wanted: ChangesRequest, limit: usize) -> Changes {
        self.fleet.changes(wanted, limit)
    }

    fn stats(&self) -> NodeStats {
        NodeStats {
            devices: self.fleet.own_devices(),
            heartbeats_per_second: self.fleet.own_rate(),
            in_flight: self.metrics.heartbeats_in_flight.get().max(0) as u64,
            agent_sockets: self.sockets.len() as u64,
            open_commands: self.metrics.open_commands.get().max(0) as u64,
            reconcilers: self.reconcilers.statuses(),
            pools: self.metrics.pools.figures(),
            connections: Some(self.store.connection_figures()),
        }
    }
}

fn hand_over(actor: &ActorRef<DeviceMsg>, heartbeat: ForwardedHeartbeat) -> HeartbeatAnswer {
    let (reply, outcome) = oneshot::channel();
    let ForwardedHeartbeat { status, generation, fcm_token, socket, .. } = heartbeat;
    // A device that stopped this moment drops the reply, which reads as unavailable.
    let _ = actor.cast(DeviceMsg::Heartbeat { status, fcm_token, generation, socket, reply });
    outcome
}
