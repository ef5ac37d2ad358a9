//! `deployment_paused`: a deployment has been paused for longer than the limit.

use crate::alert::{DeploymentFacts, Evaluation, Judging};

pub(super) fn evaluate(deployment: &DeploymentFacts, at: &Judging<'_>) -> Evaluation {
    match deployment.paused_at {
        Some(since) if !deployment.over => {
            at.lasting(since, at.duration("paused_for_minutes"), |paused, limit| format!("paused for {paused}, limit {limit}"))
        }
        _ => Evaluation::OK,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;

    #[test]
    fn a_long_pause_is_notified() {
        let paused = DeploymentFacts { paused_at: Some(second(0)), ..DeploymentFacts::default() };
        let judged = |facts: &DeploymentFacts, now| At { now, ..At::default() }.of_deployment(Rule::DeploymentPaused, facts);
        assert_eq!(judged(&paused, 3_599), ("ok".into(), Some(3_600)));
        assert_eq!(judged(&paused, 7_200).0, "paused for 2 h, limit 1 h");
        assert_eq!(judged(&DeploymentFacts { over: true, ..paused }, 7_200).0, "ok");
        assert_eq!(judged(&DeploymentFacts::default(), 7_200).0, "ok");
    }
}
