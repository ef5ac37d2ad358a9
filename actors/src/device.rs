//! The actor of one device: owns its live state and decides about its heartbeats.
//!
//! It never waits for the database: rows go to a writer, which reports the
//! commit back, and only then does the live state change.

use std::sync::Arc;

use domain::Timestamp;
use domain::device::{Admission, DeviceEffect, DeviceEvent, DevicePolicy, DeviceState, DeviceView, LastStatus};
use domain::shard::{Epoch, ShardId, shard_of};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use ractor_cluster::RactorMessage;
use store::{HeartbeatRow, StoredDevice, same_details};

use crate::ServiceError;
use crate::clock;
use crate::cluster::Ownership;
use crate::fleet_view::FleetView;
use crate::heartbeat_writer::{HeartbeatAck, HeartbeatOutcome, HeartbeatReply, HeartbeatWriters, WriteJob};
use crate::link::message::{DeviceReply, DeviceRequest, SocketPush, SocketRef};
use crate::shard::ShardMsg;
use crate::sockets::SocketHub;

/// What a device actor is told. Local to a node: nothing of it travels as it is.
#[derive(RactorMessage)]
pub enum DeviceMsg {
    /// A heartbeat came in.
    Heartbeat {
        /// The heartbeat.
        status: Arc<LastStatus>,
        /// A push token it carried.
        fcm_token: Option<String>,
        /// The generation of the credentials it came with.
        generation: i32,
        /// The socket it came over.
        socket: Option<SocketRef>,
        /// Answered after commit.
        reply: HeartbeatReply,
    },
    /// A heartbeat of this device is committed.
    Stored {
        /// The heartbeat.
        status: Arc<LastStatus>,
        /// The push token that was remembered with it.
        fcm_token: Option<String>,
        /// Its details were written with it.
        with_details: bool,
    },
    /// The deadline it asked for has passed.
    DeadlinePassed,
    /// It is asked something, from whichever node.
    Request(DeviceRequest, RpcReplyPort<Result<DeviceReply, ServiceError>>),
    /// What the store holds, after somebody else may have written.
    Reread(Box<StoredDevice>),
    /// Fails on purpose, for tests of the supervision.
    #[cfg(any(test, feature = "fault-injection"))]
    Crash,
}

/// When a device's deadline is looked at again while this node has no lease.
const RECHECK: chrono::TimeDelta = chrono::TimeDelta::seconds(1);

/// What every device actor of a node shares.
pub struct DeviceContext {
    /// Where views are published.
    pub view: Arc<FleetView>,
    /// Where rows are written.
    pub writers: HeartbeatWriters,
    /// What this node may do right now.
    pub ownership: Arc<Ownership>,
    /// Reaches sockets, wherever they hang.
    pub sockets: Arc<SocketHub>,
    /// How devices are judged.
    pub policy: DevicePolicy,
}

/// The actor of one device.
pub struct DeviceActor;

/// How a device actor starts.
pub struct DeviceArguments {
    /// Its state as the store knows it.
    pub state: DeviceState,
    /// The push token that the store holds.
    pub fcm_token: Option<String>,
    /// Its supervisor, which watches its deadlines.
    pub shard: ActorRef<ShardMsg>,
    /// The epoch of its shard that it belongs to.
    pub epoch: Epoch,
    /// What all devices share.
    pub context: Arc<DeviceContext>,
}

/// What a device actor holds.
pub struct DeviceActorState {
    device: DeviceState,
    fcm_token: Option<Box<str>>,
    socket: Option<SocketRef>,
    /// Heartbeats handed to a writer whose commit was not reported. One whose outcome is unknown
    /// stays counted: which details are stored is then not known for good.
    unreported: u32,
    /// A heartbeat of this very actor has written its details. Until then an earlier
    /// actor's last write may still be on its way.
    details_known: bool,
    shard: ActorRef<ShardMsg>,
    place: (ShardId, Epoch),
    context: Arc<DeviceContext>,
}

fn refusal(admission: Admission) -> ServiceError {
    match admission {
        Admission::Deleted => ServiceError::DeviceDeleted,
        _ => ServiceError::Unauthorized,
    }
}

impl Actor for DeviceActor {
    type Msg = DeviceMsg;
    type State = DeviceActorState;
    type Arguments = DeviceArguments;

    async fn pre_start(&self, _me: ActorRef<DeviceMsg>, start: DeviceArguments) -> Result<DeviceActorState, ActorProcessingErr> {
        let DeviceArguments { state: device, fcm_token, shard, epoch, context } = start;
        let state = DeviceActorState {
            place: (shard_of(device.identity.id), epoch),
            device,
            fcm_token: fcm_token.map(Into::into),
            socket: None,
            unreported: 0,
            details_known: false,
            shard,
            context,
        };
        if state.device.lifecycle == domain::device::Lifecycle::Active {
            state.publish();
            if let Some(deadline) = state.device.deadline(&state.context.policy) {
                state.watch_until(deadline);
            }
        }
        Ok(state)
    }

    async fn handle(&self, me: ActorRef<DeviceMsg>, message: DeviceMsg, state: &mut DeviceActorState) -> Result<(), ActorProcessingErr> {
        match message {
            DeviceMsg::Heartbeat { reply, .. } if !state.acts() => answer_heartbeat(reply, Err(ServiceError::NotOwner)),
            DeviceMsg::Heartbeat { status, fcm_token, generation, socket, reply } => {
                if socket.is_some() && state.device.credentials(generation).is_ok() {
                    state.socket = socket;
                }
                state.heartbeat(me, status, fcm_token, generation, reply);
            }
            DeviceMsg::Stored { status, fcm_token, with_details } => {
                state.details_known |= with_details;
                if let Some(token) = fcm_token {
                    state.fcm_token = Some(token.into());
                }
                state.unreported = state.unreported.saturating_sub(1);
                state.apply(DeviceEvent::Stored(status));
            }
            // Without its lease a node judges nobody; it looks again once it may.
            DeviceMsg::DeadlinePassed if !state.acts() => state.watch_until(clock::now() + RECHECK),
            DeviceMsg::DeadlinePassed => state.apply(DeviceEvent::DeadlinePassed),
            // What takes rights away is in force whoever owns the device by now.
            DeviceMsg::Request(request, reply) if !state.acts() && !matches!(request, DeviceRequest::AccessChanged { .. }) => {
                answer(reply, Err(ServiceError::NotOwner));
            }
            DeviceMsg::Request(request, reply) => {
                let answered = state.request(request);
                answer(reply, answered);
            }
            DeviceMsg::Reread(stored) => state.reread(*stored),
            #[cfg(any(test, feature = "fault-injection"))]
            #[allow(clippy::panic, reason = "that is what it is for")]
            DeviceMsg::Crash => panic!("crash on request"),
        }
        Ok(())
    }
}

fn answer_heartbeat(reply: HeartbeatReply, outcome: Result<HeartbeatAck, ServiceError>) {
    let _ = reply.send(outcome);
}

/// Whoever asked may have given up; that is theirs to handle.
fn answer<T: Send + 'static>(reply: RpcReplyPort<T>, value: T) {
    let _ = reply.send(value);
}

impl DeviceActorState {
    /// Whether this node still owns the device, in the epoch that this actor belongs to.
    fn acts(&self) -> bool {
        self.context.ownership.acts(self.place.0, self.place.1)
    }

    fn request(&mut self, request: DeviceRequest) -> Result<DeviceReply, ServiceError> {
        match request {
            DeviceRequest::CheckCredentials { generation } => self.device.credentials(generation).map_err(refusal)?,
            DeviceRequest::View => return self.view().map(|view| DeviceReply::View(Box::new(view))),
            DeviceRequest::SocketOpened { generation, socket } => {
                self.device.credentials(generation).map_err(refusal)?;
                if let Some(older) = self.socket.replace(socket).filter(|older| older.socket != socket.socket) {
                    self.context.sockets.push(older, SocketPush::Replaced);
                }
            }
            DeviceRequest::AccessChanged { generation, deleted } => {
                self.apply(DeviceEvent::CredentialsRevoked { generation });
                if deleted && self.device.lifecycle == domain::device::Lifecycle::Active {
                    self.apply(DeviceEvent::Deleted);
                }
            }
        }
        Ok(DeviceReply::Done)
    }

    fn reread(&mut self, stored: StoredDevice) {
        // Whatever else wrote may have written other details.
        self.details_known = false;
        if let Some(token) = stored.fcm_token {
            self.fcm_token = Some(token.into());
        }
        self.apply(DeviceEvent::CredentialsRevoked { generation: stored.credential_generation });
        self.apply(DeviceEvent::Reread { last: stored.last.map(Arc::new), last_seen_at: stored.last_seen_at });
    }

    fn heartbeat(
        &mut self,
        me: ActorRef<DeviceMsg>,
        status: Arc<LastStatus>,
        fcm_token: Option<String>,
        generation: i32,
        reply: HeartbeatReply,
    ) {
        match self.device.admit(generation, status.bucket_at) {
            Admission::Write { late } => {
                let fcm_token = fcm_token.filter(|token| self.fcm_token.as_deref() != Some(token));
                let mut row = HeartbeatRow::new(self.device.identity.id, status, fcm_token, late);
                // While another heartbeat is on its way it is not known which details are stored.
                row.same_details = self.details_known
                    && self.unreported == 0
                    && self.device.last.as_ref().is_some_and(|last| same_details(&last.telemetry, &row.status.telemetry));
                self.unreported += 1;
                self.context.writers.submit(WriteJob { row, owner: Some((me, self.place.1)), reply });
            }
            Admission::Repeat => {
                answer_heartbeat(reply, Ok(HeartbeatAck { outcome: HeartbeatOutcome::Repeat, epoch: Some(self.place.1) }));
            }
            refused => answer_heartbeat(reply, Err(refusal(refused))),
        }
    }

    fn view(&self) -> Result<DeviceView, ServiceError> {
        match self.device.lifecycle {
            domain::device::Lifecycle::Active => Ok(self.device.view(&self.context.policy)),
            domain::device::Lifecycle::Deleted => Err(ServiceError::NotFound("device")),
        }
    }

    fn apply(&mut self, event: DeviceEvent) {
        for effect in self.device.apply(event, clock::now(), &self.context.policy) {
            match effect {
                DeviceEffect::Publish => self.publish(),
                DeviceEffect::Withdraw => self.context.view.withdraw(self.device.identity.id, self.place.1),
                DeviceEffect::WatchUntil(deadline) => self.watch_until(deadline),
                DeviceEffect::Disconnect => {
                    if let Some(socket) = self.socket.take() {
                        self.context.sockets.push(socket, SocketPush::Revoked);
                    }
                }
            }
        }
    }

    fn publish(&self) {
        self.context.view.publish(self.device.view(&self.context.policy), self.place.1);
    }

    fn watch_until(&self, deadline: Timestamp) {
        // Without its shard the device is about to stop as well.
        let _ = self.shard.cast(ShardMsg::WatchUntil(self.device.identity.id, deadline));
    }
}
