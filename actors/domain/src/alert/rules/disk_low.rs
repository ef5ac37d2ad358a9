//! `disk_low`: less free disk space than the limit.

use crate::alert::{Evaluation, Judging, SystemFacts};

pub(super) fn evaluate(system: &SystemFacts, at: &Judging<'_>) -> Evaluation {
    let Some(free) = system.disk_free_pct else { return Evaluation::UNKNOWN };
    let (raise, clear) = (at.thresholds.get("raise_below_pct"), at.thresholds.get("clear_at_pct"));
    at.below(free, raise, clear, || format!("{free} % of the disk free, limit {raise} %"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;

    #[test]
    fn it_clears_higher_than_it_is_raised() {
        for (free, verdict) in [(None, "unknown"), (Some(9), "9 % of the disk free, limit 10 %"), (Some(10), "unknown"), (Some(12), "ok")] {
            let facts = SystemFacts { disk_free_pct: free, ..SystemFacts::default() };
            assert_eq!(At::default().of_system(Rule::DiskLow, &facts).0, verdict, "{free:?}");
        }
    }
}
