//! `backup_old`: the newest backup is older than the limit, or there is none.

use crate::alert::{Evaluation, Judging, SystemFacts};
use crate::backup::BackupAge;

pub(super) fn evaluate(system: &SystemFacts, at: &Judging<'_>) -> Evaluation {
    let limit = at.duration("older_than_hours");
    match system.backup {
        None => Evaluation::UNKNOWN,
        Some(BackupAge::Made(made)) => at.lasting(made, limit, |age, limit| format!("the newest backup is {age} old, limit {limit}")),
        Some(BackupAge::NoneSince(since)) => at.lasting(since, limit, |age, limit| format!("no backup was made for {age}, limit {limit}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;
    use crate::backup::BackupAge;

    #[test]
    fn an_old_backup_is_notified() {
        const HOUR: i64 = 3_600;
        let judged = |backup, now| {
            let facts = SystemFacts { backup, ..SystemFacts::default() };
            At { now, ..At::default() }.of_system(Rule::BackupOld, &facts)
        };
        let made = Some(BackupAge::Made(second(0)));
        assert_eq!(judged(made, 25 * HOUR), ("ok".into(), Some(26 * HOUR)));
        assert_eq!(judged(made, 26 * HOUR).0, "the newest backup is 1 d 2 h old, limit 1 d 2 h");
        assert_eq!(judged(Some(BackupAge::NoneSince(second(0))), 26 * HOUR).0, "no backup was made for 1 d 2 h, limit 1 d 2 h");
        assert_eq!(judged(None, 26 * HOUR).0, "unknown");
    }
}
