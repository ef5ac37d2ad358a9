//! `deployment_canary_failed`: the canary of a deployment stayed below its success threshold.

use crate::alert::{DeploymentFacts, Evaluation};

/// Stays until the deployment goes on or is over.
pub(super) fn evaluate(deployment: &DeploymentFacts) -> Evaluation {
    match deployment.canary_failed {
        _ if deployment.over => Evaluation::OK,
        None => Evaluation::UNKNOWN,
        Some(false) => Evaluation::OK,
        Some(true) => Evaluation::firing(format!("the canary failed: {} succeeded, {} failed", deployment.succeeded, deployment.failed)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;

    #[test]
    fn the_canarys_verdict_counts_until_the_deployment_is_over() {
        for (failed, over, verdict) in [
            (None, false, "unknown"),
            (Some(false), false, "ok"),
            (Some(true), false, "the canary failed: 3 succeeded, 2 failed"),
            (Some(true), true, "ok"),
        ] {
            let facts = DeploymentFacts { canary_failed: failed, succeeded: 3, failed: 2, over, ..DeploymentFacts::default() };
            assert_eq!(At::default().of_deployment(Rule::DeploymentCanaryFailed, &facts).0, verdict, "{failed:?} {over}");
        }
    }
}
