//! `fleet_silent`: a large part of the devices fell silent at once, as when a network is down.

use crate::alert::{Evaluation, Judging, SystemFacts};
use crate::quantity;

/// Over at half the share. Judged, as each device is, only after there was time to report.
pub(super) fn evaluate(system: &SystemFacts, at: &Judging<'_>) -> Evaluation {
    let Some(fleet) = system.fleet else { return Evaluation::UNKNOWN };
    if at.now < at.settled_at() {
        return Evaluation::UNKNOWN.until(at.settled_at());
    }
    let (limit, least) = (at.thresholds.get("silent_pct").unsigned_abs(), at.thresholds.get("silent_min").unsigned_abs());
    let silent_pct = fleet.silent.saturating_mul(100) / fleet.online.max(1);
    match fleet.silent {
        silent if silent >= least && silent_pct >= limit => Evaluation::firing(format!(
            "{} of {} devices fell silent ({silent_pct} %), limit {limit} %",
            quantity::number(silent),
            quantity::number(fleet.online)
        )),
        silent if silent_pct < limit.div_ceil(2) || silent < least.div_ceil(2) => Evaluation::OK,
        _ => Evaluation::UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;
    use crate::alert::FleetCount;

    #[test]
    fn many_at_once_are_one_alert() {
        for (online, silent, now, verdict) in [
            (2_000, 1_000, 0, "1,000 of 2,000 devices fell silent (50 %), limit 50 %"),
            (2_000, 999, 0, "unknown"),
            (2_000, 499, 0, "ok"),
            (20, 19, 0, "unknown"),
            (10, 9, 0, "ok"),
            (0, 0, 0, "ok"),
            (2_000, 2_000, -800, "unknown"),
        ] {
            let facts = SystemFacts { fleet: Some(FleetCount { online, silent }), ..SystemFacts::default() };
            assert_eq!(At { now, ..At::default() }.of_system(Rule::FleetSilent, &facts).0, verdict, "{silent} of {online} at {now}");
        }
    }
}
