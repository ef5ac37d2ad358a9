//! `push_quota`: FCM answers that its quota is used up.

use crate::alert::{Evaluation, PushHealth, SystemFacts};

pub(super) fn evaluate(system: &SystemFacts) -> Evaluation {
    match system.push {
        // Whether there is quota is not known while the credentials are refused.
        None | Some(PushHealth::Refused) => Evaluation::UNKNOWN,
        Some(PushHealth::QuotaUsedUp) => Evaluation::firing("the quota of FCM is used up: devices are woken late".into()),
        Some(PushHealth::Ok) => Evaluation::OK,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;
    use crate::alert::PushHealth;

    #[test]
    fn a_quota_that_is_used_up_is_notified() {
        for (push, verdict) in [
            (None, "unknown"),
            (Some(PushHealth::Refused), "unknown"),
            (Some(PushHealth::Ok), "ok"),
            (Some(PushHealth::QuotaUsedUp), "the quota of FCM is used up: devices are woken late"),
        ] {
            let facts = SystemFacts { push, ..SystemFacts::default() };
            assert_eq!(At::default().of_system(Rule::PushQuota, &facts).0, verdict, "{push:?}");
        }
    }
}
