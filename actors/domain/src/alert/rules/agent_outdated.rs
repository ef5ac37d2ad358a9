//! `agent_outdated`: a newer build of the agent has been offered for longer than the limit.

use crate::alert::{DeviceFacts, Evaluation, Judging, Lasting};

pub(super) fn evaluate(device: &DeviceFacts<'_>, at: &Judging<'_>) -> Evaluation {
    match device.agent_offer {
        None => Evaluation::UNKNOWN,
        Some(Lasting::Not) => Evaluation::OK,
        Some(Lasting::Since(since)) => at.lasting(since, at.duration("offered_for_hours"), |offered, limit| {
            format!("a newer agent has been offered for {offered}, limit {limit}")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;
    use crate::alert::Lasting;

    #[test]
    fn an_offer_counts_once_it_stood_long_enough() {
        const HOURS: i64 = 3_600;
        for (offer, verdict) in [
            (None, "unknown"),
            (Some(Lasting::Not), "ok"),
            (Some(Lasting::Since(second(29 * HOURS))), "ok"),
            (Some(Lasting::Since(second(28 * HOURS))), "a newer agent has been offered for 3 d, limit 3 d"),
        ] {
            let device = Device { agent_offer: offer, ..Device::new() };
            let judged = At { now: 100 * HOURS, ..At::default() }.of_device(Rule::AgentOutdated, &device);
            assert_eq!(judged.0, verdict, "{offer:?}");
        }
    }
}
