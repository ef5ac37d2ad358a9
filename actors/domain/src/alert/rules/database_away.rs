//! `database_away`: the database could not be used.

use crate::alert::{Evaluation, Judging, Lasting, SystemFacts};

pub(super) fn evaluate(system: &SystemFacts, at: &Judging<'_>) -> Evaluation {
    match system.database_away {
        None => Evaluation::UNKNOWN,
        Some(Lasting::Not) => Evaluation::OK,
        Some(Lasting::Since(since)) => {
            at.lasting(since, at.duration("away_for_seconds"), |away, _| format!("the database has been away for {away}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;
    use crate::alert::Lasting;

    #[test]
    fn an_outage_is_notified_after_some_seconds() {
        for (away, now, verdict) in [
            (None, 20, "unknown"),
            (Some(Lasting::Not), 20, "ok"),
            (Some(Lasting::Since(second(0))), 14, "ok"),
            (Some(Lasting::Since(second(0))), 15, "the database has been away for 15 s"),
        ] {
            let facts = SystemFacts { database_away: away, ..SystemFacts::default() };
            assert_eq!(At { now, ..At::default() }.of_system(Rule::DatabaseAway, &facts).0, verdict, "{away:?} {now}");
        }
    }
}
