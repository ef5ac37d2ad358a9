//! `default_partition_not_empty`: heartbeats lie outside every day's partition.

use crate::alert::{Evaluation, Judging, SystemFacts};
use crate::quantity;

pub(super) fn evaluate(system: &SystemFacts, at: &Judging<'_>) -> Evaluation {
    let Some(rows) = system.default_partition_rows else { return Evaluation::UNKNOWN };
    let limit = at.thresholds.get("rows_min");
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    at.at_least(rows, limit, limit, || {
        format!("{} outside every day's partition, limit {limit}", quantity::count(rows.unsigned_abs(), "row", "rows"))
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
            (Some(1), "1 row outside every day's partition, limit 1"),
            (Some(1_200), "1,200 rows outside every day's partition, limit 1"),
        ] {
            let facts = SystemFacts { default_partition_rows: rows, ..SystemFacts::default() };
            assert_eq!(At::default().of_system(Rule::DefaultPartitionNotEmpty, &facts).0, verdict, "{rows:?}");
        }
    }
}
