//! `deployment_report_errors`: reports of devices about a deployment could not be used.

use crate::alert::{DeploymentFacts, Evaluation, Judging};

/// Over when none came for an hour, or with the deployment.
pub(super) fn evaluate(deployment: &DeploymentFacts, at: &Judging<'_>) -> Evaluation {
    let limit = at.thresholds.get("errors_per_hour");
    match deployment.report_errors {
        _ if deployment.over => Evaluation::OK,
        None => Evaluation::UNKNOWN,
        Some(errors) => {
            let errors = i64::try_from(errors).unwrap_or(i64::MAX);
            at.at_least(errors, limit, 1, || format!("{errors} unusable reports within an hour, limit {limit}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;

    #[test]
    fn errors_raise_at_the_limit_and_clear_at_none() {
        for (errors, verdict) in
            [(None, "unknown"), (Some(0), "ok"), (Some(9), "unknown"), (Some(10), "10 unusable reports within an hour, limit 10")]
        {
            let facts = DeploymentFacts { report_errors: errors, ..DeploymentFacts::default() };
            assert_eq!(At::default().of_deployment(Rule::DeploymentReportErrors, &facts).0, verdict, "{errors:?}");
        }
    }
}
