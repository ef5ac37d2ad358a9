//! `low_battery`: raised below one charge, over at a higher one or while charging and rising.

use crate::alert::{DeviceFacts, Evaluation, Judging};

/// A charge that rises on the charger needs nobody; one that falls on it does.
pub(super) fn evaluate(device: &DeviceFacts<'_>, at: &Judging<'_>) -> Evaluation {
    let Some(telemetry) = device.reported().map(|last| &last.telemetry) else { return Evaluation::UNKNOWN };
    let Some(pct) = telemetry.battery_pct else { return Evaluation::UNKNOWN };
    let before = device.streaks.battery_before.map(i16::from);
    let charging = telemetry.charging == Some(true);
    let (raise, clear) = (at.thresholds.get("raise_below_pct"), at.thresholds.get("clear_at_pct"));
    if charging && at.firing && before.is_some_and(|before| pct > before) {
        return Evaluation::OK;
    }
    // Between two heartbeats a charge seldom changes: on the charger only a fall is news.
    if charging && !at.firing && i64::from(pct) < raise && before.is_none_or(|before| pct >= before) {
        return Evaluation::UNKNOWN;
    }
    at.below(pct.into(), raise, clear, || {
        format!("battery {pct} %, limit {raise} %{}", if charging { ", not rising although charging" } else { "" })
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;
    use proptest::prelude::*;

    #[test]
    fn it_clears_higher_than_it_is_raised_or_on_the_charger() {
        // (charge, before, charging, firing) -> verdict
        for (pct, before, charging, firing, verdict) in [
            (15, None, false, false, "unknown"),
            (14, None, false, false, "battery 14 %, limit 15 %"),
            (20, None, false, false, "ok"),
            (19, Some(18), false, true, "unknown"),
            (20, Some(19), false, true, "ok"),
            (5, Some(4), true, true, "ok"),
            (5, Some(5), true, true, "battery 5 %, limit 15 %, not rising although charging"),
            (5, Some(5), true, false, "unknown"),
            (5, None, true, false, "unknown"),
            (4, Some(5), true, false, "battery 4 %, limit 15 %, not rising although charging"),
        ] {
            let device = Device { battery_pct: Some(pct), battery_before: before, charging: Some(charging), ..Device::new() };
            let judged = At { firing, ..At::default() }.of_device(Rule::LowBattery, &device);
            assert_eq!(judged.0, verdict, "{pct} % after {before:?}, charging {charging}, firing {firing}");
        }
        assert_eq!(At::default().of_device(Rule::LowBattery, &Device::new()).0, "unknown", "not reported");
        let conflict = Device { battery_pct: Some(1), in_conflict: true, ..Device::new() };
        assert_eq!(At::default().of_device(Rule::LowBattery, &conflict).0, "unknown", "of which of the two?");
    }

    proptest! {
        /// A charge that hovers within the thresholds, off the charger, changes nothing more than once.
        #[test]
        fn hovering_does_not_flap(charges in proptest::collection::vec(12_i16..20, 1..50)) {
            let (mut firing, mut changes) = (false, 0);
            for pct in charges {
                let device = Device { battery_pct: Some(pct), charging: Some(false), ..Device::new() };
                let fires = At { firing, ..At::default() }.fires_after(Rule::LowBattery, &device);
                changes += u32::from(fires != firing);
                firing = fires;
            }
            prop_assert!(changes <= 1);
        }
    }
}
