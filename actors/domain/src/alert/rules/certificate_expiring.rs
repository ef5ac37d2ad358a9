//! `certificate_expiring`: a certificate expires within the limit.

use crate::alert::{Evaluation, Judging, SystemFacts};
use crate::quantity;

pub(super) fn evaluate(system: &SystemFacts, at: &Judging<'_>) -> Evaluation {
    let Some(expires_at) = system.certificate_expires_at else { return Evaluation::UNKNOWN };
    let raise_at = expires_at - at.duration("within_days");
    if at.now < raise_at {
        return Evaluation::OK.until(raise_at);
    }
    let limit = quantity::count(at.thresholds.get("within_days").unsigned_abs(), "day", "days");
    match (expires_at - at.now).num_seconds() {
        left if left > 0 => Evaluation::firing(format!("expires in {}, limit {limit}", quantity::duration(left))),
        left => Evaluation::firing(format!("expired {} ago", quantity::duration(-left))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;

    #[test]
    fn the_end_is_notified_ahead() {
        const DAY: i64 = 86_400;
        let facts = SystemFacts { certificate_expires_at: Some(second(30 * DAY)), ..SystemFacts::default() };
        let judged = |now| At { now, ..At::default() }.of_system(Rule::CertificateExpiring, &facts);
        assert_eq!(judged(0), ("ok".into(), Some(9 * DAY)));
        assert_eq!(judged(9 * DAY).0, "expires in 21 d, limit 21 days");
        assert_eq!(judged(31 * DAY).0, "expired 1 d ago");
    }
}
