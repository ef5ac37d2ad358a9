//! `push_refused`: FCM refuses the credentials.

use crate::alert::{Evaluation, PushHealth, SystemFacts};

pub(super) fn evaluate(system: &SystemFacts) -> Evaluation {
    match system.push {
        None => Evaluation::UNKNOWN,
        Some(PushHealth::Refused) => Evaluation::firing("FCM refuses the credentials: devices cannot be woken".into()),
        Some(PushHealth::Ok | PushHealth::QuotaUsedUp) => Evaluation::OK,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;
    use crate::alert::PushHealth;

    #[test]
    fn a_refusal_is_notified_and_a_quota_is_another_rule() {
        for (push, verdict) in [
            (None, "unknown"),
            (Some(PushHealth::Ok), "ok"),
            (Some(PushHealth::QuotaUsedUp), "ok"),
            (Some(PushHealth::Refused), "FCM refuses the credentials: devices cannot be woken"),
        ] {
            let facts = SystemFacts { push, ..SystemFacts::default() };
            assert_eq!(At::default().of_system(Rule::PushRefused, &facts).0, verdict, "{push:?}");
        }
    }
}
