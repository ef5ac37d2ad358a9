//! `device_offline`: no heartbeat for longer than the limit.

use crate::alert::{DeviceFacts, Evaluation, Judging};

/// Whoever has just begun to listen knows nothing by silence; a heartbeat clears at once.
pub(super) fn evaluate(device: &DeviceFacts<'_>, at: &Judging<'_>) -> Evaluation {
    let Some(seen) = device.last_seen_at else { return Evaluation::UNKNOWN };
    let limit = at.duration("offline_after_seconds");
    if seen + limit <= at.now && at.now < at.settled_at() {
        return Evaluation::UNKNOWN.until(at.settled_at());
    }
    at.lasting(seen, limit, |silence, limit| format!("no heartbeat for {silence}, limit {limit}"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;

    #[test]
    fn silence_counts_once_there_was_time_to_report() {
        // (last seen, listening since, now, firing before) -> verdict and deadline
        for (seen, since, now, verdict, deadline) in [
            (0, -1_000, 719, "ok", Some(720)),
            (0, -1_000, 720, "no heartbeat for 12 min, limit 12 min", None),
            (0, -1_000, 840, "no heartbeat for 14 min, limit 12 min", None),
            // After a failover at 700: another interval and grace.
            (0, 700, 720, "unknown", Some(1_000)),
            (0, 700, 999, "unknown", Some(1_000)),
            (0, 700, 1_000, "no heartbeat for 16 min 40 s, limit 12 min", None),
            // A heartbeat that comes is known at once, whoever listens since when.
            (710, 700, 720, "ok", Some(1_430)),
        ] {
            let device = Device { last_seen_at: Some(second(seen)), ..Device::new() };
            let judged = At { now, since, ..At::default() }.of_device(Rule::DeviceOffline, &device);
            assert_eq!((judged.0.as_str(), judged.1), (verdict, deadline), "seen {seen}, since {since}, now {now}");
        }
        let never = Device::new();
        assert_eq!(At { now: 1_000_000, ..At::default() }.of_device(Rule::DeviceOffline, &never).0, "unknown");
    }
}
