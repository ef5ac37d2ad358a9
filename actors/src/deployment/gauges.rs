//! Metrics of the deployments of this node: tasks by state and reason, backlog, pauses.

use std::collections::HashMap;
use std::sync::Arc;

use dashmap::DashMap;
use domain::deployment::{DeploymentState, PauseReason, Reason, Task};
use domain::{DeploymentId, Timestamp};

use crate::metrics::Metrics;

struct Counts {
    tasks: HashMap<(&'static str, &'static str), i64>,
    waiting: i64,
    paused: Option<(&'static str, Timestamp)>,
}

/// Counts of the deployments of this node.
#[derive(Clone, Default)]
pub(crate) struct Gauges(Arc<DashMap<DeploymentId, Counts>>);

impl Gauges {
    /// Updates the counts of a deployment.
    pub(super) fn show(&self, id: DeploymentId, tasks: &[Task], state: DeploymentState, paused: Option<(PauseReason, Timestamp)>) {
        let mut counts: HashMap<(&'static str, &'static str), i64> = HashMap::new();
        for task in tasks {
            *counts.entry((task.state.as_str(), task.reason.map_or("", Reason::as_str))).or_default() += 1;
        }
        let waiting = tasks.iter().filter(|task| task.state.is_waiting()).count() as i64;
        let paused = paused.filter(|_| state == DeploymentState::Paused).map(|(reason, since)| (reason.as_str(), since));
        self.0.insert(id, Counts { tasks: counts, waiting, paused });
    }

    /// Removes a deployment that has finished, or that another node owns now.
    pub(super) fn forget(&self, id: DeploymentId) {
        self.0.remove(&id);
    }

    /// Writes the counts to the metrics.
    pub(super) fn set(&self, metrics: &Metrics, now: Timestamp) {
        metrics.deployment_tasks.reset();
        metrics.deployments_paused_seconds.reset();
        let mut backlog = 0;
        for shown in self.0.iter() {
            for ((state, reason), tasks) in &shown.tasks {
                metrics.deployment_tasks.with_label_values(&[*state, *reason]).add(*tasks);
            }
            backlog += shown.waiting;
            if let Some((reason, since)) = shown.paused {
                let gauge = metrics.deployments_paused_seconds.with_label_values(&[reason]);
                gauge.set(gauge.get().max((now - since).num_seconds()));
            }
        }
        metrics.deployment_backlog.set(backlog);
        metrics.deployments_open.set(self.0.len() as i64);
    }
}
