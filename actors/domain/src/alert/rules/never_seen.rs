//! `never_seen`: a device enrolled and has sent no heartbeat since.

use crate::alert::{DeviceFacts, Evaluation, Judging};

pub(super) fn evaluate(device: &DeviceFacts<'_>, at: &Judging<'_>) -> Evaluation {
    if device.last_seen_at.is_some() {
        return Evaluation::OK;
    }
    let limit = at.duration("after_hours");
    if device.enrolled_at + limit <= at.now && at.now < at.settled_at() {
        return Evaluation::UNKNOWN.until(at.settled_at());
    }
    at.lasting(device.enrolled_at, limit, |since, limit| format!("enrolled {since} ago and never seen, limit {limit}"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;

    #[test]
    fn a_ghost_is_notified_after_a_day() {
        let ghost = Device::new();
        assert_eq!(At { now: 86_399, ..At::default() }.of_device(Rule::NeverSeen, &ghost), ("ok".into(), Some(86_400)));
        assert_eq!(At { now: 86_400, ..At::default() }.of_device(Rule::NeverSeen, &ghost).0, "enrolled 1 d ago and never seen, limit 1 d");
        let after_start = At { now: 86_400, since: 86_300, ..At::default() };
        assert_eq!(after_start.of_device(Rule::NeverSeen, &ghost), ("unknown".into(), Some(86_600)));
        let seen = Device { last_seen_at: Some(second(1)), ..ghost };
        assert_eq!(At { now: 1_000_000, ..At::default() }.of_device(Rule::NeverSeen, &seen).0, "ok");
    }
}
