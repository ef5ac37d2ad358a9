//! The actor of one device: owns its live state and decides about its heartbeats.
//!
//! It never waits for the database: rows go to a writer, which reports the
//! commit back, and only then does the live state change.

use std::sync::Arc;

use domain::Timestamp;
use domain::device::{Admission, DeviceEffect, DeviceEvent, DevicePolicy, DeviceState, DeviceView, LastStatus};
use domain::heartbeat::Heartbeat;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use store::{HeartbeatRow, same_details};
use tokio::sync::mpsc;

use crate::ServiceError;
use crate::clock;
use crate::fleet_view::FleetView;
use crate::heartbeat_writer::{HeartbeatOutcome, HeartbeatReply, HeartbeatWriters, WriteJob};
use crate::shard::ShardMsg;

/// What a device's socket is told by its actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketPush {
    /// Another socket of the same device took over.
    Replaced,
    /// The credentials it was opened with no longer hold.
    Revoked,
}

/// The actor's end of a socket.
pub type SocketSender = mpsc::Sender<SocketPush>;

/// What a device actor is told.
pub enum DeviceMsg {
    /// A heartbeat came in.
    Heartbeat {
        /// The heartbeat.
        heartbeat: Box<Heartbeat>,
        /// A push token it carried.
        fcm_token: Option<String>,
        /// The generation of the credentials it came with.
        generation: i32,
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
    /// Whether credentials of this generation hold.
    CheckCredentials(i32, RpcReplyPort<Result<(), ServiceError>>),
    /// Its live state.
    View(RpcReplyPort<Result<DeviceView, ServiceError>>),
    /// A socket of it was opened, with credentials of this generation.
    SocketOpened(i32, SocketSender, RpcReplyPort<Result<(), ServiceError>>),
    /// Its credentials were revoked; this generation holds from now on.
    CredentialsRevoked(i32),
    /// It was deleted.
    Deleted,
    /// What it knows may be out of date: it stops, and starts from the store when needed.
    Forget,
    /// Fails on purpose, for tests of the supervision.
    #[cfg(any(test, feature = "fault-injection"))]
    Crash,
}

/// What every device actor of a node shares.
pub struct DeviceContext {
    /// Where views are published.
    pub view: Arc<FleetView>,
    /// Where rows are written.
    pub writers: HeartbeatWriters,
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
    /// What all devices share.
    pub context: Arc<DeviceContext>,
}

/// What a device actor holds.
pub struct DeviceActorState {
    device: DeviceState,
    fcm_token: Option<Box<str>>,
    socket: Option<SocketSender>,
    /// Heartbeats handed to a writer whose commit was not reported. One whose outcome is unknown
    /// stays counted: which details are stored is then not known for good.
    unreported: u32,
    /// A heartbeat of this very actor has written its details. Until then an earlier
    /// actor's last write may still be on its way.
    details_known: bool,
    shard: ActorRef<ShardMsg>,
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
        let DeviceArguments { state: device, fcm_token, shard, context } = start;
        let state = DeviceActorState {
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
            DeviceMsg::Heartbeat { heartbeat, fcm_token, generation, reply } => {
                state.heartbeat(me, *heartbeat, fcm_token, generation, reply);
            }
            DeviceMsg::Stored { status, fcm_token, with_details } => {
                state.details_known |= with_details;
                if let Some(token) = fcm_token {
                    state.fcm_token = Some(token.into());
                }
                state.unreported = state.unreported.saturating_sub(1);
                state.apply(DeviceEvent::Stored(status));
            }
            DeviceMsg::DeadlinePassed => state.apply(DeviceEvent::DeadlinePassed),
            DeviceMsg::CheckCredentials(generation, reply) => answer(reply, state.device.credentials(generation).map_err(refusal)),
            DeviceMsg::View(reply) => answer(reply, state.view()),
            DeviceMsg::SocketOpened(generation, socket, reply) => {
                let checked = state.device.credentials(generation).map_err(refusal);
                if checked.is_ok()
                    && let Some(older) = state.socket.replace(socket)
                {
                    // A full or closed queue means that the older socket is on its way out already.
                    let _ = older.try_send(SocketPush::Replaced);
                }
                answer(reply, checked);
            }
            DeviceMsg::CredentialsRevoked(generation) => state.apply(DeviceEvent::CredentialsRevoked { generation }),
            DeviceMsg::Deleted => state.apply(DeviceEvent::Deleted),
            DeviceMsg::Forget => me.stop(None),
            #[cfg(any(test, feature = "fault-injection"))]
            #[allow(clippy::panic, reason = "that is what it is for")]
            DeviceMsg::Crash => panic!("crash on request"),
        }
        Ok(())
    }
}

/// Whoever asked may have given up; that is theirs to handle.
fn answer<T: Send + 'static>(reply: RpcReplyPort<T>, value: T) {
    let _ = reply.send(value);
}

impl DeviceActorState {
    fn heartbeat(
        &mut self,
        me: ActorRef<DeviceMsg>,
        heartbeat: Heartbeat,
        fcm_token: Option<String>,
        generation: i32,
        reply: HeartbeatReply,
    ) {
        match self.device.admit(generation, heartbeat.bucket_at) {
            Admission::Write { late } => {
                let fcm_token = fcm_token.filter(|token| self.fcm_token.as_deref() != Some(token));
                let mut row = HeartbeatRow::new(heartbeat, fcm_token, late);
                // While another heartbeat is on its way it is not known which details are stored.
                row.same_details = self.details_known
                    && self.unreported == 0
                    && self.device.last.as_ref().is_some_and(|last| same_details(&last.telemetry, &row.status.telemetry));
                self.unreported += 1;
                self.context.writers.submit(WriteJob { row, device: me, reply });
            }
            Admission::Repeat => drop(reply.send(Ok(HeartbeatOutcome::Repeat))),
            refused => drop(reply.send(Err(refusal(refused)))),
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
                DeviceEffect::Withdraw => self.context.view.withdraw(self.device.identity.id),
                DeviceEffect::WatchUntil(deadline) => self.watch_until(deadline),
                DeviceEffect::Disconnect => {
                    if let Some(socket) = self.socket.take() {
                        let _ = socket.try_send(SocketPush::Revoked);
                    }
                }
            }
        }
    }

    fn publish(&self) {
        self.context.view.publish(self.device.view(&self.context.policy));
    }

    fn watch_until(&self, deadline: Timestamp) {
        // Without its shard the device is about to stop as well.
        let _ = self.shard.cast(ShardMsg::WatchUntil(self.device.identity.id, deadline));
    }
}
