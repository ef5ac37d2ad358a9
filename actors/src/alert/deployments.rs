//! Rules about deployments: a reconciler of every node judges those of its shards.

use std::sync::Arc;
use std::time::Duration;

use clock::Clock;
use domain::alert::{Subject, SubjectKind};
use domain::shard::{ShardId, ShardLease, shard_of_deployment};
use domain::{AlertId, DeploymentId, ServiceError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::Store;

use super::AlertRules;
use super::judged::{Judged, OwnFacts, judge_and_record};
use crate::ownership::Ownership;
use crate::reconcile::{Reconcile, Reconciler, Run};
use crate::writers::AlertWriter;

/// Time between two judgements.
const INTERVAL: Duration = Duration::from_secs(5);
/// Most open alerts that are read.
const OPEN_MAX: i64 = 10_000;

/// What judges the deployments of this node's shards.
pub(crate) struct DeploymentRules {
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) ownership: Arc<Ownership>,
    pub(crate) rules: Arc<AlertRules>,
    pub(crate) writer: AlertWriter,
}

impl DeploymentRules {
    /// The reconciler.
    pub(crate) fn reconciler(self) -> Reconciler {
        Reconciler::per_node("alert_deployments", INTERVAL, self)
    }

    fn lease(&self, id: DeploymentId) -> Option<ShardLease> {
        let shard = shard_of_deployment(id);
        self.ownership.acting(shard).map(|epoch| ShardLease { shard, epoch })
    }
}

impl Reconcile for DeploymentRules {
    fn reconcile<'a>(&'a mut self, run: &'a Run) -> BoxFuture<'a, Result<u64, ServiceError>> {
        async {
            let mine: Vec<ShardId> = ShardId::all().filter(|shard| self.ownership.acting(*shard).is_some()).collect();
            if mine.is_empty() {
                return Ok(0);
            }
            let open = self.store.open_alerts(&mine, Some(SubjectKind::Deployment), None, OPEN_MAX).await?;
            let id_of = |subject: &Subject| if let Subject::Deployment(id) = subject { Some(*id) } else { None };
            let alerted: Vec<DeploymentId> = open.iter().filter_map(|alert| id_of(&alert.key.subject)).collect();
            let subjects = self.store.judged_deployments(&mine, &alerted, run.now).await?.into_iter().filter_map(|deployment| {
                Some(Judged {
                    lease: self.lease(deployment.id)?,
                    subject: Subject::Deployment(deployment.id),
                    name: deployment.name,
                    facts: OwnFacts::Deployment(deployment.facts),
                })
            });
            let subjects: Vec<_> = subjects.collect();
            let lease_of = |subject: &Subject| self.lease(id_of(subject)?);
            let new_id = || AlertId(self.clock.new_id());
            // No rule about deployments judges by silence.
            let at = (run.now, run.now, self.rules.settle());
            judge_and_record(&self.writer, &self.rules.snapshot(), new_id, subjects, open, lease_of, at).await
        }
        .boxed()
    }
}
