//! `storage_low`: less free storage than the limit.

use crate::alert::{DeviceFacts, Evaluation, Judging};
use crate::quantity;

pub(super) fn evaluate(device: &DeviceFacts<'_>, at: &Judging<'_>) -> Evaluation {
    let Some(free_mb) = device.reported().and_then(|last| last.telemetry.storage_free_mb) else { return Evaluation::UNKNOWN };
    let (raise, clear) = (at.thresholds.get("raise_below_mb"), at.thresholds.get("clear_at_mb"));
    at.below(free_mb, raise, clear, || format!("{} of storage free, limit {}", quantity::mebibytes(free_mb), quantity::mebibytes(raise)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;

    #[test]
    fn it_clears_higher_than_it_is_raised() {
        for (free, verdict) in [
            (None, "unknown"),
            (Some(499), "499 MB of storage free, limit 500 MB"),
            (Some(500), "unknown"),
            (Some(749), "unknown"),
            (Some(750), "ok"),
        ] {
            let device = Device { storage_free_mb: free, ..Device::new() };
            assert_eq!(At::default().of_device(Rule::StorageLow, &device).0, verdict, "{free:?}");
        }
    }
}
