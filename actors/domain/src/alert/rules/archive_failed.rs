//! `archive_failed`: history could not be archived several times in a row.

use crate::alert::{Evaluation, Judging, SystemFacts};

pub(super) fn evaluate(system: &SystemFacts, at: &Judging<'_>) -> Evaluation {
    let Some(failures) = system.archive_failures else { return Evaluation::UNKNOWN };
    let limit = at.thresholds.get("in_a_row");
    let failures = i64::try_from(failures).unwrap_or(i64::MAX);
    at.at_least(failures, limit, 1, || format!("archiving failed {failures} times in a row, limit {limit}"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;

    #[test]
    fn a_success_clears() {
        for (failures, verdict) in
            [(None, "unknown"), (Some(0), "ok"), (Some(2), "unknown"), (Some(3), "archiving failed 3 times in a row, limit 3")]
        {
            let facts = SystemFacts { archive_failures: failures, ..SystemFacts::default() };
            assert_eq!(At::default().of_system(Rule::ArchiveFailed, &facts).0, verdict, "{failures:?}");
        }
    }
}
