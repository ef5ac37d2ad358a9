//! Rules about deployments: a reconciler of every node judges those of its shards.
//!
//! Tasks are counted where one was written since they last were, and no more of them in a run than a limit: a node with large deployments counts each of
//! them less often, and not more.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use clock::Clock;
use domain::alert::{Subject, SubjectKind};
use domain::shard::{ShardId, ShardLease, shard_of_deployment};
use domain::{AlertId, DeploymentId, ServiceError, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use store::{JudgedDeployment, Store, TaskTotals};

use super::AlertRules;
use super::judged::{Judged, OwnFacts, judge_and_record};
use crate::ownership::Ownership;
use crate::reconcile::{Reconcile, Reconciler, Run};
use crate::writers::AlertWriter;

/// Time between two judgements.
const INTERVAL: Duration = Duration::from_secs(5);
/// Most open alerts that are read.
const OPEN_MAX: i64 = 10_000;
/// Tasks that one run counts anew, besides those of deployments that were never counted.
const TASKS_MAX: u64 = 20_000;
/// Time after which a transaction that wrote a task has ended, whatever became of its node: what it wrote is seen by then.
const COMMITTED_WITHIN: TimeDelta = TimeDelta::seconds(30);

/// What judges the deployments of this node's shards.
pub(crate) struct DeploymentRules {
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) ownership: Arc<Ownership>,
    pub(crate) rules: Arc<AlertRules>,
    pub(crate) writer: AlertWriter,
    pub(crate) counted: CountedTasks,
}

/// Tasks of deployments as they were last counted.
#[derive(Default)]
pub(crate) struct CountedTasks(HashMap<DeploymentId, Counted>);

struct Counted {
    totals: TaskTotals,
    /// When a task had been written last.
    changed_at: Option<Timestamp>,
    at: Timestamp,
}

impl CountedTasks {
    /// Deployments whose tasks are to be counted now, at most [`TASKS_MAX`] tasks of them: those counted longest ago, and every one that never was.
    fn due(&mut self, deployments: &[JudgedDeployment]) -> Vec<DeploymentId> {
        self.0.retain(|id, _| deployments.iter().any(|one| one.id == *id));
        let (mut due, mut old) = (Vec::new(), Vec::new());
        for deployment in deployments {
            match self.0.get(&deployment.id) {
                None => due.push(deployment.id),
                Some(known) => {
                    // What was written just before may have been committed after it was counted.
                    let settled = deployment.changed_at.is_none_or(|at| known.at > at + COMMITTED_WITHIN);
                    if known.changed_at != deployment.changed_at || !settled {
                        old.push((known.at, Reverse(deployment.tasks), deployment));
                    }
                }
            }
        }
        old.sort_by_key(|(at, tasks, one)| (*at, *tasks, one.id));
        let mut tasks = 0;
        for (.., deployment) in old {
            tasks += deployment.tasks;
            // One that is larger than the limit is counted alone.
            if tasks > TASKS_MAX && tasks != deployment.tasks {
                break;
            }
            due.push(deployment.id);
        }
        due
    }
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
            let deployments = self.store.judged_deployments(&mine, &alerted, run.now).await?;
            let due = self.counted.due(&deployments);
            let mut totals: HashMap<_, _> = self.store.task_totals(&due).await?.into_iter().collect();
            for deployment in deployments.iter().filter(|deployment| due.contains(&deployment.id)) {
                let totals = totals.remove(&deployment.id).unwrap_or_default();
                self.counted.0.insert(deployment.id, Counted { totals, changed_at: deployment.changed_at, at: run.now });
            }
            let subjects = deployments.into_iter().filter_map(|deployment| {
                let counted = self.counted.0.get(&deployment.id)?;
                Some(Judged {
                    lease: self.lease(deployment.id)?,
                    subject: Subject::Deployment(deployment.id),
                    facts: OwnFacts::Deployment(deployment.facts(&counted.totals)),
                    name: deployment.name,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        chrono::DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }

    fn id(number: u128) -> DeploymentId {
        DeploymentId(uuid::Uuid::from_u128(number))
    }

    fn deployment(number: u128, tasks: u64, changed_at: i64) -> JudgedDeployment {
        JudgedDeployment {
            id: id(number),
            name: String::new(),
            tasks,
            changed_at: Some(at(changed_at)),
            created_at: at(0),
            canary_failed: None,
            paused_at: None,
            over: false,
            report_errors: 0,
        }
    }

    /// The numbers of the deployments that were counted, each as of `second`.
    fn count(counted: &mut CountedTasks, deployments: &[JudgedDeployment], second: i64) -> Vec<u128> {
        let due = counted.due(deployments);
        for one in deployments.iter().filter(|one| due.contains(&one.id)) {
            counted.0.insert(one.id, Counted { totals: TaskTotals::default(), changed_at: one.changed_at, at: at(second) });
        }
        due.into_iter().map(|id| id.0.as_u128()).collect()
    }

    #[test]
    fn tasks_are_counted_again_once_one_was_written() {
        let mut counted = CountedTasks::default();
        let all = |second| [deployment(1, 10, 0), deployment(2, 10, second)];
        assert_eq!(count(&mut counted, &all(0), 100), [1, 2], "nothing is known of them");
        assert_eq!(count(&mut counted, &all(0), 105), [0; 0], "they rest");
        assert_eq!(count(&mut counted, &all(104), 110), [2]);
        assert_eq!(count(&mut counted, &all(104), 115), [2], "a transaction may have ended after the count");
        assert_eq!(count(&mut counted, &all(104), 140), [2]);
        assert_eq!(count(&mut counted, &all(104), 145), [0; 0]);
        assert_eq!(count(&mut counted, &all(0)[..1], 150), [0; 0]);
        assert_eq!(count(&mut counted, &all(104), 155), [2], "one that was gone is forgotten");
    }

    #[test]
    fn a_run_counts_no_more_than_the_limit_and_each_in_its_turn() {
        let mut counted = CountedTasks::default();
        let all = |changed_at| [deployment(1, 9_000, changed_at), deployment(2, 9_000, changed_at), deployment(3, 9_000, changed_at)];
        assert_eq!(count(&mut counted, &all(0), 100).len(), 3, "each is judged from the first run on");
        assert_eq!(count(&mut counted, &all(104), 105), [1, 2]);
        assert_eq!(count(&mut counted, &all(109), 110), [3, 1]);
        assert_eq!(count(&mut counted, &all(114), 115), [2, 1]);
        let large = |changed_at| [deployment(9, 50_000, changed_at), deployment(1, 10, changed_at)];
        assert_eq!(count(&mut counted, &large(200), 201), [9, 1]);
        assert_eq!(count(&mut counted, &large(205), 206), [9], "alone");
        assert_eq!(count(&mut counted, &large(210), 211), [1]);
    }
}
