//! Keeps an actor for each open deployment of the shards that this node owns, and wakes them.
//!
//! It takes no input but "look" and "something happened": a notification, a timer or a failure wakes it, and it compares
//! the rows with what runs here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use domain::DeploymentId;
use domain::shard::{Epoch, ShardId, ShardLease, shard_of_deployment};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use ractor_cluster::RactorMessage;

use super::DeploymentContext;
use super::actor::{DeploymentActor, DeploymentArguments, DeploymentMsg};
use crate::clock;

/// How often the rows are looked at when nobody tells of anything.
const LOOK_INTERVAL: Duration = Duration::from_millis(1_000);

/// What the manager is told. Local to a node.
#[derive(RactorMessage)]
pub(crate) enum ManagerMsg {
    /// Look at the rows.
    Look,
    /// Something happened to this deployment, or to all of them.
    Happened(Option<DeploymentId>),
}

/// The manager.
pub(crate) struct DeploymentManager;

pub(crate) struct ManagerState {
    context: Arc<DeploymentContext>,
    running: HashMap<DeploymentId, (Epoch, ActorRef<DeploymentMsg>)>,
}

impl Actor for DeploymentManager {
    type Msg = ManagerMsg;
    type State = ManagerState;
    type Arguments = Arc<DeploymentContext>;

    async fn pre_start(&self, me: ActorRef<ManagerMsg>, context: Arc<DeploymentContext>) -> Result<ManagerState, ActorProcessingErr> {
        me.send_interval(LOOK_INTERVAL, || ManagerMsg::Look);
        Ok(ManagerState { context, running: HashMap::new() })
    }

    async fn handle(&self, me: ActorRef<ManagerMsg>, message: ManagerMsg, state: &mut ManagerState) -> Result<(), ActorProcessingErr> {
        match message {
            ManagerMsg::Happened(Some(id)) if state.running.contains_key(&id) => state.wake(Some(id)),
            ManagerMsg::Happened(None) => state.wake(None),
            ManagerMsg::Happened(Some(id)) if state.epoch_of(id).is_none() => {}
            ManagerMsg::Look | ManagerMsg::Happened(_) => {
                if let Err(cause) = state.look(&me).await {
                    tracing::warn!(event = "deployment.look_failed", %cause);
                }
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _me: ActorRef<ManagerMsg>,
        event: SupervisionEvent,
        state: &mut ManagerState,
    ) -> Result<(), ActorProcessingErr> {
        let (cell, cause) = match event {
            SupervisionEvent::ActorFailed(cell, cause) => (cell, Some(cause)),
            SupervisionEvent::ActorTerminated(cell, ..) => (cell, None),
            _ => return Ok(()),
        };
        let ended = state.running.iter().find(|(_, (_, actor))| actor.get_id() == cell.get_id()).map(|(id, _)| *id);
        if let Some(id) = ended {
            // The next look starts it anew from the rows, if there is anything left to do.
            state.running.remove(&id);
            state.context.gauges.forget(id);
            if let Some(cause) = cause {
                tracing::error!(event = "deployment.failed", deployment_id = %id, %cause);
            }
        }
        Ok(())
    }
}

impl ManagerState {
    fn epoch_of(&self, id: DeploymentId) -> Option<Epoch> {
        self.context.ownership.acting(shard_of_deployment(id))
    }

    fn wake(&self, id: Option<DeploymentId>) {
        let those = self.running.iter().filter(|(running, _)| id.is_none_or(|id| id == **running));
        for (_, (_, actor)) in those {
            // One that is stopping looks no more.
            let _ = actor.cast(DeploymentMsg::Look);
        }
    }

    async fn look(&mut self, me: &ActorRef<ManagerMsg>) -> Result<(), ActorProcessingErr> {
        let mine: Vec<ShardId> = ShardId::all().filter(|shard| self.context.ownership.acting(*shard).is_some()).collect();
        let open: HashSet<DeploymentId> =
            if mine.is_empty() { HashSet::new() } else { self.context.store.open_deployments(&mine).await?.into_iter().collect() };
        let gone: Vec<DeploymentId> = self
            .running
            .iter()
            .filter(|(id, (epoch, _))| !open.contains(id) || self.epoch_of(**id) != Some(*epoch))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            if let Some((_, actor)) = self.running.remove(&id) {
                actor.stop(None);
                self.context.gauges.forget(id);
            }
        }
        for id in open {
            let Some(epoch) = self.epoch_of(id).filter(|_| !self.running.contains_key(&id)) else { continue };
            let arguments =
                DeploymentArguments { id, lease: ShardLease { shard: shard_of_deployment(id), epoch }, context: Arc::clone(&self.context) };
            let (actor, _) = Actor::spawn_linked(None, DeploymentActor, arguments, me.get_cell()).await?;
            tracing::info!(event = "deployment.driven", deployment_id = %id, epoch = epoch.0);
            self.running.insert(id, (epoch, actor));
        }
        self.context.gauges.set(&self.context.metrics, clock::now());
        Ok(())
    }
}
