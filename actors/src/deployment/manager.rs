//! Manager of the deployment actors: one for each open deployment of the shards that this node owns.
//!
//! Notifications, a timer and failures only wake the manager; it then compares the rows with the actors that run here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use domain::DeploymentId;
use domain::shard::{Epoch, ShardId, ShardLease, shard_of_deployment};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use ractor_cluster::RactorMessage;

use super::DeploymentContext;
use super::actor::{DeploymentActor, DeploymentArguments, DeploymentMsg};

/// Interval of reconciles without a notification.
const RECONCILE_INTERVAL: Duration = Duration::from_millis(1_000);

/// Message to the manager. Local to a node.
#[derive(RactorMessage)]
pub(crate) enum ManagerMsg {
    /// Compare the rows with the actors.
    Reconcile,
    /// This deployment has changed, or any of them.
    Changed(Option<DeploymentId>),
}

/// Manager of the deployment actors of a node.
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
        me.send_interval(RECONCILE_INTERVAL, || ManagerMsg::Reconcile);
        Ok(ManagerState { context, running: HashMap::new() })
    }

    async fn handle(&self, me: ActorRef<ManagerMsg>, message: ManagerMsg, state: &mut ManagerState) -> Result<(), ActorProcessingErr> {
        match message {
            ManagerMsg::Changed(Some(id)) if state.running.contains_key(&id) => state.wake(Some(id)),
            ManagerMsg::Changed(None) => state.wake(None),
            ManagerMsg::Changed(Some(id)) if state.epoch_of(id).is_none() => {}
            ManagerMsg::Reconcile | ManagerMsg::Changed(_) => {
                if let Err(cause) = state.reconcile(&me).await {
                    tracing::warn!(event = "deployment.reconcile_failed", %cause);
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
            // The next reconcile starts it anew from the rows, unless the deployment has finished.
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
            // An actor that is stopping needs no wake-up.
            let _ = actor.cast(DeploymentMsg::Reconcile);
        }
    }

    async fn reconcile(&mut self, me: &ActorRef<ManagerMsg>) -> Result<(), ActorProcessingErr> {
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
        self.context.gauges.set(&self.context.metrics, self.context.clock.now());
        Ok(())
    }
}
