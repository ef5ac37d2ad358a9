//! `command_failures`: several commands in a row have failed.

use crate::alert::{DeviceFacts, Evaluation, Judging};
use crate::quantity;

/// One that succeeds clears. Where none has ended since a failover, nothing is known.
pub(super) fn evaluate(device: &DeviceFacts<'_>, at: &Judging<'_>) -> Evaluation {
    let Some(failures) = device.streaks.command_failures.map(i64::from) else { return Evaluation::UNKNOWN };
    let limit = at.thresholds.get("in_a_row");
    match failures {
        _ if failures >= limit => Evaluation::firing(format!(
            "{} in a row, limit {limit}",
            quantity::count(failures.unsigned_abs(), "failed command", "failed commands")
        )),
        0 => Evaluation::OK,
        _ => Evaluation::UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;

    #[test]
    fn a_row_of_failures_raises_and_a_success_clears() {
        for (failures, verdict) in [
            (None, "unknown"),
            (Some(0), "ok"),
            (Some(1), "unknown"),
            (Some(2), "unknown"),
            (Some(3), "3 failed commands in a row, limit 3"),
        ] {
            let device = Device { command_failures: failures, ..Device::new() };
            assert_eq!(At::default().of_device(Rule::CommandFailures, &device).0, verdict, "{failures:?}");
        }
    }
}
