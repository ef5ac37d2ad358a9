//! `reconciliation_drift`: reconciliation found rows that differ from what they are derived from.

use crate::alert::{Evaluation, Judging, SystemFacts};
use crate::quantity;

pub(super) fn evaluate(system: &SystemFacts, at: &Judging<'_>) -> Evaluation {
    let Some(rows) = system.drift_rows else { return Evaluation::UNKNOWN };
    let limit = at.thresholds.get("rows_min");
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    at.at_least(rows, limit, limit, || {
        format!("{} differed from what they are derived from, limit {limit}", quantity::count(rows.unsigned_abs(), "row", "rows"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;

    #[test]
    fn rows_raise_at_the_limit() {
        for (rows, verdict) in [
            (None, "unknown"),
            (Some(0), "ok"),
            (Some(1), "1 row differed from what they are derived from, limit 1"),
            (Some(1_200), "1,200 rows differed from what they are derived from, limit 1"),
        ] {
            let facts = SystemFacts { drift_rows: rows, ..SystemFacts::default() };
            assert_eq!(At::default().of_system(Rule::ReconciliationDrift, &facts).0, verdict, "{rows:?}");
        }
    }
}
