//! `deployment_failure_rate`: a larger share of the finished tasks has failed than the limit.

use crate::alert::{DeploymentFacts, Evaluation, Judging};

pub(super) fn evaluate(deployment: &DeploymentFacts, at: &Judging<'_>) -> Evaluation {
    let finished = deployment.succeeded.saturating_add(deployment.failed);
    if deployment.over {
        return Evaluation::OK;
    }
    let least = at.thresholds.get("finished_min").unsigned_abs();
    if finished < least {
        return Evaluation::UNKNOWN;
    }
    // At least one has finished: the limit is 1 or more.
    let failed_pct = deployment.failed.saturating_mul(100) / finished.max(1);
    let limit = at.thresholds.get("failed_pct").unsigned_abs();
    if failed_pct < limit {
        return Evaluation::OK;
    }
    Evaluation::firing(format!("{} of {finished} finished tasks failed ({failed_pct} %), limit {limit} %", deployment.failed))
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;

    #[test]
    fn few_finished_tasks_say_nothing() {
        for (succeeded, failed, verdict) in [(0, 9, "unknown"), (8, 2, "2 of 10 finished tasks failed (20 %), limit 20 %"), (81, 19, "ok")]
        {
            let facts = DeploymentFacts { succeeded, failed, ..DeploymentFacts::default() };
            assert_eq!(At::default().of_deployment(Rule::DeploymentFailureRate, &facts).0, verdict, "{succeeded} {failed}");
        }
        let over = DeploymentFacts { failed: 99, over: true, ..DeploymentFacts::default() };
        assert_eq!(At::default().of_deployment(Rule::DeploymentFailureRate, &over).0, "ok");
    }
}
