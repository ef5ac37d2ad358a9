//! `deployment_backlog`: tasks are waiting, and none makes progress.

use crate::alert::{DeploymentFacts, Evaluation, Judging};
use crate::quantity;

/// A paused deployment makes no progress because somebody wants it so.
pub(super) fn evaluate(deployment: &DeploymentFacts, at: &Judging<'_>) -> Evaluation {
    if deployment.over || deployment.open == 0 || deployment.paused_at.is_some() {
        return Evaluation::OK;
    }
    let Some(progress_at) = deployment.progress_at else { return Evaluation::UNKNOWN };
    at.lasting(progress_at, at.duration("without_progress_minutes"), |stalled, limit| {
        format!("{} open, no progress for {stalled}, limit {limit}", quantity::count(deployment.open, "task", "tasks"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;

    #[test]
    fn waiting_tasks_without_progress_are_notified() {
        let stalled = DeploymentFacts { open: 12, progress_at: Some(second(0)), ..DeploymentFacts::default() };
        let judged = |facts: &DeploymentFacts, now| At { now, ..At::default() }.of_deployment(Rule::DeploymentBacklog, facts);
        assert_eq!(judged(&stalled, 3_599), ("ok".into(), Some(3_600)));
        assert_eq!(judged(&stalled, 3_600).0, "12 tasks open, no progress for 1 h, limit 1 h");
        assert_eq!(judged(&DeploymentFacts { paused_at: Some(second(1)), ..stalled.clone() }, 9_999).0, "ok");
        assert_eq!(judged(&DeploymentFacts { open: 0, ..stalled.clone() }, 9_999).0, "ok");
        assert_eq!(judged(&DeploymentFacts { progress_at: None, ..stalled }, 9_999).0, "unknown");
    }
}
