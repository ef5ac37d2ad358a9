//! Interval of heartbeats, with jitter.

use std::time::Duration;

use crate::backoff::{lengthened, spread};

/// Spread of the next interval around the configured one, in percent either side.
pub const JITTER_PCT: u32 = 10;

/// The configured interval moved by up to ±10 %, so that devices that met once
/// (after an outage, a deployment, a power cut) drift apart again.
///
/// `draw` is uniform in 0..1. The answer is at least 1.
pub fn next_heartbeat_seconds(interval_s: u32, draw: f64) -> u32 {
    let wait = spread(Duration::from_secs(interval_s.into()), f64::from(JITTER_PCT) / 100.0, draw);
    wait.as_secs_f64().round().max(1.0) as u32
}

/// A `Retry-After` in seconds between `base_s` and three times that.
///
/// `draw` is uniform in 0..1.
pub fn retry_after_seconds(base_s: u32, draw: f64) -> u32 {
    lengthened(Duration::from_secs(base_s.max(1).into()), 2.0, draw).as_secs_f64().round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stays_within_ten_percent(interval_s in 1u32..86_400, draw in 0.0f64..1.0) {
            let next = f64::from(next_heartbeat_seconds(interval_s, draw));
            let interval = f64::from(interval_s);
            prop_assert!(next >= (interval * 0.9).floor().max(1.0) && next <= (interval * 1.1).ceil());
        }

        #[test]
        fn retry_after_is_between_one_and_three_times_its_base(base_s in 1u32..600, draw in 0.0f64..1.0) {
            let after = retry_after_seconds(base_s, draw);
            prop_assert!(after >= base_s && after <= base_s * 3);
        }
    }

    #[test]
    fn spreads_over_the_whole_range() {
        assert_eq!(next_heartbeat_seconds(300, 0.0), 270);
        assert_eq!(next_heartbeat_seconds(300, 1.0), 330);
        assert_eq!(next_heartbeat_seconds(1, 0.0), 1);
    }
}
