//! `backup_old`: the newest backup is older than the limit.

use crate::alert::{Evaluation, Judging, SystemFacts};

pub(super) fn evaluate(system: &SystemFacts, at: &Judging<'_>) -> Evaluation {
    let Some(backup_at) = system.backup_at else { return Evaluation::UNKNOWN };
    at.lasting(backup_at, at.duration("older_than_hours"), |age, limit| format!("the newest backup is {age} old, limit {limit}"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;

    #[test]
    fn an_old_backup_is_notified() {
        const HOUR: i64 = 3_600;
        let facts = SystemFacts { backup_at: Some(second(0)), ..SystemFacts::default() };
        let judged = |now| At { now, ..At::default() }.of_system(Rule::BackupOld, &facts);
        assert_eq!(judged(25 * HOUR), ("ok".into(), Some(26 * HOUR)));
        assert_eq!(judged(26 * HOUR).0, "the newest backup is 1 d 2 h old, limit 1 d 2 h");
    }
}
