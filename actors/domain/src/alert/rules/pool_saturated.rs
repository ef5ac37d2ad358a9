//! `pool_saturated`: every connection to the database has been in use for longer than the limit.

use crate::alert::{Evaluation, Judging, Lasting, SystemFacts};

pub(super) fn evaluate(system: &SystemFacts, at: &Judging<'_>) -> Evaluation {
    match system.pool_full {
        None => Evaluation::UNKNOWN,
        Some(Lasting::Not) => Evaluation::OK,
        Some(Lasting::Since(since)) => at.lasting(since, at.duration("for_seconds"), |full, limit| {
            format!("every connection to the database in use for {full}, limit {limit}")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;
    use crate::alert::Lasting;

    #[test]
    fn a_full_pool_is_notified_once_it_stays_full() {
        for (full, verdict) in [
            (None, "unknown"),
            (Some(Lasting::Not), "ok"),
            (Some(Lasting::Since(second(41))), "ok"),
            (Some(Lasting::Since(second(40))), "every connection to the database in use for 1 min, limit 1 min"),
        ] {
            let facts = SystemFacts { pool_full: full, ..SystemFacts::default() };
            assert_eq!(At { now: 100, ..At::default() }.of_system(Rule::PoolSaturated, &facts).0, verdict, "{full:?}");
        }
    }
}
