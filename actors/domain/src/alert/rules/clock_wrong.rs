//! `clock_wrong`: the clock of the device is further off than the limit.

use crate::alert::{DeviceFacts, Evaluation, Judging};
use crate::quantity;

/// A heartbeat that lay in the device's queue is older than its receipt without the clock being wrong. Over at half the limit.
pub(super) fn evaluate(device: &DeviceFacts<'_>, at: &Judging<'_>) -> Evaluation {
    let Some(last) = device.reported() else { return Evaluation::UNKNOWN };
    let Some(device_time) = last.device_time else { return Evaluation::UNKNOWN };
    let ahead_s = device_time.signed_duration_since(last.received_at).num_seconds();
    let queued = last.telemetry.queue_depth.is_some_and(|depth| depth > 0);
    if ahead_s < 0 && queued && !last.clock_rejected {
        return Evaluation::UNKNOWN;
    }
    let (off_s, limit_s) = (ahead_s.saturating_abs(), at.thresholds.get("off_by_seconds"));
    at.at_least(off_s, limit_s, limit_s / 2, || {
        let direction = if ahead_s > 0 { "ahead" } else { "behind" };
        format!("clock {} {direction}, limit {}", quantity::duration(off_s), quantity::duration(limit_s))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;

    #[test]
    fn queued_heartbeats_are_late_and_no_wrong_clock() {
        // (by the device's clock, heartbeats in its queue) of one received at second 0 -> verdict
        for (ahead, queued, verdict) in [
            (Some(300), 0, "clock 5 min ahead, limit 5 min"),
            (Some(-3_600), 0, "clock 1 h behind, limit 5 min"),
            (Some(-3_600), 7, "unknown"),
            (Some(3_600), 7, "clock 1 h ahead, limit 5 min"),
            (Some(200), 0, "unknown"),
            (Some(149), 0, "ok"),
            (None, 0, "unknown"),
        ] {
            let device = Device { device_time: ahead.map(second), queue_depth: Some(queued), ..Device::new() };
            assert_eq!(At::default().of_device(Rule::ClockWrong, &device).0, verdict, "{ahead:?} {queued}");
        }
        let far = Device { device_time: Some(crate::Timestamp::MAX_UTC), ..Device::new() };
        assert!(At::default().of_device(Rule::ClockWrong, &far).0.starts_with("clock "), "however far off");
    }
}
