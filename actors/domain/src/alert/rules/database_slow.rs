//! `database_slow`: statements take longer than the limit.

use crate::alert::{Evaluation, Judging, SystemFacts};

pub(super) fn evaluate(system: &SystemFacts, at: &Judging<'_>) -> Evaluation {
    let Some(p99_ms) = system.database_p99_ms else { return Evaluation::UNKNOWN };
    let (raise, clear) = (at.thresholds.get("raise_at_ms"), at.thresholds.get("clear_below_ms"));
    at.at_least(p99_ms, raise, clear, || format!("99 % of the transactions end within {p99_ms} ms, limit {raise} ms"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;

    #[test]
    fn it_clears_lower_than_it_is_raised() {
        for (p99, verdict) in [
            (None, "unknown"),
            (Some(249), "ok"),
            (Some(250), "unknown"),
            (Some(500), "99 % of the transactions end within 500 ms, limit 500 ms"),
        ] {
            let facts = SystemFacts { database_p99_ms: p99, ..SystemFacts::default() };
            assert_eq!(At::default().of_system(Rule::DatabaseSlow, &facts).0, verdict, "{p99:?}");
        }
    }
}
